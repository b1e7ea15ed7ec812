"""Where jobs run: side by side on this machine, in this process, or on a Ray cluster."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from benchmark.running import capacity
from benchmark.running.local import SideBySide
from benchmark.running.matrix_run import Executor
from benchmark.running.process import run_here
from benchmark.running.workplace import Job, Workplace, wanted_threads
from benchmark.training.progress import open_log


def make_executor(
    name: str,
    workplace: Workplace,
    *,
    jobs: int = 0,
    per_gpu: int = 1,
    address: str | None = None,
) -> Executor:
    """``local``, ``here`` or ``ray``.

    Args:
        jobs: processes side by side on this machine; 0 takes as many as it has room for.
        per_gpu: processes on each card.
        address: of a Ray cluster; None starts one on this machine.

    Raises:
        CohortError: Ray is not installed or cannot be reached.
    """
    if name == "here":
        return InThisProcess()
    if name == "local":
        slots = capacity.slots(workplace.device, jobs, per_gpu, wanted_threads())
        return SideBySide(slots, careful=not jobs)
    from benchmark.running.ray import RayExecutor

    return RayExecutor(address, workplace, per_gpu)


class InThisProcess:
    """Runs each job in this process, one after another, for a debugger; prints what others log."""

    slots = (None,)

    def __call__(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            log, printed = open_log(job.log), logging.StreamHandler(sys.stdout)
            log.addHandler(printed)
            try:
                run_here(job)
            finally:
                log.removeHandler(printed)
