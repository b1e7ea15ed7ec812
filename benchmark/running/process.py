"""Run a cohort in its own process: whatever a method does ends its own cell, nothing else.

The process names the cell whose step it begins before it begins. When it dies, or does nothing
for longer than the workplace's patience, its parent knows the culprit and resumes from the latest
checkpoint. A process may die through no cell's fault (a spot machine that ends, another process's
memory), so a cell ends as ``failed`` only once a process died twice in its steps, or hung in one.
"""

from __future__ import annotations

import ctypes
import faulthandler
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import torch

from benchmark.config.matrix import Cell
from benchmark.device import make_deterministic, quiet_libraries, unfit_build
from benchmark.files import telling_of_full_disk
from benchmark.records.folder import ResultsFolder
from benchmark.records.provenance import code_version
from benchmark.records.store import NONE
from benchmark.running import cohort
from benchmark.running.cohort import Interrupted
from benchmark.running.journal import Journal
from benchmark.running.outcome import publish
from benchmark.running.server import CONTEXT
from benchmark.running.teachers import adopt
from benchmark.running.workplace import Job
from benchmark.signals import STOPPED, on_warnings
from benchmark.training.setup import unasked, unmarked
from detectors import parse_student
from kd_methods.core.errors import PointKDError, describe, legible
from kd_methods.core.registry import source_hash

INTERRUPTED = 75
"""Exit status of a process that was asked to stop and left a checkpoint."""
DEATHS = 2
"""Deaths of a process in the steps of one cell that end the cell."""
SHARED_DEATHS = 3
"""Deaths outside any cell's step that end the cohort."""
ASKED = "the run was asked to stop; run the same command to resume"
STOPPING = 120.0
"""Seconds after which a process that was asked to stop, and does nothing, is ended."""
LOOK = 0.5
"""Seconds between checks of a cohort's process."""
WIDTH = 80
NUMBERS = itertools.count()
"""Of the processes that this one has started, for their markers."""
REAPING = threading.Lock()
"""Held where multiprocessing asks how processes ended: only one thread can be told."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of mallopt, from glibc's malloc.h."""


class CohortError(PointKDError):
    """A cohort's process failed for a reason that is not a single cell's."""


class Marker:
    """A small file that says what a process is doing, cheap enough to write before every step."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._count = 0

    def __call__(self, name: str) -> None:
        """Begin something: a cell's identity, or another word."""
        self._count += 1
        os.pwrite(self._file, f"{self._count:020d} {name}".ljust(WIDTH).encode(), 0)


@dataclass(frozen=True)
class Death:
    """How a cohort's process ended: what it did then, the reason, and whether it hung."""

    name: str
    reason: str
    hung: bool = False


def supervise(job: Job, stop: Callable[[], bool] = unasked) -> None:
    """Run a job's cells until each has a record or is in the hands of another runner.

    Args:
        stop: whether to let the process leave a checkpoint, and raise.

    Raises:
        Interrupted: this process or the cohort's was asked to stop; a checkpoint is written.
        CohortError: the cohort's process failed for a reason that is not a single cell's.
    """
    shared_deaths = 0
    journal = Journal(job.workplace.results)
    while todo := journal.free(job.unfinished()):
        death = _run_once(replace(job, cells=todo), stop)
        if death is None:
            left = journal.free([cell for cell in todo if not job.workplace.finished(cell)])
            if not left:
                continue
            death = Death(f"of {left[0].student} {left[0].method}", "ended without a record")
        culprit = next((cell for cell in todo if cell.identity() == death.name), None)
        during = f"the step of {culprit.title}" if culprit else death.name
        print(f"{job.title}: its process {death.reason} ({during})", file=sys.stderr, flush=True)
        if culprit is None:
            shared_deaths += 1
            if shared_deaths == SHARED_DEATHS:
                raise CohortError(f"{job.title} {death.reason} ({death.name}); see {job.log}")
        elif death.hung or journal.blame(culprit) >= DEATHS:
            _end(culprit, job, f"its process {death.reason} during its step")


def _end(culprit: Cell, job: Job, reason: str) -> None:
    """Publish the failure of a cell, unless another runner is trying it by now."""
    with Journal(job.workplace.results).holding(culprit) as free:
        if free and not job.workplace.finished(culprit):
            publish(culprit, job.workplace, "failed", reason)


def _run_once(job: Job, stop: Callable[[], bool]) -> Death | None:
    """One process for the job; None if it ended normally."""
    if stop():
        raise Interrupted(ASKED)
    place = f"{os.uname().nodename}-{os.getpid()}-{next(NUMBERS)}"
    marker = job.workplace.folder.marker(place)
    marker.parent.mkdir(parents=True, exist_ok=True)
    clear_markers(job.workplace.folder)
    Marker(marker)("start")
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_work, args=(job, marker, sender))
    with REAPING:
        process.start()
    sender.close()
    try:
        hung = _watch(process, receiver, marker, job.workplace.patience, stop)
        name = _content(marker)[21:].decode().strip()
    except BaseException:
        _stop(process, receiver, marker, min(job.workplace.patience, STOPPING))
        raise
    finally:
        marker.unlink(missing_ok=True)
    if hung:
        return Death(name, f"made no progress for {job.workplace.patience:g} s", hung=True)
    return _outcome(process.exitcode, receiver, name)


def clear_markers(folder: ResultsFolder) -> None:
    """Remove the markers that killed runners of this machine left in a folder."""
    ours = folder.marker(f"{os.uname().nodename}-*")
    for marker in ours.parent.glob(ours.name):
        runner = marker.name.rsplit("-", 2)[1]
        if runner.isdecimal() and not psutil.pid_exists(int(runner)):
            marker.unlink(missing_ok=True)


