"""The report's plots for papers, as SVG and PNG; the same content gives the same bytes."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy

from benchmark.files import write_atomically
from benchmark.leaderboard.columns import axes as cost_axes
from benchmark.records.spread import NOISY, NOISY_MARK, says_little

STYLE: Any = {
    "svg.hashsalt": "pointkd",
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "text.parse_math": False,  # names are text, whatever they hold
    "axes.prop_cycle": cycler(
        color=["#0067a8", "#c2510a", "#00805c", "#a64d83", "#8a6a00", "#5b53a8"]
    ),
}
DASHES = ("-", "--", ":", "-.")
COLOURS, MARKERS = 6, "os^vP"
INK, GREY, PALE = "#222222", "#777777", "#b5b5b5"
WIDTH, HEIGHT = 3.9, 2.7
"""Of the axes, inches."""
POINTS = 72 * WIDTH
"""Across the axes, typographic points."""
STEP = 7.5
"""Between marks that would lie on each other, points, if there is room."""
LETTER = 3.6
"""Width of a letter of a student's name, points."""
LINE = 100
"""Characters of a line of the caption."""
MARKS = (
    "Diamond: teacher; ring: student alone; other marks: distilled students. Vertical bars: "
    "half-width of the gain's 95 % interval, where seeds allow one. Grey verticals: what each "
    "student costs. Marks that would lie on each other stand side by side, and a thin line leads "
    "from each to its cost. Dotted: Pareto front."
)
RANGES = (
    "Bars along the bottom: interquartile range, half of it on each side of the median; "
    f"{NOISY_MARK}: more than {100 * NOISY:.0f} % of the median, which then says little."
)
"""What a plot's caption says, here and on the page; the second if its cost has a spread."""

Section = Mapping[str, Any]
Row = Mapping[str, Any]


def write(folder: Path, content: Mapping[str, Any]) -> list[Path]:
    """Write the plots of each of a report's sections that has their figures.

    Args:
        content: of :func:`benchmark.report.page.make_content`.

    Returns:
        The files, NAME.svg and NAME.png for each plot.
    """
    written = []
    for number, section in enumerate(content["sections"], start=1):
        for name, figure in _figures(section, content["methods"]):
            path = folder / f"{number}-{section['family'].replace(' ', '-')}-{name}"
            written += _save(path, figure)
    return written


def _figures(section: Section, methods: Sequence[str]) -> list[tuple[str, Figure]]:
    found = []
    for column in cost_axes():
        for metric in section["metrics"]:
            key, front = column.key, section["fronts"][column.key][metric]
            rows = [r for r in section["rows"] if _has(r, key) and _has(r, f"{metric} mAP")]
            if rows:
                draw = partial(
                    pareto, rows=rows, front=front, cost=key, metric=metric, methods=methods
                )
                told = [MARKS, *([RANGES] if column.kind == "spread" else [])]
                name = f"{metric.lower()}-{column.name.lower()}"
                found.append((name, _plot(section, draw, " ".join(told))))
    rows = [row for row in section["rows"] if row["losses"]]
    if rows:
        draw = partial(curves, rows=rows, methods=methods)
        found.append(("losses", _plot(section, draw, "Means over a row's seeds.")))
    return found


