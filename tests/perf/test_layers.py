"""Layers of ours that do the same as mmdet3d's in less time.

``pytest tests/perf/test_layers.py -s`` prints milliseconds on one thread; asserted are ratios.
"""

import copy
from functools import partial

import pytest
import torch
from timing import least_seconds, one_thread

import detectors.operators  # noqa: F401  gives mmdet3d its operators

# isort: split
from detectors.parts.pillars import PillarLayer

# isort: split
from mmdet3d.models.voxel_encoders.utils import PFNLayer

ROUNDS = 6


def learn(layer, inputs, precision):
    """A forward and backward pass."""
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        output = layer(*inputs)
    output.float().sum().backward()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("width", [32, 64])
def test_pillars(width, precision):
    theirs = PFNLayer(10, width, last_layer=True)
    ours = copy.deepcopy(theirs)
    ours.__class__ = PillarLayer
    counts = torch.randint(1, 33, (2500,))
    held = torch.arange(32) < counts[:, None]
    pillars = torch.randn(2500, 32, 10) * held[..., None]
    work = ((ours, (pillars[held], counts, 32)), (theirs, (pillars,)))
    with one_thread():
        own, other = (
            least_seconds(partial(learn, layer, inputs, precision), ROUNDS)
            for layer, inputs in work
        )
    print(
        f"\n2,500 pillars, {width} channels, {precision}: {1000 * own:.0f} ms; "
        f"mmdet3d {1000 * other:.0f} ms; ratio {other / own:.1f}"
    )
    assert own < other
