"""Reading and publishing records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

from benchmark.files import in_shell, read_file, without_collection, write_atomically, write_once
from benchmark.records.folder import ResultsFolder
from benchmark.records.record import FIELDS, Latency, Record
from benchmark.records.schema import form_of_records
from kd_methods.core.errors import PointKDError, visible

NONE = "none"
"""The method of a student trained alone."""
STATUSES = ("pending", "running", "done", "failed", "diverged", "skipped")


class RecordError(PointKDError):
    """A record file that cannot be read, or is published twice with other contents."""


def publish(results: Path, record: Record) -> Path:
    """Write the record of a cell into a results folder, whole or not at all, once.

    A failed record of the same cell is replaced; a finished one never is.

    Raises:
        RecordError: the record lacks a field, or the cell is already published as done.
        TypeError, ValueError: it holds what no record can.
        DiskFullError: nothing is written.
    """
    missing = [field for field in FIELDS if field not in record]
    if missing or record["status"] not in STATUSES:
        raise RecordError(f"record of {record.get('cell')}: wrong status or missing {missing}")
    path, content = ResultsFolder(results).record(record["cell"]), _written(record)
    try:
        if path.exists() and read(path)["status"] != "done":
            write_atomically(path, content)
        else:
            write_once(path, content)
    except FileExistsError:
        raise RecordError(f"{path} is already published; remove it to run the cell again") from None
    return path


def replace_latency(results: Path, cell: str, latency: Latency) -> None:
    """Put another latency, measured under better conditions, into the record of a finished cell."""
    path = ResultsFolder(results).record(cell)
    record = read(path)
    assert record["cost"] is not None
    record["cost"]["latency_ms"] = latency
    write_atomically(path, _written(record))


def _written(record: Record) -> bytes:
    """A record as its file holds it.

    Raises:
        TypeError, ValueError: it holds what JSON or :func:`read` do not take.
    """
    ordered = {field: _visible(record[field]) for field in FIELDS}  # type: ignore[literal-required]
    content = (json.dumps(ordered, indent=1, allow_nan=False) + "\n").encode()
    if problem := form_of_records()(orjson.loads(content)):
        raise ValueError(f"what is known of the cell makes no record: {problem}")
    return content


def _visible(value: Any) -> Any:
    """A plain value with texts that every program can read and show."""
    if isinstance(value, Mapping):
        return {_visible(key): _visible(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_visible(item) for item in value]
    return visible(value) if isinstance(value, str) else value


def read(path: Path) -> Record:
    """One record.

    Raises:
        RecordError: names the file and what is wrong with it.
    """
    record = load(path)
    if problem := form_of_records()(record):
        raise RecordError(f"{path}: {problem}; remove the file to run its cell again")
    if record["cell"] != path.stem:
        raise RecordError(
            f"{path}: is the record of cell {record['cell']}; rename it to that, or remove it"
        )
    return record


def load(path: Path) -> Record:
    """What the file of a record holds: every field, whatever is in it.

    Raises:
        RecordError: names the file and what is wrong with it.
    """
    try:
        record = orjson.loads(read_file(path))
    except (OSError, orjson.JSONDecodeError) as error:
        raise RecordError(f"{path}: {error}; remove the file to run its cell again") from None
    missing = [f for f in FIELDS if f not in record] if isinstance(record, dict) else list(FIELDS)
    if missing:
        raise RecordError(
            f"{path}: field {missing[0]!r} is missing; remove the file to run its cell again"
        )
    if record["status"] not in STATUSES:
        raise RecordError(
            f"{path}: status {record['status']!r} must be one of {', '.join(STATUSES)}"
        )
    return record


def find(results: Path, cell: str) -> Record:
    """The record of a results folder whose cell's identity begins with these characters.

    Raises:
        RecordError: there is none, or there are several.
    """
    found = ResultsFolder(results).find_records(cell)
    if len(found) != 1:
        many = f"{len(found)} cells begin with" if found else "no finished cell begins with"
        listing = f"`run_bench.py status --results {in_shell(results)}` lists them"
        raise RecordError(f"{results}: {many} {cell!r}; {listing}")
    return read(found[0])


def identity(settings: Mapping[str, Any]) -> str:
    """A cell's identity: 16 hex digits that change with every setting."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_results(results: Path) -> list[Record]:
    """Every record of a results folder, which must have at least one.

    Raises:
        RecordError: there is none, or one cannot be read.
    """
    found = read_all(results)
    if not found:
        folder = ResultsFolder(results).records
        raise RecordError(f"{folder} holds no records; run a matrix first")
    return found


def read_all(results: Path) -> list[Record]:
    """Every record of a results folder, by file name.

    Raises:
        RecordError: one cannot be read.
    """
    paths = ResultsFolder(results).records.glob("*.json")
    with without_collection():
        return [read(path) for path in sorted(paths, key=attrgetter("name"))]
