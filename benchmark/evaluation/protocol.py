"""The names and numbers of the protocols; code that only reads records needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

METRICS = ("bbox", "bev", "3d", "aos")
DIFFICULTIES = ("easy", "moderate", "hard")
RECALL_POSITIONS = 41  # 0, 1/40, .., 1
RECALLS = {"R40": slice(1, None), "R11": slice(None, None, 4)}  # of the recall positions
ENOUGH_OBJECTS = RECALL_POSITIONS  # with fewer, no detector can reach AP 100
MEAN = "mAP"
"""Beside the classes in figures."""


@dataclass(frozen=True)
class ClassRule:
    """How detections of a class count.

    Attributes:
        bbox, boxes: intersection over union that a match exceeds, in the image and of boxes.
        neighbours: names of objects on which its detections count for nothing.
    """

    name: str
    bbox: float
    boxes: float
    neighbours: tuple[str, ...] = ()


STRICT = (
    ClassRule("Car", 0.7, 0.7, ("Van",)),
    ClassRule("Pedestrian", 0.5, 0.5, ("Person_sitting",)),
    ClassRule("Cyclist", 0.5, 0.5),
)
"""As the benchmark ranks, classes in the order of its tables."""
LOOSE = (
    ClassRule("Car", 0.7, 0.5, ("Van",)),
    ClassRule("Pedestrian", 0.5, 0.25, ("Person_sitting",)),
    ClassRule("Cyclist", 0.5, 0.25),
)
SCORED_CLASSES = tuple(rule.name for rule in STRICT)
"""KITTI's."""


@dataclass(frozen=True)
class Scoring:
    """How a metric's figures lie in records: ``ap[CLASS][METRIC][recalls][level]``.

    Attributes:
        name: as descriptions of data sets have it.
        labels: the metrics that tables show, by their names in records; verdicts and ranks are by
            the last.
        recalls: which recall positions the shown figures are a mean over.
        levels: what each class has a figure for.
        level: index of the one that means and verdicts are of.
        enough: valid objects of a class below which its AP is bounded and out of means.
    """

    name: str
    labels: Mapping[str, str]
    recalls: str
    levels: tuple[str, ...]
    level: int
    enough: int

    @property
    def headline(self) -> str:
        """Name in records of the metric of verdicts, ranks and pairs."""
        return list(self.labels)[-1]

    @property
    def main(self) -> str:
        """The same as tables call it."""
        return self.labels[self.headline]

    def figure(self, ap: Mapping[str, Any], name: str, metric: str, level: int) -> float | None:
        """AP of a class, or their mean, in percent."""
        return ap[name][metric][self.recalls][level]

    def mean(self, ap: Mapping[str, Any], metric: str) -> float | None:
        """mAP in percent; None if a class has too few objects."""
        return self.figure(ap, MEAN, metric, self.level)


BY_OVERLAP = Scoring("kitti", {"bev": "BEV", "3d": "3D"}, "R40", DIFFICULTIES, 1, ENOUGH_OBJECTS)
BY_DISTANCE = Scoring(
    "distance", {"distance": "distance"}, "R101", ("mean", "0.5 m", "1 m", "2 m", "4 m"), 0, 1
)


def scoring_of(ap: Mapping[str, Any] | None) -> Scoring:
    """How figures are laid out; KITTI's where there are none."""
    return BY_DISTANCE if ap and BY_DISTANCE.headline in ap[MEAN] else BY_OVERLAP


def classes_of(ap: Mapping[str, Any]) -> list[str]:
    """The classes that figures are of, in the order of tables."""
    return [name for name in ap if name != MEAN]


def mean_of(ap: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Means over classes, laid out as a class's figures; None where one is bounded or undefined."""
    enough = scoring_of(ap).enough
    return {
        metric: {
            recalls: [_mean(ap, classes, metric, recalls, i, enough) for i in range(len(means))]
            for recalls, means in by_recalls.items()
        }
        for metric, by_recalls in ap[MEAN].items()
    }


def _mean(
    ap: Mapping[str, Any], classes: Sequence[str], metric: str, recalls: str, i: int, enough: int
) -> float | None:
    figures = [ap[name][metric][recalls][i] for name in classes]
    bounded = any(ap[name]["objects"][i] < enough for name in classes)
    return None if bounded or None in figures or not figures else sum(figures) / len(figures)


def in_table_order(names: Sequence[str]) -> list[str]:
    """KITTI's classes as in its tables, then the others."""
    return sorted(names, key=lambda n: SCORED_CLASSES.index(n) if n in SCORED_CLASSES else 99)
