"""The report page of a results folder, made from its records and views alone.

:func:`make_content` collects what the page shows as plain values; :func:`render` puts them into
one HTML file that loads nothing. The page's own sources are in ``report_page``.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from benchmark.evaluation import views
from benchmark.evaluation.protocol import BY_OVERLAP, Scoring, classes_of, scoring_of
from benchmark.files import write_atomically
from benchmark.leaderboard import Table, external, make_tables
from benchmark.leaderboard.columns import Column, all_columns, axes, pareto_front
from benchmark.leaderboard.markdown import LEVELS, control_text, external_text, metric
from benchmark.leaderboard.tables import TEACHER
from benchmark.records.folder import ResultsFolder
from benchmark.records.record import Record
from benchmark.records.spread import NOISY, NOISY_MARK
from benchmark.records.store import NONE
from benchmark.report import plots
from benchmark.report.cell import reproduction
from kd_methods.core.errors import visible

SCRIPTS = ("base.js", "table.js", "text_tables.js", "charts.js", "scenes.js", "page.js")
DIGITS = 4
"""Decimals of a loss on the page; the record has all of them."""

Content = dict[str, Any]


def write(folder: Path, records: Sequence[Record]) -> list[Path]:
    """Write ``report.html`` and the plots for papers into a results folder; their paths."""
    content, place = make_content(folder, records), ResultsFolder(folder)
    write_atomically(place.report, render(content).encode())
    return [place.report, *plots.write(place.plots, content)]


def make_content(folder: Path, records: Iterable[Record]) -> Content:
    """All that the page shows.

    Returns:
        ``title``; ``axes``, the columns that accuracy is plotted against; ``noisy``, which spreads
        are marked; ``methods``, whose order gives colours; ``captions`` of the plots of costs;
        ``sections``, one for each leaderboard table, with its rows and controls; ``external``,
        results of other code; ``cells``, the provenance of each record; ``frames``, the shown
        frames by data set and name.

    Raises:
        ViewError: a file of views is malformed.
        CardError: a file of an external result is damaged.
    """
    found = {record["cell"]: record for record in records}
    sections = [_section(folder, table, found) for table in make_tables(found.values())]
    return {
        "title": visible(folder.resolve().name),
        "axes": [_column(column) for column in axes()],
        "noisy": {"share": NOISY, "mark": NOISY_MARK},
        "methods": _methods(sections),
        "captions": {"marks": plots.MARKS, "ranges": plots.RANGES},
        "sections": sections,
        "external": [_external(stored) for stored in external.read_all(folder)],
        "cells": {cell: _provenance(found[cell], found) for cell in sorted(found)},
        "frames": _frames(folder, sections),
    }


def render(content: Content) -> str:
    """The page: one file whose policy forbids all requests and all scripts but its own."""
    page = files(__package__) / "report_page"
    style = (page / "page.css").read_text(encoding="utf-8")
    parts = [(page / name).read_text(encoding="utf-8") for name in SCRIPTS]
    script = '"use strict";\n{\n' + "\n".join(parts) + "}\n"
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return Template((page / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(content["title"]),
        policy=policy,
        style=style,
        script=script,
        content=_inert(content),
    )


def _hash(text: str) -> str:
    """A source of a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _inert(content: Content) -> str:
    """JSON in which nothing can end a script element or begin a tag."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _section(folder: Path, table: Table, found: Mapping[str, Record]) -> dict[str, Any]:
    """What one leaderboard table shows."""
    cells: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for cell in table.cells:
        cells[cell["student"], cell["method"]].append(cell)
    rows: list[dict[str, Any]] = []
    for described in table.rows:
        mine = cells[described["student"], described["method"]]
        rows.append(_row(len(rows), described, mine, found, table, folder))
    example, scoring = table.example, table.scoring
    return {
        "columns": [_column(column) for column in all_columns(scoring)],
        "metrics": list(scoring.labels.values())[::-1],
        "classes": list(table.classes),
        "levels": [level[0].upper() + level[1:] for level in scoring.levels],
        "level": LEVELS[scoring.name],
        "metric": metric(table) if table.classes else "",
        "enough": scoring.enough,
        "family": table.network,
        "data": example["dataset"],
        "synthetic": example["dataset"]["synthetic"],
        "profile": example["profile"],
        "wiring": example["profile"]["name"] == "smoke",
        "precision": example["precision"],
        "tuned": table.tuned,
        "machines": table.machines,
        "commits": table.commits,
        "versions": example["provenance"]["versions"],
        "fronts": _fronts(rows, scoring),
        "losses": ["total", *sorted({n for row in rows for n in row["losses"]} - {"total"})],
        "rows": rows,
        "controls": [control_text(row) for row in table.controls],
    }


def _external(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table of external results, by heading, and where its name leads."""
    row = external.row(stored)
    return {"url": row["url"], "shown": external_text(row)}


