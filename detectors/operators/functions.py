"""Functions of ``mmcv.ops`` that require CUDA before they compute, for any device.

Everything else in ``mmcv.ops`` is used as it is. The two searches are replaced inside their
autograd functions, so that every module sees it that holds their ``apply``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def points_in_boxes_part(points: Tensor, boxes: Tensor) -> Tensor:
    """First box holding each point, -1 for none.

    Args:
        points: (B, M, 3) metres.
        boxes: (B, T, 7) x, y, z of the bottom centre, sizes (metres), yaw (radians).

    Returns:
        (B, M) integers.
    """
    from mmcv.ops.points_in_boxes import ext_module

    result = points.new_full(points.shape[:2], -1, dtype=torch.int)
    ext_module.points_in_boxes_part_forward(boxes.contiguous(), points.contiguous(), result)
    return result


def points_in_boxes_all(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether each point lies in each box.

    Args:
        points: (B, M, 3) metres.
        boxes: (B, T, 7) as in :func:`points_in_boxes_part`.

    Returns:
        (B, M, T) integers, 0 or 1.
    """
    from mmcv.ops.points_in_boxes import ext_module

    result = points.new_zeros((*points.shape[:2], boxes.shape[1]), dtype=torch.int)
    ext_module.points_in_boxes_all_forward(boxes.contiguous(), points.contiguous(), result)
    return result


def sample_furthest(ctx: Any, points_xyz: Tensor, num_points: int) -> Tensor:
    """(B, num_points) furthest points of (B, N, 3); forward of ``FurthestPointSampling``."""
    from mmcv.ops.furthest_point_sample import ext_module

    frames, n = points_xyz.shape[:2]
    found = points_xyz.new_empty((frames, num_points), dtype=torch.int)
    scratch = points_xyz.new_full((frames, n), 1e10, dtype=torch.float)
    ext_module.furthest_point_sampling_forward(
        points_xyz.contiguous(), scratch, found, b=frames, n=n, m=num_points
    )
    ctx.mark_non_differentiable(found)
    return found


def find_neighbours(
    ctx: Any, k: int, xyz: Tensor, center_xyz: Tensor | None = None, transposed: bool = False
) -> Tensor:
    """(B, k, M) the nearest of (B, N, 3) to each of (B, M, 3); forward of ``KNN``.

    Args:
        center_xyz: ``xyz`` itself where missing.
        transposed: the coordinates come as (B, 3, N) and (B, 3, M).

    Raises:
        ValueError: k is not within 1 to 99, the range of mmcv's kernel.
    """
    from mmcv.ops.knn import ext_module

    if not 0 < k < 100:
        raise ValueError(f"k is {k}; mmcv's kNN takes 1 to 99 neighbours")
    centres = xyz if center_xyz is None else center_xyz
    if transposed:
        xyz, centres = xyz.transpose(1, 2), centres.transpose(1, 2)
    frames, m = centres.shape[:2]
    found = centres.new_zeros((frames, m, k), dtype=torch.int)
    squares = centres.new_zeros((frames, m, k), dtype=torch.float)
    ext_module.knn_forward(
        xyz.contiguous(), centres.contiguous(), found, squares,
        b=frames, n=xyz.shape[1], m=m, nsample=k,
    )  # fmt: skip
    found = found.transpose(1, 2).contiguous()
    ctx.mark_non_differentiable(found)
    return found


def replace_cuda_only_functions() -> None:
    """Replace mmcv's functions with those above."""
    import mmcv.ops
    import mmcv.ops.points_in_boxes as module
    from mmcv.ops.furthest_point_sample import FurthestPointSampling
    from mmcv.ops.knn import KNN

    for function in (points_in_boxes_part, points_in_boxes_all):
        setattr(mmcv.ops, function.__name__, function)
        setattr(module, function.__name__, function)
    FurthestPointSampling.forward = staticmethod(sample_furthest)
    KNN.forward = staticmethod(find_neighbours)
