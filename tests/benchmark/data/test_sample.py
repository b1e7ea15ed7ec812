"""Samples: what is cut off and which points a point detector reads."""

import numpy as np
import pytest

from benchmark.data.kitti import KittiDataset
from benchmark.data.sample import (
    Sample,
    as_evaluated,
    draw_points,
    frame_generator,
    points_in_range,
)
from detectors import CLASSES, Grid, operators

GRID = Grid((0, -40, -3, 70.4, 40, 1), num_points=500, sample_range=40.0)


def scene(count, seed=0):
    """Points (count, 4) of which a few are far; the last column tells them apart."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([0, -40, -3], [70, 40, 1], (count, 3)) * rng.random((count, 1))
    return np.column_stack([points, np.arange(count)]).astype(np.float32)


def test_a_sample_keeps_the_benchmarks_classes(synthetic_root):
    for index in range(3):
        frame = KittiDataset(synthetic_root, "train").frame(index)
        sample = Sample.of(frame)
        known = [name for name in frame.names if name in CLASSES]
        assert [CLASSES[label] for label in sample.labels] == known
        assert len(sample.boxes) == len(known)


def test_cropping_is_that_of_mmdet3d():
    operators.install()
    from mmdet3d.datasets.transforms import PointsRangeFilter
    from mmdet3d.structures import LiDARPoints

    points = np.random.default_rng(0).uniform(-90, 90, (5000, 4)).astype(np.float32)
    points[:, 2] /= 20
    points[:3, :3] = [[0, 0, 0], [70.4, 0, 0], [5, 5, -3]]
    crop = PointsRangeFilter(list(GRID.point_cloud_range))
    expected = crop.transform({"points": LiDARPoints(points, points_dim=4)})["points"]
    np.testing.assert_array_equal(points_in_range(points, GRID), expected.tensor.numpy())


@pytest.mark.parametrize("count", [500, 501, 3000])
def test_enough_points_are_drawn_once_each_far_ones_first(count):
    points = scene(count)
    drawn = draw_points(points, GRID, np.random.default_rng(1))
    assert drawn.shape == (500, 4)
    assert len(set(drawn[:, 3])) == 500
    far = points[np.linalg.norm(points[:, :3], axis=1) >= 40, 3]
    assert 0 < len(far) < 500
    assert set(far) <= set(drawn[:, 3])


def test_more_far_points_than_wanted():
    points = scene(4000)
    points[:1000, 0] += 50
    drawn = draw_points(points, GRID, np.random.default_rng(1))
    assert len(set(drawn[:, 3])) == 500
    assert (np.linalg.norm(drawn[:, :3], axis=1) >= 40).all()


def test_too_few_points_are_drawn_with_replacement():
    points = scene(100)
    drawn = draw_points(points, GRID, np.random.default_rng(1))
    assert drawn.shape == (500, 4)
    assert set(drawn[:, 3]) <= set(range(100))
    # Independent draws: a share of 1 - (1 - 1/n)^k of the points is drawn at all.
    assert len(set(drawn[:, 3])) == pytest.approx(100 * (1 - 0.99**500), abs=2)


def test_a_frame_without_points_gets_one_in_the_middle():
    drawn = draw_points(np.empty((0, 4), np.float32), GRID, np.random.default_rng(0))
    np.testing.assert_allclose(drawn, np.tile([35.2, 0, -1, 0], (500, 1)), rtol=1e-6)


def test_detectors_that_read_all_points_get_them_all():
    points = scene(100)
    assert draw_points(points, Grid(GRID.point_cloud_range), np.random.default_rng(0)) is points


@pytest.mark.parametrize("count", [300, 1500])
def test_the_law_of_the_draw_is_that_of_mmdet3d(count):
    """How often near and far points are drawn, over many draws of both."""
    operators.install()
    from mmdet3d.datasets.transforms import PointSample
    from mmdet3d.structures import LiDARPoints

    points = scene(count)
    transform = PointSample(500, sample_range=40.0)
    ours, theirs = np.zeros(count), np.zeros(count)
    first, theirs_first = np.zeros(count), np.zeros(count)
    np.random.seed(0)  # noqa: NPY002 - mmdet3d draws from it
    for i in range(300):
        drawn = draw_points(points, GRID, frame_generator("draw", i))[:, 3].astype(int)
        other = transform.transform({"points": LiDARPoints(points, points_dim=4)})["points"]
        other = other.tensor[:, 3].numpy().astype(int)
        np.add.at(ours, drawn, 1 / 300)
        np.add.at(theirs, other, 1 / 300)
        first[drawn[0]] += 1
        theirs_first[other[0]] += 1
    far = np.linalg.norm(points[:, :3], axis=1) >= 40
    for mask in (far, ~far):
        assert ours[mask].mean() == pytest.approx(theirs[mask].mean(), rel=0.02)
        assert ours[mask].std() == pytest.approx(theirs[mask].std(), rel=0.15, abs=1e-6)
    assert first[far].sum() == pytest.approx(theirs_first[far].sum(), abs=30)


def test_evaluation_draws_the_same_points_every_time(synthetic_root):
    dataset = KittiDataset(synthetic_root, "val")
    one, other = dataset.frame(0), dataset.frame(1)
    first = as_evaluated(one, GRID)
    assert first.points.tobytes() == as_evaluated(one, GRID).points.tobytes()
    assert first.points.shape == as_evaluated(other, GRID).points.shape == (500, 4)
    whole = as_evaluated(one, Grid(GRID.point_cloud_range))
    np.testing.assert_array_equal(whole.points, points_in_range(one.points, GRID))


def test_generators_of_different_keys_differ():
    keys = [(s, e, f) for s in range(3) for e in range(12) for f in ("000001", "000002", "1")]
    assert len({frame_generator(*key).random() for key in keys}) == len(keys)
    assert frame_generator(1, 2, "x").random() == frame_generator(1, 2, "x").random()
