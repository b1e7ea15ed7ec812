"""Run a detector over a split and score it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from benchmark.data.batches import Sample, to_batch
from benchmark.data.kitti import Frame, KittiDataset, to_labels
from benchmark.data.labels import Labels
from benchmark.evaluation.kitti_ap import Result, evaluate
from benchmark.training import Setup
from detectors import CLASSES, Inputs


@dataclass(frozen=True)
class ValidationFrames:
    """The validation split, voxelised once for all students.

    Attributes:
        dataset: the split.
        limit: the first so many frames are used, all if None.
        reduced: objects and detections outside the grid count neither for nor against; for
            profiles whose grid is smaller than mmdet3d's own.
    """

    dataset: KittiDataset
    limit: int | None
    reduced: bool

    @property
    def ids(self) -> Sequence[str]:
        """The frames used."""
        return self.dataset.ids[: self.limit]

    def __iter__(self) -> Iterator[Frame]:
        return (self.dataset.frame(frame_id) for frame_id in self.ids)


def evaluate_models(
    models: Sequence[nn.Module], setup: Setup, frames: ValidationFrames
) -> list[Result]:
    """KITTI AP of several models of one family on the validation frames."""
    voxelize = setup.family.voxelizer(setup.grid, training=False)
    truth: list[Labels] = []
    ignored: list[np.ndarray] = []
    found: list[list[Labels]] = [[] for _ in models]
    exempt: list[list[np.ndarray]] = [[] for _ in models]
    for model in models:
        model.eval()
    for frame in frames:
        inputs = voxelize(to_batch([Sample.of(frame)], setup.grid, setup.device))
        truth.append(frame.labels)
        ignored.append(_outside(frame, frame.labels, setup) & frames.reduced)
        for model, labels, out in zip(models, found, exempt, strict=True):
            labels.append(detect(model, setup, inputs, frame))
            out.append(_outside(frame, labels[-1], setup) & frames.reduced)
    return [
        evaluate(truth, labels, ignored, out) for labels, out in zip(found, exempt, strict=True)
    ]


def detect(model: nn.Module, setup: Setup, inputs: Inputs, frame: Frame) -> Labels:
    """The model's detections in one frame as KITTI result labels."""
    with setup.autocast():
        (detections,) = setup.family.predict(model, inputs)
    return to_labels(
        detections.boxes.float().cpu().numpy(),
        [CLASSES[index] for index in detections.labels.tolist()],
        detections.scores.float().cpu().numpy(),
        frame.calibration,
        frame.image_size,
    )


def _outside(frame: Frame, labels: Labels, setup: Setup) -> np.ndarray:
    """(n,) whether objects are centred outside the grid."""
    camera = np.column_stack([labels.location, np.ones(len(labels.location))])
    lidar = camera @ frame.calibration.camera_to_lidar.T
    return ~setup.grid.inside(torch.from_numpy(lidar)).numpy()
