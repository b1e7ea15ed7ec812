"""The objects of a split: their points by brute force, and the file that keeps them."""

import numpy as np
import pytest

from benchmark.data.errors import DataError
from benchmark.data.kitti import KittiDataset
from benchmark.data.labels import Labels
from benchmark.data.objects import Objects, collect, difficulties, load_objects
from detectors import CLASSES


def inside(points, box):
    offset = (points[:, 0] - box[0] + 1j * (points[:, 1] - box[1])) * np.exp(-1j * box[6])
    above = points[:, 2] - box[2]
    flat = (abs(offset.real) < box[3] / 2) & (abs(offset.imag) < box[4] / 2)
    return flat & (above > 0) & (above < box[5])


def check(objects, dataset, positions):
    """Every object of some frames, in order, with exactly the points in its box."""
    for position in positions:
        frame = dataset.frame(position)
        known = np.isin(frame.names, CLASSES)
        mine = np.flatnonzero(objects.frames == position)
        assert [CLASSES[label] for label in objects.labels[mine]] == frame.names[known].tolist()
        np.testing.assert_array_equal(objects.boxes[mine], frame.boxes[known])
        for index in mine:
            box = objects.boxes[index].astype(np.float64)
            expected = frame.points[inside(frame.points.astype(np.float64), box)]
            np.testing.assert_array_equal(objects.points_of(index), expected)
            assert objects.counts[index] == len(expected)


def test_objects_of_the_built_in_set(synthetic_root):
    dataset = KittiDataset(synthetic_root, "train")
    objects = collect(dataset)
    check(objects, dataset, range(len(dataset)))
    assert objects.ends[-1] == len(objects.points) > 0


def test_objects_of_real_frames(kitti_root, tmp_path):
    dataset = KittiDataset(kitti_root, "train")
    objects = load_objects(dataset, tmp_path)
    check(objects, dataset, range(0, len(dataset), 9))
    assert set(objects.frames) <= set(range(len(dataset)))
    assert {len(objects.usable(label, 1)) > 0 for label in range(3)} == {True}


def test_they_are_kept_and_read_back(synthetic_root, tmp_path, capsys):
    dataset = KittiDataset(synthetic_root, "train")
    first = load_objects(dataset, tmp_path / "a" / "b")
    assert "collecting the objects of 6 training frames" in capsys.readouterr().out
    again = load_objects(dataset, tmp_path / "a" / "b")
    assert capsys.readouterr().out == ""
    for name in Objects.__dataclass_fields__:
        one, other = getattr(first, name), getattr(again, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_the_file_of_other_data_and_damaged_files_are_refused(synthetic_root, tmp_path):
    train, val = (KittiDataset(synthetic_root, split) for split in ("train", "val"))
    load_objects(val, tmp_path)
    wrong = tmp_path / f"{train.fingerprint()}.npz"
    (tmp_path / f"{val.fingerprint()}.npz").rename(wrong)
    with pytest.raises(DataError, match=f"holds the objects of data {val.fingerprint()}, not"):
        load_objects(train, tmp_path)
    for content in (b"", wrong.read_bytes()[:-100], b"not a file of ours"):
        wrong.write_bytes(content)
        with pytest.raises(DataError, match="remove the file and it will be rebuilt"):
            load_objects(train, tmp_path)


def test_pickles_are_never_loaded(synthetic_root, tmp_path):
    dataset = KittiDataset(synthetic_root, "train")
    evil = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / f"{dataset.fingerprint()}.npz", fingerprint=evil)
    with pytest.raises(DataError, match="pickle"):
        load_objects(dataset, tmp_path)


def test_usable_objects_have_a_difficulty_and_points_enough():
    objects = Objects(
        points=np.zeros((20, 4), np.float32),
        ends=np.array([4, 10, 10, 20]),
        boxes=np.zeros((4, 7), np.float32),
        labels=np.array([2, 2, 2, 0]),
        difficulty=np.array([0, 2, 1, -1]),
        frames=np.array([0, 0, 1, 3]),
    )
    assert objects.usable(2, 0).tolist() == [0, 1, 2]
    assert objects.usable(2, 4).tolist() == [0, 1]
    assert objects.usable(2, 5).tolist() == [1]
    assert objects.usable(0, 0).tolist() == []
    assert [len(objects.of_frames(limit)) for limit in (None, 4, 3, 1, 0)] == [4, 4, 3, 2, 0]
    assert len(objects.of_frames(1).points) == 10


def test_difficulties_are_those_of_mmdet3d():
    """Its add_difficulty_to_annos, written out object by object."""
    rng = np.random.default_rng(0)
    count = 500
    bottom = rng.choice([20.0, 25.0, 25.5, 40.0, 40.5, 90.0], count)
    occlusion, truncation = rng.integers(0, 4, count), rng.choice([0, 0.15, 0.3, 0.5, 0.7], count)
    labels = Labels(
        name=np.full(count, "Car"),
        truncation=truncation,
        occlusion=occlusion,
        alpha=np.zeros(count),
        bbox=np.column_stack([np.zeros(count), np.zeros(count), np.ones(count), bottom]),
        dimensions=np.ones((count, 3)),
        location=np.ones((count, 3)),
        rotation_y=np.zeros(count),
    )

    def level(height, hidden, cut):
        if height > 40 and hidden <= 0 and cut <= 0.15:
            return 0
        if height > 25 and hidden <= 1 and cut <= 0.3:
            return 1
        if height > 25 and hidden <= 2 and cut <= 0.5:
            return 2
        return -1

    expected = [level(*row) for row in zip(bottom, occlusion, truncation, strict=True)]
    assert set(expected) == {-1, 0, 1, 2}
    assert difficulties(labels).tolist() == expected


def test_a_split_without_objects(tmp_path):
    from benchmark.data import synthetic

    root = synthetic.ensure(tmp_path, train=2, val=1, max_range=15.0, seed=0)
    for path in (root / "training" / "label_2").iterdir():
        path.write_text("")
    objects = load_objects(KittiDataset(root, "train"), tmp_path / "cache")
    assert len(objects) == 0
    assert objects.points.shape == (0, 4)
    assert objects.usable(0, 0).tolist() == []
