"""Training steps of a cohort, timed cell by cell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from timing import one_thread

from benchmark.config.matrix import Cell, Matrix, describe_data
from benchmark.config.profile import load_profile
from benchmark.data import synthetic
from benchmark.device import choose_precision, make_deterministic
from benchmark.running.setups import make_training_setup
from benchmark.running.workplace import Workplace
from benchmark.training.learner import Learner
from benchmark.training.lockstep import train
from benchmark.training.setup import TrainingSetup
from detectors import parse_student

CPU = torch.device("cpu")
METHODS_OF_A_COHORT = [
    "none", "logit_kd", "fitnet", "attention_transfer", "similarity_preserving", "crd",
    "overhaul", "se_ssd", "fbkd", "point_distiller",
]  # fmt: skip
KINDS = ("own", "method", "data", "teacher")


class Enough(Exception):
    """All steps are timed."""


@dataclass(frozen=True)
class Steps:
    """Least seconds of a training step, which other work on the machine disturbs least.

    Attributes:
        wall: of the whole cohort.
        cells: per cell of its ``own`` step, of the ``method`` in it (forward), and of the ``data``
            and ``teacher`` passes, which the cells share.
    """

    wall: float
    cells: list[dict[str, float]]


def make_cohort(
    folder: Path,
    student: str,
    methods: Sequence[str],
    profile: str = "smoke",
    precision: str = "auto",
    device: torch.device = CPU,
    data: Path | None = None,
    **recipe: Any,
) -> tuple[Sequence[Cell], TrainingSetup]:
    """Cells of one student, with an untrained teacher at full width; or a teacher's own cell.

    Args:
        student: or a family.
        precision: as of `run`; ``auto`` is that which is fast here.
        data: folder of frames; None generates two dozen.
        recipe: fields of the family's recipe that are changed; of smoke, also to two frames a step.
    """
    make_deterministic(device)
    family = parse_student(student).family.name
    loaded = load_profile(profile)
    if profile == "smoke":
        recipe = {"batch_size": 2, "micro_batch_size": 2, **recipe}
    recipes = {**loaded.recipes, family: replace(loaded.recipe(family), **recipe)}
    loaded = replace(loaded, recipes=recipes)
    root = data or synthetic.ensure(folder, **{**loaded.synthetic, "train": 24, "val": 1})
    described = describe_data(root, synthetic=data is None)
    place = Workplace(data=root, results=folder / "results", cache=folder / "cache", device=device)
    matrix = Matrix(described, loaded, [f"{family}@4"], list(methods), [0],
                    choose_precision(precision, device))  # fmt: skip
    if student == family:
        return [matrix.teacher(family)], make_training_setup(matrix.teacher(family), None, place)
    (cohort,) = replace(matrix, students=[student]).cohorts()
    bare = make_training_setup(matrix.teacher(family), None, place)
    torch.manual_seed(0)
    teacher = bare.family.place(bare.family.build(1, bare.grid), device)
    teacher.eval().requires_grad_(False)
    return cohort.cells, make_training_setup(cohort.cells[0], teacher, place)


def time_steps(cells: Sequence[Cell | Learner], setup: TrainingSetup, steps: int = 10) -> Steps:
    """Train that many steps in lockstep, after one to warm up; skipped cells take no time.

    On one thread: so ratios hardly depend on what else the machine does.
    """
    with one_thread():
        return _time_steps(cells, setup, steps)


def _time_steps(cells: Sequence[Cell | Learner], setup: TrainingSetup, steps: int) -> Steps:
    learners = [one if isinstance(one, Learner) else Learner(one, setup) for one in cells]
    marks: list[tuple[float, list[dict[str, float]]]] = []

    def watch(position: Any, learners: Sequence[Learner]) -> None:
        marks.append((time.perf_counter(), [dict(one.clock.seconds) for one in learners]))
        if len(marks) > steps:
            raise Enough

    with suppress(Enough):
        train(learners, setup, watch)
    ended = [one for one in learners if one.status not in ("running", "skipped")]
    assert not ended, [f"{one.cell.method}: {one.reason}" for one in ended]
    spans = list(zip(marks, marks[1:], strict=False))
    return Steps(
        min(after[0] - before[0] for before, after in spans),
        [
            {
                kind: min(
                    after[1][i].get(kind, 0.0) - before[1][i].get(kind, 0.0)
                    for before, after in spans
                )
                for kind in KINDS
            }
            for i in range(len(cells))
        ],
    )
