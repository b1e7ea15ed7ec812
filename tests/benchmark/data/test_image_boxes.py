"""2D boxes from 3D boxes, against those that people drew on real images and invented ones."""

import numpy as np
import pytest

from benchmark.data.errors import DataError
from benchmark.data.image_boxes import with_image_boxes, write_image_boxes
from benchmark.data.kitti import KittiDataset
from benchmark.data.labels import read_labels


def test_boxes_of_real_objects_are_close_to_those_drawn(kitti_root):
    dataset, overlaps = KittiDataset(kitti_root, "val"), []
    for frame in dataset.ids:
        labels, calibration, size = dataset.annotation(frame)
        drawn = labels.bbox.copy()
        whole = (labels.truncation == 0) & (labels.name != "DontCare")
        labels.bbox[:] = 0
        found = with_image_boxes(labels, calibration, size).bbox
        assert (found[labels.name == "DontCare"] == 0).all()
        low, high = np.maximum(found, drawn)[:, :2], np.minimum(found, drawn)[:, 2:]
        common = np.clip(high - low, 0, None).prod(axis=1)
        areas = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (found, drawn)]
        overlaps += (common / (areas[0] + areas[1] - common))[whole].tolist()
    assert len(overlaps) > 300
    assert np.median(overlaps) > 0.85


def test_boxes_that_are_there_stay(kitti_root):
    dataset = KittiDataset(kitti_root, "val")
    labels, calibration, size = dataset.annotation(dataset.ids[0])
    np.testing.assert_array_equal(with_image_boxes(labels, calibration, size).bbox, labels.bbox)


def test_objects_behind_the_camera_keep_what_they_have(kitti_root):
    dataset = KittiDataset(kitti_root, "val")
    labels, calibration, size = dataset.annotation(dataset.ids[0])
    labels.location[:, 2] = -20
    labels.bbox[:] = -1
    assert (with_image_boxes(labels, calibration, size).bbox == -1).all()


def test_whole_folders_are_written(synthetic_root, tmp_path):
    frames, filled = write_image_boxes(synthetic_root, tmp_path / "labels")
    assert frames == len(list((tmp_path / "labels").iterdir())) == 10
    assert filled == 0
    for file in (tmp_path / "labels").iterdir():
        given = read_labels(synthetic_root / "training" / "label_2" / file.name)
        np.testing.assert_array_equal(read_labels(file).bbox, given.bbox)


def test_labels_that_are_there_are_not_written_over(synthetic_root):
    labels = synthetic_root / "training" / "label_2"
    before = {path.name: path.read_bytes() for path in labels.iterdir()}
    with pytest.raises(DataError, match="label_2 is not empty, .* new or empty folder"):
        write_image_boxes(synthetic_root, labels, every=True)
    assert {path.name: path.read_bytes() for path in labels.iterdir()} == before
