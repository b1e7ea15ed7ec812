"""Augmentation, against mmdet3d's own transforms and as a function of its arguments."""

import numpy as np
import pytest

from benchmark.data.augment import Motion, apply, augment, draw, frame_generator
from detectors import operators


@pytest.fixture
def frame():
    """Points (60, 4), ten inside each of six boxes (6, 7)."""
    rng = np.random.default_rng(0)
    boxes = np.column_stack(
        [rng.uniform(-30, 30, (6, 2)), rng.uniform(-2, 0, 6), rng.uniform(1, 4, (6, 3))]
        + [rng.uniform(-np.pi, np.pi, 6)]
    )
    local = rng.uniform([-0.49, -0.49, 0.01], [0.49, 0.49, 0.99], (6, 10, 3)) * boxes[:, None, 3:6]
    plane = (local[..., 0] + 1j * local[..., 1]) * np.exp(1j * boxes[:, None, 6])
    xyz = np.stack([plane.real, plane.imag, local[..., 2]], axis=-1) + boxes[:, None, :3]
    points = np.concatenate([xyz.reshape(-1, 3), rng.random((60, 1))], axis=1)
    return points.astype(np.float32), boxes.astype(np.float32)


def _inside(points, box):
    offset = (points[:, 0] - box[0] + 1j * (points[:, 1] - box[1])) * np.exp(-1j * box[6])
    above = points[:, 2] - box[2]
    flat = (abs(offset.real) <= box[3] / 2) & (abs(offset.imag) <= box[4] / 2)
    return flat & (above >= 0) & (above <= box[5])


@pytest.mark.parametrize("epoch", range(8))
def test_points_stay_in_their_boxes(frame, epoch):
    points, boxes = frame
    moved, moved_boxes = augment(points, boxes, seed=0, epoch=epoch, frame_id="000007")
    assert moved.dtype == moved_boxes.dtype == np.float32
    for box, moved_box in zip(boxes, moved_boxes, strict=True):
        before, after = points[_inside(points, box), 3], moved[_inside(moved, moved_box), 3]
        assert len(before) >= 10
        # The reflectances tell the points apart.
        assert sorted(before) == sorted(after)


def test_the_input_is_left_alone(frame):
    points, boxes = frame[0].copy(), frame[1].copy()
    augment(*frame, seed=0, epoch=1, frame_id="000007")
    np.testing.assert_array_equal(frame[0], points)
    np.testing.assert_array_equal(frame[1], boxes)


def test_one_frame_in_one_epoch_is_moved_in_one_way(frame):
    first = augment(*frame, seed=3, epoch=5, frame_id="000007")
    np.random.seed(1)  # noqa: NPY002 - global generators must not matter
    again = augment(*frame, seed=3, epoch=5, frame_id="000007")
    for a, b in zip(first, again, strict=True):
        assert a.tobytes() == b.tobytes()


def test_seeds_epochs_and_frames_differ():
    keys = [(s, e, f) for s in range(3) for e in range(12) for f in ("000001", "000002", "1")]
    assert len({draw(frame_generator(*key)) for key in keys}) == len(keys)


def test_the_law_of_the_draws():
    motions = [draw(frame_generator(0, epoch, "000000")) for epoch in range(2000)]
    rotations = np.array([motion.rotation for motion in motions])
    scales = np.array([motion.scale for motion in motions])
    assert np.mean([motion.flip for motion in motions]) == pytest.approx(0.5, abs=0.05)
    for values, low, high in ((rotations, -np.pi / 4, np.pi / 4), (scales, 0.95, 1.05)):
        assert low <= values.min() < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
        assert values.std() == pytest.approx((high - low) / np.sqrt(12), rel=0.05)


def test_frames_without_points_or_boxes():
    points, boxes = np.empty((0, 4), np.float32), np.empty((0, 7), np.float32)
    moved, moved_boxes = augment(points, boxes, 0, 0, "000000")
    assert moved.shape == (0, 4)
    assert moved_boxes.shape == (0, 7)


@pytest.mark.parametrize("flip", [False, True])
def test_agreement_with_mmdet3d(frame, flip):
    operators.install()
    from mmdet3d.datasets.transforms import GlobalRotScaleTrans, RandomFlip3D
    from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints

    angle, scale = 0.6, 1.04
    data = {
        "points": LiDARPoints(frame[0].copy(), points_dim=4),
        "gt_bboxes_3d": LiDARInstance3DBoxes(frame[1].copy()),
    }
    ratio = float(flip)
    data = RandomFlip3D(sync_2d=False, flip_ratio_bev_horizontal=ratio).transform(data)
    turn = GlobalRotScaleTrans(rot_range=[angle, angle], scale_ratio_range=[scale, scale])
    data = turn.transform(data)
    points, boxes = apply(*frame, Motion(flip, angle, scale))
    np.testing.assert_allclose(points, data["points"].tensor.numpy(), atol=1e-5)
    np.testing.assert_allclose(boxes, data["gt_bboxes_3d"].tensor.numpy(), atol=1e-5)
