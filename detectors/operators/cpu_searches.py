"""Searches among points and boxes on the CPU, by compiled loops.

The functions of :mod:`detectors.operators.torch_searches`, with the same results.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectors.operators import kernels


def furthest_points(xyz: Tensor, count: int) -> Tensor:
    """(B, count) points (B, N, 3), each the furthest from those before; the first is 0."""
    chosen = np.zeros((len(xyz), count), np.int64)
    for frame, out in zip(_columns(xyz), chosen, strict=True):
        kernels.furthest_points(frame, out)
    return torch.from_numpy(chosen)


def furthest_by_distance(distance: Tensor, count: int) -> Tensor:
    """As :func:`furthest_points`, from the distances (B, N, N) between the points."""
    chosen = np.zeros((len(distance), count), np.int64)
    for frame, out in zip(_array(distance), chosen, strict=True):
        kernels.furthest_by_distance(frame, out)
    return torch.from_numpy(chosen)


def ball_query(xyz: Tensor, centres: Tensor, low: float, high: float, count: int) -> Tensor:
    """(B, M, count) the first points (B, N, 3) around each centre (B, M, 3)."""
    index = np.zeros((*centres.shape[:2], count), np.int64)
    for points, around, out in zip(_columns(xyz), _columns(centres), index, strict=True):
        kernels.ball_query(points, around, points.dtype.type(low), points.dtype.type(high), out)
    return torch.from_numpy(index)


def nearest(targets: Tensor, sources: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(B, M, count) squared distances and indices of the sources nearest each target."""
    a, b = _columns(targets), _columns(sources)
    distance = np.zeros((*targets.shape[:2], count), a.dtype)
    index = np.zeros(distance.shape, np.int64)
    for frame in range(len(a)):
        kernels.nearest(a[frame], b[frame], distance[frame], index[frame])
    return torch.from_numpy(distance), torch.from_numpy(index)


def first_box(points: Tensor, boxes: Tensor) -> Tensor:
    """(B, M) the lowest box (B, T, 7) that holds each point (B, M, 3), or -1."""
    half, yaw = boxes[..., 3:6] / 2, boxes[..., 6:]
    sides = torch.cat([boxes[..., :3], half, yaw.cos(), yaw.sin()], dim=-1)
    first = np.zeros(points.shape[:2], np.int64)
    for frame, around, out in zip(_columns(points), _columns(sides), first, strict=True):
        kernels.first_box(frame, around, out)
    return torch.from_numpy(first)


def _columns(points: Tensor) -> Any:
    """Rows (B, N, C) as an array (B, C, N)."""
    return _array(points.transpose(1, 2))


def _array(values: Tensor) -> Any:
    """Values without gradient as a contiguous array of at least single precision."""
    wide = torch.promote_types(values.dtype, torch.float)
    return np.ascontiguousarray(values.detach().to(wide).numpy())
