"""Augmentation, against mmdet3d's own transforms and as a function of its arguments."""

from dataclasses import replace

import numpy as np
import pytest
from shapely.affinity import rotate, translate
from shapely.geometry import box as rectangle

from benchmark.config.profile import load_profile
from benchmark.data.augment import (
    STEPS,
    GlobalRotation,
    GlobalScaling,
    ObjectNoise,
    ObjectRangeFilter,
    ObjectSample,
    PointsRangeFilter,
    RandomFlip,
    Surroundings,
    augment,
)
from benchmark.data.kitti import KittiDataset
from benchmark.data.objects import Objects, load_objects
from benchmark.data.sample import Sample, frame_generator
from detectors import CLASSES, Grid, operators

GRID = Grid((0, -40, -3, 70.4, 40, 1))
AROUND = Surroundings(GRID)
LAWFUL = {"Car": 15, "Pedestrian": 15, "Cyclist": 15}


class Fixed:
    """A generator whose draws are given: a coin, then uniform numbers."""

    def __init__(self, coin=0.0, values=()):
        self.coin, self.values = coin, list(values)

    def random(self):
        return self.coin

    def uniform(self, low, high):
        return self.values.pop(0)


def make_sample(seed=0, spread=30.0):
    """Six boxes with ten points inside each; the reflectances tell the points apart."""
    rng = np.random.default_rng(seed)
    boxes = np.column_stack(
        [rng.uniform(-spread, spread, (6, 2)), rng.uniform(-2, 0, 6), rng.uniform(1, 4, (6, 3))]
        + [rng.uniform(-np.pi, np.pi, 6)]
    )
    local = rng.uniform([-0.45, -0.45, 0.05], [0.45, 0.45, 0.95], (6, 10, 3)) * boxes[:, None, 3:6]
    plane = (local[..., 0] + 1j * local[..., 1]) * np.exp(1j * boxes[:, None, 6])
    xyz = np.stack([plane.real, plane.imag, local[..., 2]], axis=-1) + boxes[:, None, :3]
    points = np.concatenate([xyz.reshape(-1, 3), rng.random((60, 1))], axis=1)
    labels = np.array([2, 2, 2, 0, 0, 1])
    return Sample(points.astype(np.float32), boxes.astype(np.float32), labels)


@pytest.fixture
def sample():
    return make_sample()


@pytest.fixture(scope="module")
def objects(synthetic_root, cache):
    return load_objects(KittiDataset(synthetic_root, "train"), cache / "objects")


@pytest.fixture(scope="module")
def real(kitti_root, tmp_path_factory):
    """Real frames and their objects."""
    dataset = KittiDataset(kitti_root, "train")
    return dataset, load_objects(dataset, tmp_path_factory.mktemp("objects"))


def inside(points, box):
    offset = (points[:, 0] - box[0] + 1j * (points[:, 1] - box[1])) * np.exp(-1j * box[6])
    above = points[:, 2] - box[2]
    flat = (abs(offset.real) < box[3] / 2) & (abs(offset.imag) < box[4] / 2)
    return flat & (above > 0) & (above < box[5])


def overlap(a, b):
    """Common ground of two boxes in square metres."""
    shapes = []
    for x, y, _, length, width, _, yaw in (map(float, a), map(float, b)):
        shape = rectangle(-length / 2, -width / 2, length / 2, width / 2)
        shapes.append(translate(rotate(shape, yaw, origin=(0, 0), use_radians=True), x, y))
    return shapes[0].intersection(shapes[1]).area


def arrays(sample):
    return sample.points.tobytes(), sample.boxes.tobytes(), sample.labels.tobytes()


def recipe_steps():
    """The augmentation of every family in the kitti profile."""
    return {name: r.augmentation for name, r in load_profile("kitti").recipes.items()}


# The whole


@pytest.mark.parametrize("family", ["pointpillars", "second", "pointrcnn"])
def test_one_frame_in_one_epoch_is_augmented_in_one_way(sample, objects, family):
    steps, around = recipe_steps()[family], Surroundings(GRID, objects)
    before = arrays(sample)
    first = augment(sample, steps, around, 3, 5, "000007")
    np.random.seed(1)  # noqa: NPY002 - global generators must not matter
    augment(sample, steps, around, 3, 6, "000007")
    assert arrays(augment(sample, steps, around, 3, 5, "000007")) == arrays(first)
    assert arrays(sample) == before
    keys = [(3, 6, "000007"), (4, 5, "000007"), (3, 5, "000008")]
    others = [arrays(augment(sample, steps, around, *key)) for key in keys]
    assert len({arrays(first), *others}) == 4
    assert first.points.dtype == first.boxes.dtype == np.float32
    assert len(first.boxes) == len(first.labels) > 0


