"""Read a folder in the layout of OpenPCDet's custom data sets, which have no camera.

    ROOT/ImageSets/{train,val}.txt
    ROOT/points/ID.npy (or .bin, .pcd)
    ROOT/labels/ID.txt: one object per line, x y z dx dy dz heading class

x, y, z are an object's centre and dx, dy, dz its length, width and height in metres; its heading is
in radians from x towards y (OpenPCDet, docs/CUSTOM_DATASET_TUTORIAL.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmark.data.calibration import Calibration
from benchmark.data.dataset import Dataset, names_in, to_labels, without_image
from benchmark.data.description import FILE, FORMATS
from benchmark.data.errors import DataError
from benchmark.data.labels import (
    TURNS,
    LabelError,
    Labels,
    blank_problem,
    heading_problem,
    is_number,
    locate_kinds,
    number_problem,
    separator,
)
from benchmark.files import read_text

COLUMNS = ("x", "y", "z", "dx", "dy", "dz", "heading", "class")
UPRIGHT = Calibration(
    p2=np.eye(3, 4),
    r0_rect=np.eye(3),
    tr_velo_to_cam=np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]),
)
"""A camera frame with the LiDAR's origin, for what is computed in one."""


def is_openpcdet(root: Path) -> bool:
    """Whether a folder looks like one in this layout."""
    return (root / "points").is_dir() and (root / "labels").is_dir()


class OpenPCDetDataset(Dataset):
    """The frames of a folder in OpenPCDet's custom layout."""

    def missing_files(self) -> Iterator[str]:
        scans, labels = names_in(self.root / "points"), names_in(self.root / "labels")
        for frame_id in self.ids:
            for path, found, remedy in (
                (self.scan(frame_id), scans, self._other_format(frame_id, scans)),
                (self.label(frame_id), labels, "make an empty file if the frame has no object"),
            ):
                if path.name not in found:
                    yield f"{path}: no such file; {remedy}, or take the id off the list"

    def _other_format(self, frame_id: str, scans: set[str]) -> str:
        """What to do about a missing scan: name its format if it is there in another one."""
        there = [ending for ending in FORMATS if f"{frame_id}.{ending}" in scans]
        return f"write 'points: {{format: {there[0]}}}' in {FILE}" if there else "add it"

    def scan(self, frame_id: str) -> Path:
        return self.root / "points" / f"{frame_id}.{self.description.points.format}"

    def label(self, frame_id: str) -> Path:
        return self.root / "labels" / f"{frame_id}.txt"

    def calibration(self, frame_id: str) -> None:
        return None

    def annotation(self, frame_id: str) -> tuple[Labels, Calibration, None]:
        boxes, names = read_boxes(self.label(frame_id))
        boxes[:, 2] -= boxes[:, 5] / 2
        found = to_labels(boxes, names, np.zeros(len(boxes)), UPRIGHT, None)
        return without_image(found.without_score()), UPRIGHT, None


def read_boxes(path: Path) -> tuple[np.ndarray, list[str]]:
    """Boxes (n, 7) in the columns of the file, and the classes of n objects.

    Raises:
        LabelError: names the malformed lines, once for all lines of a kind.
    """
    lines = read_text(path, DataError).splitlines()
    rows = [line.split() for line in lines]
    if any(_problem(row) for row in rows):
        raise LabelError(locate_kinds(path, map(_problem, rows)))
    numbers = [[float(field) for field in row[:7]] for row in rows if row]
    return np.array(numbers, np.float64).reshape(-1, 7), [row[7] for row in rows if row]


def _problem(row: list[str]) -> str | None:
    """What is wrong with the fields of a line; None if nothing is."""
    wanted = f"write {len(COLUMNS)} fields: {' '.join(COLUMNS)}"
    if not row:
        return None
    if problem := heading_problem(row) or blank_problem(row[7:]):
        return problem
    if row[0][0].isalpha() and not is_number(row[0]):
        return f"begins with a class, as KITTI's labels do; {wanted}, or 'layout: kitti'"
    if mark := separator(row, len(COLUMNS)):
        return f"fields are separated by {mark}; separate them by blanks and {wanted}"
    if len(row) != len(COLUMNS):
        return f"{len(row)} fields; {wanted}"
    for column, field in zip(COLUMNS[:7], row, strict=False):
        if problem := number_problem(column, field):
            return problem
        if column == "heading" and abs(float(field)) > TURNS:
            return f"heading is over two turns ({TURNS:.1f}); write radians"
        if column in ("dx", "dy", "dz") and float(field) <= 0:
            return f"{column} is {field}; write metres above 0, or leave the object out"
    if not row[7][0].isalpha():
        return f"class {row[7]!r} is not a name; write a word that begins with a letter"
    return None
