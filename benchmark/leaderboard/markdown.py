"""Tables to Markdown: headlines first, then the details behind them, down to the records."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any
from urllib.parse import quote

import pandas as pd
from tabulate import tabulate

from benchmark.evaluation.protocol import BY_OVERLAP, SCORED_CLASSES
from benchmark.leaderboard import external, published
from benchmark.leaderboard.columns import NAMES, Column, Place, columns
from benchmark.leaderboard.tables import Table
from benchmark.records.record import kind_of_data
from benchmark.records.spread import NOISY, NOISY_MARK, says_little
from kd_methods.core.errors import visible

FEW_SEEDS = 5
"""With fewer seeds a table claims nothing."""

METRICS = {
    "kitti": "AP in percent, R40, Moderate",
    "distance": "AP in percent by distance of centres, mean over 0.5, 1, 2 and 4 m (nuScenes' "
    "rules)",
}
"""What figures are, by metric."""
TOO_FEW = {"kitti": f"fewer than {BY_OVERLAP.enough}", "distance": "by distance: none"}
"""Valid objects with which an AP is bounded, by metric."""
LEVELS = {"kitti": "difficulty", "distance": "distance"}
"""What a class has several figures for."""
LEGEND = f"""\
Gain: mean paired difference from `none` over seeds with its 95 % interval, from the variance of
paired differences pooled over a student's methods, so that gains over equally many seeds have
equally wide intervals (docs/protocol.md); "distinguishable" means that the interval excludes 0.
Rank: place by 3D mAP (or mAP by centre distance) among the student's methods and, in brackets, the
places that remain possible when all pairs are compared with Holm's correction: from 1 + the number
of methods distinguishably better to the number of methods less those distinguishably worse.
"2 of 3" seeds: the others are missing or ended early, and the row has no rank. † marks
hyper-parameters without a LiDAR source (extrapolated), \\* an AP bounded by too few valid objects
({{few}}), which is left out of means.
Parameters, GFLOPs (dense layers, as the paper counts) and latency (median from points to boxes,
batch 1, on the machine named; "iqr" is its interquartile range) are of the student as deployed,
which no method changes: one figure per student, the median over its cells.
{NOISY_MARK} marks a latency that says little: its range is more than {100 * NOISY:.0f} % of it."""


KITTIS = f"{METRICS['kitti']}; mAP is the mean of Car, Pedestrian and Cyclist"
MARKUP = re.compile(r"[\\|*`]|](?=[(\[:])|:(?=//)|(?<=www)[.]")


@dataclass(frozen=True)
class Page:
    """A leaderboard to be written.

    Attributes:
        title: heading of the page.
        tables: measured figures.
        external: scored results of other code.
        printed: published figures, see :mod:`.published`.
    """

    title: str
    tables: Sequence[Table]
    external: Sequence[Mapping[str, Any]]
    printed: pd.DataFrame

    def text(self) -> str:
        """The whole page."""
        details = [
            part
            for place, table in enumerate(self.tables, 1)
            for part in _details(place, table, self.printed)
        ]
        return "\n\n".join([self.headline, *details]) + "\n"

    @cached_property
    def headline(self) -> str:
        """The legend and the first table of each family."""
        parts = [f"# {_escape(self.title)}", legend(self.tables)]
        for place, table in enumerate(self.tables, 1):
            parts += [f"## Table {place}: {_escape(table.title)}", _escape(caption(table))]
            parts.append(_layout(as_text(table, "headline")))
        if self.external:
            parts += ["## External results", EXTERNAL, _layout(_external_rows(self.external))]
        return "\n\n".join(parts)


def legend(tables: Sequence[Table]) -> str:
    """How to read tables."""
    told = dict.fromkeys(metric(table) for table in tables if table.classes)
    scorings = dict.fromkeys(table.scoring.name for table in tables) or [BY_OVERLAP.name]
    few = ", ".join(TOO_FEW[name] for name in scorings)
    return " ".join([*(f"{sentence}." for sentence in told or [KITTIS]), LEGEND.format(few=few)])


def metric(table: Table) -> str:
    """What the figures of a table are, in words."""
    *some, last = table.classes
    classes = f"{', '.join(some)} and {last}" if some else last
    return f"{METRICS[table.scoring.name]}; mAP is the mean of {classes}"


def caption(table: Table) -> str:
    """The details behind every row of a table."""
    example = table.example
    data, profile = example["dataset"], example["profile"]
    versions = example["provenance"]["versions"]
    region = "reduced grid, objects outside it ignored" if profile["reduced"] else "full grid"
    said = [
        f"{data['name']} ({kind_of_data(data)}{_own(data)}, {data['train_frames']} training and "
        f"{data['val_frames']} validation frames, fingerprint {data['fingerprint']})",
        f"profile {profile['name']}: {profile['purpose']} ({region})",
        example["precision"],
        f"teacher {example['settings'].get('teacher') or example['cell']}",
        *(f"detector {hashed}" for hashed in [example["settings"].get("detector")] if hashed),
        ", ".join(table.machines),
        f"mmdet3d {versions['mmdet3d']}, torch {versions['torch']}",
    ]
    if table.classes and metric(table) != KITTIS:
        said.append(metric(table))
    text = "; ".join(said) + "."
    if shared := data.get("shared_frames", 0):
        text += (
            f" {shared} validation frames are training frames too: figures tell what was memorised."
        )
    if table.tuned:
        text += (
            f" Settings were chosen by {table.tuned['trials']} trials of each method over "
            f"{table.tuned['seeds']} seeds on a quarter of the training frames, the learning rate "
            f"of `none` likewise (file {table.tuned['hash']})."
        )
    if len(table.machines) > 1:
        text += (
            f" Latency and memory are those on {table.timed_on}; training times are not comparable "
            "across machines."
        )
    if len(table.commits) > 1:
        text += f" Rows come from {len(table.commits)} commits: {', '.join(table.commits)}."
    if all(row[f"{table.scoring.main} mAP"] == 0 for row in table.rows if row["seeds"]):
        text += " Every mAP is 0: these networks were trained too briefly to detect anything."
    if len(table.seeds) < FEW_SEEDS:
        text += f" Fewer than {FEW_SEEDS} seeds: nothing here is a claim."
    return text


def _own(data: Mapping[str, Any]) -> str:
    return ", all KITTI's own" if data.get("genuine") else ""


def as_text(table: Table, place: Place) -> list[dict[str, str]]:
    """The rows of a table as text, with the columns of a place."""
    shown = columns(place, table.scoring)
    return [{column.key: _shown(column, row) for column in shown} for row in table.rows]


def _shown(column: Column, row: Mapping[str, Any]) -> str:
    value = row[column.key]
    low, high = row.get(f"{column.key} low", math.nan), row.get(f"{column.key} high", math.nan)
    if column.name == "method":
        return value + (" †" if row["extrapolated"] else "")
    if column.kind == "seeds":
        return _seeds(row)
    if column.kind == "text":
        return value
    if math.isnan(value):
        return "" if column.kind in ("interval", "rank") else "–"
    if column.kind == "rank":
        return f"{value:.0f} [{low:.0f}–{high:.0f}]"
    if column.kind == "interval":
        return _interval(value, low, high)
    text = f"{100 * value if column.kind == 'percent' else value:.{column.digits}f}"
    if column.kind == "spread" and not math.isnan(iqr := row[f"{column.key} iqr"]):
        text += f" (iqr {iqr:.{column.digits}f})"
        text += f" {NOISY_MARK}" if says_little(value, iqr) else ""
    return text


def _interval(mean: float, low: float, high: float) -> str:
    """A difference, and its interval if it has one."""
    return f"{mean:+.2f}" + ("" if math.isnan(low) else f" [{low:+.2f}, {high:+.2f}]")


def _seeds(row: Mapping[str, Any]) -> str:
    done, of = row["seeds"], row["of seeds"]
    return str(done) if done == of else f"{done} of {of}"


def _details(place: int, table: Table, printed: pd.DataFrame) -> list[str]:
    """The sections behind one headline table."""
    rows = table.rows
    parts = [f"## Details of table {place}"]
    scoring = table.scoring
    for label in list(scoring.labels.values())[::-1]:
        parts += [f"### {label} AP by class and {LEVELS[scoring.name]} ({scoring.recalls})"]
        parts += [_layout([_ap_row(row, label, table) for row in rows])]
    parts += ["### Costs", COSTS, _layout(_cost_rows(table))]
    parts += [f"### Differences between methods ({scoring.main} mAP)", *_pairs(table)]
    if table.controls:
        parts += [f"### Controls ({scoring.main} mAP)", CONTROLS]
        parts += [_layout([control_text(row) for row in table.controls])]
    if len(beside := published.beside(table, printed)):
        parts += ["### Published figures", published.comparability(table)]
        parts += [_layout([_published_row(row) for row in beside.to_dict("records")])]
    if unfinished := _unfinished(table):
        parts += ["### Cells without a figure", _layout(unfinished)]
    return [*parts, "### Records", _layout(_record_rows(table))]


COSTS = """\
Of the student as deployed: parameters, GFLOPs, GMACs (all layers), activations, latency with
interquartile range, PyTorch's threads and the system's load before it was measured (where records
hold them), peak memory of weights and forward pass. Of training: parameters that the
method adds and that are dropped afterwards; seconds the cell would have taken alone, and its share
as run in lockstep; KD share: the part of the time alone that goes into the method's own loss and
its gradient. – means not measured."""

CONTROLS = """\
No methods, and in no rank: what a gain is worth. A method that gains no more than the student alone
with twice the epochs saves time, no more; gains that hold with a weaker teacher, or one as narrow
as the student, are not the teacher's knowledge. Both gains are over the student alone with the same
seeds; the last one is with the ordinary teacher."""

EXTERNAL = """\
Detections of other code, scored by this evaluator. Nothing was trained here, so there is no gain;
costs are as their authors state them."""


def _ap_row(row: Mapping[str, Any], label: str, table: Table) -> dict[str, str]:
    shown = {column.key: _shown(column, row) for column in NAMES}
    for name in table.classes:
        for level in table.scoring.levels:
            mark = "*" if row[f"{name} objects {level}"] < table.scoring.enough else ""
            text = _text(row[f"{name} {label} {level}"], 2)
            shown[f"{name} {level}"] = text + mark
    return shown


def _cost_rows(table: Table) -> list[dict[str, str]]:
    """Costs that any row has or must show, and the machine where there are several."""
    absent = {
        column.key
        for column in columns("costs", table.scoring)
        if column.optional and all(math.isnan(row[column.key]) for row in table.rows)
    }
    rows = [
        {name: text for name, text in shown.items() if name not in absent}
        for shown in as_text(table, "costs")
    ]
    if len(table.machines) > 1:
        for shown, row in zip(rows, table.rows, strict=True):
            shown["machine"] = row["machine"]
    return rows


def _pairs(table: Table) -> list[str]:
    """Every pair that has an interval, and how many have none."""
    lines = table.pairs
    sure = [line for line in lines if not math.isnan(line["p"])]
    told = []
    if len(sure) < len(lines):
        told = [f"{len(lines) - len(sure)} pairs have too few seeds for an interval."]
    if not sure:
        return told or ["There are no two methods to compare."]
    return [_layout([_pair_row(line) for line in sure]), *told]


def _pair_row(pair: Mapping[str, Any]) -> dict[str, str]:
    return {
        "student": pair["student"],
        "method": pair["first"],
        "above": pair["second"],
        "seeds": str(pair["seeds"]),
        "difference": _interval(pair["difference"], pair["low"], pair["high"]),
        "p": f"{pair['p']:.2g}",
        "p (Holm)": f"{pair['p (Holm)']:.2g}",
        "distinguishable": "yes" if pair["distinguishable"] else "no",
    }


def control_text(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of the table of controls, by heading."""

    def gain(name: str) -> str:
        mean = row[name]
        if math.isnan(mean):
            return "–"
        return _interval(mean, row[f"{name} low"], row[f"{name} high"])

    return {
        "student": row["student"],
        "method": row["method"],
        "control": row["control"],
        "seeds": _seeds(row),
        "its teacher": _text(row["teacher"], 2),
        "mAP": _text(row["mAP"], 2),
        "gain": gain("gain"),
        "gain without it": gain("gain without it"),
    }


