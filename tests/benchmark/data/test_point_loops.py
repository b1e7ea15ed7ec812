"""Compiled loops over points, to the bit against numpy's expressions."""

import numpy as np
import pytest

from benchmark.data.calibration import Calibration
from benchmark.data.kitti import crop_to_image
from benchmark.data.point_loops import carry, first_unusable, rows_where, rows_within, turn


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    return rng.normal(scale=[20, 20, 1, 0.3], size=(5000, 4)).astype(np.float32)


def test_points_on_a_side_are_outside(points):
    low, high = points[7, :3] - [0, 1, 1], points[7, :3] + [9, 9, 9]
    expected = points[((points[:, :3] > low) & (points[:, :3] < high)).all(axis=1)]
    assert rows_within(points, low, high).tobytes() == expected.tobytes()
    numbers = np.arange(5000) % 7
    assert rows_where(points, numbers, 3).tobytes() == points[numbers == 3].tobytes()


@pytest.mark.parametrize(
    ("column", "value"), [(0, np.nan), (2, np.inf), (3, -0.1), (3, 1.5), (3, np.nan)]
)
def test_the_first_unusable_point_is_found(points, column, value):
    points[:, 3] = 0.5
    assert first_unusable(points) == -1
    points[[40, 4000], column] = value
    assert first_unusable(points) == 40


def test_a_crop_keeps_what_the_exact_projection_does():
    """Also at the image's edges and for a camera that looks another way."""
    rng = np.random.default_rng(1)
    points = rng.uniform([-50, -50, -50, 0], [50, 50, 50, 1], (20000, 4)).astype(np.float32)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    p2 = np.array([[700.0, 0, 600, 40], [0, 700, 180, 1], [0, 0, 1, 0.01]])
    camera = Calibration(p2, np.eye(3), np.column_stack([rotation, [0.1, -0.2, 0.3]]))
    u, v, depth = camera.project_lidar(points[:, :3].astype(np.float64)).T
    inside = (u > 0) & (u < 1242) & (v > 0) & (v < 375) & (depth > 0.001) & (depth < 100)
    assert 100 < inside.sum() < 10000
    assert crop_to_image(points, camera, (1242, 375)).tobytes() == points[inside].tobytes()


def test_points_turn_and_move_in_double_precision(points):
    rng = np.random.default_rng(2)
    owner, centres = rng.integers(-1, 4, 5000), rng.normal(size=(4, 2))
    move, angle = rng.normal(size=(4, 3)), rng.uniform(-3, 3, 4)
    expected = points.copy()
    held = owner >= 0
    box = owner[held]
    x, y = (points[held, :2] - centres[box]).T
    cos, sin = np.cos(angle)[box], np.sin(angle)[box]
    expected[held, :2] = (
        np.stack([cos * x - sin * y, sin * x + cos * y], 1) + centres[box] + move[box, :2]
    )
    expected[held, 2] += move[box, 2]
    moved = points.copy()
    carry(moved, owner, centres, move, np.cos(angle), np.sin(angle))
    assert moved.tobytes() == expected.tobytes()
    turned = points.copy()
    turn(turned, np.cos(0.3), np.sin(0.3))
    x, y = points[:, :2].T.astype(np.float64)
    expected = points.copy()
    expected[:, 0] = np.cos(0.3) * x - np.sin(0.3) * y
    expected[:, 1] = np.sin(0.3) * x + np.cos(0.3) * y
    assert turned.tobytes() == expected.tobytes()
