"""AP as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from benchmark.evaluation.protocol import DIFFICULTIES, ENOUGH_OBJECTS, METRICS, classes_of


def describe_overlap(loose: bool = False) -> str:
    """The least overlap of a detection with its object, in words."""
    return "Car 0.5 (bbox 0.7), others 0.25 (bbox 0.5)" if loose else "Car 0.7, others 0.5"


def ap_table(ap: Mapping[str, Any]) -> str:
    """The figures of ``ap`` in a record, R40 and R11."""
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


def _figure(value: float | None, bounded: bool) -> str:
    return "-" if value is None else f"{value:.2f}{'*' if bounded else ''}"
