"""Average precision by distance of box centres, as the nuScenes detection benchmark computes it.

The protocol is that of Caesar et al., nuScenes, CVPR 2020, with the numbers of the development
kit's `detection_cvpr_2019`. Every detection is matched once at each distance: what it takes depends
on the more confident ones of its frame only, so the matches serve any weighting of the frames. The
kit itself (nuscenes-devkit) is not imported, which would take longer than the evaluation; the tests
compare with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.data.labels import Labels
from benchmark.evaluation import distance_kernels, kernels
from benchmark.evaluation.matching import (
    Rules,
    Scenes,
    Statistics,
    as_float,
    evaluator,
    numbers,
    per_frame,
)
from benchmark.evaluation.protocol import BY_DISTANCE, MEAN

REACHES = (0.5, 1.0, 2.0, 4.0)
"""Metres that a match is nearer than."""
ERRORS = ("translation", "scale", "orientation")
ERROR_REACH = 2.0
"""The one of REACHES whose matches errors are of."""
RECALLS = np.linspace(0, 1, 101)
LEAST_RECALL = 0.1
"""Neither precision nor errors count up to this recall."""
LEAST_PRECISION = 0.1
"""Precision up to this counts as 0, and AP is stretched to reach 100 all the same."""
_SCORED = slice(round(LEAST_RECALL * (len(RECALLS) - 1)) + 1, None)
_ERRORS_AT = REACHES.index(ERROR_REACH)


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """What the frames say about one class: its n detections by falling score, over F frames.

    Attributes:
        score, frame: (n,) of each detection.
        hits: (4, n) bool by distance; true positives.
        counted: (4, n) bool by distance; true or false positives.
        errors: (3, n) of the true positives at ERROR_REACH, by ERRORS; NaN for the others.
        objects: (F,) valid objects by frame.
    """

    score: np.ndarray
    frame: np.ndarray
    hits: np.ndarray
    counted: np.ndarray
    errors: np.ndarray
    objects: np.ndarray

    def precision(self, reach: int, weights: np.ndarray) -> np.ndarray:
        """Precision (R, 101) at RECALLS, frame f counted weights[r, f] times."""
        precision = np.empty((len(weights), len(RECALLS)))
        distance_kernels.interpolated_precision(
            self.score,
            self.frame,
            self.hits[reach],
            self.counted[reach],
            self.objects,
            weights,
            RECALLS,
            precision,
        )
        return precision

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """AP in percent (R, 4) by distance, frame f counted weights[r, f] times."""
        return np.stack([_ap(self.precision(t, weights)) for t in range(len(REACHES))], 1)

    def mean_errors(self) -> np.ndarray:
        """Errors (3,) by ERRORS: means over the recalls that count and are reached.

        At each recall it is the mean error of all true positives up to the score that reaches it.
        What is reached goes by recall alone; the devkit also leaves out a score of exactly 0.
        """
        hits, counted = self.hits[_ERRORS_AT], self.counted[_ERRORS_AT]
        n_objects, n_hits = self.objects.sum(), hits.sum()
        if n_objects == 0 or n_hits == 0:
            return np.full(len(ERRORS), np.nan)
        recall = np.cumsum(hits[counted]) / n_objects
        sampled = RECALLS[_SCORED]
        sampled = sampled[sampled <= recall[-1]]
        if len(sampled) == 0:
            return np.full(len(ERRORS), np.nan)
        score = np.interp(sampled, recall, self.score[counted])
        rising = self.score[hits][::-1]
        means = np.cumsum(self.errors[:, hits], 1) / np.arange(1, n_hits + 1)
        return np.array([np.interp(score, rising, mean[::-1]).mean() for mean in means])


class DistanceStatistics(Statistics[ClassMatches]):
    """All that resampling frames needs: the matches of every frame, by class."""

    kind = ClassMatches

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """AP in percent (R, C), the mean over REACHES, of the C classes with re-weighted frames.

        Exactly what `evaluate` gives for the frames repeated weights[r, f] times, each right after
        itself, without matching anew; NaN where undefined. The mean over classes is the caller's.

        Args:
            weights: (R, frames) whole numbers >= 0, e.g. from `intervals.resample_frames`.

        Raises:
            ValueError: if the weights are not (R, frames).
        """
        return self.resampled(weights, lambda one, some: one.average_precision(some).mean(1))


@dataclass(frozen=True, eq=False)
class DistanceResult:
    """AP of one set of detections, and how far its true positives are off.

    Attributes:
        precision: (C classes, 4 distances, 101 recall positions); NaN where undefined.
        errors: (C classes, 3) by ERRORS: metres from centre to centre on the ground, 1 - IoU of
            the boxes laid into one another, radians from 0 to pi. NaN where no recall above
            LEAST_RECALL is reached. The devkit puts 1 there, to lower its score; here it would
            pass for a measured metre or radian.
        objects: (C classes,) valid objects.
        statistics: what `DistanceStatistics.average_precision` resamples.
    """

    precision: np.ndarray
    errors: np.ndarray
    objects: np.ndarray
    statistics: DistanceStatistics

    @classmethod
    def of(cls, statistics: DistanceStatistics) -> DistanceResult:
        """Every frame counted once."""
        once = np.ones((1, statistics.frames), np.int64)
        classes = statistics.classes.values()
        precision = [[one.precision(t, once)[0] for t in range(len(REACHES))] for one in classes]
        errors = [one.mean_errors() for one in classes]
        objects = [one.objects.sum() for one in classes]
        return cls(np.array(precision), np.array(errors), np.array(objects), statistics)

    @property
    def classes(self) -> list[str]:
        """Their names, in the order of tables."""
        return list(self.statistics.classes)

    def ap(self) -> np.ndarray:
        """AP in percent (C classes, 5): the mean over REACHES, then at each; NaN where undefined.

        Only a class without valid objects has none; one that is never detected has 0.
        """
        ap = _ap(self.precision)
        return np.concatenate([ap.mean(1, keepdims=True), ap], 1)

    def mean_ap(self) -> np.ndarray:
        """Mean over the classes (5,) in percent; NaN unless every class has an AP."""
        return self.ap().mean(0)

    def as_json(self) -> dict[str, Any]:
        """The layout of `evaluate --json` and of records; AP in percent, None where undefined."""
        metric, recalls, levels = BY_DISTANCE.headline, BY_DISTANCE.recalls, BY_DISTANCE.levels
        ap = self.ap()
        layout: dict[str, Any] = {}
        for c, name in enumerate(self.classes):
            layout[name] = {
                metric: {recalls: numbers(ap[c])},
                "errors": dict(zip(ERRORS, numbers(self.errors[c]), strict=True)),
                "objects": [int(self.objects[c])] * len(levels),
            }
        layout[MEAN] = {metric: {recalls: numbers(self.mean_ap())}}
        return layout


def match(scenes: Scenes, rules: Rules) -> DistanceStatistics:
    """Match every frame.

    By falling score, each detection takes the nearest object of its class and frame that is not
    yet taken. Of equal scores the later detection comes first, and one of a later frame, as in the
    devkit. A detection with no valid object in reach may take an ignored one, or one of a class's
    neighbours; it then counts neither way, and the object is taken.
    """
    gt, gt_offset, det, det_offset = scenes.gt, scenes.gt_offset, scenes.det, scenes.det_offset
    role = _roles(gt, rules, scenes.ignored)
    det_class = _class_indices(det, rules)
    score, frame = scenes.score, scenes.frame
    later_first = -np.arange(len(det))
    order = np.lexsort((later_first, -score, frame))
    objects = gt_offset, as_float(gt.location[:, ::2]), role
    detected = det_offset, as_float(det.location[:, ::2]), det_class, order
    partners = [distance_kernels.match_nearest(reach, *objects, *detected) for reach in REACHES]
    hits, counted = _outcomes(np.array(partners), role, det_class, scenes.exempt)
    errors = _errors(gt, det, partners[_ERRORS_AT], hits[_ERRORS_AT])
    valid = per_frame(role == kernels.VALID, gt_offset)
    falling = np.lexsort((later_first, -score))
    classes = {}
    for c, rule in enumerate(rules):
        mine = falling[det_class[falling] == c]
        classes[rule.name] = ClassMatches(
            score=score[mine],
            frame=frame[mine],
            hits=np.ascontiguousarray(hits[:, mine]),
            counted=np.ascontiguousarray(counted[:, mine]),
            errors=np.ascontiguousarray(errors[:, mine]),
            objects=valid[c],
        )
    return DistanceStatistics(classes, len(scenes))


evaluate = evaluator(match, DistanceResult.of)
"""AP by distance of detections; see :func:`~benchmark.evaluation.matching.evaluator`."""


def _roles(gt: Labels, rules: Rules, ignored: np.ndarray) -> np.ndarray:
    """(classes, n) VALID, IGNORED or OTHER."""
    roles = np.full((len(rules), len(gt)), kernels.OTHER, np.int8)
    for c, rule in enumerate(rules):
        own = gt.name == rule.name
        roles[c, own] = np.where(ignored[own], kernels.IGNORED, kernels.VALID)
        roles[c, np.isin(gt.name, rule.neighbours)] = kernels.IGNORED
    return roles


def _class_indices(det: Labels, rules: Rules) -> np.ndarray:
    """(n,) which of the rules is each detection's, -1 for none."""
    index = np.full(len(det), -1, np.int64)
    for c, rule in enumerate(rules):
        index[det.name == rule.name] = c
    return index


