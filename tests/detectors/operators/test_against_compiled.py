"""Our operators against mmcv's compiled CPU operators, where a compiled mmcv is installed.

Run with ``-s`` for the largest differences.
"""

import sys

import pytest
import torch

from detectors.operators.extension import OURS

COMPILED = getattr(sys.modules["mmcv._ext"], "compiled", None)
pytestmark = pytest.mark.skipif(COMPILED is None, reason="no compiled mmcv is installed")


def boxes(n, seed):
    generator = torch.Generator().manual_seed(seed)
    place = 30 * torch.rand(n, 2, generator=generator)
    size = 0.5 + 4 * torch.rand(n, 2, generator=generator)
    return torch.cat([place, size, 6 * torch.rand(n, 1, generator=generator) - 3], dim=1)


def both(name, *arguments):
    """Results of ours and of the compiled operator; output tensors are filled separately."""
    for operator in (OURS[name], getattr(COMPILED, name)):
        yield operator, [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]


def report(name, difference):
    print(f"{name}: largest difference {difference:.3g}")


def test_rotated_overlap():
    a, b = boxes(400, 0), boxes(300, 1)
    found = []
    for operator, (p, q, out) in both("box_iou_rotated", a, b, torch.zeros(400 * 300)):
        operator(p, q, out, mode_flag=0, aligned=False)
        found.append(out)
    report("box_iou_rotated", (found[0] - found[1]).abs().max())
    torch.testing.assert_close(*found, rtol=0, atol=2e-4)


def test_suppression():
    rotated = boxes(500, 2)
    scores = torch.randperm(500, generator=torch.Generator().manual_seed(0)) / 500
    order = scores.argsort(descending=True)
    for threshold in (0.01, 0.1, 0.5):
        kept = [
            operator(*arguments, threshold, False)
            for operator, arguments in both(
                "nms_rotated", rotated, scores, order, rotated[order], torch.zeros(0)
            )
        ]
        assert torch.equal(*kept)
        corners = torch.cat([rotated[:, :2] - rotated[:, 2:4], rotated[:, :2] + rotated[:, 2:4]], 1)
        kept = [
            operator(*arguments, iou_threshold=threshold, offset=0)
            for operator, arguments in both("nms", corners, scores)
        ]
        assert torch.equal(*kept)
    report("nms, nms_rotated", 0)


def test_voxelization():
    generator = torch.Generator().manual_seed(3)
    points = 50 * torch.rand(20000, 4, generator=generator) - 5
    size, region = (
        torch.tensor([0.32, 0.32, 4.0]),
        torch.tensor([0.0, -10.0, -3.0, 40.0, 30.0, 1.0]),
    )
    found = []
    for operator, (p, s, r, v, c, n, count) in both(
        "hard_voxelize_forward",
        points,
        size,
        region,
        torch.zeros(3000, 8, 4),
        torch.zeros(3000, 3, dtype=torch.int),
        torch.zeros(3000, dtype=torch.int),
        torch.zeros((), dtype=torch.long),
    ):
        operator(p, s, r, v, c, n, count, max_points=8, max_voxels=3000, NDim=3, deterministic=True)
        found.append((v, c, n, count))
    for ours, compiled in zip(*found, strict=True):
        assert torch.equal(ours, compiled)
    located = []
    for operator, (p, s, r, c) in both(
        "dynamic_voxelize_forward", points, size, region, torch.zeros(20000, 3, dtype=torch.int)
    ):
        operator(p, s, r, c, NDim=3)
        located.append(c)
    assert torch.equal(*located)
    report("hard_voxelize_forward, dynamic_voxelize_forward", 0)


def test_points_in_boxes():
    flat = boxes(60, 4)
    solid = torch.cat([flat[:, :2], torch.zeros(60, 1), flat[:, 2:4], torch.ones(60, 1),
                       flat[:, 4:]], dim=1)  # fmt: skip
    generator = torch.Generator().manual_seed(5)
    points = torch.rand(20000, 3, generator=generator) * torch.tensor([30.0, 30.0, 1.5])
    found = []
    for operator, (b, p, out) in both(
        "points_in_boxes_cpu_forward", solid, points, torch.zeros(60, 20000, dtype=torch.int)
    ):
        operator(b, p, out)
        found.append(out)
    report("points_in_boxes_cpu_forward, share of differing entries",
           (found[0] != found[1]).float().mean())  # fmt: skip
    assert torch.equal(*found)
