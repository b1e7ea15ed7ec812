"""Geometry on tensors of any device: rotated boxes, their overlap, neighbours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PAIRS_PER_CHUNK = 1 << 18
FOOTPRINT = [0, 1, 3, 4, 6]
"""Columns x, y, length, width and yaw of a box: its rectangle in BEV."""
BINS = 64
"""Along x and y, where :func:`near` looks for boxes."""


def rotated_corners(boxes: Tensor) -> Tensor:
    """Corners of rotated rectangles, counter-clockwise.

    Args:
        boxes: (..., 5) centre x, centre y, length along x, width along y (metres) and
            counter-clockwise angle (radians).

    Returns:
        (..., 4, 2) corner coordinates.
    """
    centre, size, angle = boxes[..., :2], boxes[..., 2:4], boxes[..., 4]
    signs = boxes.new_tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    local = signs * size.unsqueeze(-2)
    return _rotate(local, angle.unsqueeze(-1)) + centre.unsqueeze(-2)


def rotated_intersection(a: Tensor, b: Tensor) -> Tensor:
    """Area of the intersection of rotated rectangles, pair by pair.

    Each rectangle of ``a`` is clipped by the four sides of its partner in ``b``
    (Sutherland and Hodgman, 1974), in double precision and in the partner's own frame, so
    identical, touching and nested rectangles come out exactly.

    Args:
        a, b: (P, 5) boxes as in :func:`rotated_corners`.

    Returns:
        (P,) areas in square metres, in the precision of ``a``.
    """
    first, second = a.double(), b.double()
    relative = torch.cat([first[:, :2] - second[:, :2], first[:, 2:]], dim=1)
    polygon = _rotate(rotated_corners(relative), -second[:, None, 4])
    half = second[:, 2:4] / 2
    for axis in (0, 1):
        for sign in (1.0, -1.0):
            polygon = _clip(polygon, half[:, axis, None] - sign * polygon[..., axis])
    return _shoelace(polygon).to(a.dtype)


def rotated_iou(a: Tensor, b: Tensor, mode: str = "iou") -> Tensor:
    """Overlap of rotated rectangles, pair by pair.

    Args:
        a, b: (P, 5) boxes as in :func:`rotated_corners`.
        mode: ``"iou"`` divides the intersection by the union, ``"iof"`` by the area of ``a``.

    Returns:
        (P,) overlaps in [0, 1]; 0 where the denominator is 0.
    """
    if mode not in ("iou", "iof"):
        raise ValueError(f"mode is {mode!r}; use 'iou' or 'iof'")
    intersection = rotated_intersection(a, b)
    area_a, area_b = a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]
    denominator = area_a if mode == "iof" else area_a + area_b - intersection
    overlap = intersection / denominator.clamp(min=torch.finfo(a.dtype).tiny)
    return torch.where(denominator > 0, overlap, torch.zeros_like(overlap)).clamp(0, 1)


def pairwise_rotated_iou(a: Tensor, b: Tensor, mode: str = "iou") -> Tensor:
    """Overlap of every box of ``a`` (N, 5) with every box of ``b`` (M, 5): (N, M).

    Pairs whose circumscribed circles do not meet are 0 without being clipped.
    """
    overlap = a.new_zeros(len(a), len(b))
    rows, columns = close_pairs(a, b)
    for start in range(0, len(rows), PAIRS_PER_CHUNK):
        i = rows[start : start + PAIRS_PER_CHUNK]
        j = columns[start : start + PAIRS_PER_CHUNK]
        overlap[i, j] = rotated_iou(a[i], b[j], mode)
    return overlap


def close_pairs(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Index pairs (i, j) of boxes (N, 5) and (M, 5) whose circumscribed circles meet."""
    reach = a[:, 2:4].norm(dim=1)[:, None] / 2 + b[:, 2:4].norm(dim=1)[None] / 2
    offset = a[:, None, :2] - b[None, :, :2]
    rows, columns = torch.nonzero(offset.square().sum(-1) <= reach.square()).unbind(1)
    return rows, columns


def iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """Overlap of rotated boxes (P, 7), pair by pair, in volume: (P,) in [0, 1]."""
    first, second = (torch.cat([x[:, :3], x[:, 3:6].clamp(min=0), x[:, 6:]], 1) for x in (a, b))
    top = torch.minimum(first[:, 2] + first[:, 5], second[:, 2] + second[:, 5])
    shared = (top - torch.maximum(first[:, 2], second[:, 2])).clamp(min=0)
    common = rotated_intersection(first[:, FOOTPRINT], second[:, FOOTPRINT]) * shared
    union = first[:, 3:6].prod(1) + second[:, 3:6].prod(1) - common
    return common / union.clamp(min=torch.finfo(a.dtype).eps)


