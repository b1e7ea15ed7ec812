"""Files of points: what is read, and what is said of other formats."""

import os

import numpy as np
import pytest

from benchmark.data.description import ScanFormat
from benchmark.data.errors import DataError
from benchmark.data.scans import read_all_points, read_scan


def cloud(count=4000, columns=4, seed=0):
    """A street: x, y, z in metres, reflectance, ring, time."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-70, 70, count), rng.uniform(-40, 40, count)
    z = np.where(rng.random(count) < 0.7, -1.7, rng.uniform(-1.7, 2.0, count))
    ring, time = np.arange(count) % 64, np.linspace(0, 0.1, count)
    return np.column_stack([x, y, z, rng.random(count), ring, time])[:, :columns]


def written(tmp_path, content):
    path = tmp_path / "000000.bin"
    path.write_bytes(content)
    return path


def test_four_floats_a_point(tmp_path):
    points = cloud().astype("<f4")
    np.testing.assert_array_equal(read_scan(written(tmp_path, points.tobytes())), points)
    assert read_scan(written(tmp_path, b"")).shape == (0, 4)


@pytest.mark.parametrize(
    ("columns", "kind", "told"),
    [
        (3, "<f4", r"3 float32 a point \(x y z\).*add a reflectance of 0"),
        (5, "<f4", r"5 float32 a point \(x y z i ring\).*reshape\(-1, 5\)\[:, :4\]"),
        (6, "<f4", r"6 float32 a point \(x y z i ring time\)"),
        (4, "<f8", r"4 float64 a point \(x y z i\): numpy.fromfile\(FILE, 'float64'\)"),
        (3, "<f8", r"3 float64 a point"),
        (5, "<f8", r"5 float64 a point"),
    ],
)
@pytest.mark.parametrize("count", [4000, 4001])
def test_other_layouts_are_recognised(tmp_path, columns, kind, told, count):
    path = written(tmp_path, cloud(count, columns).astype(kind).tobytes())
    with pytest.raises(DataError, match=told):
        read_scan(path)


@pytest.mark.parametrize("count", [4000, 4002])
def test_points_ahead_only_are_not_taken_for_reflectance(tmp_path, count):
    points = cloud(count, 3)
    points[:, 0] = np.abs(points[:, 0])
    with pytest.raises(DataError, match=r"3 float32 a point \(x y z\)"):
        read_scan(written(tmp_path, points.astype("<f4").tobytes()))


@pytest.mark.parametrize("magic", [b"\x93NUMPY", b"# .PCD v0.7", b"ply\nformat", b"LASF"])
def test_other_formats_are_recognised(tmp_path, magic):
    content = magic.ljust(128) + cloud().astype("<f4").tobytes()
    with pytest.raises(DataError, match="file under another name"):
        read_scan(written(tmp_path, content))


def test_a_truncated_file_is_named(tmp_path):
    content = cloud().astype("<f4").tobytes()[:-7]
    with pytest.raises(DataError, match="63993 bytes are not a whole number .* it is truncated"):
        read_scan(written(tmp_path, content))


@pytest.mark.parametrize(("scale", "told"), [(255, "divide it by 255"), (60000, "by 65535")])
def test_other_scales_of_reflectance_are_named(tmp_path, scale, told):
    points = cloud().astype("<f4")
    points[:, 3] = np.round(points[:, 3] * scale)
    with pytest.raises(DataError, match=rf"not 0 to 1; divide it by {told.split()[-1]}"):
        read_scan(written(tmp_path, points.tobytes()))


def test_rounding_is_clipped(tmp_path):
    points = cloud().astype("<f4")
    points[7, 3], points[8, 3] = 1.0000002, -1e-8
    found = read_scan(written(tmp_path, points.tobytes()))
    assert found[[7, 8], 3].tolist() == [1.0, 0.0]
    assert len(found) == len(points)


def test_points_that_are_not_finite_are_left_out(tmp_path):
    points = cloud().astype("<f4")
    points[::50, :3], points[1, 3], points[2, 0] = np.nan, np.nan, np.inf
    found = read_scan(written(tmp_path, points.tobytes()))
    np.testing.assert_array_equal(found, points[np.isfinite(points).all(axis=1)])
    assert len(found) == 4000 - 80 - 2


@pytest.mark.parametrize("name", ["x.bin", "x.npy", "x.pcd"])
@pytest.mark.parametrize("fields", [4, 5])
def test_a_file_too_large_for_a_scan_is_refused_unread(tmp_path, name, fields):
    path = tmp_path / name
    path.touch()
    os.truncate(path, 2**40)  # takes no space
    held = ScanFormat(path.suffix[1:], fields=fields)
    with pytest.raises(DataError, match=rf"{path}: 1,099,511,627,776 bytes are no scan of one"):
        read_all_points(path, held)