def pareto(
    axes: Any,
    rows: Sequence[Row],
    front: Sequence[int],
    cost: str,
    metric: str,
    methods: Sequence[str],
) -> None:
    """mAP against a cost, each row at its own.

    Args:
        front: ids of the rows on the Pareto front, from the cheapest up.
        methods: all methods of the report; their order gives colours and marks.
    """
    rows = sorted(rows, key=lambda row: (row["figures"][cost], row["method"]))
    places = _scale(axes, rows, cost)
    gap = min(STEP, 0.6 * POINTS / len(rows))
    shifts = [new - old for new, old in zip(spread(places, [gap] * len(rows)), places, strict=True)]
    for row, shift in zip(rows, shifts, strict=True):
        _point(axes, row, shift, cost, metric, methods)
    figures = {row["id"]: row["figures"] for row in rows}
    steps = [[figures[name][key] for name in front] for key in (cost, f"{metric} mAP")]
    axes.step(*steps, where="post", color=GREY, linewidth=0.7, linestyle=":")
    ends = [end for row in rows for end in _bar(row, metric)]
    low, high = min(ends), max(ends)
    high += low == high  # one point of AP where all are equal
    pad = 0.14 * (high - low)
    axes.set_ylim(low - pad, high + pad)
    _students(axes, rows, cost)
    axes.grid(visible=False, axis="x")
    axes.set(xlabel=cost, ylabel=f"{metric} mAP (%)")


