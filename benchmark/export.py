"""A finished cell's network for plain mmdet3d."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark import records
from benchmark.training import state_hash
from detectors import Grid, parse_student
from detectors.checkpoints import CheckpointError, export, load_weights


class ExportError(ValueError):
    """A cell that is not there or has no network."""


def export_cell(results: Path, cell: str, folder: Path) -> dict[str, Any]:
    """Write ``model.pth`` and ``config.py`` of a finished cell, and return its record.

    Args:
        results: folder with the cell's record and checkpoint.
        cell: identity of the cell, or its beginning.
        folder: gets the files.

    Raises:
        ExportError: no such cell or several, or it did not finish.
        CheckpointError: its checkpoint is missing, damaged or another than its record says.
    """
    record = find_record(results, cell)
    if record["status"] != "done":
        raise ExportError(f"cell {record['cell']} {record['status']}: {record['reason']}")
    family, ratio = parse_student(record["student"])
    plain: dict[str, Any] = record["settings"]["grid"]
    sides: dict[str, Any] = {k: tuple(v) for k, v in plain.items() if isinstance(v, list)}
    grid = Grid(**(plain | sides))
    model = family.build(ratio, grid)
    path = results / "checkpoints" / f"{record['cell']}.pth"
    load_weights(model, path, record["student"])
    if state_hash(model) != record["weights_sha256"]:
        raise CheckpointError(f"checkpoint {path} is another than its record says")
    export(model, family, ratio, grid, folder)
    return record


def find_record(results: Path, cell: str) -> dict[str, Any]:
    """The record whose identity begins like this.

    Raises:
        ExportError: there is none, or there are several.
    """
    found = sorted((results / "records").glob(f"{cell}*.json"))
    if len(found) != 1:
        many = f"{len(found)} cells begin with" if found else "there is no finished cell"
        raise ExportError(
            f"{results}: {many} {cell!r}; `run_bench.py status --results {results}` lists them"
        )
    return records.read(found[0])
