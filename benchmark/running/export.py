"""A finished cell's network for plain mmdet3d."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.records import store
from detectors import parse_student, read_grid
from detectors.core.checkpoints import CheckpointError, export, load_weights, state_hash
from kd_methods.core.errors import PointKDError


class ExportError(PointKDError):
    """A cell that has no network."""


def export_cell(results: Path, cell: str, folder: Path) -> dict[str, Any]:
    """Write ``model.pth`` and ``config.py`` of a finished cell, and return its record.

    Args:
        results: folder with the cell's record and checkpoint.
        cell: identity of the cell, or its beginning.
        folder: gets the files.

    Raises:
        RecordError: there is no such cell, or there are several.
        ExportError: it did not finish.
        CheckpointError: its checkpoint is missing, damaged or another than its record says.
    """
    record = store.find(results, cell)
    if record["status"] != "done":
        raise ExportError(f"cell {record['cell']} {record['status']}: {record['reason']}")
    family, ratio = parse_student(record["student"])
    grid = read_grid(record["settings"]["grid"])
    model = family.build(ratio, grid)
    path = store.checkpoint_path(results, record["cell"])
    load_weights(model, path, record["student"])
    if state_hash(model) != record["weights_sha256"]:
        raise CheckpointError(f"checkpoint {path} is another than its record says")
    export(model, family, ratio, grid, folder)
    return record
