"""Compiled box geometry, against shapely, brute force and mmdet3d's own loops."""

import numpy as np
import pytest
from shapely.affinity import rotate, translate
from shapely.geometry import box as rectangle

from benchmark.data.box_geometry import collisions, count_above, first_box, free_moves


def make_boxes(rng, count, spread=12.0):
    """Boxes (count, 7) in a square, some of which overlap."""
    return np.column_stack(
        [
            rng.uniform(-spread, spread, (count, 2)),
            rng.uniform(-2, 0, count),
            rng.uniform(0.5, 5, (count, 3)),
            rng.uniform(-7, 7, count),
        ]
    ).astype(np.float32)


def footprint(box):
    x, y, _, length, width, _, yaw = map(float, box)
    shape = rectangle(-length / 2, -width / 2, length / 2, width / 2)
    return translate(rotate(shape, yaw, origin=(0, 0), use_radians=True), x, y)


def inside(points, box):
    """Whether points lie in a box, in the box's own frame."""
    offset = (points[:, 0] - box[0] + 1j * (points[:, 1] - box[1])) * np.exp(-1j * box[6])
    above = points[:, 2] - box[2]
    flat = (abs(offset.real) < box[3] / 2) & (abs(offset.imag) < box[4] / 2)
    return flat & (above > 0) & (above < box[5])


@pytest.mark.parametrize("seed", range(5))
def test_first_box_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    boxes = make_boxes(rng, 25).astype(np.float64)
    points = rng.uniform([-14, -14, -3, 0], [14, 14, 5, 1], (20000, 4))
    masks = np.array([inside(points, box) for box in boxes])
    expected = np.where(masks.any(axis=0), masks.argmax(axis=0), -1)
    assert (masks.sum(axis=0) > 1).any()
    np.testing.assert_array_equal(first_box(points, boxes), expected)


def test_first_box_without_points_or_boxes():
    points, boxes = np.zeros((3, 4), np.float32), np.zeros((2, 7), np.float32)
    assert first_box(points, boxes[:0]).tolist() == [-1, -1, -1]
    assert first_box(points[:0], boxes).shape == (0,)


@pytest.mark.parametrize("seed", range(5))
def test_collisions_against_shapely(seed):
    boxes = make_boxes(np.random.default_rng(seed), 30)
    shapes = [footprint(box) for box in boxes]
    expected = [
        [i != j and a.intersection(b).area > 1e-6 for j, b in enumerate(shapes)]
        for i, a in enumerate(shapes)
    ]
    assert 0 < np.sum(expected) < 30 * 29
    np.testing.assert_array_equal(collisions(boxes), expected)


def test_touching_boxes_do_not_collide_and_equal_ones_do():
    boxes = np.array([[0, 0, 0, 2, 1, 1, 0], [2, 0, 0, 2, 1, 1, 0], [0, 0, 5, 2, 1, 1, 0]], float)
    expected = [[False, False, True], [False, False, False], [True, False, False]]
    assert collisions(boxes).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_collisions_against_mmdet3d(seed):
    from mmdet3d.datasets.transforms.data_augment_utils import box_collision_test
    from mmdet3d.structures.ops.box_np_ops import center_to_corner_box2d

    boxes = make_boxes(np.random.default_rng(seed), 40).astype(np.float64)
    corners = center_to_corner_box2d(boxes[:, :2], boxes[:, 3:5], boxes[:, 6])
    expected = box_collision_test(corners, corners)
    np.fill_diagonal(expected, False)
    np.testing.assert_array_equal(collisions(boxes), expected)


@pytest.mark.parametrize(("seed", "spread"), [(0, 12), (1, 12), (2, 5), (3, 4)])
def test_free_moves_against_mmdet3d(seed, spread, monkeypatch):
    """Its loop as plain Python, around its compiled collision test."""
    from mmdet3d.datasets.transforms import data_augment_utils as theirs
    from mmdet3d.structures.ops import box_np_ops

    corners = box_np_ops.box2d_to_corner_jit.py_func
    monkeypatch.setattr(box_np_ops, "box2d_to_corner_jit", corners)
    monkeypatch.setattr(theirs, "_rotation_box2d_jit_", theirs._rotation_box2d_jit_.py_func)
    rng = np.random.default_rng(seed)
    boxes = make_boxes(rng, 20, spread).astype(np.float64)
    moves = rng.normal(size=(20, 30, 4)) * [2, 2, 0.5, 0.5]
    everyone = np.ones(20, bool)
    flat = np.ascontiguousarray(boxes[:, [0, 1, 3, 4, 6]])
    expected = theirs.noise_per_box.py_func(flat, everyone, moves[..., :3], moves[..., 3])
    assert expected.max() > 0
    np.testing.assert_array_equal(free_moves(boxes, moves), expected)


def test_a_box_without_room_stays():
    wall = np.array([[0, 0, 0, 2, 2, 1, 0], [0, 0, 0, 40, 40, 1, 0]], np.float32)
    assert free_moves(wall, np.zeros((2, 5, 4))).tolist() == [-1, -1]


def test_points_above_the_ground_are_counted_by_each_box_alone():
    rng = np.random.default_rng(5)
    points = rng.uniform([-6, -6, -2], [6, 6, 2], (4000, 3)).astype(np.float32)
    boxes = np.column_stack(
        [rng.uniform(-2, 2, (6, 3)), rng.uniform(0.5, 4, (6, 3)), rng.uniform(-4, 4, 6)]
    )
    inside, around = count_above(points, boxes, 0.3)
    for box, own, near in zip(boxes, inside, around, strict=True):
        x, y, z, length, width, height, yaw = box
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        along, across = np.abs((points[:, :2] - [x, y]) @ turn).T
        up = points[:, 2] - z
        above = (up > min(0.3, height / 4)) & (up < height)
        assert own == (above & (along < length / 2) & (across < width / 2)).sum()
        assert near == (above & (along < length) & (across < width)).sum()
    assert inside.sum() > 100
