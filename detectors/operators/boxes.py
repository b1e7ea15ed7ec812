"""Box operators: rotated overlap, non-maximum suppression, points in boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_methods.core.geometry import (
    PAIRS_PER_CHUNK,
    close_pairs,
    pairwise_rotated_iou,
    rotated_intersection,
    rotated_iou,
)

BEV = [0, 1, 3, 4, 6]
"""Columns x, y, dx, dy, yaw of a 3D box."""


def box_iou_rotated(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool
) -> None:
    """Fill ``ious`` with overlaps of (N, 5) and (M, 5) boxes: (N,) if aligned, else (N * M,).

    Args:
        mode_flag: 0 for intersection over union, 1 for intersection over the first area.
    """
    mode = "iof" if mode_flag else "iou"
    overlap = rotated_iou if aligned else pairwise_rotated_iou
    ious.copy_(overlap(bboxes1, bboxes2, mode).flatten())


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Axis-aligned suppression of (N, 4) boxes x1, y1, x2, y2.

    Args:
        offset: 1 where the last pixel belongs to a box, else 0.

    Returns:
        Indices of the boxes kept, best score first.
    """
    order = scores.argsort(descending=True)
    low, high = bboxes[order, None, :2], bboxes[order, None, 2:]
    top_left = torch.maximum(low, low.transpose(0, 1))
    bottom_right = torch.minimum(high, high.transpose(0, 1))
    inter = (bottom_right - top_left + offset).clamp(min=0).prod(-1)
    area = (high - low + offset).prod(-1)
    return order[_suppress(inter / (area + area.T - inter) > iou_threshold)]


def nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: bool,
) -> Tensor:
    """Rotated suppression of (N, 5) boxes, or within each label of (N, 6) boxes.

    Args:
        order: (N,) indices by descending score; ``dets_sorted`` is ``dets`` in that order.

    Returns:
        Indices of the boxes kept, best score first.
    """
    overlaps = _overlaps(dets_sorted[:, :5], iou_threshold)
    if multi_label:
        overlaps &= dets_sorted[:, None, 5] == dets_sorted[None, :, 5]
    return order[_suppress(overlaps)]


def iou3d_boxes_overlap_bev_forward(boxes_a: Tensor, boxes_b: Tensor, ans_overlap: Tensor) -> None:
    """Fill ``ans_overlap`` (N, M) with bird's-eye intersections (m2) of (., 7) boxes."""
    a, b = boxes_a[:, BEV], boxes_b[:, BEV]
    i, j = close_pairs(a, b)
    ans_overlap.zero_()
    ans_overlap[i, j] = rotated_intersection(a[i], b[j])


def iou3d_nms3d_forward(
    boxes: Tensor, keep: Tensor, num_out: Tensor, nms_overlap_thresh: float
) -> None:
    """Fill ``keep`` with the rows kept of (N, 7) boxes sorted by score, by bird's-eye overlap."""
    _fill(keep, num_out, _suppress(_overlaps(boxes[:, BEV], nms_overlap_thresh)))


def iou3d_nms3d_normal_forward(
    boxes: Tensor, keep: Tensor, num_out: Tensor, nms_overlap_thresh: float
) -> None:
    """As :func:`iou3d_nms3d_forward` with every yaw taken as 0."""
    upright = torch.cat([boxes[:, [0, 1, 3, 4]], torch.zeros_like(boxes[:, :1])], dim=1)
    _fill(keep, num_out, _suppress(_overlaps(upright, nms_overlap_thresh)))


def points_in_boxes_cpu_forward(boxes: Tensor, points: Tensor, point_indices: Tensor) -> None:
    """Fill ``point_indices`` (T, M) with 1 where a point (M, 3) lies in a box (T, 7)."""
    point_indices.copy_(_inside(points, boxes).T)


def points_in_boxes_part_forward(boxes: Tensor, points: Tensor, box_of_point: Tensor) -> None:
    """Fill ``box_of_point`` (B, M) with the first box of (B, T, 7) holding each point, or -1."""
    for boxes_, points_, out in zip(boxes, points, box_of_point, strict=True):
        if len(boxes_):
            inside = _inside(points_, boxes_)
            first = inside.to(torch.uint8).argmax(dim=1)
            out.copy_(torch.where(inside.any(dim=1), first, -torch.ones_like(first)))


def points_in_boxes_all_forward(boxes: Tensor, points: Tensor, point_indices: Tensor) -> None:
    """Fill ``point_indices`` (B, M, T) with 1 where a point lies in a box."""
    for boxes_, points_, out in zip(boxes, points, point_indices, strict=True):
        out.copy_(_inside(points_, boxes_))


def points_in_boxes_part(points: Tensor, boxes: Tensor) -> Tensor:
    """First box holding each point, -1 for none; mmcv's function on any device.

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
    """Whether each point lies in each box; mmcv's function on any device.

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


def replace_cuda_only_functions() -> None:
    """Replace the ``mmcv.ops`` functions that call ``torch.cuda.set_device`` unconditionally."""
    import mmcv.ops
    import mmcv.ops.points_in_boxes as module

    for function in (points_in_boxes_part, points_in_boxes_all):
        setattr(mmcv.ops, function.__name__, function)
        setattr(module, function.__name__, function)


def _overlaps(boxes: Tensor, threshold: float) -> Tensor:
    """(N, N) whether rotated boxes (N, 5) overlap by more than the threshold."""
    result = torch.zeros(len(boxes), len(boxes), dtype=torch.bool, device=boxes.device)
    i, j = close_pairs(boxes, boxes)
    upper = i < j
    i, j = i[upper], j[upper]
    for start in range(0, len(i), PAIRS_PER_CHUNK):
        part = slice(start, start + PAIRS_PER_CHUNK)
        result[i[part], j[part]] = rotated_iou(boxes[i[part]], boxes[j[part]]) > threshold
    return result


def _suppress(overlaps: Tensor) -> Tensor:
    """Rows kept when, best first, each kept row drops the later rows that it overlaps.

    Args:
        overlaps: (N, N) booleans, rows by descending score; only the part above the diagonal
            is read.
    """
    table = overlaps.triu(1).cpu().numpy()
    alive = torch.ones(len(table), dtype=torch.bool).numpy()
    for row in range(len(table)):
        if alive[row]:
            alive &= ~table[row]
    return torch.from_numpy(alive).nonzero().flatten().to(overlaps.device)


def _fill(keep: Tensor, num_out: Tensor, kept: Tensor) -> None:
    keep[: len(kept)] = kept
    num_out.fill_(len(kept))


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """(M, T) whether points (M, 3) lie in boxes (T, 7); side faces excluded, as in mmcv."""
    offset = points[:, None] - boxes[None, :, :3]
    cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
    x = offset[..., 0] * cos + offset[..., 1] * sin
    y = offset[..., 1] * cos - offset[..., 0] * sin
    height = (offset[..., 2] - boxes[:, 5] / 2).abs() <= boxes[:, 5] / 2
    return height & (x.abs() < boxes[:, 3] / 2) & (y.abs() < boxes[:, 4] / 2)
