"""Average precision of the KITTI object benchmark, as its development kit computes it.

The protocol is that of the kit's `evaluate_object.cpp` (Geiger, Lenz, Urtasun, CVPR 2012) in
today's version; docs/protocol.md states it. Here every frame is matched once at each of its own
scores, which gives true and false positives at any threshold and for any weighting of the frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.data.labels import LEAST_HEIGHT, MOST_OCCLUSION, MOST_TRUNCATION, Labels
from benchmark.evaluation import kernels
from benchmark.evaluation.matching import (
    Rules,
    Scenes,
    Statistics,
    as_float,
    evaluator,
    in_threads,
    numbers,
    per_frame,
)
from benchmark.evaluation.protocol import (
    DIFFICULTIES,
    ENOUGH_OBJECTS,
    MEAN,
    METRICS,
    RECALL_POSITIONS,
    RECALLS,
)

_MEASURED_BY = (0, 1, 2, 0)  # the overlap that decides each metric's matches


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """What the frames say about one class: its n detections by falling score, over F frames.

    Attributes:
        score, frame: (n,) of each detection.
        first: (3, 3, n) bool by overlap and difficulty; hits that fix the score thresholds.
        hits: (4, 3, n) by metric and difficulty; the change of true positives (of their summed
            orientation similarity for aos) when the threshold falls to this score.
        counted: (3, 3, n) the same for true + false positives.
        objects: (3, F) valid objects by difficulty and frame.
        measured: (4,) False if the detections lack what the metric needs.
    """

    score: np.ndarray
    frame: np.ndarray
    first: np.ndarray
    hits: np.ndarray
    counted: np.ndarray
    objects: np.ndarray
    measured: np.ndarray

    def precision(self, metric: int, difficulty: int, weights: np.ndarray) -> np.ndarray:
        """Precision (R, 41) at the recall positions, frame f counted weights[r, f] times."""
        precision = np.full((len(weights), RECALL_POSITIONS), np.nan)
        if self.measured[metric]:
            overlap = _MEASURED_BY[metric]
            kernels.sampled_precision(
                self.score,
                self.frame,
                self.first[overlap, difficulty],
                self.hits[metric, difficulty],
                self.counted[overlap, difficulty],
                self.objects[difficulty],
                weights,
                precision,
            )
        return precision


class FrameStatistics(Statistics[ClassStatistics]):
    """All that resampling frames needs: the matches of every frame, by class."""

    kind = ClassStatistics

    def average_precision(
        self,
        weights: np.ndarray,
        metric: str = "3d",
        difficulty: str = "moderate",
        recalls: str = "R40",
    ) -> np.ndarray:
        """AP in percent (R, C) of the C classes with re-weighted frames.

        Exactly what `evaluate` gives for the frames repeated weights[r, f] times, without
        matching anew; NaN where undefined. The mean over classes is the caller's.

        Args:
            weights: (R, frames) whole numbers >= 0, e.g. from `intervals.resample_frames`.

        Raises:
            ValueError: if the weights are not (R, frames) or a name is unknown.
        """
        m, level, positions = (
            METRICS.index(metric),
            DIFFICULTIES.index(difficulty),
            RECALLS[recalls],
        )
        return self.resampled(
            weights, lambda one, some: 100 * one.precision(m, level, some)[:, positions].mean(1)
        )


@dataclass(frozen=True, eq=False)
class Result:
    """AP of one set of detections.

    Attributes:
        precision: (C classes, 4 metrics, 3 difficulties, 41 recall positions), made monotone;
            for aos the orientation similarity. NaN where undefined.
        objects: (C classes, 3 difficulties) valid objects; below ENOUGH_OBJECTS the AP is bounded.
        statistics: what `FrameStatistics.average_precision` resamples.
    """

    precision: np.ndarray
    objects: np.ndarray
    statistics: FrameStatistics

    @classmethod
    def of(cls, statistics: FrameStatistics) -> Result:
        """Every frame counted once."""
        once = np.ones((1, statistics.frames), np.int64)
        classes = statistics.classes.values()
        precision = [
            [[c.precision(m, level, once)[0] for level in range(3)] for m in range(4)]
            for c in classes
        ]
        return cls(np.array(precision), np.array([c.objects.sum(1) for c in classes]), statistics)

    @property
    def classes(self) -> list[str]:
        """Their names, in the order of tables."""
        return list(self.statistics.classes)

    def ap(self, recalls: str = "R40") -> np.ndarray:
        """AP in percent (C classes, 4 metrics, 3 difficulties); NaN where undefined."""
        return 100 * self.precision[..., RECALLS[recalls]].mean(-1)

    def mean_ap(self, recalls: str = "R40") -> np.ndarray:
        """Mean over the classes (4 metrics, 3 difficulties) in percent.

        NaN unless every class has an AP that is not bounded: no mean is over fewer classes.
        """
        enough = (self.objects >= ENOUGH_OBJECTS).all(0)
        return np.where(enough, self.ap(recalls).mean(0), np.nan)

    def as_json(self) -> dict[str, Any]:
        """The layout of `evaluate --json` and of records; AP in percent, None where undefined."""
        ap = {recalls: self.ap(recalls) for recalls in RECALLS}
        mean = {recalls: self.mean_ap(recalls) for recalls in RECALLS}
        layout: dict[str, Any] = {}
        for c, name in enumerate(self.classes):
            layout[name] = {
                metric: {recalls: numbers(ap[recalls][c, m]) for recalls in RECALLS}
                for m, metric in enumerate(METRICS)
            }
            layout[name]["objects"] = [int(n) for n in self.objects[c]]
        layout[MEAN] = {
            metric: {recalls: numbers(mean[recalls][m]) for recalls in RECALLS}
            for m, metric in enumerate(METRICS)
        }
        return layout


def match(scenes: Scenes, rules: Rules) -> FrameStatistics:
    """Match every frame."""
    gt, gt_offset, det, det_offset = scenes.gt, scenes.gt_offset, scenes.det, scenes.det_offset
    gt_role = _ground_truth_roles(gt, rules, scenes.ignored)
    det_role = _detection_roles(det, rules)
    score, frame = scenes.score, scenes.frame
    first = np.zeros((3, 3, len(det)), np.bool_)
    hits = np.zeros((4, 3, len(det)))
    counted = np.zeros((3, 3, len(det)), np.int64)
    objects = gt_offset, *_geometry(gt), gt_role, gt.name == "DontCare"
    detected = (
        det_offset,
        *_geometry(det),
        det_role,
        scenes.exempt,
        score,
        np.lexsort((-score, frame)),
    )
    limits = np.array([[rule.bbox, rule.boxes, rule.boxes] for rule in rules])

    def work(begin: int, end: int) -> None:
        kernels.match_frames(begin, end, *objects, *detected, limits, first, hits, counted)

    in_threads(work, len(scenes))
    oriented = not (det.alpha == -10).any()
    imaged = not len(gt) or bool((gt.bbox[:, 0] >= 0).any())
    classes = {}
    for c, rule in enumerate(rules):
        mine = np.flatnonzero(det.name == rule.name)
        mine = mine[np.argsort(-score[mine], kind="stable")]
        classes[rule.name] = ClassStatistics(
            score=score[mine],
            frame=frame[mine],
            first=np.ascontiguousarray(first[:, :, mine]),
            hits=np.ascontiguousarray(hits[:, :, mine]),
            counted=np.ascontiguousarray(counted[:, :, mine]),
            objects=per_frame(gt_role[c] == kernels.VALID, gt_offset),
            measured=_measured(det.select(mine), imaged, oriented),
        )
    return FrameStatistics(classes, len(scenes))


evaluate = evaluator(match, Result.of)
"""KITTI's AP of detections; see :func:`~benchmark.evaluation.matching.evaluator`."""


