"""How the rows of a table lie to each other: their distances and the angles between them."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_methods.core.features import SHORTEST


def distances(rows: Tensor) -> Tensor:
    """(n, n) Euclidean distances of rows (n, C)."""
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def relative(distance: Tensor) -> Tensor:
    """Distances (n, n) over their mean without the diagonal."""
    mean = distance.sum() / (len(distance) ** 2 - len(distance))
    return distance / mean.clamp(min=SHORTEST)


def cosines(rows: Tensor, eps: float) -> Tensor:
    """(..., n, n) cosine similarities of rows (..., n, C), ``eps`` added to their lengths."""
    rows = rows / (torch.linalg.vector_norm(rows, dim=-1, keepdim=True) + eps)
    return rows @ rows.transpose(-1, -2)


def angles(distance: Tensor) -> Tensor:
    """(n, n, n) cosines of the angles at i, between j and k, from distances (n, n).

    By the law of cosines; where j or k lies at i, it is 0.
    """
    square = distance.square()
    across = square[:, :, None] + square[:, None, :] - square
    apart = distance > SHORTEST
    length = torch.where(apart, distance, 1.0)
    sides = 2 * length[:, :, None] * length[:, None, :]
    return torch.where(apart[:, :, None] & apart[:, None, :], across / sides, 0.0)
