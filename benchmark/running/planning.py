"""What a matrix would run, its time and disk space, without running it.

Times are measured: a few steps of each cohort's own learners on its own batches, a few validation
frames, scaled to the whole schedule. Nothing is written to the results folder.
"""

from __future__ import annotations

import io
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

from benchmark.config.matrix import Cell, Matrix
from benchmark.device import make_deterministic
from benchmark.evaluation.detector import ValidationFrames, evaluate_models
from benchmark.running.journal import Journal
from benchmark.running.matrix_run import WHOLE, Shard, student_jobs, teacher_jobs
from benchmark.running.outcome import load_teacher
from benchmark.running.setups import make_setup, make_training_setup, make_validation
from benchmark.running.sharing import makespan
from benchmark.running.workplace import Job, Workplace
from benchmark.training.learner import Learner
from benchmark.training.lockstep import train
from benchmark.training.setup import BEGINNING, Position, TrainingSetup
from detectors import parse_student
from detectors.core.checkpoints import load_network

TIMED_STEPS = 3
"""Steps that are timed, after one to warm up."""
LIMIT = 60.0
"""Seconds after which no further step is timed."""
TIMED_FRAMES = 3
"""Validation frames that are timed, after one to warm up."""
REST = 100_000
"""Approximate bytes of a cell's record, statistics, views and curves."""


@dataclass(frozen=True)
class Rate:
    """What one cell costs.

    Attributes:
        step: seconds per step, without what it shares with other cells.
        frame: seconds per validation frame.
        weights: bytes of its trained network.
        checkpoint: bytes of its checkpoint, which is deleted once it has a record.
        ended: why it was not trained to the last of the timed steps, empty if it was.
    """

    step: float
    frame: float
    weights: int
    checkpoint: int
    ended: str = ""


@dataclass
class Rates:
    """What was measured.

    Attributes:
        cells: by student and method.
        shared: seconds per step of what the cells of a job share, by teacher or else by family.
    """

    cells: dict[tuple[str, str], Rate] = field(default_factory=dict)
    shared: dict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(frozen=True)
class Estimate:
    """Seconds of a job, bytes that stay, bytes of checkpoints until it ends."""

    seconds: float = 0.0
    kept: int = 0
    passing: int = 0


class _Enough(Exception):
    """Enough steps are timed."""


def describe_plan(
    matrix: Matrix, workplace: Workplace, shard: Shard | None = None, slots: int = 1
) -> str:
    """What :func:`~benchmark.running.matrix_run.run_matrix` would do, one row for each of its jobs.

    An untrained network stands in for a teacher not yet trained. What balanced
    weighting measures before the first step is left out of the times.

    Args:
        slots: processes side by side; students are taken to be shared out evenly among them.

    Raises:
        TeacherError: a cached teacher is not the one of its record.
        CheckpointError: a checkpoint in place of a teacher does not fit.
    """
    make_deterministic(workplace.device)
    jobs = [*teacher_jobs(matrix, workplace), *student_jobs(matrix, workplace, shard or WHOLE)]
    for job in jobs:
        if job.checkpoint is not None:
            load_network(job.cells[0].student, job.cells[0].grid, job.checkpoint)
    rates = Rates()
    estimates = [_estimate(job, rates) for job in jobs]
    rows = [_row(job, estimate) for job, estimate in zip(jobs, estimates, strict=True)]
    ended = [
        f"{student} {method} will not be trained: {rate.ended}"
        for (student, method), rate in rates.cells.items()
        if rate.ended
    ]
    return "\n".join(
        [tabulate(rows, headers="keys"), "", *ended, *_totals(jobs, estimates, workplace, slots)]
    )


def _row(job: Job, estimate: Estimate) -> dict[str, Any]:
    place, todo = job.workplace, job.unfinished()
    records = [place.record(cell) for cell in job.cells if place.finished(cell)]
    done = sum(record["status"] == "done" for record in records)
    saved = sum(Journal(place.results).saved(cell) for cell in todo)
    return {
        "job": job.title,
        "cells": len(job.cells),
        "done": done,
        "not done": len(records) - done,
        "from a checkpoint": saved,
        "from the start": len(todo) - saved,
        "time": _duration(estimate.seconds) if todo else "cached" if not job.teacher else "",
    }


