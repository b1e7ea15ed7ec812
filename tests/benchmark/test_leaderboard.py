"""Tables from records alone."""

import io
import random
import re

import pandas as pd
import pytest

from benchmark.leaderboard import make_tables, to_csv, to_markdown, write
from benchmark.records import FIELDS

VERSIONS = {"mmdet3d": "1.4.0", "torch": "2.13.0"}


def ap(mean, objects=100):
    """All figures of a class equal to ``mean``; no mean below 41 objects."""
    figures = {m: {"R40": [mean] * 3, "R11": [mean] * 3} for m in ("bbox", "bev", "3d", "aos")}
    one = {**figures, "objects": [objects] * 3}
    bounded = {m: {"R40": [None] * 3, "R11": [None] * 3} for m in figures}
    return {
        "Car": one,
        "Pedestrian": one,
        "Cyclist": one,
        "mAP": figures if objects >= 41 else bounded,
    }


def record(method="none", seed=0, mean=50.0, student="pointpillars@4", status="done", **changes):
    done = status == "done"
    values = {
        **dict.fromkeys(FIELDS),
        "cell": f"{student}-{method}-{seed}",
        "status": status,
        "reason": "",
        "dataset": {
            "name": "KITTI", "synthetic": False, "fingerprint": "f",
            "train_frames": 10, "val_frames": 5,
        },
        "profile": {"name": "smoke", "purpose": "a wiring check", "reduced": False},
        "student": student,
        "method": method,
        "weighting": "source",
        "precision": "fp32",
        "seed": seed,
        "settings": {"data": "f", "epochs": 1, "precision": "fp32", "method": method, "seed": seed},
        "ap": ap(mean) if done else None,
        "cost": {"params": 1_217_352, "flops_paper": 8_910_000_000, "latency_ms": {"median": 7.0}}
        if done
        else None,
        "training": {"seconds_alone": 100.0, "seconds_as_run": 60.0},
        "provenance": {"versions": VERSIONS, "machine": "a machine"},
    }  # fmt: skip
    return {**values, **changes}


def rows(records):
    (table,) = make_tables(records)
    return table.rows.set_index(["student", "method"])


def test_figures_are_means_over_seeds_and_gains_are_paired():
    records = [record(seed=s, mean=50 + s) for s in (0, 1, 2)]
    records += [record("fitnet", seed=s, mean=53 + s + 0.5 * (s == 1)) for s in (0, 1, 2)]
    found = rows(records)
    none, fitnet = found.loc["pointpillars@4", "none"], found.loc["pointpillars@4", "fitnet"]
    assert none["3D mAP"] == pytest.approx(51)
    assert fitnet["3D gain"] == pytest.approx(3 + 0.5 / 3)
    assert fitnet["3D gain low"] < 3 < fitnet["3D gain high"]
    assert fitnet["verdict"] == "better than none"
    assert fitnet["seeds"] == 3
    assert fitnet["params (M)"] == pytest.approx(1.217352)


def test_a_gain_within_the_noise_is_said_in_words():
    records = [record(seed=s, mean=50 + s) for s in (0, 1, 2)]
    records += [record("fitnet", seed=s, mean=50 + 2 * (s == 1)) for s in (0, 1, 2)]
    assert rows(records).loc["pointpillars@4", "fitnet"]["verdict"] == (
        "not distinguishable from none"
    )


def test_one_seed_gives_no_interval():
    text = to_markdown(make_tables([record(), record("fitnet", mean=51)]), "title")
    assert re.search(r"\| \+1\.00 +\|", text)
    assert "no interval: one seed" in text


def test_the_teacher_comes_first_then_students_by_ratio_and_rank():
    records = [
        record("fitnet", mean=40, student="pointpillars@16"),
        record("none", mean=30, student="pointpillars@16"),
        record("none", mean=50),
        record("fitnet", mean=60),
        record(student="pointpillars", mean=10),
    ]
    assert list(rows(records).index) == [
        ("pointpillars", "teacher"),
        ("pointpillars@4", "fitnet"),
        ("pointpillars@4", "none"),
        ("pointpillars@16", "fitnet"),
        ("pointpillars@16", "none"),
    ]


def test_cells_that_did_not_finish_are_shown_with_their_reason():
    failed = record("fitnet", status="failed", reason="IndexError: a | b <script>")
    text = to_markdown(make_tables([record(), failed]), "title")
    row = next(line for line in text.splitlines() if "fitnet" in line)
    assert r"failed: IndexError: a \| b script" in row
    assert "–" in row
    assert "<script>" not in text


def test_a_missing_seed_is_never_averaged_away():
    records = [record(seed=0), record(seed=1, mean=60), record("fitnet", seed=0, mean=52)]
    found = rows([*records, record("fitnet", seed=1, status="diverged", reason="loss is nan")])
    fitnet = found.loc["pointpillars@4", "fitnet"]
    assert fitnet["seeds"] == 1
    assert fitnet["3D gain"] == pytest.approx(2)
    assert "seed 1 diverged: loss is nan" in fitnet["verdict"]


def test_bounded_figures_are_marked_and_enter_no_mean():
    text = to_markdown(make_tables([record(ap=ap(35.0, objects=15))]), "title")
    row = next(line for line in text.splitlines() if "none" in line and "|" in line)
    assert r"35.0 / 35.0\*" in row
    assert row.split("|")[4].strip() == "–"
    assert "no mAP: a class has too few valid objects" in row


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"data": "other", "epochs": 1}},
        {"settings": {"data": "f", "epochs": 2}},
        {"settings": {"data": "f", "epochs": 1, "precision": "bf16"}},
        {"profile": {"name": "mini", "purpose": "x", "reduced": True}},
        {"student": "second@4"},
        {"provenance": {"versions": {"mmdet3d": "1.4.0", "torch": "2.1"}, "machine": "m"}},
    ],
)
def test_what_must_not_be_mixed_has_tables_of_its_own(change):
    assert len(make_tables([record(), record("fitnet", **change)])) == 2


def test_the_caption_says_what_the_data_are():
    synthetic = record(
        dataset={
            "name": "the embedded set", "synthetic": True, "fingerprint": "f",
            "train_frames": 10, "val_frames": 5,
        }
    )  # fmt: skip
    assert "the embedded set (synthetic data" in make_tables([synthetic])[0].caption
    assert "KITTI (real frames" in make_tables([record()])[0].caption
    assert "a wiring check" in make_tables([record()])[0].caption


def test_output_does_not_depend_on_the_order_of_records(tmp_path):
    records = [record(m, s, 50 + s) for m in ("none", "fitnet", "logit_kd") for s in (0, 1)]
    first = write(tmp_path / "a", records, "title")
    random.Random(0).shuffle(records)
    assert write(tmp_path / "b", records, "title") == first
    names = ("leaderboard.md", "leaderboard.csv")
    assert all(
        (tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names
    )


def test_csv_keeps_full_precision():
    table = pd.read_csv(io.StringIO(to_csv(make_tables([record(mean=100 / 3)]))))
    assert table["3D mAP"][0] == 100 / 3


def test_no_records_give_an_empty_page():
    assert make_tables([]) == []
    assert to_csv([]) == ""