def _ground_truth_roles(gt: Labels, rules: Rules, ignored: np.ndarray) -> np.ndarray:
    """(classes, difficulties, n) VALID, IGNORED or OTHER."""
    height = gt.bbox[:, 3] - gt.bbox[:, 1]
    roles = np.full((len(rules), len(DIFFICULTIES), len(gt)), kernels.OTHER, np.int8)
    for c, rule in enumerate(rules):
        for level in range(len(DIFFICULTIES)):
            beyond = (
                ignored
                | (gt.occlusion > MOST_OCCLUSION[level])
                | (gt.truncation > MOST_TRUNCATION[level])
                | (height <= LEAST_HEIGHT[level])
            )
            own = gt.name == rule.name
            roles[c, level, own] = np.where(beyond[own], kernels.IGNORED, kernels.VALID)
            roles[c, level, np.isin(gt.name, rule.neighbours)] = kernels.IGNORED
    return roles


def _detection_roles(det: Labels, rules: Rules) -> np.ndarray:
    """(classes, difficulties, n); the devkit ignores low detections whatever their class."""
    height = np.abs(det.bbox[:, 3] - det.bbox[:, 1])
    roles = np.full((len(rules), len(DIFFICULTIES), len(det)), kernels.OTHER, np.int8)
    for c, rule in enumerate(rules):
        roles[c, :, det.name == rule.name] = kernels.VALID
        for level, least in enumerate(LEAST_HEIGHT):
            roles[c, level, height < least] = kernels.IGNORED
    return roles


def _measured(det: Labels, imaged: bool, oriented: bool) -> np.ndarray:
    """(4,) whether a class's detections hold boxes for each metric; True if there are none.

    As the devkit, which evaluates a class if at least one detection has a box, and aos if every
    detection of any class has an angle; neither in the image where the objects have no box there.
    """
    if len(det) == 0:
        return np.array([imaged, True, True, imaged and oriented])
    image = imaged and bool((det.bbox[:, 0] >= 0).any())
    sized, placed = det.dimensions > 0, det.location != -1000
    ground = (sized[:, 1:] & placed[:, ::2]).all(1)
    space = (sized & placed).all(1)
    return np.array([image, bool(ground.any()), bool(space.any()), image and oriented])


def _geometry(labels: Labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image boxes (n, 4), boxes (n, 7) and alpha (n,) as `kernels.match_frames` knows them."""
    boxes = np.column_stack([labels.location, labels.dimensions, labels.rotation_y])
    return as_float(labels.bbox), as_float(boxes), as_float(labels.alpha)