def _methods(sections: Sequence[Mapping[str, Any]]) -> list[str]:
    """The methods of all tables in one order, in which page and plots give colours."""
    rows = (row for section in sections for row in section["rows"])
    return sorted({row["method"] for row in rows if row["role"] == "method"})


def _column(column: Column) -> dict[str, Any]:
    """What the page needs of a column."""
    return {
        "key": column.key,
        "kind": column.kind,
        "digits": column.digits,
        "metric": column.metric,
        "optional": column.optional,
        "shown": sorted(column.shown),
    }


def _fronts(rows: Sequence[Mapping[str, Any]], scoring: Scoring) -> dict[str, dict[str, list[int]]]:
    """The Pareto front of the rows for each cost and metric: their ids, from the cheapest up."""
    fronts: dict[str, dict[str, list[int]]] = {}
    for column in axes():
        for label in scoring.labels.values():
            both = {
                row["id"]: (row["figures"].get(column.key), row["figures"].get(f"{label} mAP"))
                for row in rows
            }
            points = {name: point for name, point in both.items() if None not in point}
            fronts.setdefault(column.key, {})[label] = pareto_front(points)
    return fronts


def _row(
    index: int,
    described: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    found: Mapping[str, Record],
    table: Table,
    folder: Path,
) -> dict[str, Any]:
    """A row of the leaderboard with everything else the page shows about it."""
    done = [found[cell["cell"]] for cell in cells if cell["status"] == "done"]
    seen = [views.load(ResultsFolder(folder), record["cell"]) for record in done]
    figures = {
        name: _plain(value)
        for name, value in described.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    method = described["method"]
    return {
        "id": index,
        "student": described["student"],
        "method": method,
        "role": {TEACHER: "teacher", NONE: "none"}.get(method, "method"),
        "extrapolated": described["extrapolated"],
        "seeds": described["seeds"],
        "figures": figures,
        "verdict": described[f"verdict ({table.scoring.main})"],
        "outcome": "" if method in (TEACHER, NONE) else _outcome(figures, table),
        "details": _details(figures, table) if done else None,
        "losses": _losses(done),
        "distances": _distances(seen),
        "view": next((_view(view) for view in seen if view), None),
        "cells": [cell["cell"] for cell in cells if cell["cell"]],
        "missing": [cell["seed"] for cell in cells if not cell["cell"]],
    }


def _outcome(figures: Mapping[str, Any], table: Table) -> str:
    """The verdict in one word: better, worse, same, undecided (no interval) or incomplete."""
    low, high = (figures[f"{table.scoring.main} gain {end}"] for end in ("low", "high"))
    if figures["seeds"] < figures["of seeds"]:
        return "incomplete"
    if low is None:
        return "undecided"
    return "better" if low > 0 else "worse" if high < 0 else "same"


def _details(figures: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """AP by class, metric and level, and which are bounded."""
    scoring = table.scoring
    return {
        name: {
            label: [figures[f"{name} {label} {level}"] for level in scoring.levels]
            for label in scoring.labels.values()
        }
        | {"bounded": [figures[f"{name} objects {x}"] < scoring.enough for x in scoring.levels]}
        for name in table.classes
    }


def _losses(done: Sequence[Record]) -> dict[str, list[float | None]]:
    """Each loss and their total by epoch, mean over the seeds."""
    curves = [r["training"]["losses"] for r in done if r["training"] and r["training"]["losses"]]
    if not curves:
        return {}
    epochs = min(map(len, curves))
    found = {
        name: [_short(sum(c[e][name] for c in curves) / len(curves)) for e in range(epochs)]
        for name in sorted(curves[0][0])
        if all(name in epoch for curve in curves for epoch in curve)
    }
    totals = [[sum(epoch.values()) for epoch in curve] for curve in curves]
    total = [_short(sum(t[e] for t in totals) / len(totals)) for e in range(epochs)]
    return {"total": total, **found}


def _distances(seen: Sequence[Mapping[str, Any] | None]) -> list[dict[str, Any]] | None:
    """AP by distance at Moderate, mean over the seeds; None unless every seed has views."""
    parts = [view["by_distance"] for view in seen if view]
    if not all(parts) or len(parts) < len(seen) or not parts:
        return None
    found, level = [], BY_OVERLAP.level
    for same in zip(*parts, strict=False):
        classes = classes_of(same[0]["ap"])
        ap = {name: [part["ap"][name] for part in same] for name in classes}
        found.append(
            {
                "from": same[0]["from"],
                "to": same[0]["to"],
                "ap": {
                    name: {
                        label: _mean([_defined(figures, key) for figures in ap[name]])
                        for key, label in BY_OVERLAP.labels.items()
                    }
                    for name in classes
                },
                "bounded": {
                    name: min(f["objects"][level] for f in ap[name]) < BY_OVERLAP.enough
                    for name in classes
                },
            }
        )
    return found


def _defined(figures: Mapping[str, Any], key: str) -> float | None:
    """AP at Moderate; None if there was no object to detect."""
    level = BY_OVERLAP.level
    return figures[key][BY_OVERLAP.recalls][level] if figures["objects"][level] else None


def _view(view: Mapping[str, Any]) -> dict[str, Any]:
    return {key: view[key] for key in ("fingerprint", "range", "detections")}


def _frames(folder: Path, sections: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every frame that a row's view shows, by data set and name, if its file exists."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for section in sections:
        for row in section["rows"]:
            for frame in (row["view"] or {}).get("detections", {}):
                fingerprint = row["view"]["fingerprint"]
                if frame not in found[fingerprint]:
                    scene = views.load_frame(ResultsFolder(folder), fingerprint, frame)
                    if scene is not None:
                        found[fingerprint][frame] = scene
    return found


def _provenance(record: Record, found: Mapping[str, Record]) -> dict[str, Any]:
    """Where a record's figures come from."""
    training: Mapping[str, Any] = record["training"] or {}
    made = record["provenance"]
    teacher = record["settings"].get("teacher", "")
    command, needs = reproduction(record, found.get(teacher))
    named = re.fullmatch(r"[\w-]+", record["cell"])
    return {
        "cell": record["cell"],
        "link": f"records/{record['cell']}.json" if named else None,
        "status": record["status"],
        "reason": record["reason"],
        "seed": record["seed"],
        "mAP": _plain(_scored(record["ap"])) if record["ap"] else None,
        "data": {key: record["dataset"][key] for key in ("name", "fingerprint")},
        "teacher": teacher,
        "weighting": record["weighting"],
        "precision": record["precision"],
        "hyperparameters": {
            name: json.dumps(value) for name, value in (record["hyperparameters"] or {}).items()
        },
        "extrapolated": bool(training.get("extrapolated")),
        "balance": _plain(training.get("balance")),
        "machine": made["machine"],
        "threads": made["threads"],
        "versions": made["versions"],
        "commit": made["commit"],
        "clean": made["clean"],
        "ended": made["ended"],
        "weights_sha256": record["weights_sha256"],
        "losses_sha256": record["losses_sha256"],
        "command": command,
        "needs": needs,
    }


def _scored(ap: Mapping[str, Any]) -> float | None:
    """mAP by the metric of verdicts."""
    scoring = scoring_of(ap)
    return scoring.mean(ap, scoring.headline)


def _mean(values: Sequence[float | None]) -> float | None:
    """None where a value is missing: a mean is never over fewer."""
    if not values or any(value is None for value in values):
        return None
    return _plain(math.fsum(value for value in values if value is not None) / len(values))


def _plain(value: float | None) -> Any:
    """A number that JSON holds, with all its digits: they are rounded once, where they are shown.

    None for NaN.
    """
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(value)


def _short(value: float) -> float | None:
    """A loss for a curve; None for NaN."""
    return _plain(round(value, DIGITS))
