"""A first description, from what a folder holds."""

import numpy as np
import pytest

from benchmark.data import synthetic
from benchmark.data.describing import as_yaml, describe
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
        describe(around)
    (around / FILE).unlink()


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
    with pytest.raises(DataError, match="look like no layout of points known; write points"):
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
