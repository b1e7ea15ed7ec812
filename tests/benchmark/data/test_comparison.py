"""Figures of two data sets, against counts by hand."""

import math

import numpy as np
import pytest

from benchmark.data import comparison, synthetic
from benchmark.data.kitti import KittiDataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    synthetic.generate(root, seed=3, train=6, val=1, max_range=40)
    return KittiDataset(root, "train")


@pytest.fixture(scope="module")
def summary(dataset):
    return comparison.summarise("made", dataset)


def test_points_of_objects_are_counted_in_their_boxes(dataset, summary):
    expected = []
    for index in range(len(dataset)):
        frame = dataset.frame(index)
        for box in frame.boxes.astype(float):
            x, y, z = (frame.points[:, :3] - box[:3]).T
            along = x * np.cos(box[6]) + y * np.sin(box[6])
            across = y * np.cos(box[6]) - x * np.sin(box[6])
            inside = (abs(along) < box[3] / 2) & (abs(across) < box[4] / 2)
            expected.append(int((inside & (z > 0) & (z < box[5])).sum()))
    found = summary.objects[summary.objects["class"] != "DontCare"]["points"]
    assert len(expected) > 20
    assert found.tolist() == pytest.approx(expected, abs=1)


def test_every_object_of_the_labels_is_there(dataset, summary):
    names = [name for i in range(len(dataset)) for name in dataset.frame(i).labels.name]
    assert sorted(summary.objects["class"]) == sorted(names)


def test_pillars_hold_every_point(dataset, summary):
    assert summary.pillars.sum() == sum(len(dataset.frame(i).points) for i in range(len(dataset)))
    points = dataset.frame(0).points
    cells = {(math.floor(x / 0.16), math.floor(y / 0.16)) for x, y in points[:, :2].tolist()}
    assert len(comparison._pillars(points)) == len(cells)


def test_tables_have_a_column_for_each_data_set(summary):
    text = comparison.describe([summary, summary])
    assert "| made" in text
    cars = (summary.objects["class"] == "Car").sum() / 6
    assert f"| Car            | {cars:.2f}; " in text


def test_pictures_are_written(dataset, summary, tmp_path):
    comparison.draw([summary, summary], tmp_path / "new" / "statistics.png")
    comparison.draw_frames(dataset, tmp_path / "frames.png")
    for path in (tmp_path / "new" / "statistics.png", tmp_path / "frames.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 10_000
