"""A look at a data set as a whole: what its frames and objects are, in two tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmark.data.calibration import observation_angle, wrap_angle
from benchmark.data.dataset import Dataset, Frame, MissingFilesError
from benchmark.data.description import KITTI, Description, find_description
from benchmark.data.errors import DataError, lines_of
from benchmark.data.genuine import is_genuine
from benchmark.data.image_boxes import clipped_boxes
from benchmark.data.labels import MOST_TRUNCATION, Labels, has_sixteenth_field
from benchmark.data.opening import open_described
from benchmark.data.scans import read_all_points
from benchmark.evaluation import validity
from benchmark.evaluation.protocol import in_table_order
from benchmark.evaluation.readings import AROUND, BESIDE, READINGS, count_points
from detectors import Grid

SPLITS = ("train", "val")
FOLDERS = ("scan", "label", "calibration")
"""Files of a frame that may be KITTI's own."""
SIDES = ("height", "width", "length")
BATCH = 32
"""Frames that a worker reads at a time."""

SAME_CENTRE = 0.1
"""Metres within which two objects of a class are one."""
RANGE = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0)
"""That of mmdet3d's SECOND and PointRCNN on KITTI, metres."""


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        root: the folder.
        description: what it means.
        frames: one row per frame: split, id, points read, dropped as they are not finite, and kept
            in the camera's view, at 0, 0, 0, largest coordinate (m), lowest and highest
            reflectance, digest of the scan; whether scan, label and calibration are KITTI's own;
            whether labels have a sixteenth field, objects that are there twice.
        objects: one row per object without DontCare: split, class, level (0 to 2, 3 for none),
            reason, distance, yaw, truncation, overlap of its 2D box and the projected 3D box,
            how far alpha is off (rad), points inside, and if the box is read otherwise, height,
            width, length (m).
        share: of the validation frames that were read: all, or a sample.
        problems: what cannot be read, one line each.
        notes: what is taken for granted, such as a split that the folder does not have.
    """

    root: Path
    description: Description
    frames: pd.DataFrame
    objects: pd.DataFrame
    share: float = 1.0
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()

    def genuine(self) -> str:
        """How many files are KITTI's own."""
        counts = self.frames[list(FOLDERS)].astype(bool).sum()
        if not counts.any():
            return "none of the files is KITTI's own"
        told = ", ".join(f"{counts[kind]} {kind}s" for kind in FOLDERS)
        return f"KITTI's own to the bit, of {len(self.frames)} frames: {told}"

    @property
    def sampled(self) -> str:
        """Said of counts, where only some frames were read."""
        return "" if self.share == 1 else " (in the frames looked at)"

    @property
    def empty(self) -> float:
        """Share of the frames that end up without a point."""
        return float((self.frames["kept"] == 0).mean()) if len(self.frames) else 0.0

    @property
    def classes(self) -> list[str]:
        """Those that are trained and scored, in the order of tables."""
        return in_table_order(list(self.description.classes))

    def within(self, objects: pd.DataFrame, grid: Grid) -> pd.Series:
        """Whether a grid holds the centre of each of the objects."""
        x0, y0, x1, y1 = grid.extent
        return objects["x"].between(x0, x1) & objects["y"].between(y0, y1)

    def held_by(self, grid: Grid) -> str:
        """How many of the objects of the classes a grid holds, in words."""
        objects = self.objects[self.objects["class"].isin(self.classes)]
        held = self.within(objects, grid)
        counts = ", ".join(
            f"{int(held[own].sum())} of {int(own.sum())} {name}"
            for name in self.classes
            for own in [objects["class"] == name]
        )
        told = f"{grid.described}: holds {int(held.sum())} of {len(objects)} objects looked at"
        return f"{told} ({counts})"


