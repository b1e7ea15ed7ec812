"""Read point clouds, labels and calibration from a folder in KITTI's layout.

    ROOT/ImageSets/{train,val}.txt
    ROOT/training/{velodyne or velodyne_reduced, label_2, calib, image_2 (not needed)}

A KITTI download and a folder prepared by mmdet3d are read as is.
"""

from __future__ import annotations

import csv
import hashlib
import re
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import imagesize
import numpy as np

from benchmark.data.calibration import (
    Calibration,
    camera_corners,
    camera_to_lidar_boxes,
    image_boxes,
    lidar_to_camera_boxes,
    observation_angle,
    read_calibration,
)
from benchmark.data.errors import DataError
from benchmark.data.labels import Labels, read_labels
from benchmark.data.point_loops import maybe_seen
from benchmark.data.scans import read_scan
from benchmark.data.standard_split import standard_split
from benchmark.files import read_text

__all__ = ["DataError", "Frame", "KittiDataset", "crop_to_image", "to_labels"]

_DEPTHS = (0.001, 100.0)  # metres; the depths of camera 2's frustum in mmdet3d and OpenPCDet
IMAGES = ("png", "jpg", "jpeg")
"""Suffixes of the images whose sizes are read."""
SUFFIX = r"\.(bin|txt|png|jpe?g|npy|pcd)"
"""Ends of file names, which an id does not have."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as stored on disk.

    Attributes:
        id: its name, as in ImageSets.
        points: (n, 4) float32 x, y, z in metres, LiDAR frame, and reflectance 0..1; n >= 0; only
            those that camera 2 sees.
        labels: all objects of the label file, DontCare included.
        boxes: (m, 7) float32 objects without DontCare in file order, LiDAR frame: x, y, z of the
            bottom centre, length, width, height, yaw (mmdet3d's LiDARInstance3DBoxes).
        names: (m,) their classes.
        calibration: the frame's calibration.
        image_size: width and height of camera 2's image in pixels.
    """

    id: str
    points: np.ndarray
    labels: Labels
    boxes: np.ndarray
    names: np.ndarray
    calibration: Calibration
    image_size: tuple[int, int]


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


class KittiDataset:
    """The frames that ROOT/ImageSets/SPLIT.txt lists.

    Args:
        root: a folder in KITTI's layout.
        split: name of a list in ROOT/ImageSets, without ".txt"; without that folder, one of
            KITTI's standard split if the frames are KITTI's.

    Attributes:
        ids: the frames' names in the list's order.

    Raises:
        DataError: for a folder or split that is missing or empty, and for listed frames whose
            files are missing.
    """

    def __init__(self, root: Path | str, split: str) -> None:
        self.root = Path(root)
        self.split = split
        self.ids, _ = read_split(self.root, split)
        missing = missing_files(self.root, self.ids)
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise DataError(missing[0] + more)

    def __len__(self) -> int:
        return len(self.ids)

    def frame(self, key: int | str) -> Frame:
        """The frame at position `key`, or the frame of that id.

        Raises:
            DataError: names the file (and line) that cannot be used and what to do.
        """
        frame_id = key if isinstance(key, str) else self.ids[key]
        labels, calibration, image_size = self.annotation(frame_id)
        objects = labels.select(labels.name != "DontCare")
        return Frame(
            id=frame_id,
            points=self._points(frame_id, calibration, image_size),
            labels=labels,
            boxes=camera_to_lidar_boxes(
                objects.dimensions, objects.location, objects.rotation_y, calibration
            ),
            names=objects.name,
            calibration=calibration,
            image_size=image_size,
        )

    def annotation(self, frame_id: str) -> tuple[Labels, Calibration, tuple[int, int]]:
        """A frame's labels, calibration and image size.

        Raises:
            DataError: as :meth:`frame`.
        """
        calibration = read_calibration(self._path("calib", frame_id, "txt"))
        image_size = self._image_size(frame_id, calibration)
        return read_labels(self._path("label_2", frame_id, "txt")), calibration, image_size

    def fingerprint(self) -> str:
        """16 hex digits that change with the ids, the labels, the calibration, the image sizes or
        the number of bytes of a point file (whose contents are not read: they are gigabytes)."""
        digest = hashlib.sha256()
        for frame_id, held in self.all_contents.items():
            size = self._image_size(
                frame_id, read_calibration(self._path("calib", frame_id, "txt"))
            )
            digest.update(f"{frame_id} {held.folder} {held.size} {size}".encode())
            digest.update(held.calibration)
            digest.update(held.label)
        return digest.hexdigest()[:16]

    @cached_property
    def all_contents(self) -> dict[str, Contents]:
        """What every frame's files hold."""
        return {frame_id: self.contents(frame_id) for frame_id in self.ids}

    def contents(self, frame_id: str) -> Contents:
        """What a frame's files hold."""
        scan = self.scan(frame_id)
        calib, label = (self._path(kind, frame_id, "txt") for kind in ("calib", "label_2"))
        return Contents(
            scan.parent.name,
            scan.stat().st_size,
            hashlib.sha256(calib.read_bytes()).digest(),
            hashlib.sha256(label.read_bytes()).digest(),
        )

    def _path(self, folder: str, frame_id: str, suffix: str) -> Path:
        return self.root / "training" / folder / f"{frame_id}.{suffix}"

    def scan(self, frame_id: str) -> Path:
        """The file of the cropped scan if there is one, else of the full scan."""
        reduced = self._path("velodyne_reduced", frame_id, "bin")
        return reduced if reduced.exists() else self._path("velodyne", frame_id, "bin")

    def _points(
        self, frame_id: str, calibration: Calibration, image_size: tuple[int, int]
    ) -> np.ndarray:
        scan = self.scan(frame_id)
        points = read_scan(scan)
        if scan.parent.name == "velodyne_reduced":
            return points
        return crop_to_image(points, calibration, image_size)

    def _image_size(self, frame_id: str, calibration: Calibration) -> tuple[int, int]:
        """From the image's header, else ROOT/image_sizes.csv, else KITTI's size for this camera."""
        for suffix in IMAGES:
            image = self._path("image_2", frame_id, suffix)
            if image.exists():
                return _size_of_image(image)
        size = self._listed_sizes.get(frame_id) or _size_of_camera(calibration)
        if size is None:
            image = self._path("image_2", frame_id, IMAGES[0])
            raise DataError(
                f"{image}: no such image, and frame {frame_id} is not calibrated for any of "
                "KITTI's cameras; add a line 'frame,width,height' to "
                f"{self.root / 'image_sizes.csv'}"
            )
        return size

    @cached_property
    def _listed_sizes(self) -> dict[str, tuple[int, int]]:
        path = self.root / "image_sizes.csv"
        return _read_sizes(path) if path.exists() else {}


