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
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from benchmark import plots
from benchmark.evaluation import views
from benchmark.evaluation.kitti_ap import CLASSES, ENOUGH_OBJECTS
from benchmark.leaderboard import METRICS, MODERATE, Record, _comparable, _label, make_tables
from benchmark.matrix import NONE
from benchmark.records import write_atomically

SCRIPTS = ("base.js", "table.js", "charts.js", "scenes.js", "page.js")
DIGITS = 4
"""Decimals of a figure on the page; the record has all of them."""

Content = dict[str, Any]


def write(folder: Path, records: Sequence[Record]) -> list[Path]:
    """Write ``report.html`` and the plots for papers into a results folder; their paths."""
    content = make_content(folder, records)
    page = folder / "report.html"
    write_atomically(page, render(content).encode())
    return [page, *plots.write(folder / "plots", content)]


def make_content(folder: Path, records: Iterable[Record]) -> Content:
    """All that the page shows.

    Returns:
        ``title``; ``sections``, one for each leaderboard table, with its rows; ``cells``, the
        provenance of each record; ``frames``, the shown frames by data set and name.

    Raises:
        ViewError: a file of views is malformed.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: (r["seed"], r["cell"])):
        groups[_comparable(record)].append(record)
    sections = [_section(folder, group) for _, group in sorted(groups.items())]
    return {
        "title": folder.resolve().name,
        "sections": sections,
        "cells": {r["cell"]: _provenance(r) for group in groups.values() for r in group},
        "frames": _frames(folder, sections),
    }


def render(content: Content) -> str:
    """The page: one file whose policy forbids every request and every script but its own."""
    page = files("benchmark") / "report_page"
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


def _section(folder: Path, records: Sequence[Record]) -> dict[str, Any]:
    """What one leaderboard table shows; its records are ordered by seed."""
    (table,) = make_tables(records)
    by_row: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        by_row[record["student"], _label(record)].append(record)
    rows: list[dict[str, Any]] = []
    for described in table.rows.to_dict("records"):
        student, teacher = described["student"], "@" not in described["student"]
        found = by_row[student, NONE if teacher else described["method"]]
        rows.append(_row(len(rows), described, found, folder))
    first = records[0]
    return {
        "family": first["student"].partition("@")[0],
        "data": first["dataset"],
        "synthetic": first["dataset"]["synthetic"],
        "profile": first["profile"],
        "wiring": first["profile"]["name"] == "smoke",
        "precision": first["precision"],
        "machines": sorted({record["provenance"]["machine"] for record in records}),
        "versions": first["provenance"]["versions"],
        "losses": ["total", *sorted({n for row in rows for n in row["losses"]} - {"total"})],
        "rows": rows,
    }


def _row(
    index: int, described: Mapping[str, Any], records: Sequence[Record], folder: Path
) -> dict[str, Any]:
    """A row of the leaderboard with what else the page shows of it."""
    done = [record for record in records if record["status"] == "done"]
    seen = {record["cell"]: views.load(folder, record["cell"]) for record in done}
    figures = {
        name: _plain(value)
        for name, value in described.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    role = "teacher" if "@" not in described["student"] else _role(records)
    return {
        "id": index,
        "student": described["student"],
        "method": described["method"],
        "role": role,
        "seeds": described["seeds"],
        "figures": figures | _costs(done),
        "verdict": described["verdict"],
        "outcome": _outcome(figures, records) if role == "method" else "",
        "details": _details(done),
        "losses": _losses(done),
        "distances": _distances([seen[record["cell"]] for record in done]),
        "view": next((_view(view) for view in seen.values() if view), None),
        "cells": [record["cell"] for record in records],
    }


def _role(records: Sequence[Record]) -> str:
    return "none" if all(record["method"] == NONE for record in records) else "method"


def _outcome(figures: Mapping[str, Any], records: Sequence[Record]) -> str:
    """The verdict in one word: better, worse, same, undecided (no interval) or incomplete."""
    low, high = figures["3D gain low"], figures["3D gain high"]
    if any(record["status"] != "done" for record in records):
        return "incomplete"
    if low is None:
        return "undecided"
    return "better" if low > 0 else "worse" if high < 0 else "same"


def _costs(done: Sequence[Record]) -> dict[str, float | None]:
    """Costs beyond the leaderboard's."""
    cost: Mapping[str, Any] = done[0]["cost"] if done else {}
    training = [record["training"] or {} for record in done]
    activations = cost.get("activations")
    return {
        "activations (M)": None if activations is None else _plain(activations / 1e6),
        "peak memory (MB)": _plain(cost.get("peak_memory_mb")),
        "KD (s)": _mean([spent.get("seconds_method") for spent in training]),
        "extra params": _mean([spent.get("extra_params") for spent in training]),
    }


def _details(done: Sequence[Record]) -> dict[str, Any] | None:
    """AP by class, metric and difficulty, mean over the seeds; None where no seed is done."""
    if not done:
        return None
    return {
        name: {
            label: [
                _mean([record["ap"][name][metric]["R40"][level] for record in done])
                for level in range(3)
            ]
            for metric, label in METRICS.items()
        }
        | {"bounded": _bounded([record["ap"][name] for record in done])}
        for name in CLASSES
    }


