"""Run a detector over a split and score it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from benchmark.data.batches import evaluation_batch
from benchmark.data.dataset import Dataset, Frame, to_labels
from benchmark.data.labels import Labels
from benchmark.device import SettingError, unfit_build
from benchmark.evaluation import distance_ap, kitti_ap
from benchmark.evaluation.diagnostics import by_distance
from benchmark.evaluation.distance_ap import DistanceResult
from benchmark.evaluation.kitti_ap import Result
from benchmark.evaluation.matching import Rules, rules_of
from benchmark.evaluation.protocol import STRICT
from benchmark.training.learner import DivergedError
from benchmark.training.setup import Setup
from detectors import Inputs

EVALUATORS: dict[str, Callable[..., Result | DistanceResult]] = {
    "kitti": kitti_ap.evaluate,
    "distance": distance_ap.evaluate,
}
"""By the names of metrics in descriptions of data sets."""
FAR = 1000.0
"""Bound of a box's numbers, metres. Sizes are exponentials of what a network predicts, so after a
short schedule one may be infinite: then it is a false positive, not the end of the cell."""


@dataclass(frozen=True)
class ValidationFrames:
    """The validation split, voxelised once for all students.

    Attributes:
        dataset: the split.
        limit: number of frames used, from the first; all if None.
        reduced: objects and detections outside the grid are ignored; for
            profiles whose grid is smaller than mmdet3d's own.
    """

    dataset: Dataset
    limit: int | None
    reduced: bool

    @property
    def ids(self) -> Sequence[str]:
        """The frames used."""
        return self.dataset.ids[: self.limit]

    def __iter__(self) -> Iterator[Frame]:
        return (self.dataset.frame(frame_id) for frame_id in self.ids)


@dataclass(frozen=True, eq=False)
class Findings:
    """A model's detections in F validation frames.

    Attributes:
        ids: of the frames.
        ground_truth, detections: their objects and the model's detections.
        ignored, exempt: per frame masks of those that are ignored.
        rules: how detections of each class count.
        metric: of :data:`EVALUATORS`.
    """

    ids: Sequence[str]
    ground_truth: Sequence[Labels]
    detections: Sequence[Labels]
    ignored: Sequence[np.ndarray]
    exempt: Sequence[np.ndarray]
    rules: Rules = STRICT
    metric: str = "kitti"

    def evaluate(self) -> Result | DistanceResult:
        """AP by the data set's metric."""
        score = EVALUATORS[self.metric]
        return score(self.ground_truth, self.detections, self.ignored, self.exempt, self.rules)

    def by_distance(self) -> list[Result]:
        """KITTI AP at each of `diagnostics.DISTANCES`."""
        return by_distance(
            self.ground_truth,
            self.detections,
            rules=self.rules,
            ignored=self.ignored,
            exempt=self.exempt,
        )


def evaluate_models(
    models: Mapping[str, nn.Module], setup: Setup, frames: ValidationFrames
) -> dict[str, Result | DistanceResult | Exception]:
    """AP of several models of one family by name, or the error that a model ended with."""
    return {
        name: findings if isinstance(findings, Exception) else findings.evaluate()
        for name, findings in detect_all(models, setup, frames).items()
    }


def detect_all(
    models: Mapping[str, nn.Module], setup: Setup, frames: ValidationFrames
) -> dict[str, Findings | Exception]:
    """What several models of one family detect, by name, or the error that a model ended with."""
    voxelize = setup.family.voxelizer(setup.grid, training=False)
    runs = {name: _Run(name, model.eval(), setup) for name, model in models.items()}
    ground_truth: list[Labels] = []
    described = frames.dataset.description
    rules, metric = rules_of(described), described.metric
    ignored: list[np.ndarray] = []
    for frame in frames:
        setup.mark("validation data")
        inputs = voxelize(evaluation_batch(frame, setup.grid, setup.device))
        ground_truth.append(frame.labels)
        ignored.append(_outside(frame, frame.labels, setup) & frames.reduced)
        for run in runs.values():
            run.add(frame, inputs, frames.reduced)
    return {
        name: run.error
        or Findings(frames.ids, ground_truth, run.detections, ignored, run.exempt, rules, metric)
        for name, run in runs.items()
    }


class _Run:
    """One model's detections so far, or the error that ended them."""

    def __init__(self, name: str, model: nn.Module, setup: Setup) -> None:
        self.name, self.model, self.setup = name, model, setup
        self.detections: list[Labels] = []
        self.exempt: list[np.ndarray] = []
        self.error: Exception | None = None

    def add(self, frame: Frame, inputs: Inputs, reduced: bool) -> None:
        if self.error is None:
            self.setup.mark(self.name)
            try:
                self.detections.append(detect(self.model, self.setup, inputs, frame))
                self.exempt.append(_outside(frame, self.detections[-1], self.setup) & reduced)
            except Exception as error:
                if told := unfit_build(error):
                    raise SettingError(told) from error
                self.error = error


def detect(model: nn.Module, setup: Setup, inputs: Inputs, frame: Frame) -> Labels:
    """The model's detections in one frame as KITTI result labels.

    Raises:
        DivergedError: a box or score is NaN, or a score infinite.
    """
    with setup.autocast():
        (detections,) = setup.family.predict(model, inputs)
    boxes = detections.boxes.clamp(-FAR, FAR)
    if not (boxes.isfinite().all() and detections.scores.isfinite().all()):
        raise DivergedError(f"a detection in frame {frame.id} is not finite")
    return to_labels(
        boxes.float().cpu().numpy(),
        [setup.grid.class_names[index] for index in detections.labels.tolist()],
        detections.scores.float().cpu().numpy(),
        frame.calibration,
        frame.image_size,
    )


def _outside(frame: Frame, labels: Labels, setup: Setup) -> np.ndarray:
    """(n,) whether objects are centred outside the grid."""
    camera = np.column_stack([labels.location, np.ones(len(labels.location))])
    lidar = camera @ frame.calibration.camera_to_lidar.T
    return ~setup.grid.inside(torch.from_numpy(lidar)).numpy()
