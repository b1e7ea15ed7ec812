"""What a data set is like, in a few kilobytes: counts, quantiles and shares, none of its frames.

All figures are computed from tables of what the reader returns: points and objects that camera 2
sees. A summary can be written to a file and stands for its data set in comparisons;
``kitti_summary.json`` is that of all of KITTI's training split.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from benchmark.data.box_geometry import count_inside
from benchmark.data.dataset import Dataset, Frame
from benchmark.data.errors import DataError
from benchmark.files import read_text, write_atomically
from benchmark.files.settings import changed_settings, read_dataclass

Triple = tuple[float, float, float]

CLASSES = ("Car", "Pedestrian", "Cyclist", "Van", "Truck", "Person_sitting")
BANDS = ((0, 10), (10, 20), (20, 30), (30, 50))
"""Distances of a box's centre from the sensor, metres."""
PILLAR = 0.16
"""Side of the squares whose points are counted, metres: PointPillars' pillars on KITTI."""
QUANTILES = (0.1, 0.5, 0.9)
FEWEST = 5
"""Objects below which no quantile is given."""
CROWD = 32
"""Points that a pillar keeps."""
CURVE = tuple(range(5, 51, 5))
DISTANCES = tuple(range(0, 51, 2))
TAIL = tuple(2**power for power in range(11))
YAWS = 18
"""Edges of the bins of the curves, metres; points in a pillar; bins of half a turn."""

_PILLAR_QUANTILES = (0.5, 0.9, 0.99, 1.0)
_LEVELS = 4  # of occlusion: visible, partly, largely, unknown
_COUNT: dict[str, Any] = {"least": 0}
_SHARE: dict[str, Any] = {"least": 0, "most": 1}


@dataclass(frozen=True)
class Tables:
    """What is measured in the frames of a data set.

    Attributes:
        frame_points: (f,) points in view of every frame.
        ignored: DontCare marks in all of them.
        objects: one row per object: class, distance (m), points inside, length, width, height (m),
            yaw (rad), occlusion, truncation.
        scans: one row per frame whose scan was read: reflectance quantiles, share of points beyond
            30 m.
        pillars: points of every occupied pillar of these scans.
    """

    frame_points: np.ndarray
    ignored: int
    objects: pd.DataFrame
    scans: pd.DataFrame
    pillars: np.ndarray


@dataclass(frozen=True)
class Scans:
    """Statistics of points.

    Attributes:
        frames: how many scans were read.
        beyond: share of points farther than 30 m.
        reflectance: median over scans of their 10 %, median and 90 %.
        pillars: occupied, per frame.
        per_pillar: points in a pillar: median, 90 %, 99 %, most.
        crowded: share of pillars with over 32 points.
        tail: shares of pillars with at least 1, 2, 4, 8, ..., 1024 points.
    """

    frames: int = field(metadata={"least": 1})
    beyond: float = field(metadata=_SHARE)
    reflectance: Triple = field(metadata=_COUNT)
    pillars: float = field(metadata=_COUNT)
    per_pillar: tuple[float, float, float, float] = field(metadata=_COUNT)
    crowded: float = field(metadata=_SHARE)
    tail: tuple[float, ...] = field(metadata=_SHARE)

    def __post_init__(self) -> None:
        _require(self.tail, len(TAIL), "tail")


@dataclass(frozen=True)
class Group:
    """Objects of a class at some distance: how many, points inside (10 %, median, 90 %), shares of
    occlusion's levels and of truncated ones; None where there are too few."""

    count: int = field(metadata=_COUNT)
    points: Triple | None = field(metadata=_COUNT)
    occlusion: tuple[float, float, float, float] | None = field(metadata=_SHARE)
    truncated: float | None = field(metadata=_SHARE)


