"""Several runners share one results folder: each cell is trained by one of them."""

import re
import time
from dataclasses import replace

import pytest
from in_process import run_matrix
from runners import doing, kill, results, start

from benchmark.running.journal import Journal
from benchmark.running.matrix_run import student_jobs
from benchmark.running.process import supervise


@pytest.fixture(scope="module")
def request_(matrix):
    return replace(matrix(["none", "fitnet"], seeds=(0, 1)), cohort_size=1)


@pytest.fixture(scope="module")
def uninterrupted(request_, make_workplace, tmp_path_factory):
    """Results of the matrix from one runner."""
    workplace = make_workplace(tmp_path_factory.mktemp("alone"))
    run_matrix(request_, workplace)
    return results(workplace)


def first_epochs(workplace):
    """The cells whose first epoch ended, once for each time."""
    logs = "".join(path.read_text() for path in (workplace.results / "logs").iterdir())
    return re.findall(r"(pointpillars@4 \w+ seed \d): \w+, epoch 1,", logs)


def test_runners_share_the_work_and_take_over_that_of_a_killed_one(
    request_, workplace, uninterrupted
):
    runners = [start(request_, workplace) for _ in range(3)]
    while not (busy := [one for one in runners if len(doing(one, workplace)) == 16]):
        assert all(one.is_alive() for one in runners)
        time.sleep(0.002)
    kill(busy[0])
    runners.remove(busy[0])
    for runner in runners:
        runner.join()
    assert [runner.exitcode for runner in runners] == [0, 0]
    assert results(workplace) == uninterrupted
    trained = first_epochs(workplace)
    assert len(set(trained)) == 4
    assert len(trained) <= 5  # the killed one's cell again, no other


def test_nothing_is_started_for_cells_that_another_runner_has(request_, workplace, monkeypatch):
    (job, *_) = student_jobs(request_, workplace)
    lock = Journal(workplace.results).lock(job.cells[0])
    monkeypatch.setattr("benchmark.running.process._run_once", lambda *_: pytest.fail("started"))
    supervise(job)
    lock.release()
