"""Every detector of ours passes the checks, and the checks find what is wrong."""

from dataclasses import replace

import pytest
import torch

from benchmark.conformance import detector_checks, detector_suite
from benchmark.conformance.detector_suite import CHECKS, run_checks
from detectors import get_family
from detectors.core import registry
from detectors.core.registry import add_family
from detectors.core.voxelnet import VoxelNet

PILLARS = get_family("pointpillars").config_file


def test_a_detector_of_ours_conforms():
    """`make conformance` checks them all."""
    outcomes = list(run_checks("second"))
    assert [outcome.check for outcome in outcomes] == list(CHECKS)
    assert [(o.status, o.remark) for o in outcomes if o.status != "passed"] == []


@detector_checks("pointpillars@coarse")
def test_a_students_own_config_in_the_tests_of_another_package(check):
    check()


class SameWidth(VoxelNet):
    """Does not get smaller."""

    fails = "builds"

    def config(self, ratio, grid):
        return super().config(1, grid)


class WrongSpec(VoxelNet):
    """Announces other channels."""

    fails = "outputs"

    def spec(self, model):
        found = super().spec(model)
        return replace(found, neck=replace(found.neck, channels=7))


class WrongBoxes(VoxelNet):
    """Detects others than it predicts."""

    fails = "decodes"

    def detections(self, model, inputs, raw):
        found = super().detections(model, inputs, raw)
        return [replace(one, boxes=one.boxes + 1) for one in found]


class Writer(VoxelNet):
    """Changes the points that it is given."""

    fails = "no_mutation"

    def losses(self, model, inputs):
        inputs.batch.points[0].mul_(2)
        return super().losses(model, inputs)


class Frozen(VoxelNet):
    """Has a weight that nothing reads."""

    fails = "gradients"

    def build(self, ratio, grid):
        model = super().build(ratio, grid)
        model.unused = torch.nn.Linear(1, 1)
        return model


class Counting(VoxelNet):
    """Depends on what ran before it."""

    fails = "alone_as_together"
    calls = 0

    def losses(self, model, inputs):
        type(self).calls += 1
        return {k: v * (1 + self.calls) for k, v in super().losses(model, inputs).items()}


class OfItsOwn(VoxelNet):
    """Exports the config of other anchors than its own."""

    fails = "export"

    def config(self, ratio, grid):
        found = super().config(ratio, grid)
        found["bbox_head"]["anchor_generator"]["sizes"] = [[1.0, 1.0, 1.0]] * 3
        return found

    def buildable(self, config):
        config["bbox_head"]["anchor_generator"]["sizes"] = [[2.0, 2.0, 2.0]] * 3
        return super().buildable(config)


class Lazy(VoxelNet):
    """Leaves layers out when its work is counted."""

    fails = "operations"

    def dry_run(self, model, grid):
        pass


FAILING = [cls for cls in VoxelNet.__subclasses__() if hasattr(cls, "fails")]


@pytest.mark.parametrize("cls", FAILING, ids=lambda cls: cls.__name__)
def test_what_is_wrong_is_found(cls, monkeypatch):
    for known in (registry.FAMILIES, registry._added):
        monkeypatch.setitem(known, cls.__name__, None)  # and to be forgotten
    add_family(cls(cls.__name__, PILLARS), "pointpillars")
    monkeypatch.setattr(detector_suite, "CHECKS", {cls.fails: CHECKS[cls.fails]})
    (outcome,) = run_checks(cls.__name__)
    assert (outcome.check, outcome.status) == (cls.fails, "failed")
    assert outcome.remark
