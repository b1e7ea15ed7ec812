"""What a data set is like, against counts by hand; summaries in files."""

import json
import math

import numpy as np
import pytest

from benchmark.data import statistics, synthetic
from benchmark.data.errors import DataError
from benchmark.data.kitti import KittiDataset
from benchmark.data.statistics import (
    BANDS,
    CLASSES,
    kitti_summary,
    measure,
    read_summary,
    summarise,
    write_summary,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    synthetic.generate(root, seed=3, train=6, val=1, max_range=40)
    return KittiDataset(root, "train")


@pytest.fixture(scope="module")
def tables(dataset):
    return measure(dataset)


@pytest.fixture(scope="module")
def summary(tables):
    return summarise("made", tables)


@pytest.fixture
def written(summary, tmp_path):
    path = tmp_path / "new" / "made.json"
    write_summary(path, summary)
    return path


def test_points_of_objects_are_counted_in_their_boxes(dataset, tables):
    expected = []
    for index in range(len(dataset)):
        frame = dataset.frame(index)
        for box in frame.boxes.astype(float):
            x, y, z = (frame.points[:, :3] - box[:3]).T
            along = x * np.cos(box[6]) + y * np.sin(box[6])
            across = y * np.cos(box[6]) - x * np.sin(box[6])
            inside = (abs(along) < box[3] / 2) & (abs(across) < box[4] / 2)
            expected.append(int((inside & (z > 0) & (z < box[5])).sum()))
    assert len(expected) > 20
    assert tables.objects["points"].tolist() == pytest.approx(expected, abs=1)


def test_every_label_is_counted(dataset, tables, summary):
    names = [name for i in range(len(dataset)) for name in dataset.frame(i).labels.name]
    marks = names.count("DontCare")
    assert sorted(tables.objects["class"]) == sorted(n for n in names if n != "DontCare")
    assert summary.ignored == pytest.approx(marks / 6, rel=1e-3)
    for kind in CLASSES:
        assert summary.objects[kind].per_frame == pytest.approx(names.count(kind) / 6, rel=1e-3)


def test_pillars_hold_every_point(dataset, tables, summary):
    assert tables.pillars.sum() == tables.frame_points.sum()
    points = dataset.frame(0).points
    cells = {(math.floor(x / 0.16), math.floor(y / 0.16)) for x, y in points[:, :2].tolist()}
    assert len(statistics.count_pillars(points)) == len(cells)
    assert summary.scans.tail[0] == 1
    assert summary.scans.crowded <= summary.scans.tail[5]  # over 32; at least 32


def test_bands_are_those_of_the_objects(tables, summary):
    cars = tables.objects[tables.objects["class"] == "Car"]
    for (low, high), group in zip(BANDS, summary.objects["Car"].bands, strict=True):
        there = cars[(cars["distance"] >= low) & (cars["distance"] < high)]
        assert group.count == len(there)
        assert (group.points is None) == (len(there) < 5)
        if group.points:
            expected = np.quantile(there["points"], (0.1, 0.5, 0.9))
            assert group.points == pytest.approx(expected, rel=1e-3)
            assert sum(group.occlusion) == pytest.approx(1, abs=1e-3)


def test_a_summary_is_read_as_it_was_written(written, summary):
    assert read_summary(written) == summary
    assert written.stat().st_size < 10_000


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda s: s.update(frames=0), "frames is 0; it must be a whole number"),
        (lambda s: s.pop("scans"), "scans is missing"),
        (lambda s: s.update(points=[1, 2]), r"points is \[1, 2\]; it must be a list of 3"),
        (lambda s: s["objects"].pop("Car"), "objects lacks Car"),
        (lambda s: s["objects"]["Car"]["bands"].pop(), "objects.Car: bands has 3 entries"),
        (lambda s: s["scans"].update(crowded=1.5), "scans.crowded is 1.5; it must be a number"),
        (lambda s: s["objects"]["Van"].update(hight=1), "objects.Van.hight: unknown field"),
    ],
)
def test_mistakes_in_a_summary_are_named(written, spoil, told):
    values = json.loads(written.read_text())
    spoil(values)
    written.write_text(json.dumps(values))
    with pytest.raises(DataError, match=f"made.json: {told}.*--summary FILE"):
        read_summary(written)


@pytest.mark.parametrize(("content", "told"), [("{\n,", ":2: not JSON"), ("[1]", r"is \[1\]")])
def test_other_files_are_refused(tmp_path, content, told):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(DataError, match=told):
        read_summary(path)


def test_the_built_in_summary_is_that_of_the_whole_split():
    kitti = kitti_summary()
    assert (kitti.name, kitti.frames) == ("kitti", 3712)
    assert kitti.points == (17591, 19218, 20221)
    total = sum(kitti.objects[name].all.count for name in CLASSES)
    assert 19_100 < total <= 19_700  # without trams and miscellaneous
    assert kitti.objects["Car"].bands[1].points == (150.9, 454, 1009)


def test_the_built_in_summary_agrees_with_real_scans(kitti_root):
    """A subset of the split, over half of it from two drives: so no closer than a factor of 1.5."""
    real = summarise("real", measure(KittiDataset(kitti_root, "train")))
    assert real.scans == kitti_summary().scans
    ours, theirs = (one.objects["Car"].bands[1:] for one in (kitti_summary(), real))
    for ours_there, there in zip(ours, theirs, strict=True):
        assert ours_there.points[1] == pytest.approx(there.points[1], rel=0.5)
