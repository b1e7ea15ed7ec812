"""Frames to batches: order, augmentation and tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.data.ahead import make_ahead
from benchmark.data.augment import Step, Surroundings, augment
from benchmark.data.dataset import Dataset, Frame
from benchmark.data.errors import DataError
from benchmark.data.objects import Objects
from benchmark.data.sample import Sample, as_evaluated
from detectors import Grid
from kd_methods import Batch
from kd_methods.core.geometry import limit_angle


@dataclass(frozen=True, kw_only=True)
class TrainingFrames:
    """The training split as a reproducible stream of augmented batches.

    Order and augmentation are functions of (seed, epoch, frame id) alone.

    Attributes:
        dataset: the split.
        limit: number of frames used, from the first; all if None.
        grid: the detector's.
        augmentation: the steps that every frame takes.
        objects: those of the training frames, where a step pastes them.
        batch_size: frames per batch.
        batches_per_update: micro-batches per optimization step; an epoch leaves out the frames
            that do not fill one.
        seed: of order and augmentation.
        device: where the tensors go.
        workers: processes that read and augment ahead of their use; no batch depends on them.

    Raises:
        DataError: there are fewer frames than one optimization step takes.
    """

    dataset: Dataset
    limit: int | None
    grid: Grid
    augmentation: Sequence[Step]
    objects: Objects | None
    batch_size: int
    batches_per_update: int
    seed: int
    device: torch.device
    workers: int = 0

    def __post_init__(self) -> None:
        needed = self.batch_size * self.batches_per_update
        if len(self.ids) < needed:
            raise DataError(
                f"{self.dataset.root}: {len(self.ids)} training frames are used, but one "
                f"optimization step takes {needed}; choose a profile with a smaller batch_size"
            )

    @property
    def ids(self) -> Sequence[str]:
        """The frames used."""
        return self.dataset.ids[: self.limit]

    @property
    def updates(self) -> int:
        """Optimization steps per epoch."""
        return len(self.ids) // (self.batch_size * self.batches_per_update)

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self.updates * self.batches_per_update

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, both from 0."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.ids))
        around = Surroundings(self.grid, self.objects)

        def samples(step: int) -> list[Sample]:
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            frames = [self.dataset.frame(self.ids[index]) for index in chosen]
            return [
                augment(Sample.of(f), self.augmentation, around, self.seed, epoch, f.id)
                for f in frames
            ]

        for made in make_ahead(samples, first, self.steps, self.workers):
            yield to_batch(made, self.grid, self.device)


def evaluation_batch(frame: Frame, grid: Grid, device: torch.device) -> Batch:
    """One frame as a detector is evaluated on it."""
    return to_batch([as_evaluated(frame, grid)], grid, device)


def to_batch(samples: Sequence[Sample], grid: Grid, device: torch.device) -> Batch:
    """Tensors of several frames."""
    boxes = [torch.tensor(s.boxes, dtype=torch.float32).view(-1, 7) for s in samples]
    for box in boxes:
        box[:, 6] = limit_angle(box[:, 6])  # as mmdet3d does after augmentation
    labels = [torch.from_numpy(s.labels) for s in samples]
    points = [torch.from_numpy(np.ascontiguousarray(s.points)) for s in samples]
    boxes, labels, points = ([_move(t, device) for t in kind] for kind in (boxes, labels, points))
    return Batch(boxes, labels, points, grid.class_names)


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    """To a device; a graphics card copies it from pinned memory while this process goes on."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