def _outcomes(
    partner: np.ndarray, role: np.ndarray, det_class: np.ndarray, exempt: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """True positives, and true or false positives, (4, n) bool of the objects taken (4, n)."""
    took = partner >= 0
    hits = np.zeros(partner.shape, np.bool_)
    hits[took] = role[np.broadcast_to(det_class, took.shape)[took], partner[took]] == kernels.VALID
    return hits, hits | ~(took | exempt)


def _errors(gt: Labels, det: Labels, partner: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Errors (3, n) of the detections that are true positives by the objects they took; else NaN.

    Sizes below 0 count as 0, and the IoU of two boxes without volume is 0.
    """
    gt, found = gt.select(partner[hits]), det.select(hits)
    shift = as_float(found.location - gt.location)[:, ::2]
    sizes = np.maximum(as_float(gt.dimensions), 0), np.maximum(as_float(found.dimensions), 0)
    common = np.minimum(*sizes).prod(1)
    union = sizes[0].prod(1) + sizes[1].prod(1) - common
    iou = np.divide(common, union, out=np.zeros(len(gt)), where=union > 0)
    turn = as_float(gt.rotation_y - found.rotation_y)
    errors = np.full((len(ERRORS), len(det)), np.nan)
    errors[0, hits] = np.sqrt((shift**2).sum(1))
    errors[1, hits] = 1 - iou
    errors[2, hits] = np.abs((turn + np.pi) % (2 * np.pi) - np.pi)
    return errors


def _ap(precision: np.ndarray) -> np.ndarray:
    """AP in percent (..,) of precision (.., 101) at RECALLS."""
    above = np.maximum(precision[..., _SCORED] - LEAST_PRECISION, 0)
    return 100 * (above / (1 - LEAST_PRECISION)).mean(-1)