def nearest_aligned(boxes: Tensor) -> Tensor:
    """Boxes (..., 7) turned by at most an eighth of a turn to lie along x and y.

    Returns:
        (..., 4) x_min, y_min, x_max, y_max in metres.
    """
    across = limit_angle(boxes[..., 6], period=math.pi).abs() > math.pi / 4
    half = torch.where(across[..., None], boxes[..., [4, 3]], boxes[..., [3, 4]]) / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def aligned_iou(a: Tensor, b: Tensor) -> Tensor:
    """Overlap of rectangles (..., 4) along x and y that broadcast; 0 where both are empty."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(x[..., 2:] - x[..., :2]).clamp(min=0).prod(-1) for x in (a, b)]
    return common / (areas[0] + areas[1] - common).clamp(min=torch.finfo(a.dtype).eps)


def inside(places: Tensor, boxes: Tensor, margin: float = 0.0) -> Tensor:
    """Whether places lie in rotated boxes (G, 7), their rims included.

    Args:
        places: (n, 2) in BEV, or (n, 3), which must lie between a box's bottom and top too.
        margin: by which boxes are larger on every side, metres.

    Returns:
        (n, G) bool.
    """
    local = _rotate(places[:, None, :2] - boxes[:, :2], -boxes[:, 6].expand(len(places), -1))
    within = (local.abs() <= boxes[:, 3:5] / 2 + margin).all(-1)
    if places.shape[1] == 2:
        return within
    height = places[:, None, 2] - boxes[:, 2]
    return within & (height >= -margin) & (height <= boxes[:, 5] + margin)


def near(boxes: Tensor, others: Tensor) -> Tensor:
    """Indices (n,) of the boxes (A, 7) that may touch one of ``others`` (G, 7), and some more.

    Their centres are counted in bins, so that it takes no comparison of each with each.
    """
    if not len(boxes) or not len(others):
        return torch.zeros(0, dtype=torch.long, device=boxes.device)
    centres, reach = boxes[:, :2], boxes[:, 3:5].amax() / 2
    low, high = centres.amin(0), centres.amax(0)
    step = ((high - low) / BINS).clamp(min=torch.finfo(boxes.dtype).eps)
    edges = low + step * torch.arange(BINS, device=boxes.device)[:, None]
    rectangles = nearest_aligned(others)[:, None]
    least, most = rectangles[..., :2] - reach - step, rectangles[..., 2:] + reach + step
    column, row = ((edges + step >= least) & (edges <= most)).to(boxes.dtype).unbind(-1)
    occupied = (column.T @ row).flatten() > 0
    x, y = ((centres - low) / step).long().clamp(0, BINS - 1).unbind(1)
    return occupied.index_select(0, x * BINS + y).nonzero().flatten()


def limit_angle(angle: Tensor, offset: float = 0.5, period: float = 2 * math.pi) -> Tensor:
    """Angles (radians) moved by whole periods into [-offset * period, (1 - offset) * period)."""
    return angle - torch.floor(angle / period + offset) * period


def _rotate(points: Tensor, angle: Tensor) -> Tensor:
    """Rotate points (..., 2) counter-clockwise by angles (...)."""
    cos, sin = angle.cos(), angle.sin()
    x, y = points[..., 0], points[..., 1]
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1)


def _clip(polygon: Tensor, distance: Tensor) -> Tensor:
    """Keep of convex polygons (P, V, 2) where ``distance`` (P, V) is not negative.

    Returns (P, V + 1, 2); unused places repeat the first vertex, an empty polygon is all zero.
    """
    following, next_distance = polygon.roll(-1, dims=1), distance.roll(-1, dims=1)
    inside, crosses = distance >= 0, (distance >= 0) != (next_distance >= 0)
    gap = torch.where(crosses, distance - next_distance, torch.ones_like(distance))
    crossing = polygon + (distance / gap).unsqueeze(-1) * (following - polygon)
    vertices = torch.stack([polygon, crossing], dim=2).flatten(1, 2)
    used = torch.stack([inside, crosses], dim=2).flatten(1, 2)
    keep = polygon.shape[1] + 1
    order = torch.argsort((~used).to(torch.uint8), dim=1, stable=True)[:, :keep]
    used = used.gather(1, order)
    vertices = vertices.gather(1, order.unsqueeze(-1).expand(-1, -1, 2))
    first = vertices[:, :1] * used[:, :1].unsqueeze(-1)
    return torch.where(used.unsqueeze(-1), vertices, first)


def _shoelace(polygon: Tensor) -> Tensor:
    x, y = polygon[..., 0], polygon[..., 1]
    return (x * y.roll(-1, dims=1) - y * x.roll(-1, dims=1)).sum(1).abs() / 2
