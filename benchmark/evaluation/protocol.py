"""The names and numbers of KITTI's protocol; code that only reads records needs nothing else."""

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


def classes_of(ap: Mapping[str, Any]) -> list[str]:
    """The classes that figures are of, in the order of tables."""
    return [name for name in ap if name != MEAN]


def in_table_order(names: Sequence[str]) -> list[str]:
    """KITTI's classes as in its tables, then the others."""
    return sorted(names, key=lambda n: SCORED_CLASSES.index(n) if n in SCORED_CLASSES else 99)