def _published_row(row: Mapping[str, Any]) -> dict[str, str]:
    shown = {
        "student": row["student"],
        "method": row["method"],
        "printed in": f"{row['source']}, table {row['table']}",
    }
    for label in BY_OVERLAP.labels.values():
        shown[f"{label} mAP printed"] = _text(row[f"{label} printed"], 1)
        shown[f"{label} mAP here"] = _text(row[f"{label} mAP"], 2)
        difference = row[f"{label} difference"]
        shown[f"{label} difference"] = "–" if math.isnan(difference) else f"{difference:+.2f}"
    return shown


def _unfinished(table: Table) -> list[dict[str, str]]:
    """Cells without a figure, those of one row and reason together."""
    seeds: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for cell in table.cells:
        if cell["status"] != "done":
            key = (cell["student"], cell["method"], cell["status"], cell["reason"])
            seeds[key].append(_link(cell))
    return [
        {
            "student": student,
            "method": method,
            "status": status,
            "reason": reason,
            "seeds": _Markup(", ".join(links)),
        }
        for (student, method, status, reason), links in seeds.items()
    ]


def _record_rows(table: Table) -> list[dict[str, str]]:
    """mAP of every cell, linked to its record."""
    figures = f"{table.scoring.main} mAP"
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in table.cells:
        figure = cell[figures]
        told = cell["status"] if math.isnan(figure) else f"{figure:.2f}"
        rows[cell["student"], cell["method"]].append(f"{_link(cell)}: {told}")
    return [
        {"student": student, "method": method, f"seed: {figures}": _Markup(", ".join(cells))}
        for (student, method), cells in rows.items()
    ]


