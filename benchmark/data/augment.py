"""Augmentation of training frames: steps after mmdet3d's transforms, in the order of a recipe.

Random draws depend on (seed, epoch, frame id) alone: never of the worker, of the order of
the frames or of where a run was resumed. Steps return new samples and leave their input unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from benchmark.data.box_geometry import collisions, first_box, free_moves
from benchmark.data.objects import Objects
from benchmark.data.point_loops import carry, rows_where, turn
from benchmark.data.sample import Sample, draw_points, frame_generator, points_in_range
from detectors import CLASSES, Grid
from kd_methods.core.errors import suggestion

QUARTER = 0.78539816
"""mmdet3d's pi / 4."""


@dataclass(frozen=True)
class Surroundings:
    """What steps use besides the frame: the detector's grid, and objects of other frames."""

    grid: Grid
    objects: Objects | None = None


class Step(Protocol):
    """One step of an augmentation; its name is the one in recipes."""

    name: ClassVar[str]

    def __call__(
        self, sample: Sample, generator: np.random.Generator, around: Surroundings
    ) -> Sample: ...


def augment(
    sample: Sample, steps: Sequence[Step], around: Surroundings, seed: int, epoch: int, frame: str
) -> Sample:
    """A frame after all steps, its points drawn for point detectors and shuffled.

    The shuffle decides, as in mmdet3d, which points a full voxel keeps.
    """
    generator = frame_generator(seed, epoch, frame)
    for step in steps:
        sample = step(sample, generator, around)
    points = draw_points(sample.points, around.grid, generator)
    return Sample(points[generator.permutation(len(points))], sample.boxes, sample.labels)


@dataclass(frozen=True)
class ObjectSample:
    """Fill up a frame with objects of other frames where there is room.

    mmdet3d's ObjectSample with its DataBaseSampler, without ground planes (KITTI's download has
    none), drawn afresh for each frame instead of walking one shuffled list across frames.

    Attributes:
        counts: objects of each of KITTI's classes that the frame should have; the missing ones are
            drawn. Other classes take those of the one that they are like.
        min_points: points that a pasted object of a class must have.

    Raises:
        ValueError: a class that detectors do not know.
    """

    name: ClassVar[str] = "object_sample"
    counts: Mapping[str, int] = field(metadata={"least": 0})
    min_points: Mapping[str, int] = field(metadata={"least": 0})

    def __post_init__(self) -> None:
        for word in (*self.counts, *self.min_points):
            if word not in CLASSES:
                raise ValueError(f"unknown class {word!r}{suggestion(word, CLASSES)}")

    def __call__(
        self, sample: Sample, generator: np.random.Generator, around: Surroundings
    ) -> Sample:
        objects = around.objects
        if objects is None:
            raise ValueError("object_sample needs the objects of the training frames")
        chosen = np.empty(0, np.int64)
        for label, count, min_points in self._wanted(around.grid):
            candidates = objects.usable(label, min_points)
            lacking = min(max(count - int((sample.labels == label).sum()), 0), len(candidates))
            drawn = generator.choice(candidates, lacking, replace=False)
            there = np.concatenate([sample.boxes, objects.boxes[chosen]])
            chosen = np.append(chosen, drawn[_with_room(objects.boxes[drawn], there)])
        free = rows_where(sample.points, first_box(sample.points, objects.boxes[chosen]), -1)
        return Sample(
            np.concatenate([*(objects.points_of(index) for index in chosen), free]),
            np.concatenate([sample.boxes, objects.boxes[chosen]]),
            np.concatenate([sample.labels, objects.labels[chosen]]),
        )

    def _wanted(self, grid: Grid) -> Iterator[tuple[int, int, int]]:
        """Index, count and points of each class of a data set: those of the one it is like."""
        for name, count in self.counts.items():
            for label, each in enumerate(grid.classes):
                if each.like == name:
                    yield label, count, self.min_points.get(name, 0)


@dataclass(frozen=True)
class ObjectNoise:
    """Move and turn every object independently, with its points, where there is room.

    mmdet3d's ObjectNoise: the first of several random moves that hits no other object.

    Attributes:
        translation_std: metres along x, y, z.
        rotation: range of the turn in radians.
        tries: moves tried before an object stays where it is.
    """

    name: ClassVar[str] = "object_noise"
    translation_std: tuple[float, float, float] = (1.0, 1.0, 0.5)
    rotation: tuple[float, float] = (-QUARTER, QUARTER)
    tries: int = field(default=100, metadata={"least": 1})

    def __call__(
        self, sample: Sample, generator: np.random.Generator, around: Surroundings
    ) -> Sample:
        size = (len(sample.boxes), self.tries)
        moves = np.concatenate(
            [
                generator.normal(scale=self.translation_std, size=(*size, 3)),
                generator.uniform(*self.rotation, size=(*size, 1)),
            ],
            axis=2,
        )
        chosen = free_moves(sample.boxes, moves)
        move = np.where(chosen[:, None] < 0, 0, moves[np.arange(len(chosen)), chosen])
        boxes = sample.boxes.copy()
        boxes[:, :3] += move[:, :3]
        boxes[:, 6] += move[:, 3]
        return Sample(_carried(sample.points, sample.boxes, move), boxes, sample.labels)


