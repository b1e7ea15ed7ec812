"""A first description, from what a folder holds."""

import io
import shutil
from dataclasses import replace

import numpy as np
import pytest

from benchmark.data import synthetic
from benchmark.data.describing import as_yaml, describe, write
from benchmark.data.description import FILE, KITTI, read_description
from benchmark.data.errors import DataError
from benchmark.data.opening import open_dataset


@pytest.fixture(scope="module")
def around(tmp_path_factory):
    """Frames all around the sensor, in OpenPCDet's layout."""
    root = tmp_path_factory.mktemp("around")
    synthetic.generate(root, seed=3, train=12, val=2, max_range=30.0, layout="openpcdet")
    return root


def test_what_is_there_is_described(around, tmp_path):
    described, table = describe(around)
    assert (described.layout, described.view, described.metric) == ("openpcdet", "full", "distance")
    assert described.points.format == "npy"
    assert {"Car", "Pedestrian"} <= set(described.classes)
    text = (around / "labels" / "000000.txt").read_text()
    assert text.count("Car") > 0
    texts = [path.read_text() for path in (around / "labels").glob("0000*.txt")]
    rows = [line.split() for text in texts for line in text.splitlines()]
    cars = np.array([row[:7] for row in rows if row[7] == "Car"], float)
    np.testing.assert_allclose(described.classes["Car"].size, cars[:, 3:6].mean(0), atol=0.01)
    assert f" {len(cars)} " in table
    kept = [row for row in rows if row[7] in described.classes]
    centres = np.array([row[:3] for row in kept], float)
    low, high = np.array(described.range).reshape(2, 3)
    assert ((centres >= low) & (centres <= high)).all(1).mean() >= 0.99
    path = tmp_path / FILE
    path.write_text(as_yaml(described))
    assert read_description(path) == described


def test_it_is_read_with_its_description(around):
    described, _ = describe(around)
    (around / FILE).write_text(as_yaml(described))
    frame = open_dataset(around, "val").frame(0)
    assert (frame.points[:, 0] < -5).any()
    assert (frame.points[:, 0] > 5).any()
    with pytest.raises(DataError, match="dataset.yaml is there already"):
        write(around / FILE, described)
    (around / FILE).write_text("{}\n")  # KITTI's, word for word
    with pytest.raises(DataError, match="dataset.yaml is there already"):
        write(around / FILE, described)
    (around / FILE).unlink()


def test_any_word_can_be_a_class(tmp_path, around):
    root = copied(around, tmp_path)
    words = {"Car": "vehicle.car", "Pedestrian": "行人", "Cyclist": "no"}
    for path in (root / "labels").iterdir():
        text = path.read_text()
        for name, word in words.items():
            text = text.replace(name, word)
        path.write_text(text)
    described, _ = describe(root)
    assert {name: each.names for name, each in described.classes.items()} == {
        "vehicle_car": ("vehicle.car",), "Class_行人": ("行人",), "no": (),
    }  # fmt: skip
    write(tmp_path / "mine.yaml", replace(described, folder=str(root)))
    assert read_description(tmp_path / "mine.yaml").classes == described.classes
    names = open_dataset(tmp_path / "mine.yaml", "train").frame(0).names
    assert {*names} & {*words.values()} <= {"no"}
    assert {*names} & {*described.classes}


