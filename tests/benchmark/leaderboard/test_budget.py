"""Rows within a budget: printed, never written."""

import pytest

import run_bench
from benchmark.config.budget import GFLOPS, LATENCY, PARAMS, Budget
from benchmark.leaderboard import show_part, write
from benchmark.records import store


@pytest.fixture
def records(record):
    """A teacher of 72.3 ms, a student of 7.0 ms."""
    slow = {
        **record()["cost"], "params": 4_835_000, "flops_paper": 34_300_000_000,
        "latency_ms": {"median": 72.3, "iqr": 38.1},
    }  # fmt: skip
    return [record(student="pointpillars", cost=slow), record(), record("fitnet", mean=51)]


@pytest.mark.parametrize("limits", [{LATENCY: 10}, {PARAMS: 2}, {GFLOPS: 10, LATENCY: 80}])
def test_only_rows_of_students_within_the_budget_are_shown(records, tmp_path, limits):
    shown = show_part(tmp_path, records, Budget(limits))
    assert "| fitnet" in shown
    assert "| teacher" not in shown
    assert str(Budget(limits)) in shown.splitlines()[0]
    assert list(tmp_path.iterdir()) == []


def test_words_say_that_no_row_keeps_to_it(records, tmp_path):
    assert show_part(tmp_path, records, Budget({LATENCY: 5})) == (
        "pointpillars on KITTI, profile smoke, fp32: No student here keeps to latency (ms) of at "
        "most 5; the lowest latency (ms) is 7 (pointpillars@4)."
    )


def test_words_say_that_no_figure_answers_it(record, tmp_path):
    untimed = record(cost={**record()["cost"], "latency_ms": None})
    shown = show_part(tmp_path, [untimed], Budget({LATENCY: 5}))
    assert shown.endswith(
        "No latency (ms) was measured, so nothing here answers latency (ms) of at most 5."
    )


def test_the_written_files_stay_as_they_are(records, tmp_path, monkeypatch, capsys):
    write(tmp_path, records)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(store, "read_results", lambda folder: records)
    assert run_bench.main(["leaderboard", "--results", str(tmp_path), "--max-latency", "10"]) == 0
    assert "| teacher" not in capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "fast"])
def test_a_limit_is_a_number_above_0(limit, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_bench.main(["leaderboard", "--results", str(tmp_path), f"--max-params={limit}"])
    assert "must be a number above 0" in capsys.readouterr().err
