"""Batch systems stop a run by a signal to the command, or to all of its processes at once."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
from in_process import run_matrix
from runners import await_work, results, start

from benchmark.running.journal import Journal
from benchmark.signals import STOPPED, WARNINGS


def members(group):
    """Processes of a process group that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@pytest.fixture(scope="module")
def request_(matrix):
    return matrix(["none", "fitnet"], epochs=3)


@pytest.fixture(scope="module")
def uninterrupted(request_, make_workplace, tmp_path_factory):
    """Results of the matrix that nobody stopped."""
    workplace = make_workplace(tmp_path_factory.mktemp("whole"))
    run_matrix(request_, workplace)
    return results(workplace)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("number", "send", "jobs"),
    [(signal.SIGUSR1, os.killpg, 2), (signal.SIGHUP, os.kill, 0), (signal.SIGTERM, os.killpg, 0)],
    ids=["SIGUSR1 to all", "SIGHUP to the command", "SIGTERM to all"],
)
def test_a_run_that_is_warned_goes_on_from_its_checkpoint(
    request_, workplace, uninterrupted, number, send, jobs
):
    if number not in WARNINGS:
        pytest.skip(f"{number.name} is ignored here, as by nohup")
    place = replace(workplace, workers=1)
    runner = start(request_, place, jobs)
    assert await_work(runner, place, lambda word: len(word) == 16)
    send(runner.pid, number)
    runner.join(60)
    assert runner.exitcode == STOPPED
    deadline = time.monotonic() + 5
    while left := members(runner.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert list(Journal(place.results).folder.glob("*.pt"))
    run_matrix(request_, place)
    assert results(place) == uninterrupted


def test_what_nohup_ignores_stays_ignored():
    script = "from benchmark.signals import WARNINGS; print(*(n.name for n in WARNINGS))"
    told = subprocess.run(
        ["nohup", sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["SIGTERM", "SIGUSR1"]
