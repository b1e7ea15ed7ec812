"""Tables from records alone."""

import math

import numpy as np
import pandas as pd
import pytest

from benchmark.leaderboard import make_tables


def rows(records):
    (table,) = make_tables(records)
    return pd.DataFrame(table.rows).set_index(["student", "method"])


def test_figures_are_means_over_seeds_and_gains_are_paired(record):
    records = [record(seed=s, mean=50 + s) for s in (0, 1, 2)]
    records += [record("fitnet", seed=s, mean=53 + s + 0.5 * (s == 1)) for s in (0, 1, 2)]
    found = rows(records)
    none, fitnet = found.loc["pointpillars@4", "none"], found.loc["pointpillars@4", "fitnet"]
    assert none["3D mAP"] == pytest.approx(51)
    assert fitnet["3D gain"] == pytest.approx(3 + 0.5 / 3)
    assert fitnet["3D gain low"] < 3 < fitnet["3D gain high"]
    assert fitnet["verdict (3D)"] == "better than none"
    assert (fitnet["seeds"], fitnet["of seeds"]) == (3, 3)
    assert fitnet["params (M)"] == pytest.approx(1.217352)
    assert fitnet["KD share (%)"] == pytest.approx(0.25)
    assert (fitnet["rank (3D)"], fitnet["rank (3D) low"], fitnet["rank (3D) high"]) == (1, 1, 1)
    assert (none["rank (3D)"], none["rank (3D) low"], none["rank (3D) high"]) == (2, 2, 2)


def test_a_gain_within_the_noise_is_said_in_words(record):
    records = [record(seed=s, mean=50 + s) for s in (0, 1, 2)]
    records += [record("fitnet", seed=s, mean=50 + 2 * (s == 1)) for s in (0, 1, 2)]
    found = rows(records)
    assert found.loc["pointpillars@4", "fitnet"]["verdict (3D)"] == "not distinguishable from none"
    assert (found["rank (3D) low"] == 1).all()
    assert (found["rank (3D) high"] == 2).all()


def test_one_seed_gives_no_interval_and_leaves_every_rank_open(record):
    found = rows([record(), record("fitnet", mean=51)])
    fitnet = found.loc["pointpillars@4", "fitnet"]
    assert fitnet["verdict (3D)"] == "no interval: one seed"
    assert (fitnet["rank (3D)"], fitnet["rank (3D) low"], fitnet["rank (3D) high"]) == (1, 1, 2)


def test_the_teacher_comes_first_then_students_by_ratio_and_rank(record):
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


def test_a_missing_seed_is_never_averaged_away(record):
    records = [record(seed=0), record(seed=1, mean=60), record("fitnet", seed=0, mean=70)]
    found = rows([*records, record("fitnet", seed=1, status="diverged", reason="loss is nan")])
    fitnet = found.loc["pointpillars@4", "fitnet"]
    assert (fitnet["seeds"], fitnet["of seeds"]) == (1, 2)
    assert fitnet["3D gain"] == pytest.approx(20)
    assert fitnet["verdict (3D)"] == "no interval: one seed; 1 of 2 seeds"
    assert math.isnan(fitnet["rank (3D)"])
    assert list(found.index) == [("pointpillars@4", "none"), ("pointpillars@4", "fitnet")]


def test_what_other_rows_have_is_shown_as_missing(record):
    records = [record(seed=0), record(seed=1), record("fitnet"), record(student="pointpillars@16")]
    (table,) = make_tables(records)
    missing = {(c["student"], c["method"], c["seed"]) for c in table.cells if not c["cell"]}
    assert missing == {
        ("pointpillars@4", "fitnet", 1),
        ("pointpillars@16", "none", 1),
        ("pointpillars@16", "fitnet", 0),
        ("pointpillars@16", "fitnet", 1),
    }
    row = pd.DataFrame(table.rows).set_index(["student", "method"]).loc["pointpillars@16", "fitnet"]
    assert row["verdict (3D)"] == "missing"
    assert row["seeds"] == 0


@pytest.mark.parametrize("status", ["failed", "diverged", "skipped"])
def test_a_row_without_a_figure_says_how_it_ended(record, status):
    found = rows([record(), record("fitnet", status=status, reason="why")])
    assert found.loc["pointpillars@4", "fitnet"]["verdict (3D)"] == status


def test_bounded_figures_enter_no_mean_and_no_rank(record, ap):
    found = rows([record(ap=ap(35.0, objects=15))]).iloc[0]
    assert math.isnan(found["3D mAP"])
    assert math.isnan(found["rank (3D)"])
    assert found["Car 3D moderate"] == 35
    assert found["Car objects moderate"] == 15
    assert found["verdict (3D)"] == "no mAP: a class has too few valid objects"


