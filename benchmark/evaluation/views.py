"""What a report shows of a cell besides its figures: a few frames from above, and AP by distance.

In RESULTS/views:

- CELL.json: the cell's grid, its AP by distance and its detections in the shown frames;
- frames/FINGERPRINT/FRAME.json: the points and objects of a shown frame of a data set, once for
  all cells.

Boxes are x, y of the centre, length, width in metres and yaw in radians, LiDAR frame (x ahead, y
left).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmark.data.calibration import camera_to_lidar_boxes
from benchmark.data.dataset import Dataset, Frame
from benchmark.data.description import is_class_name
from benchmark.data.labels import Labels
from benchmark.evaluation.detector import Findings
from benchmark.evaluation.diagnostics import DISTANCES
from benchmark.evaluation.protocol import classes_of
from benchmark.files import read_file, write_atomically
from benchmark.records.folder import ResultsFolder
from detectors import Grid
from kd_methods.core.errors import PointKDError

SHOWN_FRAMES = 3
"""Frames shown: the first of the validation split that hold an object."""
POINTS = 2500
"""Maximum number of points per frame."""
RASTER = 0.2
"""Metres; one point is kept for each square of this size."""
LEAST_SCORE = 0.1
"""Detections below it are not kept."""
MOST_BOXES = 100
"""Detections of a frame that are kept, the best ones."""


MALFORMED = (KeyError, IndexError, TypeError, AttributeError, ValueError)


class ViewError(PointKDError):
    """A file of views that cannot be read."""


def save(
    folder: ResultsFolder,
    cell: str,
    findings: Findings,
    dataset: Dataset,
    fingerprint: str,
    grid: Grid,
) -> None:
    """Write a cell's file, and those of the shown frames that do not exist yet."""
    seen = {}
    for index in _shown(findings):
        frame = dataset.frame(findings.ids[index])
        path = folder.scene(fingerprint, frame.id)
        if not path.exists():
            _write(path, _scene(frame))
        seen[frame.id] = _boxes(findings.detections[index], frame)
    x0, y0, _, x1, y1, _ = grid.point_cloud_range
    view = {
        "fingerprint": fingerprint,
        "range": [x0, y0, x1, y1],
        "by_distance": [
            {"from": low, "to": high if math.isfinite(high) else None, "ap": result.as_json()}
            for low, high, result in (
                zip(DISTANCES[:-1], DISTANCES[1:], findings.by_distance(), strict=True)
                if findings.metric == "kitti"
                else ()
            )
        ],
        "detections": seen,
    }
    _write(folder.view(cell), view)


def copy(source: ResultsFolder, target: ResultsFolder, cell: str) -> None:
    """Put a cell's file into another results folder, if there is one."""
    if source.view(cell).exists():
        write_atomically(target.view(cell), source.view(cell).read_bytes())


def load(folder: ResultsFolder, cell: str) -> dict[str, Any] | None:
    """What `save` wrote for a cell; None for a cell without views.

    Raises:
        ViewError: names the file and what is wrong with it.
    """
    view = _read(folder.view(cell), cell)
    if view is not None:
        try:
            _check_numbers(view["range"], 4)
            for boxes in view["detections"].values():
                _check_boxes(boxes)
            parts = view["by_distance"]
            for part in parts:
                _check_numbers([part["from"]], 1)
                for name in classes_of(parts[-1]["ap"]):
                    for metric in ("bev", "3d"):
                        _check_numbers([v or 0 for v in part["ap"][name][metric]["R40"]], 3)
                    _check_numbers(part["ap"][name]["objects"], 3)
        except MALFORMED as error:
            raise _malformed(folder.view(cell), error) from None
    return view


def load_frame(folder: ResultsFolder, fingerprint: str, frame: str) -> dict[str, Any] | None:
    """Points and objects of a shown frame; None if there is no such file.

    Raises:
        ViewError: names the file and what is wrong with it.
    """
    path = folder.scene(fingerprint, frame)
    scene = _read(path, fingerprint, frame)
    if scene is not None:
        try:
            _check_boxes(scene["objects"])
            _check_numbers(scene["points"], len(scene["points"]))
        except MALFORMED as error:
            raise _malformed(path, error) from None
    return scene


def thin(points: np.ndarray) -> np.ndarray:
    """At most POINTS of the points (n, 4) as x, y (m, 2) rounded to cm, evenly over the ground."""
    _, first = np.unique(np.floor(points[:, :2] / RASTER), axis=0, return_index=True)
    kept = np.unique(np.linspace(0, len(first) - 1, min(POINTS, len(first))).astype(int))
    return points[first[kept], :2].astype(np.float64).round(2)


def _shown(findings: Findings) -> list[int]:
    """Positions of the frames shown."""
    names = [rule.name for rule in findings.rules]
    counts = [np.isin(labels.name, names).sum() for labels in findings.ground_truth]
    return np.flatnonzero(counts)[:SHOWN_FRAMES].tolist()


def _scene(frame: Frame) -> dict[str, Any]:
    return {
        "frame": frame.id,
        "points": thin(frame.points).ravel().tolist(),
        "objects": _boxes(frame.labels, frame),
    }


def _boxes(labels: Labels, frame: Frame) -> list[dict[str, Any]]:
    """The data set's objects, or the detections worth showing, the best first."""
    labels = labels.select(np.isin(labels.name, frame.classes))
    if labels.score is not None:
        order = np.argsort(-labels.score, kind="stable")[:MOST_BOXES]
        labels = labels.select(order[labels.score[order] >= LEAST_SCORE])
    boxes = camera_to_lidar_boxes(
        labels.dimensions, labels.location, labels.rotation_y, frame.calibration
    )[:, [0, 1, 3, 4, 6]]
    found = [
        {"class": str(name), "box": box}
        for name, box in zip(labels.name, boxes.astype(np.float64).round(2).tolist(), strict=True)
    ]
    if labels.score is not None:
        for box, score in zip(found, labels.score.round(3).tolist(), strict=True):
            box["score"] = score
    return found


def _check_boxes(boxes: Sequence[Any]) -> None:
    for box in boxes:
        if not is_class_name(box["class"]):
            raise ValueError(f"class {box['class']!r} must be a name")
        _check_numbers([*box["box"], box.get("score", 1.0)], 6)


def _check_numbers(values: Sequence[Any], count: int) -> None:
    if len(values) != count or not all(
        isinstance(value, (int, float)) and math.isfinite(value) for value in values
    ):
        raise ValueError(f"{str(values)[:60]} must be {count} finite numbers")


def _malformed(path: Path, error: Exception) -> ViewError:
    what = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
    return ViewError(f"{path}: {what}; remove the file to leave out this view")


def _read(path: Path, *names: str) -> Any:
    """The contents of a file; None if it is missing or a part of its path is not a plain name."""
    if not all(re.fullmatch(r"[\w@-][\w@.-]*", name) for name in names) or not path.exists():
        return None
    try:
        return orjson.loads(read_file(path))
    except (OSError, ValueError) as error:
        raise _malformed(path, error) from None


def _write(path: Path, content: Any) -> None:
    write_atomically(path, json.dumps(content, allow_nan=False, separators=(",", ":")).encode())
