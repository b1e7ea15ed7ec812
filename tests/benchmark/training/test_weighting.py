"""Balanced weighting: one share of the gradient for every method, alone or in a cohort."""

import math
from dataclasses import replace

import pytest
import torch
from in_process import publish_teachers

from benchmark.running.outcome import load_teacher
from benchmark.running.setups import make_training_setup
from benchmark.training.learner import Learner
from benchmark.training.lockstep import SharedBatch, train_epoch
from benchmark.training.setup import Clock
from benchmark.training.weighting import BATCHES, SHARE, make_learners
from kd_methods import KDMethod, register

METHODS = ["none", "fitnet", "logit_kd", "point_distiller"]


@register("only_targets", paper="a test", year=2026)
class OnlyTargets(KDMethod):
    """Has no loss of its own."""

    def needs(self):
        return {"head"}

    def loss(self, teacher, student, batch):
        return {}


@pytest.fixture
def balanced(matrix, workplace):
    """Makes cells with balanced weighting, and their setup."""

    def make(methods):
        request = replace(matrix(methods), weighting="balanced")
        teacher = request.teacher("pointpillars")
        publish_teachers(request, workplace)
        cells = request.cohorts()[0].cells
        return cells, make_training_setup(cells[0], load_teacher(teacher, workplace), workplace)

    return make


def test_the_student_alone_has_no_weighting(balanced):
    cells, _ = balanced(METHODS)
    assert [cell.weighting for cell in cells] == ["source", "balanced", "balanced", "balanced"]


def test_balance_is_the_same_alone_and_in_a_cohort(balanced):
    cells, setup = balanced(METHODS)
    together = {lr.cell.method: lr.balance for lr in make_learners(cells, setup)}
    assert together["none"] == 1
    assert len(set(together.values())) == len(METHODS)
    for method in METHODS[1:]:
        cells, setup = balanced([method])
        (learner,) = make_learners(cells, setup)
        assert learner.balance == together[method]


def gradients_of(loss, model):
    return torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, retain_graph=True)


@pytest.mark.parametrize("method", METHODS[1:])
def test_the_balanced_gradient_has_its_share(balanced, method):
    """Measured again, from the definition, on the student after one epoch alone."""
    cells, setup = balanced([method])
    (learner,) = make_learners(cells, setup)
    alone = Learner(replace(cells[0], method="none"), setup)
    train_epoch([alone], setup, 0, {})
    learner.model.load_state_dict(alone.model.state_dict())
    own = other = 0.0
    for index, batch in enumerate(setup.frames.epoch(1)):
        if index == BATCHES:
            break
        shared = SharedBatch(setup, batch, learner.needs, Clock(setup.device))
        detection, distillation = learner.losses_on(shared.inputs, shared.teacher)
        of_method = gradients_of(sum(distillation.values()), learner.model)
        of_detector = gradients_of(sum(detection.values()), learner.model)
        pairs = [(m, d) for m, d in zip(of_method, of_detector, strict=True) if m is not None]
        own += math.sqrt(sum(m.square().sum().item() for m, _ in pairs))
        other += math.sqrt(sum(d.square().sum().item() for _, d in pairs if d is not None))
    assert own / other == pytest.approx(SHARE, rel=1e-4)


def test_a_method_without_losses_cannot_be_balanced(balanced):
    cells, setup = balanced(["only_targets"])
    (learner,) = make_learners(cells, setup)
    assert learner.status == "skipped"
    assert "balanced weighting is undefined for only_targets" in learner.reason
