"""Read point clouds, labels and calibration from a folder in KITTI's layout.

    ROOT/ImageSets/{train,val}.txt
    ROOT/training/{velodyne or velodyne_reduced, label_2, calib, image_2 (not needed)}

A KITTI download and a folder prepared by mmdet3d are read as is.
"""

from __future__ import annotations

import csv
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path

import imagesize
import numpy as np

from benchmark.data.calibration import Calibration, read_calibration
from benchmark.data.dataset import Dataset, names_in, without_image
from benchmark.data.description import FILE
from benchmark.data.errors import DataError
from benchmark.data.labels import Labels, read_labels
from benchmark.data.point_loops import maybe_seen
from benchmark.data.scans import read_scan
from benchmark.data.standard_split import standard_split
from benchmark.files import read_text

_DEPTHS = (0.001, 100.0)  # metres; the depths of camera 2's frustum in mmdet3d and OpenPCDet
IMAGES = ("png", "jpg", "jpeg", "PNG", "JPG", "JPEG")
"""Suffixes of the images whose sizes are read."""


class KittiDataset(Dataset):
    """The frames of a folder in KITTI's layout.

    Without lists in ImageSets, a split is that of KITTI's standard split if the frames are KITTI's.
    """

    def read_split(self) -> tuple[list[str], list[str]]:
        if any(file.name[0] != "." for file in (self.root / "ImageSets").glob("*.txt")):
            return super().read_split()
        return _standard(self.root, self.split)

    def missing_files(self) -> Iterator[str]:
        training = self.root / "training"
        scans = names_in(training / "velodyne_reduced") | names_in(training / "velodyne")
        labels, calibs = names_in(training / "label_2"), names_in(training / "calib")
        for frame_id in self.ids:
            for folder, found, suffix, remedy in (
                ("velodyne", scans, self.description.points.format, "add it"),
                ("label_2", labels, "txt", "make an empty file if the frame has no object"),
                ("calib", calibs, "txt", "add it"),
            ):
                if f"{frame_id}.{suffix}" not in found:
                    path = self._path(folder, frame_id, suffix)
                    yield f"{path}: no such file; {remedy}, or take the id off the list"

    def annotation(self, frame_id: str) -> tuple[Labels, Calibration, tuple[int, int] | None]:
        calibration = read_calibration(self.calibration(frame_id))
        image_size = self._image_size(frame_id, calibration)
        labels = read_labels(self.label(frame_id))
        return labels if image_size else without_image(labels), calibration, image_size

    def label(self, frame_id: str) -> Path:
        return self._path("label_2", frame_id, "txt")

    def calibration(self, frame_id: str) -> Path:
        return self._path("calib", frame_id, "txt")

    def scan(self, frame_id: str) -> Path:
        """The file of the cropped scan if there is one, else of the full scan; the full one first
        where all points are wanted."""
        kind, cropped = self.description.points.format, ["velodyne_reduced", "velodyne"]
        folders = cropped if self.description.by_image else cropped[::-1]
        first, last = (self._path(folder, frame_id, kind) for folder in folders)
        return first if first.exists() else last

    def points(
        self, frame_id: str, calibration: Calibration, image_size: tuple[int, int] | None
    ) -> np.ndarray:
        scan = self.scan(frame_id)
        points = read_scan(scan, self.description.points)
        if image_size is None or scan.parent.name == "velodyne_reduced":
            return points
        return crop_to_image(points, calibration, image_size)

    def image_size(self, frame_id: str) -> tuple[int, int] | None:
        return self._image_size(frame_id, read_calibration(self.calibration(frame_id)))

    def _path(self, folder: str, frame_id: str, suffix: str) -> Path:
        return self.root / "training" / folder / f"{frame_id}.{suffix}"

    def _image_size(self, frame_id: str, calibration: Calibration) -> tuple[int, int] | None:
        """From the image's header, else ROOT/image_sizes.csv, else KITTI's size for this camera."""
        if not self.description.by_image:
            return None
        if not (calibration.p2[0, 0] > 0 < calibration.p2[1, 1]):
            raise DataError(
                f"{self.calibration(frame_id)}: the focal lengths in P2 are not above 0; write the "
                f"projection to pixels, or 'view: full' into {FILE} if there is no camera"
            )
        for suffix in IMAGES:
            image = self._path("image_2", frame_id, suffix)
            if image.exists():
                return _size_of_image(image)
        listed = self._listed_sizes.get(frame_id)
        if listed and _sees(calibration, listed[::-1]) and not _sees(calibration, listed):
            raise DataError(
                f"{self.root / 'image_sizes.csv'}: {frame_id} is {listed[0]} wide and {listed[1]} "
                "high, but the centre of its camera, in P2, is not inside; write frame,width,height"
            )
        size = listed or _size_of_camera(calibration)
        if size is None:
            image = self._path("image_2", frame_id, IMAGES[0])
            raise DataError(
                f"{image}: no such image, and frame {frame_id} is not calibrated for any of "
                "KITTI's cameras; add a line 'frame,width,height' to "
                f"{self.root / 'image_sizes.csv'}, or write 'view: full' into {FILE}"
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


def _standard(root: Path, split: str) -> tuple[list[str], list[str]]:
    """The frames of KITTI's standard split that are there, and how many."""
    lists = root / "ImageSets"
    frames = _frames_there(root)
    if not frames:
        raise DataError(
            f"{root / 'training'}: no frames; give the root of a folder in KITTI's layout, with "
            "training/velodyne, label_2 and calib, and the lists ImageSets/train.txt and val.txt"
        )
    chosen = [frame for frame in standard_split(split) if frame in frames]
    if not chosen or not _are_kittis(root, chosen):
        raise DataError(
            f"{lists}: no lists, and the frames are not KITTI's, whose standard split comes "
            f"along; write {lists / 'train.txt'} and val.txt, one frame per line, such as "
            f"{min(frames)}, frames of one drive in one list only"
        )
    count = len(standard_split(split))
    return chosen, [f"no ImageSets: {len(chosen)} of the standard split's {count} {split} frames"]


def _frames_there(root: Path) -> set[str]:
    """The frames that have a calibration."""
    return {Path(name).stem for name in names_in(root / "training" / "calib") if name[0] != "."}


def _are_kittis(root: Path, frames: Sequence[str]) -> bool:
    """Whether the first, middle and last of some frames are calibrated for KITTI's cameras."""
    looked = {frames[0], frames[len(frames) // 2], frames[-1]}
    paths = [root / "training" / "calib" / f"{frame}.txt" for frame in looked]
    return all(_size_of_camera(read_calibration(path)) is not None for path in paths)


def _size_of_image(path: Path) -> tuple[int, int]:
    """From the header; the image itself is not decoded."""
    with suppress(ValueError, struct.error):  # what the library raises for some broken headers
        width, height = imagesize.get(path)
        if width > 0 and height > 0:
            return int(width), int(height)
    raise DataError(f"{path}: not an image; download it again or remove it")


def _read_sizes(path: Path) -> dict[str, tuple[int, int]]:
    """Frame id to width and height; a line per frame, below a header if there is one."""
    sizes: dict[str, tuple[int, int]] = {}
    lines = read_text(path, DataError).splitlines()
    header = bool(lines) and not any(char.isdigit() for char in lines[0])
    for number, line in enumerate(lines[header:], start=1 + header):
        match = re.fullmatch(r"\s*([\w.-]+)\s*,\s*([1-9]\d{0,5})\s*,\s*([1-9]\d{0,5})\s*", line)
        if match is None:
            raise DataError(f"{path}:{number}: '{line}' must be 'frame,width,height'")
        size = int(match[2]), int(match[3])
        if sizes.setdefault(match[1], size) != size:
            raise DataError(f"{path}:{number}: {match[1]} is there already, of another size")
    return sizes


def _sees(calibration: Calibration, size: tuple[int, int]) -> bool:
    """Whether an image holds the centre of its camera."""
    return bool((calibration.p2[:2, 2] > 0).all() and (calibration.p2[:2, 2] < size).all())


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