def test_pairs_carry_holms_correction(record):
    rng = np.random.default_rng(0)
    means = {"none": 50, "fitnet": 50.2, "crd": 58}
    records = [
        record(m, s, mean + rng.normal(0, 0.3)) for m, mean in means.items() for s in range(5)
    ]
    (table,) = make_tables(records)
    pairs = pd.DataFrame(table.pairs)
    assert (pairs["difference"] >= 0).all()
    assert pairs.groupby("first").size()["crd"] == 2
    smallest = pairs.iloc[0]
    assert smallest["p (Holm)"] == pytest.approx(3 * smallest["p"])
    assert list(pairs["distinguishable"]) == [True, True, False]
    ranks = pd.DataFrame(table.rows).set_index("method")[["rank (3D) low", "rank (3D) high"]]
    assert tuple(ranks.loc["crd"]) == (1, 1)
    assert tuple(ranks.loc["none"]) == tuple(ranks.loc["fitnet"]) == (2, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"data": "other", "epochs": 1}},
        {"settings": {"data": "f", "epochs": 2}},
        {"settings": {"data": "f", "epochs": 1, "precision": "bf16"}},
        {"profile": {"name": "mini", "purpose": "x", "reduced": True}},
        {"student": "second@4"},
        {"settings": {"teacher": "another"}},
        {"provenance": {"versions": {"mmdet3d": "1.4.0", "torch": "2.1"}, "machine": "m"}},
    ],
)
def test_what_must_not_be_mixed_has_tables_of_its_own(record, change):
    changed = record("fitnet", **change)
    if "settings" in change:
        changed["settings"] = record("fitnet")["settings"] | change["settings"]
    assert len(make_tables([record(), record("fitnet")])) == 1
    assert len(make_tables([record(), changed])) == 2


def test_an_adopted_teacher_is_in_the_table_of_its_students(record):
    teacher = record(student="pointpillars", training=None, reason="weights of epoch_80.pth")
    teacher["settings"]["checkpoint"] = "abc"
    (table,) = make_tables([record(), teacher])
    assert [row["method"] for row in table.rows] == ["teacher", "none"]


def test_cells_of_other_values_are_rows_of_their_own(record):
    records = [record("fitnet", seed=s, hyperparameters={"weight": 1.0, "a": 2}) for s in (0, 1)]
    records += [record("fitnet", seed=0, cell="x", hyperparameters={"weight": 3.0, "a": 2})]
    found = rows([*records, record(), record(seed=1)])
    assert found.loc["pointpillars@4", "fitnet (weight=1.0)"]["seeds"] == 2
    assert found.loc["pointpillars@4", "fitnet (weight=3.0)"]["seeds"] == 1


def test_edited_code_of_a_plugin_is_another_row(record):
    first, second = record("fitnet"), record("fitnet", cell="x", mean=60)
    for made, source, ended in ((first, "1a", "2027-01-02"), (second, "2b", "2027-01-01")):
        made["settings"]["source"] = source
        made["provenance"] = {**made["provenance"], "ended": ended}
    found = rows([first, second, record()])
    assert found.loc["pointpillars@4", "fitnet (code=1a, latest)"]["3D mAP"] == 50
    assert found.loc["pointpillars@4", "fitnet (code=2b)"]["3D mAP"] == 60


def test_networks_that_detect_nothing_have_no_rank(record):
    found = rows([record(mean=0), record("fitnet", mean=0)])
    assert found[["rank (3D)", "rank (3D) low", "rank (3D) high"]].isna().all(axis=None)


def test_latency_is_that_of_the_machine_of_most_cells(record):
    other = {**record()["provenance"], "machine": "another"}
    slow = {**record()["cost"], "latency_ms": {"median": 70.0, "iqr": 1.0}}
    found = [record(), record(seed=1), record(seed=2, provenance=other, cost=slow)]
    row = rows(found).iloc[0]
    assert row["latency (ms)"] == 7
    assert row["machine"] == "a machine, another"
    assert row["params (M)"] == pytest.approx(1.217352)


def test_a_student_has_one_latency_whatever_one_of_its_cells_says(record):
    """So that no filter prefers a method for what it does not change."""
    quick = {**record()["cost"], "latency_ms": {"median": 0.1, "iqr": 0.0}}
    found = rows([record(), record("fitnet", cost=quick), record("crd"), record("rdd", 0, 0)])
    assert set(found["latency (ms)"]) == {7}


def test_a_student_without_a_finished_cell_has_no_costs(record):
    found = rows([record(), record("crd", status="failed")])
    assert math.isnan(found.loc["pointpillars@4", "crd"]["params (M)"])


def test_a_teacher_of_another_family_is_in_the_table_of_its_students_and_named(record):
    teacher, student = record(student="second", cell="t"), record("fitnet")
    (table,) = make_tables([teacher, record(), student])
    assert table.title.startswith("pointpillars taught by second on KITTI")
    assert [row["student"] for row in table.rows if row["method"] == "teacher"] == ["second"]
    same = {**teacher, "student": "pointpillars"}
    (table,) = make_tables([same, record(), student])
    assert table.title.startswith("pointpillars on KITTI")


def test_students_with_a_config_of_their_own_come_after_the_ratios(record):
    names = ["pointpillars@16", "pointpillars@b", "pointpillars@4", "pointpillars@a"]
    found = [record(student=name) for name in names]
    (table,) = make_tables([record(student="pointpillars"), *found])
    assert [row["student"] for row in table.rows] == [
        "pointpillars", "pointpillars@4", "pointpillars@16", "pointpillars@a", "pointpillars@b"
    ]  # fmt: skip
