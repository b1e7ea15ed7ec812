"""Where jobs run: side by side on this machine, in this process, or on a Ray cluster."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmark.running import capacity
from benchmark.running.local import SideBySide
from benchmark.running.matrix_run import Executor
from benchmark.running.process import run_here
from benchmark.running.server import check_temporary_folder
from benchmark.running.workplace import Job, Workplace, wanted_threads
from benchmark.training.progress import open_log


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where and how jobs run; nothing here changes a result but what is timed.

    Attributes:
        executor: ``local``, ``here`` or ``ray``.
        jobs: processes side by side on this machine; None takes as many as it has room for.
        per_gpu: processes on each graphics card.
        workers: processes that read frames ahead of each; None takes the cores that are left.
        address: of a Ray cluster; None starts one on this machine.
    """

    executor: str = "local"
    jobs: int | None = None
    per_gpu: int = 1
    workers: int | None = None
    address: str | None = None

    def slots(self, device: torch.device) -> Sequence[torch.device]:
        """The device of each process that this machine runs side by side."""
        if self.executor == "here":
            return [device]
        return capacity.slots(device, self.jobs, self.per_gpu, wanted_threads())

    def told(self, workplace: Workplace) -> str:
        """What runs beside what, in words."""
        if self.executor == "ray":
            return f"jobs on a Ray cluster, workers ahead of each: {workplace.workers}"
        count, device = len(self.slots(workplace.device)), workplace.device
        return (
            f"{count} at a time on {device} ({capacity.usable_cores()} cores), threads of each: "
            f"{wanted_threads()}, workers ahead of each: {workplace.workers}"
        )

    def readers(self, device: torch.device) -> int:
        """Processes that read frames ahead of each other one."""
        if self.workers is not None:
            return self.workers
        if self.executor != "local":
            return 0
        return capacity.readers(len(self.slots(device)), wanted_threads())


def make_executor(how: Execution, workplace: Workplace) -> Executor:
    """What runs jobs.

    Raises:
        CohortError: Ray is not installed or cannot be reached.
        SettingError: the temporary folder's name is too long.
    """
    if how.executor == "ray":
        from benchmark.running.ray import RayExecutor

        return RayExecutor(how.address, workplace, how.per_gpu)
    check_temporary_folder()
    if how.executor == "here":
        return InThisProcess()
    return SideBySide(how.slots(workplace.device), careful=how.jobs is None)


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
