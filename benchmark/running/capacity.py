"""What this machine lends to a run: cores, memory, graphics cards."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import joblib
import psutil
import torch

MOST_READERS = 4
"""Processes that read ahead of one cohort, at most: at 3 to 9 ms a frame they make 450 frames per
second or more, and the quickest teacher trains on 60 per second on an H200."""
CGROUP = Path("/sys/fs/cgroup")
"""Of the control group that this process is in, as containers see it."""


def usable_cores() -> int:
    """Cores that this process may use.

    The fewest of those that its affinity, its control group's quota and Slurm
    (``SLURM_CPUS_PER_TASK``) allow.
    """
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    cores = joblib.cpu_count()
    return max(1, min(cores, int(granted))) if granted.isdecimal() else cores


def free_memory(cgroup: Path = CGROUP) -> int:
    """Bytes that new processes may use, of the machine's and of the control group's memory."""
    free = psutil.virtual_memory().available
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),  # version 1
    ):
        with suppress(OSError, ValueError):  # there is no such file, or it says "max"
            limit = int((cgroup / most).read_text("ascii"))
            free = min(free, limit - int((cgroup / used).read_text("ascii")))
    return max(free, 0)


def largest_process() -> int:
    """Resident bytes of the largest of this process's own processes; 0 without any."""
    sizes = [0]
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            sizes.append(process.memory_info().rss)
    return max(sizes)


class Use:
    """How busy this machine is from now on, whatever runs on it; one at a time."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        psutil.cpu_percent()  # counts from its latest call

    def told(self) -> str:
        """In words, with the time so far."""
        minutes = (time.monotonic() - self._begun) / 60
        return f"{minutes:.1f} min, {os.cpu_count()} cores {psutil.cpu_percent():.0f} % busy"


def readers(slots: int, threads: int) -> int:
    """Processes that may read frames ahead of each of so many others, on cores they leave idle."""
    idle = usable_cores() - slots * threads
    return max(0, min(idle // slots, MOST_READERS))


def slots(
    device: torch.device, jobs: int | None, per_gpu: int, threads: int
) -> Sequence[torch.device]:
    """The device of each process that may run beside the others.

    Args:
        device: of the run; without an index, every visible card of its kind.
        jobs: processes in all; None takes as many as the cores have room for, or the cards.
        per_gpu: processes on each card.
        threads: of each process.
    """
    if device.type == "cuda":
        cards = [device]
        if device.index is None:
            cards = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
        places = cards * per_gpu
        return places[: jobs or len(places)]
    return [device] * (jobs or max(1, usable_cores() // threads))
