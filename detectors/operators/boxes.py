"""Box operators: rotated overlap, non-maximum suppression, points in boxes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from detectors.operators import kernels
from detectors.operators.points import searches
from detectors.operators.torch_searches import inside
from kd_methods.core.geometry import (
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
    low, high = bboxes[order, :2], bboxes[order, 2:] + offset
    upright = torch.cat([(low + high) / 2, high - low, low.new_zeros(len(low), 1)], dim=1)
    return order[_suppress(upright, iou_threshold)]


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
    groups = dets_sorted[:, 5] if multi_label else None
    return order[_suppress(dets_sorted[:, :5], iou_threshold, groups)]


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
    _fill(keep, num_out, _suppress(boxes[:, BEV], nms_overlap_thresh))


def iou3d_nms3d_normal_forward(
    boxes: Tensor, keep: Tensor, num_out: Tensor, nms_overlap_thresh: float
) -> None:
    """As :func:`iou3d_nms3d_forward` with every yaw taken as 0."""
    upright = torch.cat([boxes[:, [0, 1, 3, 4]], torch.zeros_like(boxes[:, :1])], dim=1)
    _fill(keep, num_out, _suppress(upright, nms_overlap_thresh))


def points_in_boxes_cpu_forward(boxes: Tensor, points: Tensor, point_indices: Tensor) -> None:
    """Fill ``point_indices`` (T, M) with 1 where a point (M, 3) lies in a box (T, 7)."""
    point_indices.copy_(inside(points, boxes).T)


def points_in_boxes_part_forward(boxes: Tensor, points: Tensor, box_of_point: Tensor) -> None:
    """Fill ``box_of_point`` (B, M) with the first box of (B, T, 7) holding each point, or -1."""
    box_of_point.copy_(searches(points).first_box(points, boxes))


def points_in_boxes_all_forward(boxes: Tensor, points: Tensor, point_indices: Tensor) -> None:
    """Fill ``point_indices`` (B, M, T) with 1 where a point lies in a box."""
    for boxes_, points_, out in zip(boxes, points, point_indices, strict=True):
        out.copy_(inside(points_, boxes_))


def _suppress(boxes: Tensor, threshold: float, labels: Tensor | None = None) -> Tensor:
    """Rows that stay of rotated boxes (N, 5), best first.

    Always on the CPU: each row waits for those before it, on any device.

    Args:
        labels: (N,) boxes of different labels never drop each other.
    """
    columns = np.ascontiguousarray(boxes.detach().double().cpu().numpy().T)
    groups = np.zeros(len(boxes)) if labels is None else labels.detach().cpu().numpy()
    kept = np.flatnonzero(kernels.suppress(columns, groups, threshold))
    return torch.from_numpy(kept).to(boxes.device)


def _fill(keep: Tensor, num_out: Tensor, kept: Tensor) -> None:
    keep[: len(kept)] = kept
    num_out.fill_(len(kept))