def crop_to_image(
    points: np.ndarray, calibration: Calibration, image_size: tuple[int, int]
) -> np.ndarray:
    """The points (n, 4) that camera 2 sees at depths of 0.001 to 100 m, in their order.

    The same points as mmdet3d's `remove_outside_points`, which prepares `velodyne_reduced`.
    """
    width, height = image_size
    points = maybe_seen(points, calibration.lidar_to_image, image_size, _DEPTHS)
    u, v, depth = calibration.project_lidar(points[:, :3].astype(np.float64)).T
    with np.errstate(invalid="ignore"):
        inside = (u > 0) & (u < width) & (v > 0) & (v < height)
    return points[inside & (depth > _DEPTHS[0]) & (depth < _DEPTHS[1])]


def to_labels(
    boxes: np.ndarray,
    names: Iterable[str],
    scores: np.ndarray,
    calibration: Calibration,
    image_size: tuple[int, int],
) -> Labels:
    """Detections as KITTI result labels: the inverse of the reader's `boxes` and `names`.

    boxes: (k, 7) as in `Frame`; names, scores: k each. Boxes wholly behind the camera or outside
    the image are left out, as mmdet3d's KittiMetric does; 2D boxes are clipped to the image,
    truncation and occlusion are unknown (-1).

    Raises:
        ValueError: if a box or score is NaN or infinite.
    """
    boxes, scores = np.asarray(boxes, np.float64).reshape(-1, 7), np.asarray(scores, np.float64)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("a detection's box or score is NaN or infinite: the detector diverged")
    width, height = image_size
    dimensions, location, rotation_y = lidar_to_camera_boxes(boxes, calibration)
    bbox = image_boxes(camera_corners(dimensions, location, rotation_y), calibration)
    seen = (bbox[:, 0] < width) & (bbox[:, 1] < height) & (bbox[:, 2] > 0) & (bbox[:, 3] > 0)
    limits = np.array([width - 1, height - 1, width - 1, height - 1])
    labels = Labels(
        name=np.asarray(list(names), np.str_),
        truncation=np.full(len(boxes), -1.0),
        occlusion=np.full(len(boxes), -1),
        alpha=observation_angle(location, rotation_y),
        bbox=np.clip(bbox, 0, limits),
        dimensions=dimensions,
        location=location,
        rotation_y=rotation_y,
        score=scores,
    )
    return labels.select(seen)


