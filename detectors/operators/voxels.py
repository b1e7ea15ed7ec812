"""Voxelization: points to a sparse grid, as mmcv's deterministic operator does it.

All frames of a batch at once: on a graphics card some fifty small operations instead of ninety a
frame.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    found = hard_voxels([points], voxel_size, coors_range, max_points, max_voxels)
    count = len(found[0])
    voxels[:count], coors[:count], num_points_per_voxel[:count] = (
        found[0],
        found[1][:, 1:],
        found[2],
    )
    voxel_num.fill_(count)


def hard_voxels(
    points: Sequence[Tensor], size: Tensor, limits: Tensor, max_points: int, max_voxels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Group the points of several frames by voxel, both in the order in which the points come.

    Args:
        points: (N, C) of each frame, with x, y, z first, metres.
        size: (3,) metres.
        limits: (6,) x, y, z minimum, then maximum, metres.
        max_points: first ones of each voxel that are kept.
        max_voxels: first ones of each frame that are kept.

    Returns:
        (V, max_points, C) points, filled up with zeros; (V, 4) frame, z, y, x index; (V,) number of
        points: the voxels of all frames, one frame after the other.
    """
    every, counts = torch.cat(list(points)), torch.tensor([len(frame) for frame in points])
    frame = torch.arange(len(points)).repeat_interleave(counts).to(every.device)
    cells = torch.empty(len(every), 3, dtype=torch.long, device=every.device)
    dynamic_voxelize_forward(every, size, limits, cells)
    inside = torch.nonzero(cells[:, 0] >= 0).flatten()
    index = torch.cat([frame[:, None], cells], dim=1)[inside]
    number, order, slot = _group(index)
    frame = index[order, 0]
    opened = torch.bincount(frame[slot == 0], minlength=len(points))
    kept = opened.clamp(max=max_voxels)
    number = number - (opened.cumsum(0) - opened)[frame]  # within the frame
    keep = (number < max_voxels) & (slot < max_points)
    number = (number + (kept.cumsum(0) - kept)[frame])[keep]
    slot, order = slot[keep], order[keep]
    voxels = every.new_zeros(int(kept.sum()), max_points, every.shape[1])
    voxels[number, slot] = every[inside[order]]
    opens = slot == 0
    places = torch.empty(len(voxels), 4, dtype=torch.int, device=every.device)
    places[number[opens]] = index[order[opens]].int()
    return voxels, places, torch.bincount(number, minlength=len(voxels)).int()


def _group(index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number the distinct rows of ``index`` (N, 4) by first appearance and list their members.

    Returns:
        Three (N,) tensors: voxel number, row of ``index`` and place within the voxel, sorted by
        voxel number and place.
    """
    if not len(index):
        return (index[:, 0],) * 3
    top = index.amax(dim=0) + 1
    key = index[:, 0]
    for axis in range(1, index.shape[1]):
        key = key * top[axis] + index[:, axis]
    key, order = torch.sort(key, stable=True)
    start = torch.ones_like(key, dtype=torch.bool)
    start[1:] = key[1:] != key[:-1]
    group = start.cumsum(0) - 1
    first_place = torch.nonzero(start).flatten()
    slot = torch.arange(len(key), device=key.device) - first_place[group]
    number = torch.empty_like(first_place)
    number[torch.argsort(order[first_place])] = torch.arange(len(first_place), device=key.device)
    return number[group], order, slot
