"""The report's plots for papers, as SVG and PNG; the same content gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from benchmark.files import write_atomically
from benchmark.leaderboard.columns import columns

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
GAP = 1.035
"""Factor between the positions of two rows of equal cost."""
INK, GREY = "#222222", "#777777"

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
        for name, figure in _figures(section):
            path = folder / f"{number}-{section['family']}-{name}"
            written += _save(path, figure)
    return written


def _figures(section: Section) -> list[tuple[str, Figure]]:
    found = []
    for column in columns("axis"):
        for metric in ("3D", "BEV"):
            key, front = column.key, section["fronts"][column.key][metric]
            rows = [r for r in section["rows"] if _has(r, key) and _has(r, f"{metric} mAP")]
            if rows:
                draw = partial(pareto, rows=rows, front=front, cost=key, metric=metric)
                found.append((f"{metric.lower()}-{column.name.lower()}", _plot(section, draw)))
    rows = [row for row in section["rows"] if row["losses"]]
    if rows:
        found.append(("losses", _plot(section, partial(curves, rows=rows))))
    return found


def pareto(axes: Any, rows: Sequence[Row], front: Sequence[int], cost: str, metric: str) -> None:
    """mAP against a cost; bars are the half-widths of the gains' intervals.

    Args:
        front: ids of the rows on the Pareto front, from the cheapest up.

    The rows of a student cost the same; they are set side by side.
    """
    methods = _methods(rows)
    for student in sorted({row["student"] for row in rows}):
        group = sorted((r for r in rows if r["student"] == student), key=lambda r: r["method"])
        for index, row in enumerate(group):
            low, high = (row["figures"][f"{metric} gain {end}"] for end in ("low", "high"))
            axes.errorbar(
                row["figures"][cost] * GAP ** (index - (len(group) - 1) / 2),
                row["figures"][f"{metric} mAP"],
                yerr=None if low is None else (high - low) / 2,
                linestyle="none",
                markersize=4,
                elinewidth=0.9,
                label=row["method"],
                **_mark(row, methods),
            )
        lowest = min(row["figures"][f"{metric} mAP"] for row in group)
        place = {"xytext": (0, -14), "textcoords": "offset points", "ha": "center", "color": GREY}
        axes.annotate(student, (group[0]["figures"][cost], lowest), fontsize=6.5, **place)
    figures = {row["id"]: row["figures"] for row in rows}
    steps = [[figures[name][key] for name in front] for key in (cost, f"{metric} mAP")]
    axes.step(*steps, where="post", color=GREY, linewidth=0.7, linestyle=":")
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.12)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel=cost, ylabel=f"{metric} mAP (%)")


def curves(axes: Any, rows: Sequence[Row]) -> None:
    """The total training loss by epoch; a dash pattern for each student."""
    methods, students = _methods(rows), sorted({row["student"] for row in rows})
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


def _plot(section: Section, draw: Callable[[Any], None]) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.2), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        handles, labels = axes.get_legend_handles_labels()
        shown = dict(zip(labels, handles, strict=True))  # each method once, however many students
        axes.legend(shown.values(), shown, bbox_to_anchor=(1.02, 1), loc="upper left",
                    frameon=False, fontsize=7)  # fmt: skip
        axes.set_title(_caption(section), fontsize=7, color=GREY, loc="left")
        return figure


def _save(path: Path, figure: Figure) -> list[Path]:
    written = []
    with matplotlib.rc_context(STYLE):
        FigureCanvasAgg(figure)
        for kind, nothing in (("svg", {"Date": None}), ("png", {"Software": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=200, metadata=nothing)
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


def _methods(rows: Sequence[Row]) -> list[str]:
    """The methods that need a colour, which each keeps for all students."""
    return sorted({row["method"] for row in rows if row["role"] == "method"})


def _mark(row: Row, methods: Sequence[str]) -> dict[str, Any]:
    if row["role"] == "teacher":
        return {"marker": "D", "color": INK}
    if row["role"] == "none":
        return {"marker": "o", "color": GREY, "markerfacecolor": "white"}
    index = methods.index(row["method"])
    return {"marker": MARKERS[index // COLOURS % len(MARKERS)], "color": f"C{index % COLOURS}"}


def _has(row: Row, key: str) -> bool:
    return row["figures"].get(key) is not None
