"""Puts our operators in place before a test module imports mmcv.ops or mmdet3d; a small model of
the family that a test module names FAMILY, at its RATIO."""

import pytest
import torch
from frames import GRIDS, batch, capture

import detectors.operators  # noqa: F401

EVERYTHING = {"local", "stages", "neck", "head"}


@pytest.fixture(scope="module")
def model(request):
    family = request.module.FAMILY
    torch.manual_seed(0)
    return family.build(request.module.RATIO, GRIDS[family.name])


@pytest.fixture
def captured(model, request):
    """All outputs of one training pass, its inputs and its losses."""
    family, points = request.module.FAMILY, GRIDS[request.module.FAMILY.name].num_points
    frames = batch(points=points) if points else batch()
    more = set() if points else {"stages:pre_relu", "neck:pre_relu"}
    return capture(family, model, GRIDS[family.name], frames, EVERYTHING | more)