def _bounded(figures: Sequence[Mapping[str, Any]]) -> list[bool]:
    """By difficulty, whether a seed has too few valid objects."""
    return [min(f["objects"][level] for f in figures) < ENOUGH_OBJECTS for level in range(3)]


def _losses(done: Sequence[Record]) -> dict[str, list[float]]:
    """Each loss and their total by epoch, mean over the seeds."""
    curves = [(record["training"] or {}).get("losses") or [] for record in done]
    curves = [curve for curve in curves if curve]
    if not curves:
        return {}
    epochs = min(map(len, curves))
    found = {
        name: [_plain(sum(c[e][name] for c in curves) / len(curves)) for e in range(epochs)]
        for name in sorted(curves[0][0])
        if all(name in epoch for curve in curves for epoch in curve)
    }
    totals = [[sum(epoch.values()) for epoch in curve] for curve in curves]
    total = [_plain(sum(t[e] for t in totals) / len(totals)) for e in range(epochs)]
    return {"total": total, **found}


def _distances(seen: Sequence[Mapping[str, Any] | None]) -> list[dict[str, Any]] | None:
    """AP by distance at Moderate, mean over the seeds; None unless every seed has views."""
    parts = [view["by_distance"] for view in seen if view]
    if not parts or len(parts) < len(seen):
        return None
    found = []
    for same in zip(*parts, strict=False):
        ap = {name: [part["ap"][name] for part in same] for name in CLASSES}
        found.append(
            {
                "from": same[0]["from"],
                "to": same[0]["to"],
                "ap": {
                    name: {
                        label: _mean([_defined(figures, metric) for figures in ap[name]])
                        for metric, label in METRICS.items()
                    }
                    for name in CLASSES
                },
                "bounded": {name: _bounded(ap[name])[MODERATE] for name in CLASSES},
            }
        )
    return found


def _defined(figures: Mapping[str, Any], metric: str) -> float | None:
    """AP at Moderate; None where no object could be found."""
    return figures[metric]["R40"][MODERATE] if figures["objects"][MODERATE] else None


def _view(view: Mapping[str, Any]) -> dict[str, Any]:
    return {key: view[key] for key in ("fingerprint", "range", "detections")}


def _frames(folder: Path, sections: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every frame that a row's view shows, by data set and name, where its file is there."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for section in sections:
        for row in section["rows"]:
            for frame in (row["view"] or {}).get("detections", {}):
                fingerprint = row["view"]["fingerprint"]
                if frame not in found[fingerprint]:
                    scene = views.load_frame(folder, fingerprint, frame)
                    if scene is not None:
                        found[fingerprint][frame] = scene
    return found


def _provenance(record: Record) -> dict[str, Any]:
    """Where a record's figures come from."""
    training, provenance = record["training"] or {}, record["provenance"]
    named = re.fullmatch(r"[\w-]+", record["cell"])
    return {
        "cell": record["cell"],
        "link": f"records/{record['cell']}.json" if named else None,
        "status": record["status"],
        "reason": record["reason"],
        "seed": record["seed"],
        "3D mAP": _plain(record["ap"]["mAP"]["3d"]["R40"][MODERATE]) if record["ap"] else None,
        "data": {key: record["dataset"][key] for key in ("name", "fingerprint")},
        "teacher": record["settings"].get("teacher", ""),
        "weighting": record["weighting"],
        "precision": record["precision"],
        "hyperparameters": {
            name: json.dumps(value) for name, value in (record["hyperparameters"] or {}).items()
        },
        "extrapolated": bool(training.get("extrapolated")),
        "balance": _plain(training.get("balance")),
        "machine": provenance["machine"],
        "versions": provenance["versions"],
        "weights_sha256": record["weights_sha256"],
        "losses_sha256": record["losses_sha256"],
        "command": _command(record),
    }


def _command(record: Record) -> str:
    """The command that trains the cell; a teacher is trained before any of its students."""
    student = record["student"]
    options = {
        "data": "synthetic" if record["dataset"]["synthetic"] else "DIR",
        "profile": record["profile"]["name"],
        "students": student if "@" in student else f"{student}@4",
        "methods": record["method"],
        "seeds": record["seed"],
        "epochs": record["settings"].get("recipe", {}).get("epochs"),
        "precision": record["precision"],
        "weighting": record["weighting"],
    }
    words = [
        word
        for name, value in options.items()
        if value is not None
        for word in (f"--{name}", str(value))
    ]
    return shlex.join(["python", "run_bench.py", "run", *words])


def _mean(values: Sequence[float | None]) -> float | None:
    """None where a value is missing: a mean is never over fewer."""
    if not values or any(value is None for value in values):
        return None
    return _plain(math.fsum(value for value in values if value is not None) / len(values))


def _plain(value: float | None) -> Any:
    """A number that JSON holds, short; None for NaN."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else round(float(value), DIGITS)
