"""Records: one JSON file says everything about one finished cell."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from benchmark.files import _write_beside, telling_of_full_disk, without_collection
from kd_methods.core.errors import PointKDError

if TYPE_CHECKING:
    pass  # records are read without it

NONE = "none"
"""The method of a student trained alone."""
STATUSES = ("pending", "running", "done", "failed", "diverged", "skipped")
FIELDS = (
    "cell",
    "status",
    "reason",
    "dataset",
    "profile",
    "student",
    "method",
    "weighting",
    "precision",
    "seed",
    "settings",
    "hyperparameters",
    "ap",
    "weights_sha256",
    "losses_sha256",
    "cost",
    "training",
    "provenance",
)
"""The fields of every record, in the order in which they are written."""


class RecordError(PointKDError):
    """A record file that cannot be read, or is published twice with other contents."""


def publish(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write a record to ``folder``/CELL.json, whole or not at all, once.

    A failed record of the same cell is replaced; a finished one never is.

    Raises:
        RecordError: the record lacks a field, or the cell is already published as done.
        DiskFullError: nothing is written.
    """
    missing = [field for field in FIELDS if field not in record]
    if missing or record["status"] not in STATUSES:
        raise RecordError(f"record of {record.get('cell')}: wrong status or no {missing}")
    path = folder / f"{record['cell']}.json"
    ordered = {field: record[field] for field in FIELDS}
    text = json.dumps(ordered, indent=1, allow_nan=False) + "\n"
    temporary = _write_beside(path, text.encode())
    try:
        with telling_of_full_disk(path):
            if path.exists() and read(path)["status"] != "done":
                os.replace(temporary, path)
            else:
                os.link(temporary, path)
    except FileExistsError:
        raise RecordError(f"{path} is already published; remove it to run the cell again") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read(path: Path) -> dict[str, Any]:
    """One record.

    Raises:
        RecordError: names the file and what is wrong with it.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            record = orjson.loads(file.read())
    except (OSError, orjson.JSONDecodeError) as error:
        raise RecordError(f"{path}: {error}; remove the file to run its cell again") from None
    missing = [f for f in FIELDS if f not in record] if isinstance(record, dict) else list(FIELDS)
    if missing:
        raise RecordError(f"{path}: no field {missing[0]!r}; remove the file to run its cell again")
    if record["status"] not in STATUSES:
        raise RecordError(f"{path}: status {record['status']!r} is none of {', '.join(STATUSES)}")
    return record


def find(results: Path, cell: str) -> dict[str, Any]:
    """The record of a results folder whose cell's identity begins like this.

    Raises:
        RecordError: there is none, or there are several.
    """
    found = sorted((results / "records").glob(f"{glob.escape(cell)}*.json"))
    if len(found) != 1:
        many = f"{len(found)} cells begin with" if found else "there is no finished cell"
        raise RecordError(
            f"{results}: {many} {cell!r}; `run_bench.py status --results {results}` lists them"
        )
    return read(found[0])


def identity(settings: Mapping[str, Any]) -> str:
    """A cell's identity: 16 hex digits that change with every setting."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def checkpoint_path(results: Path, cell: str) -> Path:
    """Where the weights of a finished cell are."""
    return results / "checkpoints" / f"{cell}.pth"


def read_results(results: Path) -> list[dict[str, Any]]:
    """Every record of a results folder.

    Raises:
        RecordError: there is none, or one cannot be read.
    """
    folder = results / "records"
    found = read_all(folder)
    if not found:
        raise RecordError(f"{folder} holds no record; run a matrix first")
    return found


def read_all(folder: Path) -> list[dict[str, Any]]:
    """Every record of a folder, by file name."""
    with without_collection():
        return [read(path) for path in sorted(folder.glob("*.json"), key=attrgetter("name"))]


Record = Mapping[str, Any]
