"""Tables to Markdown: headlines first, then what is behind them, down to the records."""

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

from benchmark.evaluation.protocol import CLASSES, DIFFICULTIES, ENOUGH_OBJECTS
from benchmark.leaderboard import published
from benchmark.leaderboard.tables import METRICS, MODERATE, Record, Table

FEW_SEEDS = 5
"""Below so many seeds a table claims nothing."""

LEGEND = f"""\
AP in percent, R40, Moderate; mAP is the mean of Car, Pedestrian and Cyclist. Gain: mean paired
difference to `none` over seeds with its 95 % interval; "distinguishable" means that the interval
leaves out 0. Rank: place by 3D mAP among the student's methods and, in brackets, the places that
are left when every pair is compared with Holm's correction: from 1 + the number of methods
distinguishably better to the number of methods less those distinguishably worse. "2 of 3" seeds:
the others are missing or ended early, and the row has no rank. † marks hyper-parameters without a
LiDAR source (extrapolated), \\* an AP bounded by too few valid objects (fewer than
{ENOUGH_OBJECTS}), which enters no mean. Parameters, GFLOPs (dense layers, as the paper counts) and
latency (median from points to boxes, batch 1, on the machine named) are of the student as
deployed."""


MARKUP = re.compile(r"[\\|*`]|](?=[(\[:])")


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
    external: Sequence[Record]
    printed: pd.DataFrame

    def text(self) -> str:
        """The whole page."""
        details = [
            part
            for number, table in enumerate(self.tables, 1)
            for part in _details(number, table, self.printed)
        ]
        return "\n\n".join([self.headline, *details]) + "\n"

    @cached_property
    def headline(self) -> str:
        """The legend and the first table of each family."""
        parts = [f"# {_escape(self.title)}", LEGEND]
        for number, table in enumerate(self.tables, 1):
            parts += [f"## Table {number}: {_escape(table.title)}", _escape(caption(table))]
            parts.append(_layout(headline_rows(table)))
        if self.external:
            parts += ["## External results", EXTERNAL, _layout(_external_rows(self.external))]
        return "\n\n".join(parts)


def caption(table: Table) -> str:
    """What stands behind every row of a table."""
    example = table.example
    data, profile = example["dataset"], example["profile"]
    kind = "synthetic data" if data["synthetic"] else "real frames"
    versions = example["provenance"]["versions"]
    region = "reduced grid, objects outside it ignored" if profile["reduced"] else "full grid"
    said = [
        f"{data['name']} ({kind}, {data['train_frames']} training and {data['val_frames']} "
        f"validation frames, fingerprint {data['fingerprint']})",
        f"profile {profile['name']}: {profile['purpose']} ({region})",
        example["precision"],
        f"teacher {example['settings'].get('teacher') or example['cell']}",
        ", ".join(table.machines),
        f"mmdet3d {versions['mmdet3d']}, torch {versions['torch']}",
    ]
    text = "; ".join(said) + "."
    if len(table.machines) > 1:
        text += " Latency and training times of different machines do not compare."
    if len(table.seeds) < FEW_SEEDS:
        text += f" Fewer than {FEW_SEEDS} seeds: nothing here is a claim."
    return text


def headline_rows(table: Table) -> list[dict[str, str]]:
    """The columns that people compare first, as text."""
    return [_headline_row(row) for row in table.rows]


def _headline_row(row: Mapping[str, Any]) -> dict[str, str]:
    shown = _names(row)
    for label in METRICS.values():
        shown[f"{label} mAP"] = _text(row[f"{label} mAP"], 2)
        shown[f"{label} gain"] = _interval(row, f"{label} gain")
    shown["verdict (3D)"] = row["verdict"]
    shown["rank (3D)"] = _rank(row)
    for column, digits in (("params (M)", 3), ("GFLOPs", 2), ("latency (ms)", 1)):
        shown[column] = _text(row[column], digits)
    return shown


def _details(number: int, table: Table, printed: pd.DataFrame) -> list[str]:
    """The sections behind one headline table."""
    rows = table.rows
    parts = [f"## Details of table {number}"]
    for label in reversed(METRICS.values()):
        parts += [f"### {label} AP by class and difficulty (R40)"]
        parts += [_layout([_ap_row(row, label) for row in rows])]
    parts += ["### Costs", COSTS, _layout([_cost_row(row, table) for row in rows])]
    parts += ["### Differences between methods (3D mAP)", *_pairs(table)]
    if len(beside := published.beside(table, printed)):
        parts += ["### Published figures", published.comparability(table)]
        parts += [_layout([_published_row(row) for row in beside.to_dict("records")])]
    if unfinished := _unfinished(table):
        parts += ["### Cells without a figure", _layout(unfinished)]
    return [*parts, "### Records", _layout(_record_rows(table))]


COSTS = """\
Of the student as deployed: parameters, GFLOPs, GMACs (all layers), activations, latency with
interquartile range, peak memory of weights and forward pass. Of training: parameters that the
method adds and that are dropped afterwards; seconds the cell would have taken alone, and its share
as run in lockstep; the part of the time alone that goes into the method's own loss and its
gradient. – means not measured."""

EXTERNAL = """\
Detections of other code, scored by this evaluator. Nothing was trained here, so there is no gain;
costs are as their authors state them."""


