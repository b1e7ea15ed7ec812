"""Whether a file is KITTI's own.

``genuine.npy`` holds no frame, but for each of the 7,481 training frames the first four bytes of
the SHA-256 of its scan, of the scan cropped to camera 2's view as mmdet3d and OpenPCDet crop it, of
label and calibration, and how many points the two scans have: rows of six big-endian integers.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np

from benchmark.data.scans import BYTES

COLUMNS = {"velodyne": 0, "velodyne_reduced": 1, "label_2": 2, "calib": 3}
"""Of the digests, by folder."""
POINTS = {"velodyne": 4, "velodyne_reduced": 5}


def is_genuine(kind: str, frame: str, digest: bytes) -> bool:
    """Whether a frame's file in a folder is KITTI's, to the bit.

    Args:
        digest: SHA-256 of its contents.
    """
    row = _row(frame) if kind in COLUMNS else None
    return row is not None and int.from_bytes(digest[:4], "big") == row[COLUMNS[kind]]


def has_genuine_size(kind: str, frame: str, size: int) -> bool:
    """Whether a frame's scan, in a folder, has as many bytes as KITTI's."""
    row = _row(frame) if kind in POINTS else None
    return row is not None and size == BYTES * row[POINTS[kind]]


def _row(frame: str) -> np.ndarray | None:
    """None for a name that no frame of KITTI's has."""
    known = _known()
    return known[int(frame)] if frame.isdecimal() and int(frame) < len(known) else None


@cache
def _known() -> np.ndarray:
    with (files("benchmark.data") / "genuine.npy").open("rb") as file:
        return np.load(file)
