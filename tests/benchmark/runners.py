"""Runners of a matrix, each in a process group of its own that a test may kill."""

import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress

from benchmark.commands.training import told_of_stop
from benchmark.records.store import read_all
from benchmark.running import process as cohort_process
from benchmark.running.cohort import Interrupted
from benchmark.running.journal import Journal
from benchmark.running.local import SideBySide
from benchmark.running.matrix_run import run_matrix
from benchmark.running.server import CONTEXT
from benchmark.signals import stop_on_warnings


def start(matrix, workplace, jobs=0):
    """A process that runs a matrix: what it and its own processes need is imported already.

    Args:
        jobs: processes side by side, off a server of its own as in a real run; 0 forks one after
            another, without the seconds that a server takes to start.
    """
    process = CONTEXT.Process(target=_run, args=(matrix, workplace, jobs))
    process.start()
    return process


def kill(process):
    """SIGKILL to a runner and all that it started."""
    while True:
        with suppress(ProcessLookupError):  # it has no group of its own yet
            os.killpg(process.pid, signal.SIGKILL)
            break
        if not process.is_alive():
            break
        time.sleep(0.01)
    process.join()


def doing(process, workplace):
    """What the latest process that a runner supervises does now; nothing where there is none."""
    name = f"running-{os.uname().nodename}-{process.pid}-*"
    for marker in sorted(Journal(workplace.results).folder.glob(name), reverse=True):
        with suppress(FileNotFoundError):
            return marker.read_text()[21:].strip()
    return ""


def await_work(process, workplace, moment=lambda word: word not in ("", "start"), seconds=120):
    """Wait until a runner's process does what is asked for; False if it does not in this time."""
    deadline = time.monotonic() + seconds
    while process.is_alive() and time.monotonic() < deadline:
        if moment(doing(process, workplace)):
            return True
        time.sleep(0.002)
    return False


def results(workplace):
    """What must be equal to the bit, by cell."""
    return {
        record["cell"]: {k: record[k] for k in ("status", "ap", "weights_sha256", "losses_sha256")}
        for record in read_all(workplace.results)
    }


def one_by_one(jobs):
    """An executor without threads, as it forks without a server."""
    for job in jobs:
        cohort_process.supervise(job)


one_by_one.slots = (None,)


def _run(matrix, workplace, jobs):
    os.setsid()
    execute = SideBySide(jobs * [workplace.device]) if jobs else one_by_one
    if not jobs:
        cohort_process.CONTEXT = multiprocessing.get_context("fork")
    stop_on_warnings()
    try:
        run_matrix(matrix, workplace, execute)
    except (Interrupted, KeyboardInterrupt) as stop:
        sys.exit(told_of_stop(stop))
