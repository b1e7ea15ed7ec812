"""The columns of all tables, plots and pages, one entry each.

A new cost figure is a function that measures it, a field of the record, and an entry here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from benchmark.evaluation.protocol import Scoring
from benchmark.records.record import Record

MEGA, GIGA = 1e6, 1e9

Place = Literal["headline", "paper", "overview", "narrow", "costs", "axis"]
Kind = Literal["text", "seeds", "number", "interval", "rank", "percent", "spread"]


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: its name wherever it is shown.
        shown: ``headline``, the first table of a leaderboard; ``paper``, LaTeX; ``overview`` and
            ``costs``, the page's views, and the costs of a leaderboard; ``narrow``, the overview
            on a narrow screen; ``axis``, plots of accuracy against it.
        kind: how it reads. Further keys of a row belong to it: an ``interval`` or ``rank`` has
            KEY low and KEY high, a ``spread`` KEY iqr, ``seeds`` has "of seeds".
        digits: decimals.
        unit: of the figure.
        figure: of a finished cell, NaN where it was not measured. None if rows get it another way.
        deployed: whether it is of the student as deployed, which its methods do not change: all
            rows of a student have the median over its cells. Others have the mean over their seeds.
        iqr: the interquartile range of a ``spread``.
        one_machine: whether cells of several machines cannot be compared: those of the table's
            ``timed_on`` have it.
        optional: whether tables of costs in which no row has it leave it out.
        metric: the metric that it is about, if any.
    """

    name: str
    shown: frozenset[Place]
    kind: Kind = "text"
    digits: int = 0
    unit: str = ""
    figure: Callable[[Record], float] | None = None
    deployed: bool = False
    iqr: Callable[[Record], float] | None = None
    one_machine: bool = False
    optional: bool = False
    metric: str = ""

    @property
    def key(self) -> str:
        """Its key in rows, CSV and JSON, and its heading."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


def number(value: float | None) -> float:
    """NaN for what was not measured."""
    return math.nan if value is None else float(value)


def _cost(*path: str, unit: float = 1.0) -> Callable[[Record], float]:
    return lambda record: _at(record["cost"], path) / unit


def _training(name: str) -> Callable[[Record], float]:
    return lambda record: _at(record["training"], (name,))


def _at(values: Any, path: tuple[str, ...]) -> float:
    for name in path:
        values = (values or {}).get(name)
    return number(values)


def _share(record: Record) -> float:
    """The method's own part of the time that a cell would take alone."""
    alone = _training("seconds_alone")(record)
    return _training("seconds_method")(record) / alone if alone else math.nan


def _shown(text: str) -> frozenset[Any]:
    return frozenset(text.split())


_NAMES = _shown("headline paper overview costs")
_SCORES = _shown("headline paper overview")
_ALWAYS = _SCORES | _shown("narrow")

NAMES: tuple[Column, ...] = (
    Column("student", _NAMES),
    Column("method", _NAMES | _shown("narrow")),
    Column("seeds", _NAMES, "seeds"),
)
COSTS: tuple[Column, ...] = (
    Column("params", _shown("headline paper costs axis"), "number", 3, "M",
           _cost("params", unit=MEGA), deployed=True),
    Column("GFLOPs", _shown("headline paper overview costs axis"), "number", 2,
           figure=_cost("flops_paper", unit=GIGA), deployed=True),
    Column("GMACs", _shown("costs axis"), "number", 2, figure=_cost("flops_full", unit=GIGA),
           deployed=True),
    Column("activations", _shown("costs"), "number", 1, "M", _cost("activations", unit=MEGA),
           deployed=True),
    Column("latency", _shown("headline costs axis"), "spread", 1, "ms",
           _cost("latency_ms", "median"), deployed=True, iqr=_cost("latency_ms", "iqr"),
           one_machine=True),
    Column("threads", _shown("costs"), "number", 0, figure=_cost("latency_ms", "threads"),
           deployed=True, one_machine=True, optional=True),
    Column("load", _shown("costs"), "number", 1, figure=_cost("latency_ms", "load"),
           deployed=True, one_machine=True, optional=True),
    Column("peak memory", _shown("costs"), "number", 0, "MB", _cost("peak_memory_mb"),
           deployed=True, one_machine=True),
    Column("extra training params", _shown("costs"), "number", 0,
           figure=_training("extra_params")),
    Column("train alone", _shown("costs"), "number", 0, "s", _training("seconds_alone")),
    Column("train as run", _shown("costs"), "number", 0, "s", _training("seconds_as_run")),
    Column("KD share", _shown("costs"), "percent", 0, "%", _share),
)  # fmt: skip


def _scores(scoring: Scoring) -> Iterator[Column]:
    """The columns of figures that a metric gives."""
    for label in scoring.labels.values():
        yield Column(f"{label} mAP", _ALWAYS, "number", 2, metric=label)
        yield Column(f"{label} gain", _ALWAYS, "interval", 2, metric=label)
    yield Column("verdict", _shown("headline overview narrow"), unit=scoring.main)
    yield Column("rank", _SCORES, "rank", unit=scoring.main)


def all_columns(scoring: Scoring) -> list[Column]:
    """The columns of tables whose figures are of a metric, in order."""
    return [*NAMES, *_scores(scoring), *COSTS]


def columns(place: Place, scoring: Scoring) -> list[Column]:
    """Those that are shown in a place."""
    return [column for column in all_columns(scoring) if place in column.shown]


def axes() -> list[Column]:
    """The costs that accuracy is plotted against."""
    return [column for column in COSTS if "axis" in column.shown]


def pareto_front(points: dict[Any, tuple[float, float]]) -> list[Any]:
    """The points (cost, mAP) that no other beats in both, cheapest first, by name."""
    front: list[Any] = []
    best = -math.inf
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if points[name][1] > best:
            front, best = [*front, name], points[name][1]
    return front
