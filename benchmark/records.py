"""Records: one JSON file says everything about one finished cell."""

from __future__ import annotations

import errno
import gc
import glob
import hashlib
import importlib.metadata
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import torch  # records are read without it

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

TOOLS = ("pointkd-bench", "torch", "mmdet3d", "mmdet", "mmengine", "spconv", "numpy")


class RecordError(ValueError):
    """A record file that cannot be read, or is published twice with other contents."""


class DiskFullError(RuntimeError):
    """No space, or no quota, is left for what is to be written."""


@contextmanager
def telling_of_full_disk(path: Path) -> Iterator[None]:
    """Turn the system's error into :class:`DiskFullError`, which says what to do.

    Args:
        path: what is written inside.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"no space left to write {path}; finished cells and the latest checkpoints are kept: "
            "free some space and run the same command again"
        ) from None


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


@contextmanager
def without_collection() -> Iterator[None]:
    """Let Python's collector rest while millions of plain values are made, which hold no cycles:
    it would walk all of them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file; a reader sees the old or the new contents, never a part.

    Raises:
        DiskFullError: the old contents stay.
    """
    temporary = _write_beside(path, content)
    try:
        with telling_of_full_disk(path):
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def provenance(device: torch.device) -> dict[str, Any]:
    """Versions, machine and threads behind a record."""
    import torch

    from detectors.operators import sources

    return {
        "versions": {tool: tool_version(tool) for tool in TOOLS},
        "python": platform.python_version(),
        "machine": machine(device),
        "threads": torch.get_num_threads(),
        "operators": sorted(set(sources(device.type).values())),
    }


def machine(device: torch.device) -> str:
    """The processor that runs a device's work, and how many of it."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return f"{_processor()} ({os.cpu_count()} cores)"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def tool_version(tool: str) -> str:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _write_beside(path: Path, content: bytes) -> Path:
    """The new contents of a file as a hidden file beside it, nothing if they cannot be written."""
    with telling_of_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
        except OSError:
            os.unlink(name)
            raise
    return Path(name)
