"""The operators of PointNet++ (Qi et al., NeurIPS 2017) and of RoI point pooling.

Names and signatures are those that ``mmcv.ops`` calls; the sizes it passes along (``b``, ``n``,
``m``, ``c``, ...) are read from the tensors instead. What an operator finds never carries a
gradient; what it copies gets one from its ``_backward``, which adds to the gradient it is given.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from detectors.operators import cpu_searches, torch_searches
from detectors.operators.per_batch import once


def searches(tensor: Tensor) -> ModuleType:
    """The searches that serve the device of a tensor."""
    return torch_searches if tensor.is_cuda else cpu_searches


def furthest_point_sampling_forward(
    points: Tensor, temp: Tensor, idx: Tensor, **sizes: Any
) -> None:
    """Fill ``idx`` (B, M) with points (B, N, 3), each the furthest from those before.

    The first is point 0. Equally distant points are taken in the order of :func:`tie_order`.

    Args:
        temp: mmcv's scratch, left alone.

    Raises:
        ValueError: there are no points to sample from.
    """
    order = tie_order(_at_least_one(points)).to(points.device)
    count = idx.shape[1]
    idx.copy_(
        once(
            ("furthest points", count),
            (points,),
            lambda: order[searches(points).furthest_points(points[:, order], count)],
        )
    )


def furthest_point_sampling_with_dist_forward(
    distance: Tensor, temp: Tensor, idx: Tensor, **sizes: Any
) -> None:
    """As :func:`furthest_point_sampling_forward`, from the points' distances (B, N, N)."""
    order = tie_order(_at_least_one(distance)).to(distance.device)
    ordered = distance[:, order][:, :, order]
    idx.copy_(order[searches(distance).furthest_by_distance(ordered, idx.shape[1])])


def ball_query_forward(
    centres: Tensor,
    xyz: Tensor,
    idx: Tensor,
    *,
    min_radius: float,
    max_radius: float,
    **sizes: Any,
) -> None:
    """Fill ``idx`` (B, M, S) with the first S points (B, N, 3) around each centre (B, M, 3).

    A point counts at distance 0 or in [min_radius, max_radius), metres. Places left over repeat
    the first point found; a row without any is 0.
    """
    low, high = (torch.tensor(r, dtype=torch.float).square() for r in (min_radius, max_radius))
    limits = float(low), float(high), idx.shape[2]
    idx.copy_(
        once(
            ("ball query", *limits),
            (xyz, centres),
            lambda: searches(xyz).ball_query(xyz, centres, *limits),
        )
    )


def gather_points_forward(features: Tensor, idx: Tensor, out: Tensor, **sizes: Any) -> None:
    """Fill ``out`` (B, C, M) with the columns ``idx`` (B, M) of ``features`` (B, C, N)."""
    out.copy_(_take(features, idx))


def gather_points_backward(
    grad_out: Tensor, idx: Tensor, grad_features: Tensor, **sizes: Any
) -> None:
    """Add ``grad_out`` (B, C, M) to the columns ``idx`` (B, M) of ``grad_features`` (B, C, N)."""
    _give_back(grad_features, idx, grad_out)


def group_points_forward(features: Tensor, idx: Tensor, out: Tensor, **sizes: Any) -> None:
    """Fill ``out`` (B, C, M, S) with the columns ``idx`` (B, M, S) of ``features`` (B, C, N)."""
    out.copy_(_take(features, idx))


def group_points_backward(
    grad_out: Tensor, idx: Tensor, grad_features: Tensor, **sizes: Any
) -> None:
    """Add ``grad_out`` (B, C, M, S) to the columns ``idx`` of ``grad_features`` (B, C, N)."""
    _give_back(grad_features, idx, grad_out)


def three_nn_forward(
    target: Tensor, source: Tensor, dist2: Tensor, idx: Tensor, **sizes: Any
) -> None:
    """Fill ``dist2`` (m2) and ``idx``, both (B, N, 3), with the three nearest sources.

    Args:
        target, source: (B, N, 3), (B, M, 3). The lower index comes first among equals; inf
            and 0 where there are fewer than three sources.
    """
    found = once(
        "three nearest", (target, source), lambda: searches(target).nearest(target, source, 3)
    )
    dist2.copy_(found[0])
    idx.copy_(found[1])


def knn_forward(xyz: Tensor, centres: Tensor, idx: Tensor, dist2: Tensor, **sizes: Any) -> None:
    """Fill ``idx`` and ``dist2`` (m2), both (B, M, k), with the nearest of ``xyz`` (B, N, 3).

    Nearest first, the lower index first among equals (mmcv's heap leaves their order open);
    index 0 where there are fewer than k points.
    """
    found = searches(xyz).nearest(centres, xyz, idx.shape[2])
    dist2.copy_(found[0])
    idx.copy_(found[1])


