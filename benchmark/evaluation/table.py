"""AP as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from benchmark.evaluation.protocol import (
    BY_DISTANCE,
    DIFFICULTIES,
    ENOUGH_OBJECTS,
    METRICS,
    STRICT,
    ClassRule,
    classes_of,
    scoring_of,
)


def describe_overlap(loose: bool = False) -> str:
    """The least overlap of a detection with its object, in words."""
    return "Car 0.5 (bbox 0.7), others 0.25 (bbox 0.5)" if loose else "Car 0.7, others 0.5"


def describe_rules(rules: Sequence[ClassRule], metric: str) -> str:
    """What makes a detection right, in words."""
    if metric == "distance":
        return "nuScenes' AP, centres at most 0.5, 1, 2 or 4 m apart on the ground"
    if rules == STRICT:
        return f"KITTI's AP (R40, R11), overlap {describe_overlap()}"
    overlaps = ", ".join(f"{rule.name} {rule.boxes:g}" for rule in rules)
    return f"KITTI's AP (R40, R11), overlap {overlaps}"


def ap_table(ap: Mapping[str, Any]) -> str:
    """The figures of ``ap`` in a record."""
    if scoring_of(ap) == BY_DISTANCE:
        return _distance_table(ap)
    rows = []
    for name in ap:
        for metric in METRICS:
            figures = [*ap[name][metric]["R40"], *ap[name][metric]["R11"]]
            bounded = [
                few < ENOUGH_OBJECTS for few in ap[name].get("objects", [ENOUGH_OBJECTS] * 3)
            ]
            shown = [_figure(*pair) for pair in zip(figures, bounded * 2, strict=True)]
            rows.append([name if metric == METRICS[0] else "", metric, *shown])
    headers = ["AP", "", *(f"{r} {d}" for r in ("R40", "R11") for d in DIFFICULTIES)]
    table = tabulate(rows, headers, disable_numparse=True, stralign="right")
    objects = "; ".join(f"{name} {ap[name]['objects']}" for name in classes_of(ap))
    return f"{table}\nvalid objects: {objects}; * fewer than {ENOUGH_OBJECTS}, so bounded"


def _distance_table(ap: Mapping[str, Any]) -> str:
    rows = []
    for name, figures in ap.items():
        shown = [_figure(value, False) for value in figures["distance"]["R101"]]
        errors = [_error(value) for value in figures.get("errors", {}).values()]
        rows.append([name, *shown, *errors, *figures.get("objects", [])[:1]])
    headers = ["AP", *BY_DISTANCE.levels, "translation (m)", "1 - IoU", "angle (rad)", "objects"]
    return tabulate(rows, headers, disable_numparse=True, stralign="right")


def _error(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _figure(value: float | None, bounded: bool) -> str:
    return "-" if value is None else f"{value:.2f}{'*' if bounded else ''}"
