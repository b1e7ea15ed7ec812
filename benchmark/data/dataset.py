"""A data set's frames, whatever its layout: points, labels and calibration."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from benchmark.data.calibration import (
    Calibration,
    camera_corners,
    camera_to_lidar_boxes,
    image_boxes,
    lidar_to_camera_boxes,
    observation_angle,
)
from benchmark.data.description import KITTI, Description
from benchmark.data.errors import DataError
from benchmark.data.labels import Labels
from benchmark.data.scans import read_scan
from benchmark.files import read_text

SUFFIX = r"\.(bin|txt|png|jpe?g|npy|pcd)"
"""Ends of file names, which an id does not have."""
NOTE = "synthetic.json"
"""The file that says of a folder that it was generated, and by which version."""
NO_IMAGE = (-1.0, -1.0, -1.0, 1e4)
"""Left, top, right and bottom of an object that no image shows: on the left none, as the devkit
writes it, and high enough for every difficulty."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as stored on disk.

    Attributes:
        id: its name, as in ImageSets.
        points: (n, 4) float32 x, y, z in metres, LiDAR frame, and reflectance 0..1; n >= 0; only
            those that camera 2 sees, unless the data set's view is full.
        labels: all objects of the label file, DontCare included.
        boxes: (m, 7) float32 objects without DontCare in file order, LiDAR frame: x, y, z of the
            bottom centre, length, width, height, yaw (mmdet3d's LiDARInstance3DBoxes).
        names: (m,) their classes.
        calibration: the frame's calibration.
        image_size: width and height of camera 2's image in pixels; None without one.
        classes: that detectors are to find, in the order of class indices.
    """

    id: str
    points: np.ndarray
    labels: Labels
    boxes: np.ndarray
    names: np.ndarray
    calibration: Calibration
    image_size: tuple[int, int] | None
    classes: Sequence[str]


class Contents(NamedTuple):
    """What tells a frame's files from another's, without reading its scan.

    Attributes:
        folder, size: of the scan, bytes.
        calibration, label: SHA-256.
    """

    folder: str
    size: int
    calibration: bytes
    label: bytes


class MissingFilesError(DataError):
    """Listed frames lack files.

    Attributes:
        problems: one line for each file.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)
        self.problems = problems


class Dataset(ABC):
    """The frames that ROOT/ImageSets/SPLIT.txt lists; a subclass knows a layout.

    Args:
        root: the folder.
        split: name of a list in ROOT/ImageSets, without ".txt".
        description: what the folder means.

    Attributes:
        ids: the frames' names in the list's order.
        notes: what is taken for granted about them.

    Raises:
        DataError: for a folder or split that is missing or empty, and for listed frames whose
            files are missing.
    """

    def __init__(self, root: Path | str, split: str, description: Description = KITTI) -> None:
        self.root, self.split, self.description = Path(root), split, description
        self.ids, self.notes = self.read_split()
        if missing := list(self.missing_files()):
            raise MissingFilesError(missing)

    def __len__(self) -> int:
        return len(self.ids)

    def read_split(self) -> tuple[list[str], list[str]]:
        """The frames of the split, and what is taken for granted about them."""
        return read_list(self.root / "ImageSets", self.split), []

    @abstractmethod
    def missing_files(self) -> Iterable[str]:
        """One line for every file that a listed frame lacks."""

    @abstractmethod
    def scan(self, frame_id: str) -> Path:
        """A frame's file of points."""

    @abstractmethod
    def label(self, frame_id: str) -> Path:
        """A frame's file of labels."""

    @abstractmethod
    def calibration(self, frame_id: str) -> Path | None:
        """A frame's file of calibration, if it has one."""

    @abstractmethod
    def annotation(self, frame_id: str) -> tuple[Labels, Calibration, tuple[int, int] | None]:
        """A frame's labels, its calibration, and the size of its image if it has one.

        Raises:
            DataError: as :meth:`frame`.
        """

    def points(
        self, frame_id: str, calibration: Calibration, image_size: tuple[int, int] | None
    ) -> np.ndarray:
        """(n, 4) a frame's points, as :class:`Frame` has them."""
        return read_scan(self.scan(frame_id), self.description.points)

    def frame(self, key: int | str) -> Frame:
        """The frame at position `key`, or the frame of that id.

        Raises:
            DataError: names the file (and line) that cannot be used and what to do.
        """
        frame_id = key if isinstance(key, str) else self.ids[key]
        labels, calibration, image_size = self.annotation(frame_id)
        labels = replace(labels, name=self.description.translate(labels.name))
        objects = labels.select(labels.name != "DontCare")
        return Frame(
            id=frame_id,
            points=self.points(frame_id, calibration, image_size),
            labels=labels,
            boxes=camera_to_lidar_boxes(
                objects.dimensions, objects.location, objects.rotation_y, calibration
            ),
            names=objects.name,
            calibration=calibration,
            image_size=image_size,
            classes=tuple(self.description.classes),
        )

    def fingerprint(self) -> str:
        """16 hex digits that change with the ids, the labels, the calibration, the image sizes, the
        description, the world of generated frames or the number of bytes of a point file (whose
        contents are not read: they are gigabytes)."""
        digest = hashlib.sha256()
        if (world := generated_by(self.root)) > 1:  # identities of the first had no such mark
            digest.update(f"world {world}".encode())
        if settings := self.description.settings():
            digest.update(json.dumps(settings, sort_keys=True).encode())
        for frame_id, held in self.all_contents.items():
            size = self.image_size(frame_id)
            digest.update(f"{frame_id} {held.folder} {held.size} {size}".encode())
            digest.update(held.calibration)
            digest.update(held.label)
        return digest.hexdigest()[:16]

    def image_size(self, frame_id: str) -> tuple[int, int] | None:
        """Width and height of a frame's image in pixels, if it has one."""
        return None

    @cached_property
    def all_contents(self) -> dict[str, Contents]:
        """What every frame's files hold."""
        return {frame_id: self.contents(frame_id) for frame_id in self.ids}

    def contents(self, frame_id: str) -> Contents:
        """What a frame's files hold."""
        scan, calibration = self.scan(frame_id), self.calibration(frame_id)
        return Contents(
            scan.parent.name,
            scan.stat().st_size,
            hashlib.sha256(calibration.read_bytes()).digest() if calibration else b"",
            hashlib.sha256(self.label(frame_id).read_bytes()).digest(),
        )


