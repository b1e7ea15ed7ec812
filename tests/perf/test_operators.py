"""Time of PointRCNN's operators on one CPU thread against plain PyTorch, at a KITTI frame's size.

Only ratios are asserted; `pytest tests/perf/test_operators.py -s` prints the milliseconds.
"""

import detectors.operators  # noqa: F401  (before mmcv.ops)

# isort: split
import mmcv.ops
import pytest
import torch
from timing import least_seconds, one_thread

from kd_methods.core.geometry import close_pairs, rotated_iou


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def scene():
    """16,384 points (1, n, 3) in the forward view, most of them near; 4,096 furthest ones."""
    generator = torch.Generator().manual_seed(0)
    near, angle, height = torch.rand(3, 16384, generator=generator)
    reach, angle = 2 + 68 * near**2, 1.4 * angle - 0.7
    points = torch.stack([reach * angle.cos(), reach * angle.sin(), 3 * height - 2], dim=1)[None]
    chosen = mmcv.ops.furthest_point_sample(points, 4096)[0].long()
    return points, points[:, chosen].contiguous()


def compare(benchmark, name, ours, plain, share=1.0):
    """Ratio of the plain time, `share` of which is measured, to ours."""
    ours()
    benchmark.pedantic(ours, rounds=3)
    own, theirs = least_seconds(ours), least_seconds(plain, rounds=1) / share
    print(f"\n{name}: {1000 * own:.0f} ms; plain PyTorch {1000 * theirs:.0f} ms; "
          f"ratio {theirs / own:.1f}")  # fmt: skip
    return theirs / own


def test_furthest_point_sampling(scene, benchmark):
    points, _ = scene

    def plain():
        nearest, last = torch.full((16384,), torch.inf), 0
        for _ in range(1, 512):
            nearest = torch.minimum(nearest, (points[0] - points[0, last]).square().sum(1))
            last = nearest.argmax()

    def ours():
        mmcv.ops.furthest_point_sample(points, 4096)

    assert compare(benchmark, "furthest points, 16384 -> 4096", ours, plain, 512 / 4096) > 2


def test_ball_query(scene, benchmark):
    points, centres = scene

    def plain():
        outside = torch.cdist(centres[0, :512], points[0]) >= 0.5
        index = torch.arange(16384).expand(512, -1).masked_fill(outside, 16384)
        index = index.sort(dim=1).values[:, :32]
        torch.where(index == 16384, index[:, :1], index)

    def ours():
        mmcv.ops.ball_query(0.0, 0.5, 32, points, centres)

    assert compare(benchmark, "ball query, 4096 x 16384", ours, plain, 512 / 4096) > 10


def test_three_nearest(scene, benchmark):
    points, centres = scene

    def plain():
        torch.cdist(points[0, :2048], centres[0]).topk(3, largest=False)

    def ours():
        mmcv.ops.three_nn(points, centres)

    assert compare(benchmark, "three nearest, 16384 x 4096", ours, plain, 2048 / 16384) > 1.3


def proposals(spread):
    """(9000, 5) boxes around 25 cars, and scores."""
    generator = torch.Generator().manual_seed(1)
    cars = torch.rand(25, 2, generator=generator) * 60
    turn = 6 * torch.rand(25, 1, generator=generator)
    which = torch.arange(9000) % 25
    noise = spread * torch.randn(9000, 5, generator=generator)
    size = torch.tensor([3.9, 1.6]) * (noise[:, 2:4] / 3).exp()
    boxes = torch.cat([cars[which] + noise[:, :2], size, turn[which] + noise[:, 4:] / 2], dim=1)
    return boxes, torch.randperm(9000, generator=generator) / 9000


@pytest.mark.parametrize("spread", [0.05, 0.3, 1.0])
def test_suppression_of_a_first_stage(spread, benchmark):
    boxes, scores = proposals(spread)
    ordered = boxes[scores.argsort(descending=True)]

    def plain():
        """A quarter of the boxes: a sixteenth of the pairs."""
        quarter = ordered[::4]
        overlap = torch.zeros(len(quarter), len(quarter), dtype=torch.bool)
        for i, j in zip(
            *(half.split(1 << 18) for half in close_pairs(quarter, quarter)), strict=True
        ):
            overlap[i, j] = rotated_iou(quarter[i], quarter[j]) > 0.8
        alive = torch.ones(len(quarter), dtype=torch.bool)
        for row in range(len(quarter)):
            if alive[row]:
                alive[row + 1 :] &= ~overlap[row, row + 1 :]

    def ours():
        mmcv.ops.nms_rotated(boxes, scores, 0.8)

    name = f"suppression of 9000 boxes, spread {spread} m"
    assert compare(benchmark, name, ours, plain, 1 / 16) > 10