def test_what_cannot_be_described_is_told(tmp_path, around):
    root = copied(around, tmp_path)
    paths = sorted((root / "labels").iterdir())
    good = [path.read_text() for path in paths]
    for path in paths:
        path.write_text("1 2 3\n")
    with pytest.raises(DataError, match="3 fields; .*\n.*\n.*\n... and 9 more like this"):
        describe(root)
    for path, text in zip(paths, good, strict=True):
        rows = [line.split() for line in text.splitlines()]
        sizes = [[*row[:3], *(f"{100 * float(s)}" for s in row[3:6]), *row[6:]] for row in rows]
        path.write_text("".join(" ".join(row) + "\n" for row in sizes))
    with pytest.raises(DataError, match="write the sizes in the labels in metres"):
        describe(root)
    for path, text in zip(paths, good, strict=True):
        rows = [line.split() for line in text.splitlines()]
        far = [[f"{float(row[0]) + 4e5}", *row[1:]] for row in rows]
        path.write_text("".join(" ".join(row) + "\n" for row in far))
    with pytest.raises(DataError, match="beyond 500 m; write their locations in the LiDAR's frame"):
        describe(root)
    for path, text in zip(paths, good, strict=True):
        rows = [line.split() for line in text.splitlines()]
        ahead = [[row[1], row[2], row[0], *row[3:]] for row in rows]  # as in a camera's frame
        high = [[*row[:2], str(3 * float(row[2]) - 20), *row[3:]] for row in ahead]
        path.write_text("".join(" ".join(row) + "\n" for row in high))
    with pytest.raises(DataError, match="write z up from the sensor"):
        describe(root)
    for path, text in zip(paths, good, strict=True):
        rows = [line.split() for line in text.splitlines()]
        path.write_text("".join(" ".join([row[0], "4.0", *row[2:]]) + "\n" for row in rows))
    x0, y0, _, x1, y1, _ = describe(root)[0].range
    assert y0 <= 4.0 <= y1
    assert y1 > y0
    for content, told in (
        (b"", "not a NumPy array of numbers"),
        (b"1.0 2.0 3.0\n", "not a NumPy array of numbers"),
        (as_npy(np.zeros(12)), r"an array \(12,\) of float64; write one \(n, fields\) array"),
        (as_npy(np.zeros((4, 99))), r"an array \(4, 99\), a column for each point; transpose it"),
        (as_npy(np.zeros(9, "f4,f4,f4")), r"write one \(n, fields\) array of numbers"),
    ):
        for path in (root / "points").iterdir():
            path.write_bytes(content)
        with pytest.raises(DataError, match=told):
            describe(root)


def test_points_that_are_not_finite_hide_no_format(tmp_path, around):
    root = copied(around, tmp_path)
    described, _ = describe(root)
    for path in (root / "points").iterdir():
        organised = np.full((2 * len(np.load(path)), 4), np.nan, np.float32)
        organised[::2] = np.load(path)
        np.save(path, organised)
    assert describe(root)[0].points == described.points
    for path in (root / "points").iterdir():
        np.load(path).tofile(path.with_suffix(".bin"))
        path.unlink()
    sorted((root / "points").iterdir())[0].write_bytes(b"")
    assert (describe(root)[0].points.format, describe(root)[0].points.fields) == ("bin", 4)


def as_npy(table):
    file = io.BytesIO()
    np.save(file, table)
    return file.getvalue()


def copied(around, folder):
    root = folder / "around"
    shutil.copytree(around, root)
    return root


def test_spellings_and_scans_are_recognised(around, tmp_path):
    for name in ("points", "labels", "ImageSets"):
        (tmp_path / name).mkdir()
    ids = (around / "ImageSets" / "train.txt").read_text().split()
    (tmp_path / "ImageSets" / "train.txt").write_text("\n".join(ids))
    for i, frame in enumerate(ids):
        points = np.load(around / "points" / f"{frame}.npy").astype("<f8")
        points[:, 3] *= 255  # not in whole steps
        wide = np.column_stack([points, np.arange(len(points)) % 64])
        wide.tofile(tmp_path / "points" / f"{frame}.bin")
        text = (around / "labels" / f"{frame}.txt").read_text()
        text = text.replace("Car", "car" if i % 3 else "Car").replace("Cyclist", "Trike")
        (tmp_path / "labels" / f"{frame}.txt").write_text(text)
    described, _ = describe(tmp_path)
    held = described.points
    assert (held.format, held.dtype, held.fields) == ("bin", "float64", 5)
    assert held.reflectance == 255
    assert described.classes["Car"].names == ("car",)
    (tmp_path / FILE).write_text(as_yaml(described))
    frame = open_dataset(tmp_path, "train").frame(0)
    np.testing.assert_allclose(
        frame.points, np.load(around / "points" / f"{ids[0]}.npy"), atol=1e-6
    )
    for frame in ids:
        noise = np.random.default_rng(0).normal(0, 1e6, 4000).astype("<f4")
        noise.tofile(tmp_path / "points" / f"{frame}.bin")
    (tmp_path / FILE).unlink()
    with pytest.raises(
        DataError, match="look like no layout of points known, in metres; write points"
    ):
        describe(tmp_path)


def test_kittis_own_classes_keep_their_rules(kitti_root):
    described, _ = describe(kitti_root)
    assert described.range is None
    assert described.metric == "kitti"
    assert described.classes["Car"].neighbours == KITTI.classes["Car"].neighbours
    assert "Van" not in described.classes


def test_a_folder_of_another_layout_is_refused(tmp_path):
    (tmp_path / "lidar").mkdir()
    with pytest.raises(DataError, match="neither KITTI's layout .* there is lidar"):
        describe(tmp_path)
