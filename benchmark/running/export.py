"""A finished cell's network for plain mmdet3d."""

from __future__ import annotations

from pathlib import Path

from benchmark.files import fresh_folder
from benchmark.records import store
from benchmark.records.folder import ResultsFolder
from benchmark.records.record import Record, describe_weights
from detectors import parse_student, read_grid
from detectors.core.checkpoints import export, load_network
from kd_methods.core.errors import PointKDError


class ExportError(PointKDError):
    """A cell that has no network."""


def export_cell(results: Path, cell: str, folder: Path) -> Record:
    """Write ``model.pth`` and ``config.py`` of a finished cell, and return its record.

    Args:
        results: folder with the cell's record and checkpoint.
        cell: identity of the cell, or its beginning.
        folder: new or empty, for the files.

    Raises:
        RecordError: no cell matches, or several do.
        ExportError: it did not finish, or the folder holds something.
        CheckpointError: its checkpoint is missing, damaged or not that of its record.
    """
    record = store.find(results, cell)
    if record["status"] != "done":
        raise ExportError(f"cell {record['cell']} {record['status']}: {record['reason']}")
    grid = read_grid(record["settings"]["grid"])
    path = ResultsFolder(results).checkpoint(record["cell"])
    detector = record["settings"].get("detector", "")
    model = load_network(record["student"], grid, path, record["weights_sha256"], detector)
    fresh_folder(folder, ExportError)
    student = parse_student(record["student"])
    export(model, student, grid, folder, describe_weights(record))
    return record