def _link(cell: Mapping[str, Any]) -> str:
    """A seed linked to its record."""
    path = f"records/{quote(cell['cell'], safe='')}.json"
    seed = _escape(str(cell["seed"]))
    return f"[{seed}]({path})" if cell["cell"] else seed


def external_text(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of :func:`.external.row` as text, AP at Moderate."""
    shown = {
        "external": row["name"],
        "paper": row["paper"],
        "detector": row["detector"],
        "data, split": f"{row['data']}, {row['split']}",
    }
    scoring = BY_OVERLAP  # external results are KITTI result files
    for label in scoring.labels.values():
        shown[f"{label} mAP"] = _text(row[f"{label} mAP"], 2)
    level = scoring.levels[scoring.level]
    for name in SCORED_CLASSES:
        bev, box = (_text(row[f"{name} {m} {level}"], 1) for m in scoring.labels.values())
        mark = "*" if row[f"{name} objects {level}"] < scoring.enough else ""
        shown[f"{name} BEV / 3D"] = f"{bev} / {box}{mark}"
    return {**shown, "stated costs": row["stated costs"], "notes": row["notes"]}


def _external_rows(found: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """As text, with links to their papers or code."""
    rows = []
    for row in map(external.row, found):
        link = f"[{_escape(row['name'])}]({quote(row['url'], safe=':/?&=#%~+')})"
        rows.append(external_text(row) | {"external": _Markup(link)})
    return rows


def _text(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


class _Markup(str):
    """Text that is Markdown already."""


def _layout(rows: Iterable[Mapping[str, str]]) -> str:
    """A pipe table; values from records cannot break it or inject markup."""
    safe = [
        {name: text if isinstance(text, _Markup) else _escape(text) for name, text in row.items()}
        for row in rows
    ]
    columns = safe[0] if safe else {}
    sides = ["right" if all(_is_figure(row[name]) for row in safe) else "left" for name in columns]
    return tabulate(safe, "keys", "pipe", disable_numparse=True, colalign=sides)


def _is_figure(text: str) -> bool:
    return not text or text[0] in "+-–0123456789"


@cache
def _escape(text: str) -> str:
    """Plain text as Markdown: no table cells, emphasis, code, links or tags, nothing unseen."""
    plain = " ".join(visible(text).replace("<", " ").replace(">", " ").split())
    return MARKUP.sub(r"\\\g<0>", plain)
