"""Voxelization against a loop over the points."""

import math

import mmcv.ops
import numpy as np
import pytest
import torch

from detectors.operators.voxels import hard_voxels

RANGE = (0.0, -4.0, -1.0, 8.0, 4.0, 1.0)


def cloud(n, seed=0):
    generator = np.random.default_rng(seed)
    return generator.uniform(-1, 9, (n, 4)).astype(np.float32) * [1, 1, 0.3, 1] - [0, 4, 1, 0]


def loop(points, size, max_points, max_voxels):
    """Voxels in order of their first point: {(z, y, x): points}."""
    voxels = {}
    low, high = np.float32(RANGE[:3]), np.float32(RANGE[3:])
    grid = [round((h - lo) / s) for lo, h, s in zip(low, high, size, strict=True)]
    for point in points.astype(np.float32):
        cell = [
            math.floor((p - lo) / np.float32(s))
            for p, lo, s in zip(point[:3], low, size, strict=True)
        ]
        if any(c < 0 or c >= g for c, g in zip(cell, grid, strict=True)):
            continue
        key = tuple(reversed(cell))
        if key not in voxels and len(voxels) == max_voxels:
            continue
        members = voxels.setdefault(key, [])
        if len(members) < max_points:
            members.append(point)
    return voxels


@pytest.mark.parametrize(
    ("size", "max_points", "max_voxels"),
    [((0.5, 0.5, 2.0), 5, 1000), ((0.5, 0.25, 0.5), 3, 200), ((4.0, 4.0, 2.0), 32, 3)],
)
def test_hard_voxelization_equals_a_loop(size, max_points, max_voxels):
    points = cloud(2000)
    layer = mmcv.ops.Voxelization(size, RANGE, max_points, max_voxels)
    voxels, coordinates, counts = layer(torch.from_numpy(points).float())
    expected = loop(points, size, max_points, max_voxels)
    assert [tuple(c) for c in coordinates.tolist()] == list(expected)
    assert counts.tolist() == [len(members) for members in expected.values()]
    for voxel, members in zip(voxels.numpy(), expected.values(), strict=True):
        np.testing.assert_array_equal(voxel[: len(members)], members)
        assert not voxel[len(members) :].any()


def test_dynamic_voxelization_locates_every_point():
    points = cloud(500, seed=1)
    layer = mmcv.ops.Voxelization((0.5, 0.5, 2.0), RANGE, max_num_points=-1)
    found = layer(torch.from_numpy(points).float()).tolist()
    for row, point in zip(found, points, strict=True):
        alone = list(loop(point[None], (0.5, 0.5, 2.0), 1, 1))
        assert tuple(row) == (alone[0] if alone else (-1, -1, -1))


@pytest.mark.parametrize("points", [torch.zeros(0, 4), torch.full((3, 4), 100.0)])
def test_no_point_in_range_gives_no_voxel(points):
    layer = mmcv.ops.Voxelization((0.5, 0.5, 2.0), RANGE, 5, 100)
    assert [len(part) for part in layer(points)] == [0, 0, 0]


@pytest.mark.parametrize("max_voxels", [1000, 150])
def test_frames_together_are_frames_one_by_one(max_voxels):
    size, frames = (0.5, 0.5, 0.5), [cloud(n, seed=n) for n in (900, 40, 1500)]
    points = [torch.from_numpy(frame).float() for frame in frames]
    points.insert(1, torch.zeros(0, 4))
    limits = torch.tensor(RANGE)
    voxels, cells, counts = hard_voxels(points, torch.tensor(size), limits, 3, max_voxels)
    for frame, alone in enumerate(points):
        expected = loop(alone.numpy(), size, 3, max_voxels)
        own = cells[:, 0] == frame
        assert [tuple(cell) for cell in cells[own, 1:].tolist()] == list(expected)
        assert counts[own].tolist() == [len(members) for members in expected.values()]
        for voxel, members in zip(voxels[own].numpy(), expected.values(), strict=True):
            np.testing.assert_array_equal(voxel[: len(members)], members)
            assert not voxel[len(members) :].any()
    assert (cells[:, 0].diff() >= 0).all()