def spread(places: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Centres of things in a row, moved as little as sets them side by side.

    Args:
        places: where they would be, from left to right.
        widths: of the things.
    """
    starts = [0.0, *accumulate((a + b) / 2 for a, b in pairwise(widths))]
    blocks: list[list[float]] = []  # of things that touch, where their first would be
    for place, start in zip(places, starts, strict=True):
        blocks.append([place - start])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    firsts = [fmean(block) for block in blocks for _ in block]
    return [first + start for first, start in zip(firsts, starts, strict=True)]


def _scale(axes: Any, rows: Sequence[Row], cost: str) -> list[float]:
    """Set the logarithmic axis with room for marks at its ends; the rows' places, points."""
    costs = [row["figures"][cost] for row in rows]
    ends = [end for row in rows for end in _range(row, cost)]
    low, high = math.log(min(ends)), math.log(max(ends))
    if high - low < 0.1:
        low, high = low - 0.5, high + 0.5
    most = max(costs.count(value) for value in costs)
    room = min(14 + most * STEP / 2, 0.38 * POINTS)
    unit = (high - low) / (POINTS - 2 * room)
    axes.set_xscale("log")
    axes.set_xlim(math.exp(low - room * unit), math.exp(high + room * unit))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    return [room + (math.log(value) - low) / unit for value in costs]


def _range(row: Row, cost: str) -> tuple[float, float]:
    """Half of the interquartile range on each side of a cost; the cost where it has none."""
    value, iqr = row["figures"][cost], row["figures"].get(f"{cost} iqr") or 0
    return max(value - iqr / 2, value / 10), value + iqr / 2


def _bar(row: Row, metric: str) -> tuple[float, float]:
    """A row's mAP less and plus the half-width of its gain's interval, where it has one."""
    figures = row["figures"]
    low, high = (figures[f"{metric} gain {end}"] for end in ("low", "high"))
    half = 0 if low is None else (high - low) / 2
    return figures[f"{metric} mAP"] - half, figures[f"{metric} mAP"] + half


def _point(
    axes: Any, row: Row, shift: float, cost: str, metric: str, methods: Sequence[str]
) -> None:
    """A row's mark, its bar, and the line to its cost."""
    place = row["figures"][cost], row["figures"][f"{metric} mAP"]
    low, high = _bar(row, metric)
    moved = offset_copy(axes.transData, axes.figure, shift, 0, "points")
    if shift:
        line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", place, (shift, 0), textcoords="offset points", arrowprops=line)
    axes.errorbar(
        *place,
        yerr=(high - low) / 2 if low < high else None,
        transform=moved,
        linestyle="none",
        markersize=4,
        elinewidth=0.9,
        label=row["method"],
        **_mark(row, methods),
    )


def _students(axes: Any, rows: Sequence[Row], cost: str) -> None:
    """A vertical line at each student's cost, its name above the axes, its range at the bottom."""
    found = {(row["figures"][cost], row["student"]): row for row in rows}
    names = [student + _noise(row, cost) for (_, student), row in sorted(found.items())]
    low, high = map(math.log, axes.get_xlim())
    places = [POINTS * (math.log(value) - low) / (high - low) for value, _ in sorted(found)]
    moved = spread(places, [LETTER * len(name) + 8 for name in names])
    for number, ((value, student), name) in enumerate(zip(sorted(found), names, strict=True)):
        axes.axvline(value, color=PALE, linewidth=0.6, zorder=0.5)
        shift = moved[number] - places[number]
        line = {"arrowstyle": "-", "color": PALE, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
        axes.annotate(name, (value, 1), (shift, 6), axes.get_xaxis_transform(),
                      "offset points", line, ha="center", color=GREY, fontsize=6.5)  # fmt: skip
        ends = _range(found[value, student], cost)
        if ends[0] < ends[1]:
            height = [0.03 + 0.03 * (number % 2)] * 2
            axes.plot(ends, height, transform=axes.get_xaxis_transform(), color=INK,
                      linewidth=0.9, marker="|", markersize=4)  # fmt: skip


def _noise(row: Row, cost: str) -> str:
    """The mark of a cost whose spread is a large part of it."""
    iqr = row["figures"].get(f"{cost} iqr")
    return f" {NOISY_MARK}" if iqr and says_little(row["figures"][cost], iqr) else ""


def curves(axes: Any, rows: Sequence[Row], methods: Sequence[str]) -> None:
    """The total training loss by epoch; a dash pattern for each student."""
    students = sorted({row["student"] for row in rows})
    for row in rows:
        values = row["losses"]["total"]
        style = _mark(row, methods)
        axes.plot(
            range(1, len(values) + 1),
            values,
            label=f"{row['student']} {row['method']}",
            color=style["color"],
            linestyle=DASHES[students.index(row["student"]) % len(DASHES)],
            marker=style["marker"],
            markersize=3,
            markevery=max(1, len(values) // 6),
            linewidth=1,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="total loss")


def _plot(section: Section, draw: Callable[[Any], None], told: str) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        axes = figure.add_axes((0, 0, 1, 1))
        draw(axes)
        handles, labels = axes.get_legend_handles_labels()
        shown = dict(zip(labels, handles, strict=True))  # each method once, however many students
        axes.legend(shown.values(), shown, bbox_to_anchor=(1.02, 1), loc="upper left",
                    frameon=False, fontsize=7)  # fmt: skip
        caption = "\n".join([_caption(section), *textwrap.wrap(told, LINE)])
        axes.annotate(caption, (0, 0), (-36, -34), "axes fraction", "offset points",
                      va="top", fontsize=6.5, color=GREY, linespacing=1.35)  # fmt: skip
        return figure


def _save(path: Path, figure: Figure) -> list[Path]:
    written = []
    with matplotlib.rc_context(STYLE):
        FigureCanvasAgg(figure)
        for kind, nothing in (("svg", {"Date": None}), ("png", {"Software": None})):
            buffer = io.BytesIO()
            figure.savefig(
                buffer, format=kind, dpi=200, metadata=nothing, bbox_inches="tight", pad_inches=0.08
            )
            file = path.with_name(f"{path.name}.{kind}")
            write_atomically(file, buffer.getvalue())
            written.append(file)
    return written


def _caption(section: Section) -> str:
    """A description of the data inside the picture, so that it cannot be shown without it."""
    parts = [f"{section['family']} on {section['data']['name']}"]
    parts += ["synthetic data"] if section["synthetic"] else []
    parts += ["wiring check, numbers rank nothing"] if section["wiring"] else []
    return "; ".join(parts)


def _mark(row: Row, methods: Sequence[str]) -> dict[str, Any]:
    if row["role"] == "teacher":
        return {"marker": "D", "color": INK}
    if row["role"] == "none":
        return {"marker": "o", "color": GREY, "markerfacecolor": "white"}
    index = methods.index(row["method"])
    return {"marker": MARKERS[index // COLOURS % len(MARKERS)], "color": f"C{index % COLOURS}"}


def _has(row: Row, key: str) -> bool:
    return row["figures"].get(key) is not None
