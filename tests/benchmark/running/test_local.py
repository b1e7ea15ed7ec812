"""Jobs side by side on this machine."""

import re
import threading
import time
from dataclasses import replace

import pytest
import torch
from in_process import run_matrix as run_in_process
from runners import results

from benchmark.records.store import read_all
from benchmark.running import capacity, local
from benchmark.running.cohort import Interrupted
from benchmark.running.journal import Journal
from benchmark.running.local import SideBySide
from benchmark.running.matrix_run import run_matrix, student_jobs, teacher_jobs
from benchmark.running.process import CohortError

CPU = torch.device("cpu")


def test_the_records_are_those_of_one_process(matrix, workplace, tmp_path, capsys):
    """In a cache of its own, so that a student alone trains beside its teacher."""
    request = matrix(["none", "fitnet", "logit_kd"])
    workplace = replace(workplace, cache=tmp_path / "cache")
    run_matrix(request, workplace, SideBySide([CPU, CPU]))
    assert re.search(
        r"trained and evaluated: \d+\.\d min, \d+ cores \d+ % busy", capsys.readouterr().out
    )
    other = replace(workplace, results=tmp_path / "other")
    run_in_process(request, other)
    assert results(workplace) == results(other)
    (log,) = (workplace.results / "logs").glob("*students*")
    assert log.read_text().count(" cells from epoch 0, step 0") == 3  # none, and a half each


def test_one_that_fails_as_a_whole_stops_the_others(matrix, workplace):
    request = matrix(["none"], seeds=(0, 1), epochs=50)  # whom no teacher of 50 epochs need teach
    first, second = student_jobs(request, workplace)
    nowhere = replace(workplace, data=workplace.data / "nowhere")
    with pytest.raises(CohortError, match="nowhere"):
        SideBySide([CPU, CPU])([replace(first, workplace=nowhere), second])
    assert second.unfinished()  # of its fifty epochs
    assert not Journal(workplace.results).locked(second.cells[0].identity())


def test_all_leave_a_checkpoint_when_one_is_asked_to_stop(matrix, workplace, monkeypatch):
    request = matrix(["none"], seeds=(0, 1), epochs=50)
    jobs = student_jobs(request, workplace)
    journal = Journal(workplace.results)

    def interrupt(left, view):
        while not all(journal.locked(job.cells[0].identity()) for job in jobs):
            time.sleep(0.05)
        time.sleep(2)
        raise Interrupted("asked")

    monkeypatch.setattr(local, "_await", interrupt)
    with pytest.raises(Interrupted):
        SideBySide([CPU, CPU])(jobs)
    assert all(journal.saved(job.cells[0]) for job in jobs)
    assert not any(journal.locked(job.cells[0].identity()) for job in jobs)


def jobs_of(matrix, workplace, methods, seeds):
    return student_jobs(matrix(methods, seeds=seeds), workplace)


def test_further_processes_wait_for_memory_but_one_always_runs(matrix, workplace, monkeypatch):
    running, most, lock = 0, 0, threading.Lock()

    def supervise(job, stop):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.2)
        with lock:
            running -= 1

    monkeypatch.setattr(local, "supervise", supervise)
    monkeypatch.setattr(capacity, "free_memory", lambda: 1 << 30)
    jobs = jobs_of(matrix, workplace, ["none"], (0, 1, 2, 3))
    SideBySide([CPU] * 4)(jobs)
    assert most == 1
    most = 0
    SideBySide([CPU] * 4, careful=False)(jobs)
    assert most == 4


def test_the_students_alone_run_beside_the_teachers(matrix, workplace, tmp_path):
    """Where there is a slot for them, and nowhere else."""
    workplace = replace(workplace, cache=tmp_path / "cache")
    request, seen = matrix(["none", "fitnet"], seeds=(0, 1)), []

    class Stop(Exception):
        pass

    class Executor:
        def __init__(self, slots):
            self.slots = range(slots)

        def __call__(self, jobs):
            seen.append([(job.teacher is None, job.distils, len(job.cells)) for job in jobs])
            raise Stop

    for slots in (1, 2):
        with pytest.raises(Stop):
            run_matrix(request, workplace, Executor(slots))
    assert seen == [[(True, False, 1)], [(True, False, 1), (False, False, 1), (False, False, 1)]]
    assert len(teacher_jobs(request, workplace)) == 1
    assert not read_all(workplace.results)
