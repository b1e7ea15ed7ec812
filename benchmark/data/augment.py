"""Global flip, rotation and scaling of a frame, as in mmdet3d's PointPillars pipeline for KITTI.

What is drawn is a function of (seed, epoch, frame id) alone: never of the worker, of the order of
the frames or of where a run was resumed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

_MAX_ROTATION = np.pi / 4
_SCALES = (0.95, 1.05)


@dataclass(frozen=True)
class Motion:
    """One augmentation: mirror y or not, then rotate about z (radians), then scale."""

    flip: bool
    rotation: float
    scale: float


def augment(
    points: np.ndarray, boxes: np.ndarray, seed: int, epoch: int, frame_id: str
) -> tuple[np.ndarray, np.ndarray]:
    """Move points and boxes together and shuffle the points.

    points: (n, 4) x, y, z, reflectance. boxes: (m, 7) as in `kitti.Frame`. Returns new arrays of
    the same shapes and types. The shuffle decides, as in mmdet3d, which points a full voxel keeps.
    """
    generator = frame_generator(seed, epoch, frame_id)
    moved, moved_boxes = apply(points, boxes, draw(generator))
    return moved[generator.permutation(len(moved))], moved_boxes


def frame_generator(seed: int, epoch: int, frame_id: str) -> np.random.Generator:
    """The generator of one frame in one epoch."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{frame_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def draw(generator: np.random.Generator) -> Motion:
    """A flip with probability 1/2, a rotation within 45 degrees, a scale of 0.95 to 1.05."""
    return Motion(
        flip=bool(generator.random() < 0.5),
        rotation=float(generator.uniform(-_MAX_ROTATION, _MAX_ROTATION)),
        scale=float(generator.uniform(*_SCALES)),
    )


def apply(points: np.ndarray, boxes: np.ndarray, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Copies of points and boxes after one motion; yaws are not wrapped, as in mmdet3d."""
    points, boxes = points.copy(), boxes.copy()
    if motion.flip:
        points[:, 1] *= -1
        boxes[:, [1, 6]] *= -1
    for places in (points, boxes):
        _rotate(places, motion.rotation)
    boxes[:, 6] += motion.rotation
    points[:, :3] *= motion.scale
    boxes[:, :6] *= motion.scale
    return points, boxes


def _rotate(places: np.ndarray, angle: float) -> None:
    """Turn the first two columns in place, from x towards y."""
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    x, y = places[:, 0].copy(), places[:, 1].copy()
    places[:, 0] = cos * x - sin * y
    places[:, 1] = sin * x + cos * y
