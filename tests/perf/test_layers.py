"""Layers of ours that do the same as mmdet3d's in less time.

``pytest tests/perf/test_layers.py -s`` prints milliseconds on one thread; asserted are ratios.
"""

import copy
import time

import pytest
import torch

from detectors.pointpillars import PillarLayer

# isort: split
from mmdet3d.models.voxel_encoders.utils import PFNLayer

ROUNDS = 6


def least_seconds(layer, pillars, precision):
    """Of a forward and backward pass."""
    times = []
    for _ in range(ROUNDS):
        layer.zero_grad()
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = layer(pillars)
        output.float().sum().backward()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("width", [32, 64])
def test_pillars(width, precision):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        theirs = PFNLayer(10, width, last_layer=True)
        ours = copy.deepcopy(theirs)
        ours.__class__ = PillarLayer
        pillars = torch.randn(2500, 32, 10)
        own, other = (least_seconds(layer, pillars, precision) for layer in (ours, theirs))
    finally:
        torch.set_num_threads(threads)
    print(
        f"\n2,500 pillars, {width} channels, {precision}: {1000 * own:.0f} ms; "
        f"mmdet3d {1000 * other:.0f} ms; ratio {other / own:.1f}"
    )
    assert own < other
