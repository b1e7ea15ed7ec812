"""The progress of the cells of a results folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmark.records import store
from benchmark.records.record import Record
from benchmark.running.journal import Journal
from kd_methods.core.errors import visible


def describe_cells(results: Path) -> str:
    """A table of a results folder's cells: status, epochs, time, reason; then their counts.

    Where methods or detectors are the user's, it tells the versions of their code apart.
    """
    journal = Journal(results)
    rows = [_finished(record) for record in store.read_all(results)]
    rows += [_unfinished(entry, journal) for entry in journal.entries() if entry]
    if not rows:
        raise store.RecordError(f"{results} holds no cells; run a matrix with --results {results}")
    if not any(row["code"] for row in rows):
        rows = [{name: text for name, text in row.items() if name != "code"} for row in rows]
    rows.sort(key=lambda row: (row["student"], row["seed"], row["method"]))
    counts = {status: [row["status"] for row in rows].count(status) for status in store.STATUSES}
    total = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    return visible(f"{tabulate(rows, headers='keys')}\n\n{total}")


def _finished(record: Record) -> dict[str, Any]:
    training: Mapping[str, Any] = record["training"] or {}
    settings = record["settings"]
    hashes = [settings.get("source"), settings.get("detector")]
    return _row(
        {**record, "source": " ".join(filter(None, hashes))},
        status=record["status"],
        epochs=len(training.get("losses", [])) or "",
        seconds=training.get("seconds_as_run"),
        remark=record["reason"],
    )


def _unfinished(entry: dict[str, Any], journal: Journal) -> dict[str, Any]:
    """A cell without a record: running while its lock is held, else pending."""
    running = journal.locked(entry["cell"])
    progress = f"{entry.get('epoch') or 0}/{entry['epochs']}" if entry.get("epochs") else ""
    if running and entry.get("where"):
        age = max(0, time.time() - entry["updated"])  # the writer's clock may be ahead
        remark = f"on {entry['where']}, reported {age:.0f} s ago"
    else:
        remark = f"interrupted after {progress} epochs" if progress else ""
    return _row(
        entry,
        status="running" if running else "pending",
        epochs=progress,
        seconds=entry.get("seconds"),
        remark=remark,
    )


def _row(cell: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
    seconds = rest.pop("seconds")
    return {
        "cell": cell["cell"],
        "student": cell["student"],
        "method": cell["method"],
        "code": cell.get("source") or "",
        "seed": cell["seed"],
        "status": rest["status"],
        "epochs": rest["epochs"],
        "seconds": "" if seconds is None else f"{seconds:.0f}",
        "remark": rest["remark"],
    }
