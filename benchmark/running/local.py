"""Jobs side by side on this machine, each in a process of its own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace

import torch

from benchmark.running import capacity
from benchmark.running.process import LOOK, supervise
from benchmark.running.sharing import share_out
from benchmark.running.view import View
from benchmark.running.workplace import Job

MEMORY = 3 << 30
"""Bytes that must be free before another process starts, until a process has needed more."""


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
