"""Frames to batches: order, augmentation, filtering and tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmark.data.augment import augment
from benchmark.data.kitti import Frame, KittiDataset
from detectors import CLASSES, Grid
from kd_methods import Batch
from kd_methods.core.geometry import limit_angle


@dataclass(frozen=True)
class TrainingFrames:
    """The training split as a reproducible stream of augmented batches.

    Order and augmentation are functions of (seed, epoch, frame id) alone.

    Attributes:
        dataset: the split.
        limit: the first so many frames are used, all if None.
        grid: objects whose centre leaves it are dropped.
        batch_size: frames per batch; a smaller last batch is left out.
        seed: of order and augmentation.
        device: where the tensors go.
    """

    dataset: KittiDataset
    limit: int | None
    grid: Grid
    batch_size: int
    seed: int
    device: torch.device

    @property
    def ids(self) -> Sequence[str]:
        """The frames used."""
        return self.dataset.ids[: self.limit]

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return max(1, len(self.ids) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, from 0."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.ids))
        for step in range(self.steps):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            frames = [self.dataset.frame(self.ids[index]) for index in chosen]
            yield to_batch([self._augmented(f, epoch) for f in frames], self.grid, self.device)

    def _augmented(self, frame: Frame, epoch: int) -> Sample:
        sample = Sample.of(frame)
        points, boxes = augment(sample.points, sample.boxes, self.seed, epoch, frame.id)
        return Sample(points, boxes, sample.labels)


@dataclass(frozen=True)
class Sample:
    """One frame for a detector: points (n, 4), boxes (G, 7) of its classes, class indices (G,)."""

    points: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, frame: Frame) -> Sample:
        """The frame as it is, with the objects of the benchmark's classes."""
        index = {name: i for i, name in enumerate(CLASSES)}
        known = np.array([name in index for name in frame.names], dtype=bool)
        labels = np.array([index[name] for name in frame.names[known]], dtype=np.int64)
        return cls(frame.points, frame.boxes[known], labels)


def to_batch(samples: Sequence[Sample], grid: Grid, device: torch.device) -> Batch:
    """Tensors of several frames; objects centred outside the grid are dropped."""
    boxes, labels = [], []
    for sample in samples:
        box = torch.tensor(sample.boxes, dtype=torch.float32).view(-1, 7)
        inside = grid.inside(box)
        box[:, 6] = limit_angle(box[:, 6])  # as mmdet3d does after augmentation
        boxes.append(box[inside].to(device))
        labels.append(torch.from_numpy(sample.labels)[inside].to(device))
    points = [torch.from_numpy(np.ascontiguousarray(s.points)).to(device) for s in samples]
    return Batch(boxes, labels, points, CLASSES)
