"""The objects of the training frames with their points, to be pasted into other frames.

After mmdet3d's ground-truth database (its tools/dataset_converters/create_gt_database.py), in one
file of plain arrays.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmark.data.box_geometry import first_box
from benchmark.data.dataset import Dataset
from benchmark.data.errors import DataError
from benchmark.data.labels import LEAST_HEIGHT, MOST_OCCLUSION, MOST_TRUNCATION, Labels
from benchmark.data.sample import Sample
from benchmark.files import write_atomically
from benchmark.files.arrays import read_arrays

_FIELDS = ("points", "ends", "boxes", "labels", "difficulty", "frames")


@dataclass(frozen=True, eq=False)
class Objects:
    """The n objects of the data set's classes in a split.

    Attributes:
        points: (P, 4) float32 x, y, z in metres and reflectance, in the sensor's frame, those of
            the first object first.
        ends: (n,) where the points of each object end.
        boxes: (n, 7) float32 as in `kitti.Frame`.
        labels: (n,) class indices.
        difficulty: (n,) 0 Easy, 1 Moderate, 2 Hard, -1 beyond.
        frames: (n,) position of the object's frame in the split.
    """

    points: np.ndarray
    ends: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    difficulty: np.ndarray
    frames: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    @cached_property
    def counts(self) -> np.ndarray:
        """(n,) points of each object."""
        return np.diff(self.ends, prepend=0)

    def points_of(self, index: int) -> np.ndarray:
        """The points (k, 4) of an object."""
        return self.points[self.ends[index] - self.counts[index] : self.ends[index]]

    def usable(self, label: int, min_points: int) -> np.ndarray:
        """Positions of a class's objects that have a difficulty and enough points."""
        fit = (self.difficulty >= 0) & (self.counts >= min_points)
        return np.flatnonzero((self.labels == label) & fit)

    def of_frames(self, limit: int | None) -> Objects:
        """The objects of the first frames, up to a limit; all if None."""
        count = len(self) if limit is None else int(np.searchsorted(self.frames, limit))
        end = int(self.ends[count - 1]) if count else 0
        rest = (getattr(self, name)[:count] for name in _FIELDS[1:])
        return Objects(self.points[:end], *rest)


def collect(dataset: Dataset) -> Objects:
    """The objects of a split, from its frames."""
    return Objects(*map(np.concatenate, zip(*_rows(dataset), strict=True)))


def load_objects(dataset: Dataset, folder: Path) -> Objects:
    """The objects of a split from a cache folder, collected and kept there if absent.

    Raises:
        DataError: the file is damaged or belongs to other data.
    """
    fingerprint = dataset.fingerprint()
    path = folder / f"{fingerprint}.npz"
    if not path.exists():
        print(f"collecting the objects of {len(dataset)} training frames in {path}", flush=True)
        _write(path, collect(dataset), fingerprint)
    return _read(path, fingerprint)


def difficulties(labels: Labels) -> np.ndarray:
    """(n,) the first of Easy 0, Moderate 1, Hard 2 that an object belongs to, else -1.

    As mmdet3d's add_difficulty_to_annos and the KITTI development kit.
    """
    height = labels.bbox[:, 3] - labels.bbox[:, 1]
    levels = [
        (height > low) & (labels.occlusion <= hidden) & (labels.truncation <= cut)
        for low, hidden, cut in zip(LEAST_HEIGHT, MOST_OCCLUSION, MOST_TRUNCATION, strict=True)
    ]
    return np.select(levels, range(len(levels)), -1)


def _rows(dataset: Dataset) -> Iterator[Sequence[np.ndarray]]:
    """The fields of `Objects`, frame by frame; first those of no object."""
    none = np.empty(0, np.int64)
    yield np.empty((0, 4), np.float32), none, np.empty((0, 7), np.float32), none, none, none
    total = 0
    for position, frame_id in enumerate(dataset.ids):
        frame = dataset.frame(frame_id)
        sample = Sample.of(frame)
        inside = [first_box(sample.points, box[None]) == 0 for box in sample.boxes]
        points = [sample.points[mask] for mask in inside]
        ends = total + np.cumsum([len(each) for each in points], dtype=np.int64)
        total += sum(map(len, points))
        labels = frame.labels.select(np.isin(frame.labels.name, frame.classes))
        yield (
            np.concatenate([sample.points[:0], *points]),
            ends,
            sample.boxes,
            sample.labels,
            difficulties(labels),
            np.full(len(points), position),
        )


def _write(path: Path, objects: Objects, fingerprint: str) -> None:
    buffer = io.BytesIO()
    arrays = {name: getattr(objects, name) for name in _FIELDS}
    np.savez(buffer, fingerprint=np.array(fingerprint), **arrays)
    write_atomically(path, buffer.getvalue())


def _read(path: Path, fingerprint: str) -> Objects:
    try:
        arrays = read_arrays(path)
        found = str(arrays["fingerprint"])
        objects = Objects(**{name: arrays[name] for name in _FIELDS})
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: {error}; remove the file and it will be rebuilt") from None
    if found != fingerprint:
        raise DataError(
            f"{path} holds the objects of data {found}, not {fingerprint}; remove the file "
            "and it will be rebuilt"
        )
    return objects