def _totals(
    jobs: Sequence[Job], estimates: Sequence[Estimate], workplace: Workplace, slots: int
) -> list[str]:
    both = list(zip(jobs, estimates, strict=True))
    teachers = [estimate.seconds for job, estimate in both if job.teacher is None]
    students = [estimate.seconds for job, estimate in both if job.teacher is not None]
    seconds = makespan(sorted(teachers, reverse=True), slots) + sum(students) / slots
    kept = sum(estimate.kept for estimate in estimates)
    passing = sum(sorted(estimate.passing for estimate in estimates)[-slots:])
    how = f"{slots} processes side by side" if slots > 1 else "one job after another"
    folder = workplace.results.resolve()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return [
        f"time: about {_duration(seconds)}, {how} on this {workplace.device}",
        f"disk: about {kept / 1e6:.0f} MB, at times {passing / 1e6:.0f} MB more for checkpoints; "
        f"{shutil.disk_usage(there).free / 1e6:.0f} MB are free in {there}",
    ]


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _estimate(job: Job, rates: Rates) -> Estimate:
    """What is left of a job; measures the cells that it is the first to have."""
    todo = job.unfinished()
    if not todo:
        return Estimate()
    setup = make_training_setup(todo[0], _teacher(job), job.workplace, teachers=job.teacher)
    validation = make_validation(todo[0], job.workplace)
    if new := [cell for cell in todo if _key(cell) not in rates.cells]:
        _measure(new, setup, validation, rates)
    found = [(cell, rates.cells[_key(cell)]) for cell in todo]
    costly = [(cell, rate) for cell, rate in found if not rate.ended]
    epochs = [0.0 if job.checkpoint else _left(cell, job) for cell, _ in costly]
    steps = [setup.steps * part for part in epochs]
    seconds = rates.shared[_company(todo[0])] * max(steps, default=0.0)
    for count, (_, rate) in zip(steps, costly, strict=True):
        seconds += count * rate.step + len(validation.ids) * rate.frame
    return Estimate(
        seconds,
        sum(rate.weights for _, rate in costly) + REST * len(todo),
        sum(rate.checkpoint for _, rate in costly),
    )


def _key(cell: Cell) -> tuple[str, str]:
    return cell.student, cell.method


def _company(cell: Cell) -> str:
    return cell.teacher or cell.family


def _left(cell: Cell, job: Job) -> float:
    """The fraction of its epochs that a cell has left."""
    entry = Journal(job.workplace.results).entry(cell.identity())
    return 1 - entry["epoch"] / entry["epochs"] if "epoch" in entry else 1.0


def _teacher(job: Job) -> nn.Module | None:
    """The job's teacher, untrained where it is not cached."""
    if job.teacher is None:
        return None
    place = job.workplace.for_teachers()
    if place.finished(job.teacher) and place.record(job.teacher)["status"] == "done":
        return load_teacher(job.teacher, job.workplace)
    setup = make_setup(job.teacher, job.workplace)
    model = setup.family.build(parse_student(job.teacher.student).ratio, setup.grid)
    model = setup.family.place(setup.family.deployed(model), setup.device)
    return model.eval().requires_grad_(False)


def _measure(
    cells: Sequence[Cell], setup: TrainingSetup, validation: ValidationFrames, rates: Rates
) -> None:
    """Train cells for a few steps and run their networks on a few frames."""
    learners = [Learner(cell, setup) for cell in cells]
    steps = _time_steps(learners, setup)
    shown = {learner.cell.student: learner for learner in learners if not learner.reason}
    states = {learner.identity: _size(learner.state(BEGINNING)) for learner in learners}
    frames = {name: _time_frame(shown[name], setup, validation) for name in shown}
    weights = {name: _size(shown[name].model.state_dict()) for name in shown}
    for learner in learners:
        student, seconds = learner.cell.student, learner.clock.seconds
        rates.cells[_key(learner.cell)] = Rate(
            seconds["own"] / steps,
            frames.get(student, 0.0),
            weights.get(student, 0),
            states[learner.identity],
            learner.reason,
        )
        shared, company = (seconds["data"] + seconds["teacher"]) / steps, _company(learner.cell)
        rates.shared[company] = max(rates.shared[company], shared)


def _time_steps(learners: list[Learner], setup: TrainingSetup) -> int:
    """Train for a few steps; how many steps the learners' clocks have counted."""
    taken, begun = 0, time.monotonic()

    def watch(position: Position, learners: list[Learner]) -> None:
        nonlocal taken
        taken += 1
        if taken == 1 < setup.steps:  # it warmed up
            for learner in learners:
                learner.clock.seconds.clear()
        if taken > TIMED_STEPS or taken > 1 and time.monotonic() - begun > LIMIT:
            raise _Enough

    if any(learner.running for learner in learners):
        with suppress(_Enough):
            train(learners, setup, watch)
    return max(taken - 1, 1)


def _time_frame(learner: Learner, setup: TrainingSetup, validation: ValidationFrames) -> float:
    """Seconds per validation frame."""
    models = {learner.identity: learner.model}
    evaluate_models(models, setup, replace(validation, limit=1))
    timed = replace(validation, limit=min(TIMED_FRAMES, len(validation.ids)))
    begun = time.perf_counter()
    evaluate_models(models, setup, timed)
    return (time.perf_counter() - begun) / len(timed.ids)


def _size(state: Any) -> int:
    """Bytes of a state once it is saved."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.tell()