@pytest.mark.parametrize("epoch", range(4))
def test_points_stay_in_their_boxes(sample, epoch):
    steps = (ObjectNoise(), RandomFlip(), GlobalRotation(), GlobalScaling())
    moved = augment(sample, steps, AROUND, 0, epoch, "000007")
    for before, after in zip(sample.boxes, moved.boxes, strict=True):
        marks = set(sample.points[inside(sample.points, before), 3])
        assert len(marks) >= 10
        assert marks <= set(moved.points[inside(moved.points, after), 3])


@pytest.mark.parametrize("family", ["pointpillars", "second", "pointrcnn"])
def test_frames_without_points_or_objects(objects, family):
    empty = Sample(
        np.empty((0, 4), np.float32), np.empty((0, 7), np.float32), np.empty(0, np.int64)
    )
    for around in (Surroundings(GRID, objects), Surroundings(GRID, objects.of_frames(0))):
        moved = augment(empty, recipe_steps()[family], around, 0, 0, "000000")
        assert moved.points.shape[1:] == (4,)
        assert moved.boxes.shape == (len(moved.labels), 7)


def test_point_detectors_get_their_number_of_points(sample, objects):
    around = Surroundings(replace(GRID, num_points=256, sample_range=40.0), objects)
    moved = augment(sample, recipe_steps()["pointrcnn"], around, 0, 0, "000000")
    assert moved.points.shape == (256, 4)


# Flip, rotation, scale, range


@pytest.mark.parametrize("flip", [False, True])
def test_moving_the_scene_is_that_of_mmdet3d(sample, flip):
    operators.install()
    from mmdet3d.datasets.transforms import GlobalRotScaleTrans, RandomFlip3D
    from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints

    angle, scale = 0.6, 1.04
    data = {
        "points": LiDARPoints(sample.points.copy(), points_dim=4),
        "gt_bboxes_3d": LiDARInstance3DBoxes(sample.boxes.copy()),
    }
    ratio = float(flip)
    data = RandomFlip3D(sync_2d=False, flip_ratio_bev_horizontal=ratio).transform(data)
    turn = GlobalRotScaleTrans(rot_range=[angle, angle], scale_ratio_range=[scale, scale])
    data = turn.transform(data)
    generator = Fixed(0.4 if flip else 0.6, [angle, scale])
    moved = sample
    for step in (RandomFlip(), GlobalRotation(), GlobalScaling()):
        moved = step(moved, generator, AROUND)
    np.testing.assert_allclose(moved.points, data["points"].tensor.numpy(), atol=1e-5)
    np.testing.assert_allclose(moved.boxes, data["gt_bboxes_3d"].tensor.numpy(), atol=1e-5)


def test_the_law_of_the_draws():
    place = np.array([[10.0, 0, 0, 0]], np.float32)
    empty = Sample(place, np.empty((0, 7), np.float32), np.empty(0, np.int64))

    def moved(step):
        points = [step(empty, frame_generator(0, i, "000000"), AROUND).points for i in range(2000)]
        return np.concatenate(points).astype(float)

    turned, scaled = moved(GlobalRotation()), moved(GlobalScaling())
    angles, factors = np.arctan2(turned[:, 1], turned[:, 0]), scaled[:, 0] / 10
    for values, low, high in ((angles, -np.pi / 4, np.pi / 4), (factors, 0.95, 1.05)):
        assert low - 1e-6 <= values.min() < values.max() <= high + 1e-6
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
        assert values.std() == pytest.approx((high - low) / np.sqrt(12), rel=0.05)
    place[0, 1] = 1
    assert np.mean(moved(RandomFlip())[:, 1] < 0) == pytest.approx(0.5, abs=0.04)
    assert np.mean(moved(RandomFlip(0.2))[:, 1] < 0) == pytest.approx(0.2, abs=0.04)


