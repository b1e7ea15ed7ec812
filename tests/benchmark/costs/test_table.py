"""The table of costs."""

from benchmark.costs.table import ALL, PUBLISHED, describe_costs, measure_students

COST = {
    "name": "pointpillars@4",
    "data": "synthetic",
    "params": 1_217_352,
    "flops_paper": 8_992_151_040,
    "flops_full": 8_950_000_000,
    "activations": 32_400_000,
    "latency_ms": {"median": 7.04, "iqr": 0.26},
    "peak_memory_mb": None,
    "peak_memory_of": None,
    "energy_j": None,
    "frames": ["000001", "000002"],
}


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_shows_how_far_the_printed_figures_are():
    header, _, row, _, note = describe_costs([COST]).splitlines()
    shown = dict(zip(cells(header), cells(row), strict=True))
    assert shown["params (M)"] == "1.217"
    assert shown["printed (M)"] == "1.3 (-6.4 %)"
    assert shown["printed (G)"] == "9.0 (-0.1 %)"
    assert shown["latency (ms)"] == "7.0 (iqr 0.3)"
    assert shown["peak memory (MB)"] == "-"
    assert note == "2 frames of synthetic: 000001, 000002"


def test_a_student_that_the_paper_lacks_has_no_printed_figures():
    row = describe_costs([{**COST, "name": "pointpillars@5", "latency_ms": None}]).splitlines()[2]
    assert cells(row).count("-") == 5


def test_all_is_what_the_paper_has(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "benchmark.costs.table.model_cost", lambda *unused: {"peak_memory_mb": None}
    )
    monkeypatch.setattr("benchmark.costs.table._frames", lambda *unused: [])
    found = measure_students(ALL, "synthetic", "kitti", tmp_path, "cpu")
    assert [cost["name"] for cost in found] == list(PUBLISHED)
    assert {cost["peak_memory_mb"] for cost in found} == {None}
