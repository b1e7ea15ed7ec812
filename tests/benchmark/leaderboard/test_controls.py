"""Controls stand apart from the methods, with gains over the same student alone."""

import math
from dataclasses import replace

import pytest
from in_process import run_matrix

from benchmark.leaderboard import make_tables, pages
from benchmark.records.store import read_all


def control(record, name, method, seed, mean, teacher):
    """A finished cell of a control, beside the cells of teacher ``t``."""
    made = record(method, seed=seed, mean=mean)
    made["settings"] |= {"control": name, "beside": "t", "teacher": teacher}
    return made | {"cell": f"{name}-{method}-{seed}"}


def test_gains_with_and_without_a_control(record):
    records = [record(student="pointpillars", mean=70)]
    other = record(student="pointpillars", mean=61) | {"cell": "half"}
    other["settings"] |= {"control": "teacher_half"}
    for seed in (0, 1, 2):
        records += [record(seed=seed, mean=50 + seed), record("fitnet", seed=seed, mean=54 + seed)]
        records += [
            control(record, "none_twice", "none", seed, 55 + seed, "t"),
            control(record, "teacher_half", "fitnet", seed, 51 + seed, "half"),
        ]
    plain = [r for r in records if "control" not in r["settings"]]
    (table,) = make_tables([*records, other])
    (alone,) = make_tables(plain)
    assert table.rows == alone.rows
    assert table.pairs == alone.pairs
    half, twice = table.controls
    assert (half["method"], half["control"]) == ("fitnet", "teacher of half the epochs")
    assert (half["teacher"], half["mAP"], half["seeds"]) == (61, 52, 3)
    assert half["gain"] == pytest.approx(1)
    assert half["gain without it"] == pytest.approx(4)
    assert (twice["method"], twice["control"]) == ("none", "twice the epochs")
    assert twice["gain"] == pytest.approx(5)
    assert math.isnan(twice["teacher"])
    assert alone.controls == []


def test_two_weightings_are_two_rows(record):
    records = [record(student="pointpillars"), record(), record("fitnet", mean=52)]
    for weighting, mean in (("source", 53), ("balanced", 57)):
        made = control(record, "teacher_half", "fitnet", 0, mean, "t")
        records.append(made | {"weighting": weighting, "cell": weighting})
    (table,) = make_tables(records)
    rows = {
        row["method"]: (row["mAP"], row["gain"], row["gain without it"]) for row in table.controls
    }
    assert rows["fitnet"] == (53, 3, 2)
    assert rows["fitnet (balanced)"][:2] == (57, 7)
    (plain,) = [row for row in table.rows if row["method"] == "fitnet"]
    assert plain["3D gain"] == 2


def test_a_run_with_controls(matrix, workplace):
    request = matrix(["none", "fitnet"], epochs=2)
    request = replace(request, controls=["none_twice", "teacher_half", "teacher_narrow"])
    run_matrix(request, workplace)
    records = {r["cell"]: r for r in read_all(workplace.results)}
    epochs = {
        (r["student"], r["method"], r["settings"].get("control", "")): len(r["training"]["losses"])
        for r in records.values()
    }
    assert epochs == {
        ("pointpillars", "none", ""): 2,
        ("pointpillars", "none", "teacher_half"): 1,
        ("pointpillars@4", "none", "teacher_narrow"): 2,
        ("pointpillars@4", "none", ""): 2,
        ("pointpillars@4", "fitnet", ""): 2,
        ("pointpillars@4", "none", "none_twice"): 4,
        ("pointpillars@4", "fitnet", "teacher_half"): 2,
        ("pointpillars@4", "fitnet", "teacher_narrow"): 2,
    }
    weights = [r["weights_sha256"] for r in records.values()]
    assert len(set(weights)) == len(weights) == 8
    page, _ = pages(workplace.results, list(records.values()))
    assert "### Controls (3D mAP)" in page.text()
    assert len(page.tables) == 1