def three_interpolate_forward(
    features: Tensor, idx: Tensor, weight: Tensor, out: Tensor, **sizes: Any
) -> None:
    """Fill ``out`` (B, C, N) with weighted sums of columns of ``features`` (B, C, M).

    Args:
        idx, weight: (B, N, 3) which columns, and their weights.
    """
    first, second, third = (_take(features, idx[..., k]) * weight[:, None, :, k] for k in range(3))
    out.copy_(first + second + third)


def three_interpolate_backward(
    grad_out: Tensor, idx: Tensor, weight: Tensor, grad_features: Tensor, **sizes: Any
) -> None:
    """Add to ``grad_features`` (B, C, M) what ``grad_out`` (B, C, N) gives to its columns."""
    for k in range(3):
        _give_back(grad_features, idx[..., k], grad_out * weight[:, None, :, k])


def roipoint_pool3d_forward(
    xyz: Tensor, boxes: Tensor, features: Tensor, pooled: Tensor, empty: Tensor
) -> None:
    """Fill ``pooled`` (B, M, S, 3 + C) with coordinates and features of the points in each box.

    The first S points by index; fewer are repeated from the start. ``empty`` (B, M) becomes 1
    and ``pooled`` stays as it is where a box holds no point.

    Args:
        xyz, features: (B, N, 3), (B, N, C).
        boxes: (B, M, 7) x, y, z of the bottom centre, sizes (metres), yaw (radians).
    """
    place = torch.arange(pooled.shape[2], device=xyz.device)
    for frame, table in enumerate(pooled):
        held = torch_searches.inside(xyz[frame], boxes[frame]).T
        index, found = torch_searches.first_hits(held, pooled.shape[2])
        index = index.gather(1, place % found.clamp(min=1)[:, None])
        full = found > 0
        table[full, :, :3] = xyz[frame][index[full]].to(pooled.dtype)
        table[full, :, 3:] = features[frame][index[full]]
        empty[frame] = (~full).to(empty.dtype)


@lru_cache(maxsize=16)
def tie_order(n: int) -> Tensor:
    """(n,) points in the order in which mmcv's CUDA kernel prefers equally distant ones.

    Its threads, min(1024, the largest power of two up to n), each scan points at a fixed stride
    and keep the first best; they are then compared in halves, so that even ones win over odd
    ones, and among these likewise by the higher bits (mmcv's furthest_point_sample_cuda_kernel).
    """
    threads = min(1024, 1 << (n.bit_length() - 1))
    thread = torch.arange(n) % threads
    preference = sum(
        (thread >> bit & 1) * (threads >> (bit + 1)) for bit in range(threads.bit_length() - 1)
    )
    return torch.argsort(torch.as_tensor(preference).expand(n), stable=True)


def _at_least_one(points: Tensor) -> int:
    if not points.shape[1]:
        raise ValueError(
            f"cannot sample from points of shape {tuple(points.shape)}: there are none"
        )
    return points.shape[1]


def _take(features: Tensor, idx: Tensor) -> Tensor:
    """Columns ``idx`` (B, ...) of ``features`` (B, C, N): (B, C, ...)."""
    columns = _columns(idx, features)
    return features.gather(2, columns).unflatten(2, idx.shape[1:])


def _give_back(grad: Tensor, idx: Tensor, values: Tensor) -> None:
    """Add values (B, C, ...) to the columns ``idx`` (B, ...) of ``grad`` (B, C, N), in order."""
    values = values.flatten(2).to(grad.dtype)
    if grad.is_cuda:
        grad.add_(summed_columns(idx.flatten(1).long(), values, grad.shape[2]))
    else:
        grad.scatter_add_(2, _columns(idx, grad), values)


def summed_columns(idx: Tensor, values: Tensor, count: int) -> Tensor:
    """(B, C, count) sums of the columns of values (B, C, M) that idx (B, M) sends to each place.

    As scatter_add_, in the same order. On CUDA that one sorts every channel by itself to sum in a
    fixed order, 400 million numbers in a step of PointRCNN; here a frame's places are sorted once.
    """
    place = idx + count * torch.arange(len(idx), device=idx.device)[:, None]
    place, order = place.flatten().sort(stable=True)
    ends = torch.arange(len(idx) * count + 1, device=idx.device)
    sums = torch.segment_reduce(
        values.transpose(1, 2).flatten(0, 1).index_select(0, order),
        "sum",
        offsets=torch.searchsorted(place, ends),
        axis=0,
        unsafe=True,
        initial=0,
    )
    return sums.unflatten(0, (len(idx), count)).transpose(1, 2)


def _columns(idx: Tensor, features: Tensor) -> Tensor:
    return idx.flatten(1).long()[:, None].expand(-1, features.shape[1], -1)
