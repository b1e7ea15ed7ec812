"""Every operator of ours gives on CUDA what it gives on the CPU; skipped where there is no CUDA.

Each case names the operators of the extension that it reaches, so that none is forgotten.
"""

import mmcv.ops
import pytest
import torch
from mmcv.ops.furthest_point_sample import furthest_point_sample_with_dist

from detectors.operators.extension import OURS


def _make(seed=0):
    """Points (2, 3000, 3), features (2, 8, 3000), boxes (2, 40, 7), indices (2, 500, 3)."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(2, 3000, 3, generator=generator) * torch.tensor([40.0, 40, 3])
    features = torch.randn(2, 8, 3000, generator=generator)
    boxes = torch.rand(2, 40, 7, generator=generator) * torch.tensor([40.0, 40, 1, 4, 3, 2, 6])
    return points, features, boxes, torch.randint(0, 3000, (2, 500, 3), generator=generator).int()


POINTS, FEATURES, BOXES, INDICES = _make()
CENTRES = POINTS[:, ::9].contiguous()
WEIGHTS = torch.rand(2, 500, 3, generator=torch.Generator().manual_seed(1))
FLAT, SCORES = BOXES[0][:, [0, 1, 3, 4, 6]], torch.arange(40) / 40
LABELS = torch.arange(40) % 3
CORNERS = torch.cat([FLAT[:, :2] - FLAT[:, 2:4], FLAT[:, :2] + FLAT[:, 2:4]], dim=1)
VOXELS = ([0.5, 0.5, 3.0], [0, 0, 0, 40, 40, 3])


def with_gradient(function, features, *rest):
    features = features.detach().clone().requires_grad_()
    out = function(features, *rest)
    (out * torch.linspace(0, 1, out.numel(), device=out.device).view(out.shape)).sum().backward()
    return out.detach(), features.grad


def counts(frames):
    """(B,) rows of each frame (B, N, ...), as the operators on stacked frames want them."""
    return torch.full((len(frames),), frames.shape[1], dtype=torch.int, device=frames.device)


def hard_voxels(points):
    return mmcv.ops.Voxelization(*VOXELS, max_num_points=4, max_voxels=900)(points)


CASES = {
    "furthest_point_sampling_forward": lambda p: mmcv.ops.furthest_point_sample(p, 600),
    "furthest_point_sampling_with_dist_forward": lambda p: furthest_point_sample_with_dist(
        (p[:, :500, None] - p[:, None, :500]).square().sum(-1), 90
    ),
    "ball_query_forward": lambda p, c: mmcv.ops.ball_query(0.2, 1.0, 16, p, c),
    "three_nn_forward": lambda c, p: mmcv.ops.three_nn(p, c),
    "knn_forward": lambda p, c: mmcv.ops.knn(9, p, c),
    "gather_points_forward gather_points_backward": lambda f, i: with_gradient(
        mmcv.ops.gather_points, f, i[..., 0].contiguous()
    ),
    "group_points_forward group_points_backward": lambda f, i: with_gradient(
        mmcv.ops.grouping_operation, f, i
    ),
    "stack_ball_query_forward": lambda p, c: mmcv.ops.ball_query(
        0, 1.0, 16, p.flatten(0, 1), c.flatten(0, 1), counts(p), counts(c)
    ),
    "stack_group_points_forward stack_group_points_backward": lambda f, i: with_gradient(
        mmcv.ops.grouping_operation,
        f.transpose(1, 2).flatten(0, 1),
        i.flatten(0, 1),
        counts(f.transpose(1, 2)),
        counts(i),
    ),
    "three_interpolate_forward three_interpolate_backward": lambda f, i, w: with_gradient(
        mmcv.ops.three_interpolate, f, i, w
    ),
    "roipoint_pool3d_forward": lambda p, f, b: mmcv.ops.RoIPointPool3d(16)(
        p, f.transpose(1, 2).contiguous(), b
    ),
    "points_in_boxes_part_forward": lambda p, b: mmcv.ops.points_in_boxes_part(p, b),
    "points_in_boxes_all_forward": lambda p, b: mmcv.ops.points_in_boxes_all(p, b),
    "nms": lambda corners, s: mmcv.ops.nms(corners, s, 0.3),
    "nms_rotated": lambda flat, s, labels: mmcv.ops.nms_rotated(flat, s, 0.3, labels),
    "box_iou_rotated": lambda flat, s: mmcv.ops.box_iou_rotated(flat, flat[s < 0.5]),
    "iou3d_boxes_overlap_bev_forward": lambda b: mmcv.ops.boxes_overlap_bev(b[0], b[1]),
    "iou3d_nms3d_forward": lambda b, s: mmcv.ops.nms3d(b[0], s, 0.3),
    "iou3d_nms3d_normal_forward": lambda b, s: mmcv.ops.nms3d_normal(b[0], s, 0.3),
    "hard_voxelize_forward": lambda p: hard_voxels(p[0]),
    "dynamic_voxelize_forward": lambda p: mmcv.ops.Voxelization(*VOXELS, max_num_points=-1)(p[0]),
    "sigmoid_focal_loss_forward sigmoid_focal_loss_backward": lambda logits, labels: with_gradient(
        mmcv.ops.sigmoid_focal_loss, logits, labels, 2.0, 0.25, None, "none"
    ),
}
INPUTS = {
    "p": POINTS, "c": CENTRES, "f": FEATURES, "i": INDICES, "w": WEIGHTS, "b": BOXES, "s": SCORES,
    "flat": FLAT, "labels": LABELS, "corners": CORNERS, "logits": FEATURES[0].T[:40, :3],
}  # fmt: skip
CPU_ONLY = {"points_in_boxes_cpu_forward"}


def run(case, device):
    names = case.__code__.co_varnames[: case.__code__.co_argcount]
    found = case(*(INPUTS[name].to(device) for name in names))
    return found if isinstance(found, tuple) else (found,)


def test_every_operator_has_a_case():
    assert {name for names in CASES for name in names.split()} == set(OURS) - CPU_ONLY


@pytest.mark.parametrize("names", CASES)
def test_cases_say_something_on_the_cpu(names):
    for value in run(CASES[names], "cpu"):
        assert value.numel() > 0
        assert len(value.unique()) > 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA")
@pytest.mark.parametrize("names", CASES)
def test_cuda_gives_what_the_cpu_gives(names):
    for expected, found in zip(run(CASES[names], "cpu"), run(CASES[names], "cuda"), strict=True):
        assert found.is_cuda
        if expected.is_floating_point():
            torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(found.cpu(), expected)
