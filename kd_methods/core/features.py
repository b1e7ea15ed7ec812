"""Small layers and shapes that several methods share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kd_methods.core.interface import Dense, Layer, Points


def pointwise(layer: Layer, channels: int, bias: bool = True) -> nn.Module:
    """A linear map of each cell or point: 1x1 convolution for maps, linear layer for points."""
    if layer.dense:
        return nn.Conv2d(layer.channels, channels, 1, bias=bias)
    return nn.Linear(layer.channels, channels, bias=bias)


def adapter(student: Layer, teacher: Layer) -> nn.Module:
    """Linear map to the teacher's width, batch norm and ReLU."""
    norm = nn.BatchNorm2d if student.dense else nn.BatchNorm1d
    return nn.Sequential(
        pointwise(student, teacher.channels, bias=False), norm(teacher.channels), nn.ReLU()
    )


def nearest(query: Tensor, key: Tensor, k: int, chunk: int = 1024) -> Tensor:
    """Indices of the nearest keys in Euclidean distance, ``chunk`` queries at a time.

    Args:
        query: (N, C).
        key: (M, C).
        k: number of neighbours, at most M.

    Returns:
        (N, k) indices into ``key``, in no order.
    """
    square = key.square().sum(1)
    parts = [
        torch.addmm(square, rows, key.T, alpha=-2).topk(k, largest=False, sorted=False).indices
        for rows in query.split(chunk)
    ]
    return torch.cat(parts) if parts else query.new_empty((0, k), dtype=torch.long)


def frames(features: Points) -> list[Tensor]:
    """For each frame of the batch that has any, the indices of its rows."""
    counts = torch.bincount(features.batch).tolist()
    rows = torch.arange(len(features.batch), device=features.batch.device).split(counts)
    return [row for row in rows if len(row)]


def rows(features: Dense | Points) -> Tensor:
    """Features as (N, C): cells of a map in the order frame, y, x, or points as they are."""
    if isinstance(features, Points):
        return features.values
    return features.values.flatten(2).transpose(1, 2).flatten(0, 1)