def _ap_row(row: Mapping[str, Any], label: str) -> dict[str, str]:
    shown = _names(row)
    for name in CLASSES:
        for difficulty in DIFFICULTIES:
            mark = "*" if row[f"{name} objects {difficulty}"] < ENOUGH_OBJECTS else ""
            text = _text(row[f"{name} {label} {difficulty}"], 2)
            shown[f"{name} {difficulty}"] = text + mark
    return shown


def _cost_row(row: Mapping[str, Any], table: Table) -> dict[str, str]:
    latency, spread = row["latency (ms)"], row["latency iqr (ms)"]
    share = row["KD share"]
    shown = _names(row) | {
        "params (M)": _text(row["params (M)"], 3),
        "GFLOPs": _text(row["GFLOPs"], 2),
        "GMACs": _text(row["GMACs"], 2),
        "activations (M)": _text(row["activations (M)"], 1),
        "latency (ms)": _text(latency, 1) + ("" if math.isnan(spread) else f" ({spread:.1f})"),
        "peak memory (MB)": _text(row["peak memory (MB)"], 0),
        "added in training (params)": _text(row["extra training params"], 0),
        "alone (s)": _text(row["train alone (s)"], 0),
        "as run (s)": _text(row["train as run (s)"], 0),
        "in KD": "–" if math.isnan(share) else f"{100 * share:.0f} %",
    }
    return shown | ({"machine": row["machine"]} if len(table.machines) > 1 else {})


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
    mean, low, high = pair["difference"], pair["low"], pair["high"]
    return {
        "student": pair["student"],
        "method": pair["first"],
        "above": pair["second"],
        "seeds": str(pair["seeds"]),
        "difference": f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]",
        "p": f"{pair['p']:.2g}",
        "p (Holm)": f"{pair['p (Holm)']:.2g}",
        "distinguishable": "yes" if pair["distinguishable"] else "no",
    }


def _published_row(row: Mapping[str, Any]) -> dict[str, str]:
    shown = {
        "student": row["student"],
        "method": row["method"],
        "printed in": f"{row['source']}, table {row['table']}",
    }
    for label in METRICS.values():
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
    """3D mAP of every cell, linked to its record."""
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in table.cells:
        figure = cell["3D mAP"]
        told = cell["status"] if math.isnan(figure) else f"{figure:.2f}"
        rows[cell["student"], cell["method"]].append(f"{_link(cell)}: {told}")
    return [
        {"student": student, "method": method, "seed: 3D mAP": _Markup(", ".join(cells))}
        for (student, method), cells in rows.items()
    ]


def _link(cell: Mapping[str, Any]) -> str:
    """A seed that leads to its record."""
    path = f"records/{quote(cell['cell'], safe='')}.json"
    seed = _escape(str(cell["seed"]))
    return f"[{seed}]({path})" if cell["cell"] else seed


def _external_rows(found: Sequence[Record]) -> list[dict[str, str]]:
    rows = []
    for record in found:
        card, ap = record["card"], record["ap"]
        costs = card.get("costs") or {}
        shown = {
            "external": _Markup(
                f"[{_escape(card['name'])}]({quote(card['url'], safe=':/?&=#%~+')})"
            ),
            "paper": card["paper"],
            "detector": card["detector"],
            "data, split": f"{card['data']}, {card['split']} ({record['frames']} frames)",
        }
        for metric, label in METRICS.items():
            shown[f"{label} mAP"] = _text(_or_nan(ap["mAP"][metric]["R40"][MODERATE]), 2)
        for name in CLASSES:
            bev, box = (_text(_or_nan(ap[name][m]["R40"][MODERATE]), 1) for m in METRICS)
            mark = "*" if ap[name]["objects"][MODERATE] < ENOUGH_OBJECTS else ""
            shown[f"{name} BEV / 3D"] = f"{bev} / {box}{mark}"
        shown["stated costs"] = ", ".join(f"{name} {value}" for name, value in costs.items())
        shown["notes"] = card["notes"]
        rows.append(shown)
    return rows


def _names(row: Mapping[str, Any]) -> dict[str, str]:
    """Student, method and seeds, at the left of every table."""
    done, of = row["seeds"], row["of seeds"]
    return {
        "student": row["student"],
        "method": row["method"] + (" †" if row["extrapolated"] else ""),
        "seeds": str(done) if done == of else f"{done} of {of}",
    }


def _rank(row: Mapping[str, Any]) -> str:
    place, low, high = row["rank"], row["rank low"], row["rank high"]
    return "" if math.isnan(place) else f"{place:.0f} [{low:.0f}–{high:.0f}]"


def _interval(row: Mapping[str, Any], name: str) -> str:
    mean, low, high = row[name], row[f"{name} low"], row[f"{name} high"]
    if math.isnan(mean):
        return ""
    return f"{mean:+.2f}" + ("" if math.isnan(low) else f" [{low:+.2f}, {high:+.2f}]")


def _text(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


class _Markup(str):
    """Text that is Markdown already."""


def _layout(rows: Iterable[Mapping[str, str]]) -> str:
    """A pipe table; what comes from records cannot break it or smuggle in markup."""
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
    """Plain text as Markdown: no table cells, emphasis, code, links or tags."""
    plain = " ".join(text.replace("<", " ").replace(">", " ").split())
    return MARKUP.sub(r"\\\g<0>", plain)
