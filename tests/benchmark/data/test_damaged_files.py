"""Whatever a file of a data set holds, it is read or refused by name; nothing else happens."""

import io
import struct
from contextlib import suppress
from importlib.util import find_spec

import numpy as np
import pytest
from hostile import spliced
from hypothesis import HealthCheck, given, settings, strategies as st

from benchmark.data.calibration import read_calibration
from benchmark.data.dataset import generated_by, read_list
from benchmark.data.description import ScanFormat, read_description
from benchmark.data.errors import DataError
from benchmark.data.kitti import _read_sizes, _size_of_image
from benchmark.data.labels import read_labels
from benchmark.data.objects import _read
from benchmark.data.openpcdet import read_boxes
from benchmark.data.scans import guess_format, read_scan
from benchmark.data.synthetic.generator import calibration, write_calibration

EXAMPLES = 60
LABEL = b"Car 0.00 0 -1.57 600.0 150.0 700.0 250.0 1.5 1.6 3.9 1.0 1.7 20.0 0.01"
DESCRIPTION = b"""layout: openpcdet
classes:
  Car: {size: [3.9, 1.6, 1.5], bottom: -1.0, overlap: 0.7}
range: [-40, -40, -3, 40, 40, 1]
points: {format: npy, fields: 4, reflectance: 255}
metric: distance
"""


def npz():
    """An archive of one object, as the cache keeps it."""
    buffer = io.BytesIO()
    points, boxes = np.zeros((3, 4), np.float32), np.zeros((1, 7), np.float32)
    one = {name: np.zeros(1, np.int64) for name in ("ends", "labels", "difficulty", "frames")}
    np.savez(buffer, fingerprint=np.array("f"), points=points, boxes=boxes, **one)
    return buffer.getvalue()


def calibrated(folder):
    write_calibration(folder / "c.txt", calibration())
    return (folder / "c.txt").read_bytes()


def npy():
    """A scan as NumPy writes it."""
    buffer = io.BytesIO()
    np.save(buffer, np.ones((4, 4), np.float32))
    return buffer.getvalue()


def png(width=1242, height=375):
    """What an image of this size begins with."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + bytes(4)


PCD = b"""# .PCD v0.7
VERSION 0.7
FIELDS x y z intensity
SIZE 4 4 4 4
TYPE F F F F
COUNT 1 1 1 1
WIDTH 2
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS 2
DATA ascii
1 2 3 0.5
4 5 6 0.25
"""
JPEG = (
    b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0" + bytes(9)
    + b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 375, 1242, 3) + bytes(9)
)  # fmt: skip

READERS = {
    "label": (lambda folder: LABEL + b"\n" + LABEL, read_labels),
    "result": (
        lambda folder: LABEL + b" 0.9\n" + LABEL + b" 1e-3",
        lambda path: read_labels(path, scored=True),
    ),
    "calibration": (calibrated, read_calibration),
    "list": (
        lambda folder: b"000000\n000001\n000007\n",
        lambda path: read_list(path.parent, path.stem),
    ),
    "sizes": (lambda folder: b"frame,width,height\n000000,1242,375\n", _read_sizes),
    "description": (lambda folder: DESCRIPTION, read_description),
    "scan": (lambda folder: np.ones((4, 4), "<f4").tobytes(), read_scan),
    "npy": (lambda folder: npy(), lambda path: read_scan(path, ScanFormat("npy"))),
    "bare": (
        lambda folder: np.ones((4, 5), "<f8").tobytes(),
        lambda path: read_scan(path, ScanFormat("bin", "float64", 5, 255)),
    ),
    "unknown scan": (
        lambda folder: np.linspace(1, 9, 80, dtype="<f4").tobytes(),
        lambda path: guess_format([path]),
    ),
    "boxes": (lambda folder: b"1 2 -1 3.9 1.6 1.5 0.1 Car\n" * 2, read_boxes),
    "png": (lambda folder: png(), _size_of_image),
    "jpeg": (lambda folder: JPEG, _size_of_image),
    "objects": (lambda folder: npz(), lambda path: _read(path, "f")),
    "note": (lambda folder: b'{"generator": 2}', lambda path: generated_by(path.parent)),
}
if find_spec("pypcd4"):
    READERS["pcd"] = (lambda folder: PCD, lambda path: read_scan(path, ScanFormat("pcd")))
NAMES = {"note": "synthetic.json", "list": "val.txt", "npy": "a.npy", "unknown scan": "a.bin"}


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path, kind, data):
    make, read = READERS[kind]
    path = tmp_path / NAMES.get(kind, "file.txt")
    path.write_bytes(data.draw(spliced(make(tmp_path))))
    there = sorted(tmp_path.parent.iterdir())
    with suppress(DataError):
        read(path)
    assert sorted(tmp_path.parent.iterdir()) == there