@dataclass(frozen=True)
class Objects:
    """Statistics of a class.

    Attributes:
        per_frame: how many there are in a frame.
        length, width, height: 10 %, median, 90 %, metres; None for too few objects.
        all: of any distance.
        bands: by distance, as `BANDS`.
        curve: median points in a box every 5 m from 5 to 50 m; None for too few objects.
        distances: share of objects in every 2 m up to 50 m.
        yaws: share of headings in each 10 degrees of half a turn.
    """

    per_frame: float = field(metadata=_COUNT)
    length: Triple | None = field(metadata=_COUNT)
    width: Triple | None = field(metadata=_COUNT)
    height: Triple | None = field(metadata=_COUNT)
    all: Group
    bands: tuple[Group, ...]
    curve: tuple[float | None, ...] = field(metadata=_COUNT)
    distances: tuple[float, ...] = field(metadata=_SHARE)
    yaws: tuple[float, ...] = field(metadata=_SHARE)

    def __post_init__(self) -> None:
        _require(self.bands, len(BANDS), "bands")
        _require(self.curve, len(CURVE) - 1, "curve")
        _require(self.distances, len(DISTANCES) - 1, "distances")
        _require(self.yaws, YAWS, "yaws")


@dataclass(frozen=True)
class Summary:
    """The statistics of a data set.

    Attributes:
        name: heading of its columns.
        frames: how many there are.
        points: in view of a frame: 10 %, median, 90 %.
        ignored: DontCare marks per frame.
        objects: by class.
        scans: of the points themselves, perhaps of some frames only.
    """

    name: str
    frames: int = field(metadata={"least": 1})
    points: Triple = field(metadata=_COUNT)
    ignored: float = field(metadata=_COUNT)
    objects: Mapping[str, Objects]
    scans: Scans

    def __post_init__(self) -> None:
        if missing := [name for name in CLASSES if name not in self.objects]:
            raise ValueError(f"objects lacks {', '.join(missing)}")


def measure(dataset: Dataset) -> Tables:
    """Read every frame of a split."""
    points, ignored, objects, scans, pillars = [], 0, [], [], []
    for index in range(len(dataset)):
        frame = dataset.frame(index)
        points.append(len(frame.points))
        ignored += int((frame.labels.name == "DontCare").sum())
        objects += _objects(frame)
        scans.append(_scan(frame.points))
        pillars.append(count_pillars(frame.points))
    table = pd.DataFrame(objects, columns=_COLUMNS)
    return Tables(np.array(points), ignored, table, pd.DataFrame(scans), np.concatenate(pillars))


def summarise(name: str, tables: Tables) -> Summary:
    """The statistics of what was measured."""
    frames = len(tables.frame_points)
    by_class = {
        kind: _describe_class(tables.objects[tables.objects["class"] == kind], frames)
        for kind in CLASSES
    }
    return Summary(
        name=name,
        frames=frames,
        points=_quantiles(tables.frame_points),
        ignored=_rounded(tables.ignored / frames),
        objects=by_class,
        scans=_describe_scans(tables.scans, tables.pillars),
    )


def write_summary(path: Path, summary: Summary) -> None:
    """Write a summary as JSON, one line for every group of figures."""
    parts = changed_settings(summary)
    objects = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in parts["objects"].items())
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in parts.items() if k != "objects"]
    text = ",\n".join([*lines, f'"objects": {{\n{objects}\n}}'])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"{{\n{text}\n}}\n".encode())


def read_summary(path: Path) -> Summary:
    """A summary that `write_summary` wrote.

    Raises:
        DataError: names the file, what is wrong in it and how to write one.
    """
    remedy = "write it anew with `run_bench.py data compare DIR --summary FILE`"
    if not path.is_file():
        raise DataError(f"{path}: no such summary; {remedy}")
    try:
        values = orjson.loads(read_text(path, DataError))
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg}); {remedy}") from None
    problems: list[str] = []
    summary = read_dataclass(Summary, values, "", problems)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataError(f"{path}: {problems[0]}{more}; {remedy}")
    return summary


def kitti_summary() -> Summary:
    """Of all of KITTI's training split."""
    with as_file(files("benchmark.data") / "kitti_summary.json") as path:
        return read_summary(path)


def count_pillars(points: np.ndarray) -> np.ndarray:
    """(p,) points in every pillar that holds any of the points (n, 4)."""
    cells = np.floor(points[:, :2].astype(np.float64) / PILLAR).astype(np.int64)
    return np.unique(cells, axis=0, return_counts=True)[1]


