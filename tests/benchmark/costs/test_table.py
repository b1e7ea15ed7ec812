"""The table of costs, and which students keep to a budget."""

import pytest
import torch

from benchmark.config.budget import GFLOPS, LATENCY, PARAMS, Budget
from benchmark.costs.table import (
    ALL,
    PUBLISHED,
    answer_budget,
    describe_costs,
    measure_students,
)
from detectors import get_family, grid_settings

COST = {
    "name": "pointpillars@4",
    "data": "synthetic",
    "profile": "kitti",
    "reduced": False,
    "grid": grid_settings(get_family("pointpillars").default_grid()),
    "precision": "fp32",
    "machine": "a machine",
    "threads": 2,
    "params": 1_217_352,
    "flops_paper": 8_992_151_040,
    "flops_full": 8_950_000_000,
    "activations": 32_400_000,
    "latency_ms": {"median": 7.04, "iqr": 0.26, "threads": 2, "load": 0.4},
    "peak_memory_mb": None,
    "peak_memory_of": None,
    "energy_j": None,
    "frames": ["000001", "000002"],
}


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_shows_how_far_the_printed_figures_are():
    header, _, row, _, _, frames, printed = describe_costs([COST]).splitlines()
    shown = dict(zip(cells(header), cells(row), strict=True))
    assert shown["params (M)"] == "1.217"
    assert shown["printed (M)"] == "1.3 (-6.4 %)"
    assert shown["printed (G)"] == "9.0 (-0.1 %)"
    assert shown["latency (ms)"] == "7.0 (iqr 0.3)"
    assert shown["peak memory (MB)"] == "-"
    assert frames == "2 frames of synthetic: 000001, 000002"
    assert printed.startswith("printed: by PointDistiller (table 1), which counts dense layers,")


def test_one_line_says_what_the_figures_depend_on():
    assert describe_costs([COST]).splitlines()[4] == (
        "profile kitti (full grid); pointpillars: x 0 to 69.12, y -39.68 to 39.68, z -3 to 1 m, "
        "voxels 0.16 x 0.16 x 4 m; fp32; a machine; 2 threads; load before timing 0.4"
    )
    unloaded = {**COST["latency_ms"], "load": None}
    assert "load" not in describe_costs([{**COST, "latency_ms": unloaded}])


def test_on_a_reduced_grid_nothing_is_compared_with_the_paper():
    text = describe_costs([{**COST, "reduced": True}])
    assert "printed" not in text
    assert "profile kitti (reduced grid)" in text


def test_a_latency_that_says_little_is_marked():
    noisy = {**COST, "latency_ms": {"median": 72.3, "iqr": 38.1}}
    text = describe_costs([COST, noisy])
    assert "7.0 (iqr 0.3)  " in text
    assert "72.3 (iqr 38.1) ‡ |" in text
    assert text.endswith("‡ says little: iqr, the interquartile range, above 25 % of it")


@pytest.mark.parametrize(
    ("limits", "answer"),
    [
        ({LATENCY: 8}, "latency (ms) of at most 8: kept by pointpillars@4 (1 of 2 measured)."),
        ({LATENCY: 80}, "latency (ms) of at most 80: kept by pointpillars@4, pointpillars ‡ "
         "(2 of 2 measured)."),
        ({PARAMS: 1}, "No student here keeps to params (M) of at most 1; the lowest params (M) is "
         "1.22 (pointpillars@4)."),
        ({GFLOPS: 10, PARAMS: 2},
         "GFLOPs of at most 10 and params (M) of at most 2: kept by pointpillars@4 "
         "(1 of 2 measured)."),
    ],
)  # fmt: skip
def test_a_budget_is_answered_in_words(limits, answer):
    teacher = {
        **COST, "name": "pointpillars", "params": 4_835_000, "flops_paper": 34_000_000_000,
        "latency_ms": {"median": 72.3, "iqr": 38.1},
    }  # fmt: skip
    assert answer_budget([COST, teacher], Budget(limits)) == answer


def test_a_budget_for_what_was_not_measured_has_no_answer():
    answer = answer_budget([{**COST, "latency_ms": None}], Budget({LATENCY: 8}))
    assert answer == (
        "No latency (ms) was measured, so nothing here answers latency (ms) of at most 8."
    )


def test_a_student_that_the_paper_lacks_has_no_printed_figures():
    row = describe_costs([{**COST, "name": "pointpillars@5", "latency_ms": None}]).splitlines()[2]
    assert cells(row).count("-") == 5


@pytest.fixture
def counted(monkeypatch):
    """Measuring without a measurement; the names of the students that it was asked for."""
    monkeypatch.setattr("benchmark.costs.table._frames", lambda *unused: [])
    monkeypatch.setattr(
        "benchmark.costs.table.model_costs",
        lambda students, *unused: {name: {"peak_memory_mb": None} for name in students},
    )


def test_all_is_what_the_paper_has(counted, tmp_path):
    found = measure_students(ALL, "synthetic", "kitti", tmp_path, torch.device("cpu"))
    assert [cost["name"] for cost in found] == list(PUBLISHED)
    assert {cost["peak_memory_mb"] for cost in found} == {None}
    assert {cost["reduced"] for cost in found} == {False}


def test_students_are_separated_by_commas_and_measured_once(counted, tmp_path):
    named = "pointpillars@4, pointpillars@16,pointpillars@4.0"
    found = measure_students(named, "synthetic", "mini", tmp_path, torch.device("cpu"))
    assert [cost["name"] for cost in found] == ["pointpillars@4", "pointpillars@16"]
    assert {(cost["profile"], cost["reduced"]) for cost in found} == {("mini", True)}
