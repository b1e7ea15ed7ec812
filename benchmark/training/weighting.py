"""How strongly a method's losses count.

``source`` uses the method's own weight. ``balanced`` scales its losses so that their gradient
norm on the student is one fixed share of the detection loss's, for every method alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmark.config.matrix import Cell
from benchmark.records.store import NONE
from benchmark.training.learner import Learner
from benchmark.training.lockstep import SharedBatch, train_epoch
from benchmark.training.setup import Clock, TrainingSetup
from kd_methods.core.errors import PointKDError

SHARE = 0.5
"""Gradient norm of the balanced method's losses over that of the detection losses."""
BATCHES = 4
"""Batches that the norms are averaged over: the first of the second epoch."""


class UndefinedBalanceError(PointKDError):
    """A method whose losses give the student no gradient to scale."""


def make_learners(cells: Sequence[Cell], setup: TrainingSetup) -> list[Learner]:
    """Learners of a cohort's cells, those with balanced weighting scaled.

    The norms are measured at the weights that the student trained alone has after its first
    epoch, on the same batches, with the method's own layers as built: they depend on the cell
    alone, not on its cohort.
    """
    learners = []
    alone: dict[str, Learner] = {}
    for cell in cells:
        learner = Learner(cell, setup)
        if learner.running and learner.method is not None and cell.weighting == "balanced":
            if cell.student not in alone:
                alone[cell.student] = _after_one_epoch(cell, setup)
            try:
                balance = _balance(cell, setup, alone[cell.student])
                learner = Learner(cell, setup, balance)
            except UndefinedBalanceError as error:
                learner.end("skipped", str(error))
        learners.append(learner)
    return learners


def _after_one_epoch(cell: Cell, setup: TrainingSetup) -> Learner:
    """The student of a cell after one epoch alone."""
    learner = Learner(replace(cell, method=NONE), setup)
    train_epoch([learner], setup, 0, {})
    return learner


def _balance(cell: Cell, setup: TrainingSetup, alone: Learner) -> float:
    """The factor that gives a method's losses their share of the gradient.

    Raises:
        UndefinedBalanceError: the method has no losses, or they do not reach the student.
    """
    probe = Learner(cell, setup)
    probe.model.load_state_dict(alone.model.state_dict())
    detection, distillation = [], []
    for batch in itertools.islice(setup.frames.epoch(1), BATCHES):
        shared = SharedBatch(setup, batch, probe.needs, Clock(setup.device))
        losses = probe.losses_on(shared.inputs, shared.teacher)
        both = [_gradients(group.values(), probe) for group in losses]
        reached = [i for i, gradient in enumerate(both[1]) if gradient is not None]
        detection.append(_norm(both[0][i] for i in reached))
        distillation.append(_norm(both[1][i] for i in reached))
    own, other = sum(distillation), sum(detection)
    if not (own > 0 and other > 0 and math.isfinite(own) and math.isfinite(other)):
        raise UndefinedBalanceError(
            f"balanced weighting is undefined for {cell.method}: its losses give the student's "
            f"weights a gradient of norm {own:g}; use --weighting source"
        )
    return SHARE * other / own


def _gradients(losses: Iterable[Tensor], probe: Learner) -> list[Tensor | None]:
    """Gradient of summed losses by each of the student's parameters, None where there is none."""
    parameters = list(probe.model.parameters())
    values = [loss for loss in losses if loss.requires_grad]
    if not values:
        return [None] * len(parameters)
    total = torch.stack(values).sum()
    return list(torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True))


def _norm(gradients: Iterable[Tensor | None]) -> float:
    squares = [gradient.double().square().sum() for gradient in gradients if gradient is not None]
    return math.sqrt(sum(square.item() for square in squares))
