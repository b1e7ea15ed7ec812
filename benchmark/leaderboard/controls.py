"""Rows that are no method but say what a gain is worth, apart from the methods."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmark.config.controls import CONTROLS
from benchmark.evaluation.intervals import Gain, paired_gains
from benchmark.evaluation.protocol import Scoring
from benchmark.leaderboard.columns import number
from benchmark.records.record import Record
from benchmark.records.store import NONE

Key = tuple[str, str, str]
"""Student, method as a table's rows have it, and control."""


def is_control(record: Record) -> bool:
    """Whether it is of a control, or of the teacher of one."""
    return bool(record["settings"].get("control"))


def rows(
    groups: Mapping[Key, Sequence[Record]],
    alone: Mapping[str, Mapping[int, float]],
    ordinary: Mapping[tuple[str, str], Gain],
    teachers: Mapping[str, Record],
    scoring: Scoring,
) -> Iterator[dict[str, Any]]:
    """For each student, method and control the gain over the student alone, beside the method's.

    Args:
        groups: records of controls.
        alone: by student, the figures by seed of the student alone.
        ordinary: gains of the table's rows, by student and method.
        teachers: records of teachers, by cell.
        scoring: how figures are laid out.
    """
    figures = {key: _figures(group, scoring) for key, group in groups.items()}
    gains = _gains(figures, alone)
    for key, group in sorted(groups.items()):
        student, method, control = key
        yield {
            "student": student,
            "method": method,
            "control": CONTROLS[control].told if control in CONTROLS else control,
            "seeds": len(figures[key]),
            "of seeds": len(group),
            "teacher": _teacher(group[0], teachers, scoring),
            "mAP": fmean(figures[key].values()) if figures[key] else math.nan,
            **_columns("gain", gains.get(key)),
            **_columns("gain without it", ordinary.get((student, method))),
        }


def _figures(group: Sequence[Record], scoring: Scoring) -> dict[int, float]:
    """mAP by seed of the cells that are done."""
    done = (record for record in group if record["status"] == "done")
    return {record["seed"]: _figure(record, scoring) for record in done}


def _gains(
    figures: Mapping[Key, dict[int, float]], alone: Mapping[str, Mapping[int, float]]
) -> dict[Key, Gain]:
    """Of every control over its student alone."""
    found: dict[Key, Gain] = {}
    for student, own in alone.items():
        if any(math.isfinite(value) for value in own.values()):
            named = {" ".join(key): key for key in figures if key[0] == student}
            of_student = {NONE: own, **{name: figures[key] for name, key in named.items()}}
            gains = paired_gains(of_student, NONE)
            found |= {named[name]: gain for name, gain in gains.items()}
    return found


def _columns(name: str, gain: Gain | None) -> dict[str, float]:
    low, high = (gain.low, gain.high) if gain else (math.nan, math.nan)
    return {name: gain.mean if gain else math.nan, f"{name} low": low, f"{name} high": high}


def _teacher(record: Record, teachers: Mapping[str, Record], scoring: Scoring) -> float:
    """mAP of the teacher that it had; NaN for a student alone."""
    teacher = teachers.get(record["settings"]["teacher"])
    if record["method"] == NONE or teacher is None or teacher["status"] != "done":
        return math.nan
    return _figure(teacher, scoring)


def _figure(record: Record, scoring: Scoring) -> float:
    assert record["ap"] is not None
    return number(scoring.mean(record["ap"], scoring.headline))