@dataclass(frozen=True)
class RandomFlip:
    """Mirror y with a probability (mmdet3d's RandomFlip3D, horizontal)."""

    name: ClassVar[str] = "random_flip"
    probability: float = field(default=0.5, metadata={"least": 0, "most": 1})

    def __call__(
        self, sample: Sample, generator: np.random.Generator, around: Surroundings
    ) -> Sample:
        if generator.random() >= self.probability:
            return sample
        points, boxes = sample.points.copy(), sample.boxes.copy()
        points[:, 1] *= -1
        boxes[:, [1, 6]] *= -1
        return Sample(points, boxes, sample.labels)


@dataclass(frozen=True)
class GlobalRotation:
    """Turn the scene about z by an angle in a range, radians (mmdet3d's GlobalRotScaleTrans)."""

    name: ClassVar[str] = "global_rotation"
    angle: tuple[float, float] = (-QUARTER, QUARTER)

    def __call__(
        self, sample: Sample, generator: np.random.Generator, around: Surroundings
    ) -> Sample:
        angle = generator.uniform(*self.angle)
        points, boxes = sample.points.copy(), sample.boxes.copy()
        turn(points, np.cos(angle), np.sin(angle))
        boxes[:, :2] = _turned(boxes[:, :2], angle)
        boxes[:, 6] += angle
        return Sample(points, boxes, sample.labels)


@dataclass(frozen=True)
class GlobalScaling:
    """Scale the scene by a factor in a range (mmdet3d's GlobalRotScaleTrans)."""

    name: ClassVar[str] = "global_scaling"
    factor: tuple[float, float] = field(default=(0.95, 1.05), metadata={"above": 0})

    def __call__(
        self, sample: Sample, generator: np.random.Generator, around: Surroundings
    ) -> Sample:
        factor = generator.uniform(*self.factor)
        points = sample.points * np.array([factor, factor, factor, 1], np.float32)
        boxes = sample.boxes.copy()
        boxes[:, :6] *= factor
        return Sample(points, boxes, sample.labels)


@dataclass(frozen=True)
class PointsRangeFilter:
    """Drop points outside the grid's range (mmdet3d's PointsRangeFilter)."""

    name: ClassVar[str] = "points_range_filter"

    def __call__(
        self, sample: Sample, generator: np.random.Generator, around: Surroundings
    ) -> Sample:
        return Sample(points_in_range(sample.points, around.grid), sample.boxes, sample.labels)


@dataclass(frozen=True)
class ObjectRangeFilter:
    """Drop objects centred outside the grid's range in x and y (mmdet3d's ObjectRangeFilter)."""

    name: ClassVar[str] = "object_range_filter"

    def __call__(
        self, sample: Sample, generator: np.random.Generator, around: Surroundings
    ) -> Sample:
        x0, y0, x1, y1 = around.grid.extent
        x, y = sample.boxes[:, 0], sample.boxes[:, 1]
        inside = (x > x0) & (y > y0) & (x < x1) & (y < y1)
        return Sample(sample.points, sample.boxes[inside], sample.labels[inside])


_ALL: tuple[type[Step], ...] = (
    ObjectSample,
    ObjectNoise,
    RandomFlip,
    GlobalRotation,
    GlobalScaling,
    PointsRangeFilter,
    ObjectRangeFilter,
)
STEPS: Mapping[str, type[Step]] = {step.name: step for step in _ALL}
"""Every step by its name in recipes."""


def _with_room(candidates: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Which candidates (m, 7) to paste beside boxes (n, 7): bool (m,).

    In turn, a candidate is dropped if it shares ground with a box, with one accepted
    before it or with one still to come (mmdet3d's DataBaseSampler.sample_class_v2).
    """
    hits = collisions(np.concatenate([there, candidates]))
    for i in range(len(there), len(hits)):
        if hits[i].any():
            hits[i, i] = True
            hits[i, :i] = hits[i, i + 1 :] = hits[:i, i] = hits[i + 1 :, i] = False
    return ~np.diagonal(hits)[len(there) :]


def _carried(points: np.ndarray, boxes: np.ndarray, move: np.ndarray) -> np.ndarray:
    """Points (n, 4) after each box (m, 7) took those inside it along its move (m, 4)."""
    moved, centres = points.copy(), boxes[:, :2].astype(np.float64)
    cos, sin = np.cos(move[:, 3]), np.sin(move[:, 3])
    carry(moved, first_box(points, boxes), centres, move[:, :3], cos, sin)
    return moved


def _turned(places: np.ndarray, angle: float) -> np.ndarray:
    """Places (n, 2) turned from x towards y by an angle, in float64."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = places.T.astype(np.float64)
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)