def test_ranges_are_those_of_mmdet3d(sample):
    operators.install()
    from mmdet3d.datasets import transforms
    from mmdet3d.structures import LiDARInstance3DBoxes

    boxes = make_sample(3, spread=80.0)
    data = {
        "gt_bboxes_3d": LiDARInstance3DBoxes(boxes.boxes.copy()),
        "gt_labels_3d": boxes.labels.copy(),
    }
    data = transforms.ObjectRangeFilter(list(GRID.point_cloud_range)).transform(data)
    kept = ObjectRangeFilter()(boxes, np.random.default_rng(0), AROUND)
    assert 0 < len(kept.boxes) < 6
    np.testing.assert_array_equal(kept.boxes[:, :6], data["gt_bboxes_3d"].tensor.numpy()[:, :6])
    np.testing.assert_array_equal(kept.labels, data["gt_labels_3d"])
    cropped = PointsRangeFilter()(sample, np.random.default_rng(0), AROUND)
    low, high = np.array(GRID.point_cloud_range).reshape(2, 3)
    inside_range = ((sample.points[:, :3] > low) & (sample.points[:, :3] < high)).all(axis=1)
    np.testing.assert_array_equal(cropped.points, sample.points[inside_range])


# Objects of other frames


def test_pasted_objects_fill_the_frame_up(real):
    dataset, objects = real
    paste = ObjectSample(LAWFUL, {"Car": 5, "Pedestrian": 10, "Cyclist": 10})
    pasted = 0
    for position in range(0, len(dataset), 12):
        frame = Sample.of(dataset.frame(position))
        filled = paste(frame, frame_generator(0, 0, str(position)), Surroundings(GRID, objects))
        old = len(frame.boxes)
        np.testing.assert_array_equal(filled.boxes[:old], frame.boxes)
        new, names = filled.boxes[old:], filled.labels[old:]
        pasted += len(new)
        for label, name in enumerate(CLASSES):
            before = int((frame.labels == label).sum())
            assert int((names == label).sum()) <= max(LAWFUL[name] - before, 0)
        for i, box in enumerate(new):
            others = [*frame.boxes, *np.delete(new, i, axis=0)]
            assert max((overlap(box, other) for other in others), default=0) < 1e-6
        check_points(frame, filled, new, names, objects)
    assert pasted > 100


def check_points(frame, filled, new, names, objects):
    """Exactly the objects' own points in pasted boxes, the frame's points elsewhere."""
    expected = []
    for box, label in zip(new, names, strict=True):
        match = (objects.boxes == box).all(axis=1) & (objects.labels == label)
        index = int(np.flatnonzero(match)[0])
        assert objects.difficulty[index] >= 0
        assert objects.counts[index] >= (5 if label == 2 else 10)
        expected.append(objects.points_of(index))
    hidden = np.zeros(len(frame.points), bool)
    for box in new.astype(np.float64):
        hidden |= inside(frame.points.astype(np.float64), box)
    expected.append(frame.points[~hidden])
    np.testing.assert_array_equal(filled.points, np.concatenate(expected))