def _stop(process: Any, receiver: Connection, marker: Path, patience: float) -> None:
    """Let a process leave a checkpoint; end it where it gets no further."""

    def terminate() -> None:
        process.terminate()  # again and again: a signal that came too early was ignored

    _wait(process, receiver, marker, patience, terminate)


def _watch(
    process: Any, receiver: Connection, marker: Path, patience: float, stop: Callable[[], bool]
) -> bool:
    """Wait for a process; True if it hung and was killed."""

    def look() -> None:
        if stop():
            raise Interrupted(ASKED)

    return _wait(process, receiver, marker, patience, look)


def _wait(
    process: Any, receiver: Connection, marker: Path, patience: float, look: Callable[[], None]
) -> bool:
    """Wait for a process, looking after it; True if it did nothing for too long and was killed.

    Raises:
        CohortError: the results folder is gone; so is the process.
    """
    seen, since = b"", time.monotonic()
    while not _ended(process, receiver):
        look()
        try:
            now = _content(marker)
        except CohortError:
            _kill(process)
            raise
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > patience:
            _kill(process)
            return True
    _reap(process)
    return False


def _ended(process: Any, receiver: Connection) -> bool:
    """Whether a process has ended; if its server was killed, its pipe alone tells."""
    return bool(wait([process.sentinel], timeout=LOOK)) and receiver.poll(LOOK)


def _content(marker: Path) -> bytes:
    """What a marker says.

    Raises:
        CohortError: it is gone, and with it the folder that it was in.
    """
    try:
        return marker.read_bytes()
    except OSError as error:
        raise CohortError(
            f"{marker.parent} was removed while cells trained ({error.strerror}); restore it, if "
            "it is to be kept, and run the same command again"
        ) from None


def _kill(process: Any) -> None:
    process.kill()
    _reap(process)


def _reap(process: Any) -> None:
    """Wait for the end of a process, and for how it ended."""
    wait([process.sentinel])
    with REAPING:
        process.join()


def _outcome(code: int | None, receiver: Connection, name: str) -> Death | None:
    try:
        outcome, told = receiver.recv()
    except EOFError:  # whatever code it ended with, it did not get as far as to say so
        ended = f"was killed by signal {-code}" if code and code < 0 else f"exited with code {code}"
        return Death(name, ended)
    if outcome == "interrupted":
        raise Interrupted(ASKED)
    if outcome == "failed":
        raise CohortError(told)
    return None


def _work(job: Job, marker: Path, sender: Connection) -> None:
    """The cohort's process."""
    stop = _StopOnSignal()
    patience = min(job.workplace.patience, STOPPING)
    threading.Thread(target=_end_after_parent, args=(patience,), daemon=True).start()
    quiet_libraries()
    keep_freed_memory()
    try:
        job.workplace.load_others()  # the job is called by what may be theirs
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("a", encoding="utf-8") as log:
            faulthandler.enable(log)
            with telling_of_full_disk(job.workplace.results):
                run_here(job, Marker(marker), stop)
        sender.send(("done", ""))
    except Interrupted:
        with suppress(BrokenPipeError):  # the parent was killed
            sender.send(("interrupted", ""))
        sys.exit(STOPPED)
    except (Exception, SystemExit) as error:
        foreseen = isinstance(error, PointKDError)
        told = legible(str(error)) if foreseen else unfit_build(error) or describe(error)
        sender.send(("failed", told))
        raise SystemExit(1) from error


def _end_after_parent(patience: float) -> None:
    """End this process where it gets no further once its parent is gone: it holds its cells."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    time.sleep(patience)
    os._exit(STOPPED)


def run_here(
    job: Job,
    mark: Callable[[str], None] = unmarked,
    stop: Callable[[], bool] = unasked,
) -> None:
    """Run a job in this process: a debugger can reach it, but nothing isolates it.

    Raises:
        CohortError: a plugin or a detector was edited since the cells were made.
    """
    code_version()  # while the code is what was loaded
    torch.set_num_threads(job.threads)
    make_deterministic(job.workplace.device)
    for cell in job.cells:
        if cell.method != NONE and source_hash(cell.method) != cell.source:
            raise CohortError(
                f"the plugin of {cell.method} was edited since the run began; "
                "run the same command again"
            )
        if parse_student(cell.student).family.source != cell.detector:
            raise CohortError(
                f"the detector of {cell.student} was edited since the run began; "
                "run the same command again"
            )
    if job.checkpoint is None:
        cohort.run_cohort(job, mark, stop)
    else:
        _adopt(job)


def keep_freed_memory() -> None:
    """Let this process keep what it frees for its next tensors, where its C library is glibc.

    By default large blocks go back to the system, which clears every page again when the next
    tensor touches it: a tenth of PointRCNN's step, 40 % of its evaluation.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _adopt(job: Job) -> None:
    """Take a teacher from a checkpoint, unless another runner does."""
    with Journal(job.workplace.results).holding(job.cells[0]) as free:
        if free and job.unfinished():
            adopt(job)


class _StopOnSignal:
    """Whether to stop: on a batch system's signal, or once the parent is gone."""

    def __init__(self) -> None:
        self._asked = False
        on_warnings(self._ask)
        signal.signal(signal.SIGTERM, self._ask)  # the parent's, whatever else is ignored
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and asks

    def __call__(self) -> bool:
        parent = multiprocessing.parent_process()
        return self._asked or (parent is not None and not parent.is_alive())

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
