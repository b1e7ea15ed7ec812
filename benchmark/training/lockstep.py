"""Train the cells of a cohort in lockstep: they share batch, voxelization and teacher."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.training.learner import Learner
from benchmark.training.setup import BEGINNING, Clock, Position, TrainingSetup
from detectors import Inputs
from kd_methods import Batch, Outputs


class SharedBatch:
    """What all cells see in one step, and a guard over it.

    Attributes:
        inputs: the voxelised batch.
        teacher: the frozen teacher's outputs, None if no method needs any.
    """

    def __init__(self, setup: TrainingSetup, batch: Batch, needs: set[str], clock: Clock) -> None:
        self.setup, self.needs = setup, needs
        with clock.measure("data"):
            self._spare = copy.deepcopy(batch)
            self.inputs = setup.voxelize(batch)
        with clock.measure("teacher"):
            self._observe()

    def changed(self) -> str:
        """What was changed, in place or otherwise: a reason, or nothing."""
        current = self._versions()
        return next((f"changed {k} in place" for k, v in current.items() if v != self._was[k]), "")

    def tensors(self) -> list[Tensor]:
        """Every captured tensor of the teacher's outputs."""
        return self._captured

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Recreate it, including the teacher's weights, for the remaining cells."""
        assert self.setup.teacher is not None
        self.setup.teacher.load_state_dict(weights)
        self.setup.teacher.eval().requires_grad_(False)
        self.inputs = self.setup.voxelize(copy.deepcopy(self._spare))
        self._observe()

    def _observe(self) -> None:
        self.teacher = observe_teacher(self.setup, self.inputs, self.needs)
        self._captured = list(_tensors(self.teacher))
        self._was = self._versions()

    def _versions(self) -> dict[str, Any]:
        batch, model = self.inputs.batch, self.setup.teacher
        weights = [] if model is None else list(model.state_dict(keep_vars=True).values())
        return {
            "the teacher's weights": [tensor._version for tensor in weights],
            "the teacher's mode": None if model is None else [m.training for m in model.modules()],
            "the batch": [t._version for t in (*batch.points, *batch.boxes, *batch.labels)],
            "the teacher's outputs": [tensor._version for tensor in self._captured],
        }


Watch = Callable[[Position, "list[Learner]"], None]
"""Called after each batch, at the end of an epoch once its losses are kept."""


def train(
    learners: list[Learner],
    setup: TrainingSetup,
    watch: Watch = lambda *_: None,
    start: Position = BEGINNING,
) -> None:
    """Train learners in lockstep to the last epoch, or until none is left running."""
    weights = {} if setup.teacher is None else copy.deepcopy(setup.teacher.state_dict())
    for epoch in range(start.epoch, setup.epochs):
        first = start.step if epoch == start.epoch else 0
        train_epoch(learners, setup, epoch, weights, watch, first)
        if not _running(learners):
            return
    for learner in _running(learners):
        learner.status = "done"


def train_epoch(
    learners: list[Learner],
    setup: TrainingSetup,
    epoch: int,
    weights: Mapping[str, Tensor],
    watch: Watch = lambda *_: None,
    first: int = 0,
) -> None:
    """One epoch in lockstep.

    Args:
        weights: the teacher's, to restore if a method changes them.
        first: the batch to begin with.
    """
    if not first:
        for learner in _running(learners):
            learner.begin_epoch(epoch)
    batches = setup.frames.epoch(epoch, first)
    for step in range(first, setup.frames.steps):
        clock = Clock(setup.device)
        setup.mark("data and teacher")
        with clock.measure("data"):
            batch = next(batches)
        shared = SharedBatch(setup, batch, _needs(learners), clock)
        companions = _running(learners)
        for learner in companions:
            learner.share(clock.seconds, len(companions))
            learner.step(shared.inputs, shared.teacher)
            if learner.method is not None and (change := shared.changed()):
                learner.end("failed", f"{learner.cell.method} {change}")
                shared.restore(weights)
        if step + 1 < setup.frames.steps:
            watch(Position(epoch, step + 1), learners)
    for learner in _running(learners):
        learner.end_epoch()
    watch(Position(epoch + 1), learners)


@torch.no_grad()
def observe_teacher(setup: TrainingSetup, inputs: Inputs, needs: set[str]) -> Outputs | None:
    """The frozen teacher's outputs on a batch, as the students see them; None if no method needs
    any.

    Args:
        inputs: the students'.
    """
    if setup.teacher is None or not needs:
        return None
    guide = setup.guide or setup
    inputs = setup.revoxelize(inputs.batch) if setup.guide else inputs
    with guide.family.capture(setup.teacher, needs, guide.grid) as take:
        with setup.autocast():
            guide.family.observe(setup.teacher, inputs)
        found = take(inputs)
    return setup.alignment.outputs(found) if setup.alignment else found


def _running(learners: Sequence[Learner]) -> list[Learner]:
    return [learner for learner in learners if learner.running]


def _tensors(outputs: Outputs | None) -> Iterator[Tensor]:
    """Every captured tensor of a forward pass."""
    for captured in vars(outputs).values() if outputs is not None else ():
        for item in captured if isinstance(captured, list) else [captured]:
            if dataclasses.is_dataclass(item):
                yield from (v for v in vars(item).values() if isinstance(v, Tensor))


def _needs(learners: Sequence[Learner]) -> set[str]:
    return set().union(*(learner.needs for learner in _running(learners)))