def read_split(root: Path, split: str) -> tuple[list[str], list[str]]:
    """The frames of a split, and what is taken for granted about them.

    Raises:
        DataError: the folder has no such list, or one that cannot be used.
    """
    lists = root / "ImageSets"
    if lists.is_dir():
        return _listed(lists, split), []
    frames = _frames_there(root)
    if not frames:
        raise DataError(
            f"{root / 'training'}: no frames; give the root of a folder in KITTI's layout, with "
            "training/velodyne, label_2 and calib, and the lists ImageSets/train.txt and val.txt"
        )
    chosen = [frame for frame in standard_split(split) if frame in frames]
    if not chosen or not _are_kittis(root, chosen):
        raise DataError(
            f"{lists}: no such folder, and the frames are not KITTI's, whose standard split comes "
            f"along; write {lists / 'train.txt'} and val.txt, one frame per line, such as "
            f"{min(frames)}, frames of one drive in one list only"
        )
    count = len(standard_split(split))
    return chosen, [f"no ImageSets: {len(chosen)} of the standard split's {count} {split} frames"]


def _frames_there(root: Path) -> set[str]:
    """The frames that have a calibration."""
    return {Path(name).stem for name in _names(root / "training" / "calib") if name[0] != "."}


def _are_kittis(root: Path, frames: Sequence[str]) -> bool:
    """Whether the first, middle and last of some frames are calibrated for KITTI's cameras."""
    looked = {frames[0], frames[len(frames) // 2], frames[-1]}
    paths = [root / "training" / "calib" / f"{frame}.txt" for frame in looked]
    return all(_size_of_camera(read_calibration(path)) is not None for path in paths)


def _listed(lists: Path, split: str) -> list[str]:
    path = lists / f"{split}.txt"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in lists.glob("*.txt"))) or "none"
        raise DataError(f"{path}: no such split; the folder has {known}")
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


def missing_files(root: Path, ids: Iterable[str]) -> list[str]:
    """One line for every listed frame without points, labels or calibration."""
    training = root / "training"
    scans = _names(training / "velodyne_reduced") | _names(training / "velodyne")
    labels, calibs = _names(training / "label_2"), _names(training / "calib")
    problems = []
    for frame_id in ids:
        for folder, found, suffix, remedy in (
            ("velodyne", scans, "bin", "add it"),
            ("label_2", labels, "txt", "make an empty file if the frame has no object"),
            ("calib", calibs, "txt", "add it"),
        ):
            if f"{frame_id}.{suffix}" not in found:
                path = training / folder / f"{frame_id}.{suffix}"
                problems.append(f"{path}: no such file; {remedy}, or take the id off the list")
    return problems


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _size_of_image(path: Path) -> tuple[int, int]:
    """From the header; the image itself is not decoded."""
    with suppress(ValueError, struct.error):  # what the library raises for some broken headers
        width, height = imagesize.get(path)
        if width > 0 and height > 0:
            return int(width), int(height)
    raise DataError(f"{path}: not an image; download it again or remove it")


def _read_sizes(path: Path) -> dict[str, tuple[int, int]]:
    """Frame id to width and height; a line per frame below the header."""
    sizes = {}
    lines = read_text(path, DataError).splitlines()
    for number, line in enumerate(lines[1:], start=2):
        match = re.fullmatch(r"\s*([\w.-]+)\s*,\s*([1-9]\d*)\s*,\s*([1-9]\d*)\s*", line)
        if match is None:
            raise DataError(f"{path}:{number}: '{line}' must be 'frame,width,height'")
        sizes[match[1]] = (int(match[2]), int(match[3]))
    return sizes


def _size_of_camera(calibration: Calibration) -> tuple[int, int] | None:
    """The size of KITTI's images: one per recording date, as is the calibration of camera 2."""
    camera = calibration.p2[[0, 0, 1], [0, 2, 2]]
    for known, size in _kitti_cameras():
        if np.allclose(camera, known, rtol=0, atol=1e-3):
            return size
    return None


@cache
def _kitti_cameras() -> list[tuple[np.ndarray, tuple[int, int]]]:
    """Focal length and centre in pixels, and image size, of every recording date."""
    text = (files("benchmark.data") / "image_sizes.csv").read_text(encoding="utf-8")
    return [
        (
            np.array([float(row[key]) for key in ("focal_length", "centre_x", "centre_y")]),
            (int(row["width"]), int(row["height"])),
        )
        for row in csv.DictReader(text.splitlines())
    ]
