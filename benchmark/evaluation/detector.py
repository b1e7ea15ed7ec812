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
from benchmark.training import DivergedError, Setup
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
) -> list[Result | DivergedError]:
    """KITTI AP of several models of one family, or why a model has none."""
    voxelize = setup.family.voxelizer(setup.grid, training=False)
    runs = [_Run(model.eval(), setup) for model in models]
    truth: list[Labels] = []
    ignored: list[np.ndarray] = []
    for frame in frames:
        inputs = voxelize(to_batch([Sample.of(frame)], setup.grid, setup.device))
        truth.append(frame.labels)
        ignored.append(_outside(frame, frame.labels, setup) & frames.reduced)
        for run in runs:
            run.add(frame, inputs, frames.reduced)
    return [run.error or evaluate(truth, run.found, ignored, run.exempt) for run in runs]


class _Run:
    """One model's detections so far, or the error that ended them."""

    def __init__(self, model: nn.Module, setup: Setup) -> None:
        self.model, self.setup = model, setup
        self.found: list[Labels] = []
        self.exempt: list[np.ndarray] = []
        self.error: DivergedError | None = None

    def add(self, frame: Frame, inputs: Inputs, reduced: bool) -> None:
        if self.error is None:
            try:
                self.found.append(detect(self.model, self.setup, inputs, frame))
                self.exempt.append(_outside(frame, self.found[-1], self.setup) & reduced)
            except DivergedError as error:
                self.error = error


def detect(model: nn.Module, setup: Setup, inputs: Inputs, frame: Frame) -> Labels:
    """The model's detections in one frame as KITTI result labels.

    Raises:
        DivergedError: a box or score is NaN or infinite.
    """
    with setup.autocast():
        (detections,) = setup.family.predict(model, inputs)
    if not (detections.boxes.isfinite().all() and detections.scores.isfinite().all()):
        raise DivergedError(f"a detection in frame {frame.id} is not finite")
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
