"""Cost of a model against a hand count."""

import pytest
from torch import nn

from benchmark.cohort import make_setup, make_validation
from benchmark.cost import dense_macs, model_cost, remembered_cost
from detectors import get_family


def counted_by_hand(model, side):
    """Multiply-accumulates of PointPillars' convolutions on a square map of ``side`` pillars."""
    total = 0
    for block in model.backbone.blocks:
        side //= 2
        total += sum(
            c.in_channels * c.out_channels * 9 * side**2
            for c in block.modules()
            if isinstance(c, nn.Conv2d)
        )
    side *= 4
    for block, stride in zip(model.neck.deblocks, (1, 2, 4), strict=True):
        layer = block[0]
        kernel = layer.kernel_size[0] ** 2
        total += layer.in_channels * layer.out_channels * kernel * (side // stride) ** 2
    head = (model.bbox_head.conv_cls, model.bbox_head.conv_reg, model.bbox_head.conv_dir_cls)
    return total + sum(c.in_channels * c.out_channels * side**2 for c in head)


@pytest.fixture
def parts(matrix, workplace):
    cell = matrix(["none"]).cohorts()[0].cells[0]
    setup = make_setup(cell, None, workplace)
    frames = list(make_validation(cell, workplace))
    return get_family("pointpillars").build(4, setup.grid), setup, frames


def test_dense_macs_equal_a_hand_count(parts):
    model, setup, frames = parts
    assert dense_macs(model.eval(), setup, frames[0]) == counted_by_hand(model, 48)


def test_cost_describes_the_deployed_model(parts):
    model, setup, frames = parts
    cost = model_cost(model, setup, frames[:2])
    assert cost["params"] == sum(p.numel() for p in model.parameters())
    assert cost["latency_ms"]["median"] > 0
    assert cost["latency_ms"]["frames"] == [frame.id for frame in frames[:2]]


def test_cost_is_measured_once_per_student(parts, tmp_path):
    model, setup, frames = parts
    first = remembered_cost(tmp_path, "pointpillars@4", model, setup, frames)
    assert remembered_cost(tmp_path, "pointpillars@4", model, setup, frames) == first
    remembered_cost(tmp_path, "pointpillars@5", model, setup, frames)
    assert len(list(tmp_path.iterdir())) == 2