@pytest.mark.parametrize("seed", range(6))
def test_room_is_found_as_in_mmdet3d(seed):
    """The boxes that its sample_class_v2 accepts of the same candidates, class by class."""
    operators.install()
    from mmdet3d.datasets.transforms.dbsampler import DataBaseSampler

    rng = np.random.default_rng(seed)
    count = 40
    boxes = np.column_stack(
        [rng.uniform(-15, 15, (count, 2)), np.zeros(count), rng.uniform(1, 5, (count, 3))]
        + [rng.uniform(-4, 4, count)]
    ).astype(np.float32)
    labels = rng.permutation(np.repeat([2, 1], count // 2))
    frame = Sample(np.empty((0, 4), np.float32), boxes[:4], np.array([2, 2, 1, 0]))
    objects = Objects(
        np.empty((0, 4), np.float32), np.zeros(36, int), boxes[4:], labels[4:],
        np.zeros(36, int), np.arange(36),
    )  # fmt: skip
    chosen = []

    class Recorder:
        """The generator of the step under test, and what it chose."""

        def choice(self, candidates, size, replace):
            assert not replace
            chosen.append(rng.choice(candidates, size, replace=False))
            return chosen[-1]

    filled = ObjectSample({"Car": 12, "Cyclist": 9}, {})(
        frame, Recorder(), Surroundings(GRID, objects)
    )
    assert [len(each) for each in chosen] == [10, 8]

    class Drawn:
        def __init__(self, indices):
            self.indices = indices

        def sample(self, num):
            return [{"box3d_lidar": objects.boxes[i]} for i in self.indices]

    sampler = DataBaseSampler.__new__(DataBaseSampler)
    sampler.sampler_dict = {"Car": Drawn(chosen[0]), "Cyclist": Drawn(chosen[1])}
    there = frame.boxes
    for name, indices in (("Car", chosen[0]), ("Cyclist", chosen[1])):
        accepted = sampler.sample_class_v2(name, len(indices), there)
        there = np.concatenate([there, *(o["box3d_lidar"][None] for o in accepted)])
    assert 4 < len(there) < 22
    np.testing.assert_array_equal(filled.boxes, there)


def test_every_usable_object_is_drawn_equally_often(real):
    _, objects = real
    empty = Sample(
        np.empty((0, 4), np.float32), np.empty((0, 7), np.float32), np.empty(0, np.int64)
    )
    paste = ObjectSample({"Cyclist": 1}, {"Cyclist": 5})
    usable = objects.usable(1, 5)
    seen = {tuple(objects.boxes[i]): 0 for i in usable}
    for i in range(60 * len(seen)):
        (box,) = paste(empty, frame_generator("draw", i), Surroundings(GRID, objects)).boxes
        seen[tuple(box)] += 1
    # Chi-squared of a uniform law has mean k - 1 and variance 2 (k - 1).
    k = len(seen)
    deviation = sum((n - 60) ** 2 / 60 for n in seen.values())
    assert abs(deviation - (k - 1)) < 4 * np.sqrt(2 * (k - 1))


def test_pasting_needs_objects(sample):
    with pytest.raises(ValueError, match="needs the objects of the training frames"):
        ObjectSample(LAWFUL, {})(sample, np.random.default_rng(0), AROUND)


# Objects by themselves


def test_shaken_objects_do_not_collide(real):
    dataset, objects = real
    around = Surroundings(GRID, objects)
    paste, shake = ObjectSample(LAWFUL, {}), ObjectNoise()
    frame = paste(Sample.of(dataset.frame(0)), np.random.default_rng(0), around)
    moved = shake(frame, np.random.default_rng(1), around)
    np.testing.assert_array_equal(moved.boxes[:, 3:6], frame.boxes[:, 3:6])
    assert (moved.boxes[:, :2] != frame.boxes[:, :2]).all(axis=1).mean() > 0.9
    for i, box in enumerate(moved.boxes):
        assert max(overlap(box, other) for other in moved.boxes[:i]) < 1e-6 if i else True


def test_points_move_with_their_first_box_only():
    """Written out point by point: turn about the box's centre, then shift."""
    sample = make_sample(2, spread=4.0)
    shaken = ObjectNoise(tries=30)(sample, np.random.default_rng(5), AROUND)
    move = shaken.boxes.astype(float) - sample.boxes
    assert np.abs(move).max() > 0.5
    for before, after in zip(sample.points.astype(float), shaken.points, strict=True):
        owners = [i for i, box in enumerate(sample.boxes) if inside(before[None], box)[0]]
        expected = before[:3].copy()
        if owners:
            centre, turn = sample.boxes[owners[0], :2].astype(float), move[owners[0], 6]
            matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            expected[:2] = matrix @ (before[:2] - centre) + centre
            expected += move[owners[0], :3]
        np.testing.assert_allclose(after[:3], expected, atol=1e-5)
        assert after[3] == np.float32(before[3])


def test_the_law_of_shaking():
    """A lone box takes its first move: normal shifts and uniform turns."""
    box = np.array([[10, 0, -1, 4, 2, 1.5, 0.3]], np.float32)
    lone = Sample(np.empty((0, 4), np.float32), box, np.array([2]))
    shake = ObjectNoise((1.0, 2.0, 0.5), (-0.5, 0.7), tries=2)
    moves = np.concatenate(
        [shake(lone, frame_generator("s", i), AROUND).boxes - box for i in range(3000)]
    )
    np.testing.assert_allclose(moves[:, :3].mean(axis=0), 0, atol=0.12)
    np.testing.assert_allclose(moves[:, :3].std(axis=0), [1, 2, 0.5], rtol=0.05)
    np.testing.assert_allclose([moves[:, 6].min(), moves[:, 6].max()], [-0.5, 0.7], atol=0.01)
    assert moves[:, 6].std() == pytest.approx(1.2 / np.sqrt(12), rel=0.05)


def test_every_step_has_its_name():
    assert {name: step.name for name, step in STEPS.items()} == {name: name for name in STEPS}
