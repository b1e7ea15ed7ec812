"""Voxelization: points to a sparse grid, as mmcv's deterministic operator does it."""

from __future__ import annotations

import torch
from torch import Tensor


def dynamic_voxelize_forward(
    points: Tensor, voxel_size: Tensor, coors_range: Tensor, coors: Tensor, NDim: int = 3
) -> None:
    """Fill ``coors`` (N, 3) with each point's voxel index (z, y, x), -1 outside the range.

    Args:
        points: (N, C) with x, y, z first, metres.
        voxel_size: (3,) metres.
        coors_range: (6,) x, y, z minimum, then maximum, metres.
    """
    size = voxel_size.to(points)
    low, high = coors_range.to(points).view(2, NDim)
    grid = torch.round((high - low) / size).to(torch.int)
    index = torch.floor((points[:, :NDim] - low) / size)
    inside = ((index >= 0) & (index < grid)).all(dim=1)
    coors.copy_(torch.where(inside[:, None], index.flip(1), -torch.ones_like(index)))


def hard_voxelize_forward(
    points: Tensor,
    voxel_size: Tensor,
    coors_range: Tensor,
    voxels: Tensor,
    coors: Tensor,
    num_points_per_voxel: Tensor,
    voxel_num: Tensor,
    max_points: int,
    max_voxels: int,
    NDim: int = 3,
    deterministic: bool = True,
) -> None:
    """Group points by voxel, both in the order in which the points come.

    The first ``max_voxels`` voxels that a point opens are kept, and of each the first
    ``max_points`` points; the rest is dropped.

    Args:
        points: (N, C) with x, y, z first, metres.
        voxels: (max_voxels, max_points, C), zero; filled.
        coors: (max_voxels, 3), filled with (z, y, x) indices.
        num_points_per_voxel: (max_voxels,), filled with 1..max_points.
        voxel_num: (), filled with the number of voxels used.
        deterministic: ignored, the result always is.
    """
    index = torch.empty(len(points), NDim, dtype=torch.long, device=points.device)
    dynamic_voxelize_forward(points, voxel_size, coors_range, index, NDim)
    source = torch.nonzero(index[:, 0] >= 0).flatten()
    if not len(source):
        voxel_num.fill_(0)
        return
    index = index[source]
    voxel, order, slot = _group(index)
    keep = (voxel < max_voxels) & (slot < max_points)
    voxel, slot, order = voxel[keep], slot[keep], order[keep]
    voxels[voxel, slot] = points[source[order]]
    opens = slot == 0
    coors[voxel[opens]] = index[order[opens]].to(coors.dtype)
    count = torch.bincount(voxel)
    num_points_per_voxel[: len(count)] = count.to(num_points_per_voxel.dtype)
    voxel_num.fill_(len(count))


def _group(index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number the distinct rows of ``index`` (N, 3) by first appearance and list their members.

    Returns:
        Three (N,) tensors: voxel number, row of ``index`` and place within the voxel, sorted by
        voxel number and place.
    """
    top = index.amax(dim=0) + 1
    key = (index[:, 0] * top[1] + index[:, 1]) * top[2] + index[:, 2]
    key, order = torch.sort(key, stable=True)
    start = torch.ones_like(key, dtype=torch.bool)
    start[1:] = key[1:] != key[:-1]
    group = start.cumsum(0) - 1
    first_place = torch.nonzero(start).flatten()
    slot = torch.arange(len(key), device=key.device) - first_place[group]
    number = torch.empty_like(first_place)
    number[torch.argsort(order[first_place])] = torch.arange(len(first_place), device=key.device)
    return number[group], order, slot
