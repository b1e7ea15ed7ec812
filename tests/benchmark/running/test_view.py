"""What a run shows of its cells."""

import pytest

from benchmark.running import view
from benchmark.running.journal import Journal
from benchmark.running.matrix_run import student_jobs
from benchmark.running.view import View


@pytest.fixture
def jobs(matrix, workplace):
    """Two cells of eight epochs, in two jobs."""
    return student_jobs(matrix(["none"], seeds=(0, 1), epochs=8), workplace)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that only a test lets pass."""
    now = [1000.0]
    monkeypatch.setattr(view.time, "monotonic", lambda: now[0])
    return now


def test_lines_say_how_far_all_jobs_are_and_how_long_they_will_take(jobs, clock, capsys):
    shown = View(jobs)
    journal = Journal(jobs[0].workplace.results)
    journal.report(jobs[0].cells[0], epoch=4)
    clock[0] += 120
    shown.show()
    assert capsys.readouterr().out == ("0 of 2 cells ended, 4 of 16 epochs, about 6 min left\n")
    clock[0] += 30
    journal.report(jobs[1].cells[0], epoch=4)
    shown.show()
    assert capsys.readouterr().out == ""  # a line a minute, while no cell ends
    path = jobs[0].workplace.record_path(jobs[0].cells[0])
    path.parent.mkdir()
    path.touch()
    clock[0] += 10
    shown.show()
    assert "1 of 2 cells ended, 12 of 16 epochs" in capsys.readouterr().out


def test_what_was_trained_before_does_not_count_for_the_pace(jobs, clock, capsys):
    journal = Journal(jobs[0].workplace.results)
    journal.report(jobs[0].cells[0], epoch=8)
    shown = View(jobs)
    clock[0] += 60
    journal.report(jobs[1].cells[0], epoch=4)
    shown.show()
    assert "12 of 16 epochs, about 1 min left" in capsys.readouterr().out


def test_a_terminal_gets_a_bar(jobs, clock, capsys, monkeypatch):
    monkeypatch.setattr(view.sys.stderr, "isatty", lambda: True, raising=False)
    shown = View(jobs)
    Journal(jobs[0].workplace.results).report(jobs[0].cells[0], epoch=4)
    clock[0] += 60
    shown.show()
    shown.close()
    told = capsys.readouterr()
    assert "4/16" in told.err
    assert "0 of 2 cells ended" in told.err
    assert not told.out