_COLUMNS = ["class", "distance", "points", "length", "width", "height", "yaw", "occlusion",
            "truncation"]  # fmt: skip


def _objects(frame: Frame) -> list[tuple[Any, ...]]:
    """The rows of `Tables.objects` of a frame."""
    held = count_inside(frame.points, frame.boxes)
    labels = frame.labels.select(frame.labels.name != "DontCare")
    distance = np.hypot(frame.boxes[:, 0], frame.boxes[:, 1])
    sizes_and_yaw = frame.boxes[:, 3:7].T
    seen = labels.occlusion, labels.truncation
    return list(zip(frame.names, distance, held, *sizes_and_yaw, *seen, strict=True))


def _scan(points: np.ndarray) -> dict[str, float]:
    """The row of `Tables.scans` of points (n, 4)."""
    low, middle, high = np.quantile(points[:, 3], QUANTILES)
    beyond = float((np.hypot(points[:, 0], points[:, 1]) > 30).mean())
    return {"10 %": low, "median": middle, "90 %": high, "beyond": beyond}


def _describe_scans(scans: pd.DataFrame, pillars: np.ndarray) -> Scans:
    low, middle, high = (_rounded(scans[name].median()) for name in ("10 %", "median", "90 %"))
    half, most, nearly_all, largest = np.quantile(pillars, _PILLAR_QUANTILES).tolist()
    return Scans(
        frames=len(scans),
        beyond=_rounded(scans["beyond"].mean()),
        reflectance=(low, middle, high),
        pillars=_rounded(len(pillars) / len(scans)),
        per_pillar=(half, most, nearly_all, largest),
        crowded=_rounded((pillars > CROWD).mean()),
        tail=tuple(_rounded((pillars >= least).mean()) for least in TAIL),
    )


def _describe_class(rows: pd.DataFrame, frames: int) -> Objects:
    few = len(rows) < FEWEST
    length, width, height = (
        None if few else _quantiles(rows[name]) for name in ("length", "width", "height")
    )
    return Objects(
        per_frame=_rounded(len(rows) / frames),
        length=length,
        width=width,
        height=height,
        all=_describe_group(rows),
        bands=tuple(_describe_group(_between(rows, *band)) for band in BANDS),
        curve=tuple(_median(_between(rows, start, start + 5)) for start in CURVE[:-1]),
        distances=_shares(np.histogram(rows["distance"], DISTANCES)[0], len(rows)),
        yaws=_shares(np.histogram(rows["yaw"] % np.pi, YAWS, (0, np.pi))[0], len(rows)),
    )


def _describe_group(rows: pd.DataFrame) -> Group:
    if len(rows) < FEWEST:
        return Group(len(rows), None, None, None)
    visible, partly, largely, unknown = (
        _rounded((rows["occlusion"] == level).mean()) for level in range(_LEVELS)
    )
    return Group(
        count=len(rows),
        points=_quantiles(rows["points"]),
        occlusion=(visible, partly, largely, unknown),
        truncated=_rounded((rows["truncation"] > 0).mean()),
    )


def _between(rows: pd.DataFrame, low: float, high: float) -> pd.DataFrame:
    return rows[(rows["distance"] >= low) & (rows["distance"] < high)]


def _median(rows: pd.DataFrame) -> float | None:
    return None if len(rows) < FEWEST else _rounded(rows["points"].median())


def _quantiles(values: Any) -> Triple:
    low, middle, high = np.quantile(np.asarray(values), QUANTILES)
    return _rounded(low), _rounded(middle), _rounded(high)


def _shares(counts: np.ndarray, total: int) -> tuple[float, ...]:
    return tuple(_rounded(count / max(total, 1)) for count in counts)


def _rounded(value: float) -> float:
    """To four significant digits, or whole above that."""
    return float(f"{value:.4g}") if abs(value) < 1e4 else float(round(value))


def _require(values: tuple[Any, ...], length: int, name: str) -> None:
    if len(values) != length:
        raise ValueError(f"{name} has {len(values)} entries; it must have {length}")
