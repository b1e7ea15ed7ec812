"""How the rows of a table lie to each other: their distances and the angles between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.features import SHORTEST


def distances(rows: Tensor) -> Tensor:
    """(n (n - 1) / 2,) Euclidean distances of all pairs of rows (n, C), row by row."""
    return F.pdist(rows)


def relative(distance: Tensor) -> Tensor:
    """Distances of pairs over their mean."""
    return distance / distance.mean().clamp(min=SHORTEST)


def cosines(rows: Tensor, eps: float) -> Tensor:
    """(..., n, n) cosine similarities of rows (..., n, C), ``eps`` added to their lengths."""
    rows = rows / (torch.linalg.vector_norm(rows, dim=-1, keepdim=True) + eps)
    return rows @ rows.transpose(-1, -2)


def angles(distance: Tensor, count: int) -> Tensor:
    """(n, n, n) cosines of the angles at i, between j and k, of ``count`` rows.

    By the law of cosines from the :func:`distances` of all pairs; where j or k lies at i, it is 0.
    """
    i, j = torch.triu_indices(count, count, 1, device=distance.device)
    matrix = distance.new_zeros(count, count).index_put((i, j), distance)
    matrix = matrix + matrix.T
    square = matrix.square()
    across = square[:, :, None] + square[:, None, :] - square
    apart = matrix > SHORTEST
    length = torch.where(apart, matrix, 1.0)
    sides = 2 * length[:, :, None] * length[:, None, :]
    return torch.where(apart[:, :, None] & apart[:, None, :], across / sides, 0.0)
