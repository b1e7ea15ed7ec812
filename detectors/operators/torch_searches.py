"""Searches among points and boxes in PyTorch: they serve CUDA tensors, and run on any device.

:mod:`detectors.operators.cpu_searches` has the same functions for the CPU, with the same results
to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

PAIRS_PER_CHUNK = 1 << 24

TRITON_POINTS = 1 << 16
"""Largest cloud for the Triton program, which keeps a frame in registers."""


def furthest_points(xyz: Tensor, count: int) -> Tensor:
    """Points each the furthest from those before, in metres; the first is point 0.

    The lowest index is taken among equally far points.

    Args:
        xyz: (B, N, 3) coordinates.

    Returns:
        (B, count) indices.
    """
    if xyz.is_cuda and xyz.shape[1] <= TRITON_POINTS:
        try:
            from detectors.operators import triton_furthest
        except ImportError:  # this PyTorch came without Triton, or with an old one
            pass
        else:
            return triton_furthest.furthest_points(xyz, count)
    every = torch.arange(len(xyz), device=xyz.device)
    return _walk(lambda last: _squares(xyz[every, last][:, None], xyz)[:, 0], xyz, count)


def furthest_by_distance(distance: Tensor, count: int) -> Tensor:
    """As :func:`furthest_points`, from the distances (B, N, N) between the points."""
    every = torch.arange(len(distance), device=distance.device)
    return _walk(lambda last: distance[every, last], distance, count)


def ball_query(xyz: Tensor, centres: Tensor, low: float, high: float, count: int) -> Tensor:
    """The first points, by index, around each centre.

    A point counts whose squared distance is 0 or in [low, high). Places left over repeat the
    first point found; a row without any is 0.

    Args:
        xyz, centres: (B, N, 3), (B, M, 3) coordinates.

    Returns:
        (B, M, count) indices.
    """
    index = torch.zeros(*centres.shape[:2], count, dtype=torch.long, device=xyz.device)
    place = torch.arange(count, device=xyz.device)
    for frames, rows in _blocks(centres, xyz):
        square = _squares(centres[frames, rows], xyz[frames])
        hit = (square == 0) | ((square >= low) & (square < high))
        first, found = first_hits(hit.flatten(0, 1), count)
        first = torch.where(place < found[:, None], first, first[:, :1])
        index[frames, rows] = first.unflatten(0, square.shape[:2])
    return index


def nearest(targets: Tensor, sources: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The nearest sources of each target, nearest first; the lower index first among equals.

    Args:
        targets, sources: (B, M, 3), (B, N, 3) coordinates.

    Returns:
        (B, M, count) squared distances and indices; inf and 0 where there are fewer sources.
    """
    shape = (*targets.shape[:2], count)
    distance = targets.new_full(shape, torch.inf)
    index = torch.zeros(shape, dtype=torch.long, device=targets.device)
    for frames, rows in _blocks(targets, sources):
        square = _squares(targets[frames, rows], sources[frames])
        for place in range(min(count, sources.shape[1])):
            distance[frames, rows, place], at = square.min(dim=-1)
            index[frames, rows, place] = at
            square.scatter_(-1, at[..., None], torch.inf)
    return distance, index


def first_box(points: Tensor, boxes: Tensor) -> Tensor:
    """(B, M) the lowest box (B, T, 7) that holds each point (B, M, 3), or -1."""
    first = torch.full(points.shape[:2], -1, device=points.device)
    if boxes.shape[1]:
        for frames, rows in _blocks(points, boxes):
            held = inside(points[frames, rows], boxes[frames])
            first[frames, rows] = held.to(torch.uint8).argmax(dim=-1)
            first[frames, rows] -= (~held.any(dim=-1)).long()
    return first


def inside(points: Tensor, boxes: Tensor) -> Tensor:
    """(..., M, T) whether points (..., M, 3) lie in boxes (..., T, 7), without their side faces.

    Boxes are x, y, z of the bottom centre, sizes (metres), yaw (radians).
    """
    offset, boxes = points.unsqueeze(-2) - boxes[..., None, :, :3], boxes.unsqueeze(-3)
    cos, sin = boxes[..., 6].cos(), boxes[..., 6].sin()
    x = offset[..., 0] * cos + offset[..., 1] * sin
    y = offset[..., 1] * cos - offset[..., 0] * sin
    height = (offset[..., 2] - boxes[..., 5] / 2).abs() <= boxes[..., 5] / 2
    return height & (x.abs() < boxes[..., 3] / 2) & (y.abs() < boxes[..., 4] / 2)


def first_hits(hit: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first ``count`` true columns of each row of ``hit`` (R, N).

    Returns:
        (R, count) columns, 0 in the places left over, and (R,) how many were found.
    """
    place = hit.cumsum(dim=1, dtype=torch.int)
    row, column = torch.nonzero(hit & (place <= count)).unbind(1)
    index = torch.zeros(len(hit), count, dtype=torch.long, device=hit.device)
    index[row, place[row, column].long() - 1] = column
    return index, hit.sum(dim=1).clamp(max=count)


def _walk(distances: Callable[[Tensor], Tensor], points: Tensor, count: int) -> Tensor:
    """Furthest points, from a function that gives the distances (B, N) to points (B,)."""
    frames, n = points.shape[:2]
    nearest = points.new_full((frames, n), torch.inf)
    chosen = torch.zeros(frames, count, dtype=torch.long, device=points.device)
    for step in range(1, count):
        nearest = torch.minimum(nearest, distances(chosen[:, step - 1]))
        chosen[:, step] = nearest.argmax(dim=1)
    return chosen


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances (..., R, N) of points (..., R, 3) and (..., N, 3), summed in this order."""
    x, y, z = (a.unsqueeze(-2) - b.unsqueeze(-3)).unbind(-1)
    return x * x + y * y + z * z


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[slice, slice]]:
    """Frames and rows of ``a`` (B, M, .) few enough to meet all of ``b`` (B, N, .) at once: many
    small frames together, such as RoIs, or a part of a large one."""
    rows = max(1, PAIRS_PER_CHUNK // max(1, b.shape[1]))
    frames = max(1, rows // max(1, a.shape[1]))
    for first in range(0, len(a), frames):
        for start in range(0, a.shape[1], rows):
            yield slice(first, first + frames), slice(start, start + rows)