def generated_by(root: Path) -> int:
    """Version of the generator that made a folder; 0 for frames that none made.

    Raises:
        DataError: for a note that does not say which.
    """
    note = root / NOTE
    if not note.exists():
        return 0
    try:
        return int(orjson.loads(read_text(note, DataError))["generator"])
    except (ValueError, TypeError, KeyError):
        remedy = "generate the set anew, or remove the file if its frames were measured"
        raise DataError(f"{note}: does not say which generator made the set; {remedy}") from None


def read_list(lists: Path, split: str) -> list[str]:
    path = lists / f"{split}.txt"
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: no file; write one frame per line into one")
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in lists.glob("*.txt"))) or "none"
        raise DataError(
            f"{path}: no such split; the folder has {known}; write {lists / 'train.txt'} and "
            "val.txt, one frame per line, frames of one drive in one list only"
        )
    ids: dict[str, int] = {}
    for number, line in enumerate(read_text(path, DataError).splitlines(), start=1):
        frame_id = line.strip()
        if suffix := re.search(SUFFIX + "$", frame_id):
            raise DataError(
                f"{path}:{number}: '{frame_id}' names a file; write ids without {suffix[0]}"
            )
        if frame_id and not re.fullmatch(r"[\w-][\w.-]*", frame_id):
            raise DataError(
                f"{path}:{number}: '{frame_id}' is not a frame id; write one id per line"
            )
        if frame_id in ids:
            raise DataError(
                f"{path}:{number}: {frame_id} is already on line {ids[frame_id]}; keep one"
            )
        if frame_id:
            ids[frame_id] = number
    if not ids:
        raise DataError(f"{path}: the list is empty; write one frame id per line")
    return list(ids)


def names_in(folder: Path) -> set[str]:
    """Names of the files in a folder; none where there is no folder."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def without_image(labels: Labels) -> Labels:
    """The objects of a frame as they count where no image says how well they are seen."""
    objects = labels.select(labels.name != "DontCare")
    count = len(objects)
    return replace(
        objects,
        bbox=np.tile(NO_IMAGE, (count, 1)),
        occlusion=np.zeros(count, np.int64),
        truncation=np.zeros(count),
    )


def to_labels(
    boxes: np.ndarray,
    names: Iterable[str],
    scores: np.ndarray,
    calibration: Calibration,
    image_size: tuple[int, int] | None,
) -> Labels:
    """Detections as KITTI result labels: the inverse of the reader's `boxes` and `names`.

    boxes: (k, 7) as in `Frame`; names, scores: k each. Boxes wholly behind the camera or outside
    the image are left out, as mmdet3d's KittiMetric does; 2D boxes are clipped to the image,
    truncation and occlusion are unknown (-1). Without an image all boxes stay, none has a 2D box.

    Raises:
        ValueError: if a box or score is NaN or infinite.
    """
    boxes, scores = np.asarray(boxes, np.float64).reshape(-1, 7), np.asarray(scores, np.float64)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("a detection's box or score is NaN or infinite: the detector diverged")
    dimensions, location, rotation_y = lidar_to_camera_boxes(boxes, calibration)
    labels = Labels(
        name=np.asarray(list(names), np.str_),
        truncation=np.full(len(boxes), -1.0),
        occlusion=np.full(len(boxes), -1),
        alpha=observation_angle(location, rotation_y),
        bbox=np.tile(NO_IMAGE, (len(boxes), 1)),
        dimensions=dimensions,
        location=location,
        rotation_y=rotation_y,
        score=scores,
    )
    return labels if image_size is None else _in_image(labels, calibration, image_size)


def _in_image(labels: Labels, calibration: Calibration, image_size: tuple[int, int]) -> Labels:
    """The detections that the image shows, with their 2D boxes."""
    width, height = image_size
    corners = camera_corners(labels.dimensions, labels.location, labels.rotation_y)
    bbox = image_boxes(corners, calibration)
    seen = (bbox[:, 0] < width) & (bbox[:, 1] < height) & (bbox[:, 2] > 0) & (bbox[:, 3] > 0)
    limits = np.array([width - 1, height - 1, width - 1, height - 1])
    return replace(labels, bbox=np.clip(bbox, 0, limits)).select(seen)
