"""One frame as a detector sees it in training or evaluation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from benchmark.data.dataset import Frame
from benchmark.data.point_loops import rows_within
from detectors import Grid


@dataclass(frozen=True, eq=False)
class Sample:
    """Points (n, 4), boxes (G, 7) as in `kitti.Frame`, class indices (G,)."""

    points: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, frame: Frame) -> Sample:
        """The frame as it is, with the objects of the data set's classes."""
        index = {name: i for i, name in enumerate(frame.classes)}
        known = np.array([name in index for name in frame.names], dtype=bool)
        labels = np.array([index[name] for name in frame.names[known]], dtype=np.int64)
        return cls(frame.points, frame.boxes[known], labels)


def frame_generator(*key: int | str) -> np.random.Generator:
    """The generator that belongs to a key, e.g. seed, epoch and frame id."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def points_in_range(points: np.ndarray, grid: Grid) -> np.ndarray:
    """The points (m, 4) strictly within the grid's range, as mmdet3d's PointsRangeFilter."""
    low, high = np.array(grid.point_cloud_range, np.float32).reshape(2, 3)
    return rows_within(points, low, high)


def draw_points(points: np.ndarray, grid: Grid, generator: np.random.Generator) -> np.ndarray:
    """The points (num_points, 4) that a point detector reads; all of them if it reads all.

    As mmdet3d's PointSample: every point at least `sample_range` metres away, the rest from the
    nearer ones, in random order; with replacement where there are too few. A frame without points
    gets one in the middle of the range, repeated.
    """
    count = grid.num_points
    if not count:
        return points
    if not len(points):
        middle = np.array(grid.point_cloud_range, np.float32).reshape(2, 3).mean(axis=0)
        points = np.append(middle, np.float32(0))[None]
    if len(points) < count:
        return points[generator.integers(len(points), size=count)]
    far = np.linalg.norm(points[:, :3], axis=1) >= grid.sample_range
    order = generator.permutation(len(points))
    order = order[np.argsort(~far[order], kind="stable")][:count]
    return points[generator.permutation(order)]


def as_evaluated(frame: Frame, grid: Grid) -> Sample:
    """The frame as a detector is evaluated on it: the same points whenever it is asked for."""
    sample = Sample.of(frame)
    points = draw_points(points_in_range(sample.points, grid), grid, frame_generator(frame.id))
    return Sample(points, sample.boxes, sample.labels)
