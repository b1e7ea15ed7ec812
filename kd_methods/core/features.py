"""Small layers and shapes that several methods share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kd_methods.core.interface import BEVMap, Layer, Points

SHORTEST = 1e-6
"""Vectors shorter than this have no direction."""


def pointwise(layer: Layer, channels: int, bias: bool = True) -> nn.Module:
    """A linear map of each cell or point: 1x1 convolution for maps, linear layer for points."""
    if layer.dense:
        return nn.Conv2d(layer.channels, channels, 1, bias=bias)
    return nn.Linear(layer.channels, channels, bias=bias)


def adapter(student: Layer, teacher: Layer, eps: float = 1e-5) -> nn.Module:
    """Linear map to the teacher's width, batch norm (its variance plus ``eps``) and ReLU."""
    norm = nn.BatchNorm2d if student.dense else nn.BatchNorm1d
    return nn.Sequential(
        pointwise(student, teacher.channels, bias=False), norm(teacher.channels, eps), nn.ReLU()
    )


def widener(student: Layer, teacher: Layer) -> nn.Module:
    """Linear map with a bias to the teacher's width, or nothing where the widths are equal."""
    if student.channels == teacher.channels:
        return nn.Identity()
    return pointwise(student, teacher.channels)


def wideners(students: Sequence[Layer], teachers: Sequence[Layer]) -> nn.ModuleList:
    """A :func:`widener` for each pair of layers."""
    return nn.ModuleList(widener(s, t) for s, t in zip(students, teachers, strict=True))


def adapted(layer: nn.Module, features: BEVMap | Points) -> BEVMap | Points:
    """The features after a layer of their values."""
    return replace(features, values=layer(features.values))


def nearest(query: Tensor, key: Tensor, k: int, ordered: bool = False, chunk: int = 1024) -> Tensor:
    """Indices of the nearest keys in Euclidean distance, ``chunk`` queries at a time.

    Args:
        query: (N, C).
        key: (M, C).
        k: number of neighbours, at most M.
        ordered: whether the nearest come first.

    Returns:
        (N, k) indices into ``key``.
    """
    square = key.square().sum(1)
    parts = [
        _smallest(torch.addmm(square, rows, key.T, alpha=-2), k, ordered)
        for rows in query.split(chunk)
    ]
    return torch.cat(parts) if parts else query.new_empty((0, k), dtype=torch.long)


def _smallest(values: Tensor, k: int, ordered: bool) -> Tensor:
    """(R, k) columns of the smallest values of each row (R, M).

    They lie in the k groups of columns whose own smallest values are smallest, so most columns are
    never sorted.
    """
    size = math.isqrt(values.shape[1] // k)
    if size < 2:
        return values.topk(k, largest=False, sorted=ordered).indices
    groups = values.shape[1] // size
    grouped, rest = values[:, : size * groups].unflatten(1, (size, groups)), size * groups
    chosen = grouped.amin(1).topk(k, largest=False, sorted=False).indices
    inside = grouped.gather(2, chosen[:, None].expand(-1, size, -1)).flatten(1)
    inside = torch.cat([inside, values[:, rest:]], dim=1)
    best = inside.topk(k, largest=False, sorted=ordered).indices
    of_group = best // k * groups + chosen.gather(1, best % k)
    return torch.where(best < size * k, of_group, best - size * k + rest)


def frames(features: Points) -> list[Tensor]:
    """For each frame of the batch that has any, the indices of its rows."""
    counts = torch.bincount(features.batch).tolist()
    rows = torch.arange(len(features.batch), device=features.batch.device).split(counts)
    return [row for row in rows if len(row)]


def rows(features: BEVMap | Points) -> Tensor:
    """Features as (N, C): cells of a map in the order frame, y, x, or points as they are."""
    if isinstance(features, Points):
        return features.values
    return features.values.flatten(2).transpose(1, 2).flatten(0, 1)


def sizes(features: BEVMap | Points) -> list[int]:
    """Number of :func:`rows` of each frame that has any."""
    if isinstance(features, Points):
        return [count for count in torch.bincount(features.batch).tolist() if count]
    return [math.prod(features.values.shape[2:])] * len(features.values)


def tables(features: BEVMap | Points) -> Sequence[Tensor]:
    """For each frame that has any, its :func:`rows` (n, C)."""
    if isinstance(features, Points):
        return features.values.split(sizes(features))
    return list(features.values.flatten(2).transpose(1, 2))


def occupied(features: BEVMap, points: Sequence[Tensor]) -> list[Tensor]:
    """For each frame, the indices (n,) of the map's cells that hold one of its points (P, 4)."""
    found = []
    for frame in points:
        cells, inside = cells_of(features, frame)
        found.append(torch.unique(cells[inside]))
    return found


def cells_of(features: BEVMap, places: Tensor) -> tuple[Tensor, Tensor]:
    """The map's cells (n,), counted row by row, that hold places (n, 2 or more), and which of the
    places lie on the map; the cells of the others are the rim's nearest."""
    height, width = features.values.shape[2:]
    x0, y0, x1, y1 = features.extent
    column = ((places[:, 0] - x0) / (x1 - x0) * width).floor().long()
    row = ((places[:, 1] - y0) / (y1 - y0) * height).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return row.clamp(0, height - 1) * width + column.clamp(0, width - 1), inside


def attention(table: Tensor, dim: int, temperature: float) -> Tensor:
    """Softmax over rows or channels of the mean magnitude along ``dim`` of a matrix, mean 1."""
    strength = torch.linalg.vector_norm(table, ord=1, dim=dim) / table.shape[dim]
    return len(strength) * (strength / temperature).softmax(0)


def sample(count: int, most: int, device: torch.device) -> Tensor:
    """At most ``most`` different indices below ``count``, in random order."""
    return torch.randperm(count, device=device)[:most]


def unit(values: Tensor, dim: int) -> Tensor:
    """Vectors along ``dim`` scaled to length 1; those that are about zero become zero.

    Unlike dividing by a clamped length this gives no large gradient at zero.
    """
    length = torch.linalg.vector_norm(values, dim=dim, keepdim=True)
    return values / length.masked_fill(length < SHORTEST, math.inf)


def root(values: Tensor) -> Tensor:
    """The square root, whose gradient at 0 is taken as 0."""
    still = values == 0
    return torch.where(still, 0.0, torch.where(still, 1.0, values).sqrt())
