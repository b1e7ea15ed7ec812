"""Jobs side by side on this machine, each in a process of its own."""

from __future__ import annotations

import heapq
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace

import torch

from benchmark.running import capacity
from benchmark.running.process import LOOK, supervise
from benchmark.running.view import View
from benchmark.running.workplace import Job

MEMORY = 3 << 30
"""Bytes that must be free before another process starts, until a process has needed more."""
SHARED = 1.0
"""What the cells of a job share (frames, the teacher's forward passes), in times of one cell."""
PIECES = 4
"""Pieces per slot beyond which jobs are not cut further."""
WORTH = 0.97
"""A finer cut must end at least this much earlier."""


class SideBySide:
    """Runs jobs in as many processes as there are slots, one thread of this process for each.

    Args:
        slots: the device of each process.
        careful: let a further process wait until the largest so far would find room in memory.
    """

    def __init__(self, slots: Sequence[torch.device], careful: bool = True) -> None:
        self.slots, self._careful = slots, careful
        self._free, self._freed, self._largest = list(slots), threading.Condition(), MEMORY

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Run jobs, cut so that they end together, the longest first.

        Raises:
            Interrupted: this process or one of the cohorts' was asked to stop.
            CohortError: a job failed as a whole; the others leave a checkpoint.
        """
        stop, pieces, use = threading.Event(), share_out(jobs, len(self.slots)), capacity.Use()
        with closing(View(jobs)) as view, ThreadPoolExecutor(len(self.slots)) as pool:
            left = {pool.submit(self._run, job, stop) for job in pieces}
            try:
                _await(left, view)
            except BaseException:
                stop.set()
                print("stopping: every process leaves a checkpoint", file=sys.stderr, flush=True)
                pool.shutdown(cancel_futures=True)
                raise
        print(f"trained and evaluated: {use.told()}", flush=True)

    def _run(self, job: Job, stop: threading.Event) -> None:
        """A job in the next slot that is free."""
        with self._freed:
            while not (stop.is_set() or self._has_memory()):
                self._freed.wait(LOOK)
            device = self._free.pop(0)
        try:
            place = replace(job.workplace, device=device)
            supervise(replace(job, workplace=place), stop.is_set)
        finally:
            with self._freed:
                self._free.append(device)
                self._freed.notify()

    def _has_memory(self) -> bool:
        """Whether there is memory for a further process; one may always run."""
        if not self._careful or len(self._free) == len(self.slots):
            return True
        self._largest = max(self._largest, capacity.largest_process())
        return capacity.free_memory() >= self._largest


def _await(left: set[Future[None]], view: View) -> None:
    """Wait for all; raise what one of them raised."""
    while left:
        done, left = wait(left, timeout=LOOK, return_when=FIRST_COMPLETED)
        view.show()
        for future in done:
            future.result()


def share_out(jobs: Sequence[Job], slots: int) -> list[Job]:
    """Jobs, some cut into pieces, so that this many slots end them soonest; the longest first.

    Every piece computes what its cells share again, so jobs are cut only where that ends sooner.
    """
    pieces = best = sorted(jobs, key=_cost, reverse=True)
    while slots > 1 and len(pieces) < len(jobs) + PIECES * slots:
        largest, *rest = pieces
        if len(largest.cells) == 1:
            break
        pieces = sorted([*rest, *_halves(largest)], key=_cost, reverse=True)
        if makespan(map(_cost, pieces), slots) < WORTH * makespan(map(_cost, best), slots):
            best = pieces
    return best


def _halves(job: Job) -> tuple[Job, Job]:
    """Every other cell: variants of one method, which stand together, cost alike."""
    return replace(job, cells=job.cells[::2]), replace(job, cells=job.cells[1::2])


def makespan(costs: Iterable[float], slots: int) -> float:
    """When the last of several jobs ends if every slot takes the next one as soon as it is free."""
    ends = [0.0] * slots
    for cost in costs:
        heapq.heapreplace(ends, ends[0] + cost)
    return max(ends)


def _cost(job: Job) -> float:
    """Of a job, in times of one cell."""
    return SHARED + len(job.cells)