@dataclass
class _Found:
    """What a worker found in some frames."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def survey(root: Path, sample: int | None = None, jobs: int = 1, quiet: bool = True) -> Survey:
    """Look at the frames of both splits.

    Args:
        root: a data set's folder, or its description.
        sample: frames of each split that are read, spread over it; all if None.
        jobs: processes that read.
        quiet: show no progress.
    """
    problems: list[str] = []
    datasets: list[Dataset] = []
    described = KITTI
    try:
        folder, described = find_description(root)
        datasets = list(_open(folder, described, problems))
    except (DataError, OSError) as error:
        problems += lines_of(error)
    tasks = [task for dataset in datasets for task in _tasks(dataset, sample)]
    found = _Found()
    work = (joblib.delayed(_look)(*task) for task in tasks)
    parts = joblib.Parallel(jobs, return_as="generator")(work)
    frames = sum(len(ids) for _, ids in tasks)
    with tqdm(total=frames, unit="frame", disable=quiet) as bar:
        for (_, ids), part in zip(tasks, parts, strict=True):
            found.frames += part.frames
            found.objects += part.objects
            problems += part.problems
            bar.update(len(ids))
    return Survey(
        root,
        described,
        pd.DataFrame(found.frames, columns=FRAME_COLUMNS),
        pd.DataFrame(found.objects, columns=OBJECT_COLUMNS),
        _share(datasets, tasks),
        list(dict.fromkeys(problems)),
        list(dict.fromkeys(note for dataset in datasets for note in dataset.notes)),
    )


def _open(folder: Path, described: Description, problems: list[str]) -> Iterator[Dataset]:
    """The splits that can be opened; what is wrong with the others goes to the problems."""
    for split in SPLITS:
        try:
            yield open_described(folder, split, described)
        except MissingFilesError as error:
            problems += error.problems
        except (DataError, OSError) as error:
            problems += lines_of(error)


Task = tuple[Dataset, list[str]]
"""A data set, and frames of it to read."""


def _share(datasets: Sequence[Dataset], tasks: Sequence[Task]) -> float:
    """Of the validation frames, those that are read."""
    every = sum(len(one) for one in datasets if one.split == "val")
    return sum(len(ids) for one, ids in tasks if one.split == "val") / max(every, 1)


FRAME_COLUMNS = [
    "split", "id", "read", "dropped", "kept", "reach", "dullest", "brightest", "digest", *FOLDERS,
    "wide", "zeros", "repeated", "folder", "bare",
]  # fmt: skip
OBJECT_COLUMNS = [
    "split", "class", "level", "reason", "distance", "x", "y", "bottom", "yaw", "truncation",
    "in image", "alpha off", "outside", "points", *READINGS,
    "points" + AROUND, *(name + AROUND for name in READINGS), BESIDE, *SIDES,
]  # fmt: skip


def _tasks(dataset: Dataset, sample: int | None) -> Iterator[Task]:
    count = len(dataset) if sample is None else min(sample, len(dataset))
    chosen = np.unique(np.linspace(0, len(dataset) - 1, count).astype(int))
    ids = [dataset.ids[i] for i in chosen]
    for start in range(0, len(ids), BATCH):
        yield dataset, ids[start : start + BATCH]


NOTHING = hashlib.sha256(b"").digest()
"""What an empty file holds."""


def _look(dataset: Dataset, ids: Sequence[str]) -> _Found:
    """Read some frames."""
    found = _Found()
    kittis = dataset.description.layout == "kitti"
    for frame_id in ids:
        try:
            frame = dataset.frame(frame_id)
            scan, held = dataset.scan(frame_id), dataset.contents(frame_id)
            digest = hashlib.sha256(scan.read_bytes()).digest()
            every = read_all_points(scan, dataset.description.points)
        except (DataError, OSError) as error:
            found.problems += lines_of(error)
            continue
        finite = np.isfinite(every).all(axis=1)
        found.frames.append(
            {
                "split": dataset.split,
                "id": frame_id,
                "read": len(finite),
                "dropped": int((~finite).sum()),
                "kept": len(frame.points),
                "zeros": int((every[:, :3] == 0).all(axis=1).sum()),
                "repeated": _repeated(frame),
                "reach": float(np.abs(every[finite, :3]).max(initial=0)),
                "dullest": float(frame.points[:, 3].min(initial=1)),
                "brightest": float(frame.points[:, 3].max(initial=0)),
                "digest": digest.hex() if len(every) else frame_id,
                "scan": is_genuine(scan.parent.name, frame_id, digest),
                "label": is_genuine("label_2", frame_id, held.label),
                "calibration": is_genuine("calib", frame_id, held.calibration),
                "folder": scan.parent.name,
                "bare": held.label == NOTHING,
                "wide": kittis and has_sixteenth_field(dataset.label(frame_id)),
            }
        )
        found.objects += _objects(frame, dataset)
    return found


def _objects(frame: Frame, dataset: Dataset) -> Iterator[dict[str, Any]]:
    """A row of each object of a frame."""
    objects = frame.labels.select(frame.labels.name != "DontCare")
    levels, reasons = validity.levels(objects), validity.reasons(objects)
    counts = count_points(frame.points, frame.boxes)
    overlaps, turned = _overlaps_in_image(objects, frame), _alpha_off(objects, frame)
    for i, box in enumerate(frame.boxes):
        yield {
            "split": dataset.split,
            "class": str(objects.name[i]),
            "level": levels[i],
            "reason": str(reasons[i]),
            "distance": float(np.hypot(box[0], box[1])),
            "x": float(box[0]),
            "y": float(box[1]),
            "bottom": float(box[2]),
            "yaw": float(box[6]),
            "truncation": float(objects.truncation[i]),
            "in image": overlaps[i],
            "alpha off": turned[i],
            "outside": not _within(box, dataset.description),
            **{name: count[i] for name, count in counts.items()},
            **dict(zip(SIDES, objects.dimensions[i].tolist(), strict=True)),
        }


def _repeated(frame: Frame) -> int:
    """Objects of the same class and nearly the same centre as another one before them."""
    apart = np.linalg.norm(frame.boxes[:, None, :3] - frame.boxes[None, :, :3], axis=-1)
    same = (apart < SAME_CENTRE) & (frame.names[:, None] == frame.names[None, :])
    return int(np.tril(same, -1).any(axis=1).sum())


def _alpha_off(objects: Labels, frame: Frame) -> np.ndarray:
    """(n,) radians between alpha and the observation angle; NaN where there is no image."""
    if frame.image_size is None:
        return np.full(len(objects), np.nan)
    seen = observation_angle(objects.location, objects.rotation_y)
    return np.abs(wrap_angle(objects.alpha - seen))


def _overlaps_in_image(objects: Labels, frame: Frame) -> np.ndarray:
    """(n,) intersection over union of 2D boxes and projected 3D boxes; NaN where there is no image,
    no 2D box, or much of the object is outside."""
    if frame.image_size is None:
        return np.full(len(objects), np.nan)
    projected = clipped_boxes(objects, frame.calibration, frame.image_size)
    low = np.maximum(projected[:, :2], objects.bbox[:, :2])
    high = np.minimum(projected[:, 2:], objects.bbox[:, 2:])
    shared = (high - low).clip(0).prod(axis=1)
    areas = [(box[:, 2:] - box[:, :2]).clip(0).prod(axis=1) for box in (projected, objects.bbox)]
    given = (objects.bbox != objects.bbox[:, :1]).any(axis=1)  # not 0 0 0 0, nor -1 -1 -1 -1
    fine = given & (objects.truncation <= MOST_TRUNCATION[-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(fine, shared / (areas[0] + areas[1] - shared), np.nan)


def _within(box: np.ndarray, described: Description) -> bool:
    """Whether an object's centre lies where detectors see it, and a part of its height."""
    x0, y0, z0, x1, y1, z1 = described.range or RANGE
    return bool(x0 <= box[0] < x1 and y0 <= box[1] < y1 and z0 < box[2] + box[5] and box[2] < z1)
