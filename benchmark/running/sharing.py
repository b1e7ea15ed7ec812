"""Jobs cut so that processes side by side, wherever they are, end together."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from benchmark.running.workplace import Job

SHARED = 1.0
"""What the cells of a job share (frames, the teacher's forward passes), in times of one cell."""
PIECES = 4
"""Pieces per slot beyond which jobs are not cut further."""
WORTH = 0.97
"""A finer cut must end at least this much earlier."""


def share_out(jobs: Sequence[Job], slots: int) -> list[Job]:
    """Jobs, some cut into pieces, so that this many slots end them soonest; the longest first.

    Every piece computes what its cells share again, so jobs are cut only where that ends sooner. A
    family's cells are taken to last in proportion to the training of its teacher, where all
    teachers have been timed.
    """
    cost = _costs(jobs)
    pieces = best = sorted(jobs, key=cost, reverse=True)
    while slots > 1 and len(pieces) < len(jobs) + PIECES * slots:
        largest, *rest = pieces
        if len(largest.cells) == 1:
            break
        pieces = sorted([*rest, *_halves(largest)], key=cost, reverse=True)
        if makespan(map(cost, pieces), slots) < WORTH * makespan(map(cost, best), slots):
            best = pieces
    return best


def makespan(costs: Iterable[float], slots: int) -> float:
    """When the last of several jobs ends if every slot takes the next one as soon as it is free."""
    ends = [0.0] * slots
    for cost in costs:
        heapq.heapreplace(ends, ends[0] + cost)
    return max(ends)


def _halves(job: Job) -> tuple[Job, Job]:
    """Every other cell: variants of one method, which stand together, cost alike."""
    return replace(job, cells=job.cells[::2]), replace(job, cells=job.cells[1::2])


def _costs(jobs: Sequence[Job]) -> Callable[[Job], float]:
    """What tells a job's cost, in times of the training of its teacher or else of one cell."""
    seconds = {job.cells[0].family: _teacher_seconds(job) for job in jobs}
    timed = all(seconds.values())

    def cost(job: Job) -> float:
        return (seconds[job.cells[0].family] if timed else 1.0) * (SHARED + len(job.cells))

    return cost


def _teacher_seconds(job: Job) -> float:
    """How long the training of a job's teacher took; 0 where that was not timed."""
    place = job.workplace.for_teachers()
    if job.teacher is None or not place.finished(job.teacher):
        return 0.0
    training = place.record(job.teacher)["training"]
    return training["seconds_alone"] if training else 0.0
