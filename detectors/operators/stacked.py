"""The operators of PV-RCNN (Shi et al., CVPR 2020), on the points of all frames in one table.

Frames may have different numbers of points; an index counts from the first point of its frame.
Names and signatures are those that ``mmcv.ops`` calls, sizes are read from the tensors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from detectors.operators import kernels
from detectors.operators.per_batch import once
from detectors.operators.points import searches, summed_columns


def stack_ball_query_forward(
    centres: Tensor,
    centre_counts: Tensor,
    xyz: Tensor,
    counts: Tensor,
    idx: Tensor,
    *,
    max_radius: float,
    **sizes: Any,
) -> None:
    """Fill ``idx`` (M, S) with the first S points (N, 3) of its frame around each centre (M, 3).

    A point counts nearer than ``max_radius``, metres. Places left over repeat the first point
    found; a row without any is -1, then zeros.

    Args:
        centre_counts, counts: (B,) how many centres and points each frame has, in this order.
    """
    high, samples = float(torch.tensor(max_radius, dtype=torch.float).square()), idx.shape[1]

    def search() -> Tensor:
        frames = zip(_frames(centres, centre_counts), _frames(xyz, counts), strict=True)
        return torch.cat([_within(points, around, high, samples) for around, points in frames])

    among = (xyz, centres, counts, centre_counts)
    idx.copy_(once(("stacked ball query", high, samples), among, search))


def stack_group_points_forward(
    features: Tensor,
    counts: Tensor,
    idx: Tensor,
    idx_counts: Tensor,
    out: Tensor,
    **sizes: Any,
) -> None:
    """Fill ``out`` (M, C, S) with the rows ``idx`` (M, S) of their frames' ``features`` (N, C).

    An index that names no row of its frame gives zeros.

    Args:
        counts, idx_counts: (B,) how many features and rows of ``idx`` each frame has.
    """
    rows = rows_of_frames(idx, idx_counts, counts)
    out.copy_(
        pad(features, (0, 0, 0, 1)).index_select(0, rows.flatten()).unflatten(0, idx.shape).mT
    )


def stack_group_points_backward(
    grad_out: Tensor,
    idx: Tensor,
    idx_counts: Tensor,
    counts: Tensor,
    grad_features: Tensor,
    **sizes: Any,
) -> None:
    """Add ``grad_out`` (M, C, S) to the rows ``idx`` (M, S) of ``grad_features`` (N, C), in order.

    Args:
        idx_counts, counts: as in :func:`stack_group_points_forward`.
    """
    rows, number = rows_of_frames(idx, idx_counts, counts), len(grad_features)
    grad_features.add_(sum_rows(rows.flatten(), grad_out.mT.flatten(0, 1), number + 1)[:number])


def rows_of_frames(idx: Tensor, idx_counts: Tensor, counts: Tensor) -> Tensor:
    """(M, S) rows of the table that indices within frames name, or the number of its rows."""
    ends = counts.long().cumsum(0)
    frame = torch.repeat_interleave(idx_counts.long(), output_size=len(idx))
    start, end = (ends - counts)[frame, None], ends[frame, None]
    rows = idx + start
    return torch.where((idx >= 0) & (rows < end), rows, counts.sum())


def sum_rows(rows: Tensor, values: Tensor, number: int) -> Tensor:
    """(number, C) sums, in order, of the values (n, C) that rows (n,) sends to each place."""
    wide = values.to(torch.promote_types(values.dtype, torch.float))
    add = _add_sorted if values.is_cuda else _add_in_turn
    return add(rows, wide.contiguous(), number).to(values.dtype)


def _within(points: Tensor, centres: Tensor, high: float, samples: int) -> Tensor:
    """(M, samples) the first points (N, 3) whose squared distance to a centre is below ``high``."""
    if not len(points):
        found = torch.zeros(len(centres), samples, dtype=torch.long, device=points.device)
        empty = torch.ones_like(found[:, 0], dtype=torch.bool)
    else:
        found = searches(points).ball_query(points[None], centres[None], 0.0, high, samples)[0]
        x, y, z = (centres - points[found[:, 0]]).unbind(1)
        empty = ~(x * x + y * y + z * z < high)
    found[:, 0].masked_fill_(empty, -1)
    return found


def _frames(table: Tensor, counts: Tensor) -> tuple[Tensor, ...]:
    return table.detach().float().split(counts.tolist())


def _add_in_turn(rows: Tensor, values: Tensor, number: int) -> Tensor:
    """:func:`sum_rows` on the CPU."""
    totals = values.new_zeros(number, values.shape[1])
    kernels.add_rows(totals.numpy(), rows.numpy(), values.numpy())
    return totals


def _add_sorted(rows: Tensor, values: Tensor, number: int) -> Tensor:
    """:func:`sum_rows` on any device."""
    return summed_columns(rows[None], values.T[None], number)[0].T
