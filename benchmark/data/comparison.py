"""How alike two data sets in KITTI's layout are, e.g. the built-in synthetic set and real frames.

All figures are computed from what the reader returns: points and objects that camera 2 sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from tabulate import tabulate

from benchmark.data.box_geometry import first_box
from benchmark.data.dataset import Dataset, Frame
from kd_methods.core.geometry import rotated_corners

COMPARED_CLASSES = ("Car", "Pedestrian", "Cyclist", "Van", "Person_sitting", "DontCare")
BANDS = ((0, 10), (10, 20), (20, 30), (30, 50))
"""Distances of a box's centre from the sensor, metres."""
PILLAR = 0.16
"""Side of the squares whose points are counted, metres: PointPillars' pillars on KITTI."""
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Summary:
    """The statistics of a data set.

    Attributes:
        name: heading of its columns.
        objects: one row per object: frame, class, distance (m), points inside, length, width,
            height (m), yaw (rad), occlusion, truncation, median reflectance inside.
        frames: one row per frame: points, reflectance quantiles, share of points above the ground.
        pillars: points of every occupied pillar.
    """

    name: str
    objects: pd.DataFrame
    frames: pd.DataFrame
    pillars: np.ndarray


def summarise(name: str, dataset: Dataset) -> Summary:
    """Read every frame of a split."""
    objects, frames, pillars = [], [], []
    for index in range(len(dataset)):
        frame = dataset.frame(index)
        objects += _objects(frame)
        frames.append(_frame(frame))
        pillars.append(_pillars(frame.points))
    return Summary(name, pd.DataFrame(objects), pd.DataFrame(frames), np.concatenate(pillars))


def describe(summaries: Sequence[Summary]) -> str:
    """Tables of all figures, a column for each data set."""
    parts = {
        "Frames": _describe_frames,
        "Objects per frame, and median size (length x width x height, m)": _describe_classes,
        "Points in a box, by distance: 10 %, median, 90 %": _describe_points,
        "Visible, partly, largely occluded; truncated": _describe_visibility,
    }
    return "\n\n".join(
        f"{title}\n\n{_table([columns(one) for one in summaries], summaries)}"
        for title, columns in parts.items()
    )


def draw(summaries: Sequence[Summary], path: Path) -> None:
    """Curves of points per box, points per pillar, reflectance and distance, in one figure."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    for summary in summaries:
        cars = summary.objects[summary.objects["class"] == "Car"]
        centres, medians = _running_median(cars["distance"], cars["points"])
        axes[0, 0].plot(centres, medians, marker="o", label=summary.name)
        counts = np.sort(summary.pillars)[::-1]
        axes[0, 1].plot(counts, np.arange(1, len(counts) + 1) / len(counts), label=summary.name)
        labelled = summary.objects[summary.objects["class"].isin(COMPARED_CLASSES[:3])]
        axes[1, 0].hist(labelled["distance"], 25, (0, 50), density=True, histtype="step",
                        label=summary.name)  # fmt: skip
        axes[1, 1].hist(cars["yaw"] % np.pi, 18, (0, np.pi), density=True, histtype="step",
                        label=summary.name)  # fmt: skip
    titles = (
        ("median points in a car's box", "distance (m)"),
        (f"share of occupied {PILLAR} m pillars with at least this many points", "points"),
        ("objects (car, pedestrian, cyclist)", "distance (m)"),
        ("cars' yaw modulo half a turn", "yaw (rad)"),
    )
    for axis, (title, label) in zip(axes.flat, titles, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(label)
        axis.legend()
    axes[0, 0].set_yscale("log")
    axes[0, 1].set(xscale="log", yscale="log")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70, metadata={"Software": None})


def draw_frames(dataset: Dataset, path: Path, count: int = 4) -> None:
    """Bird's-eye views of frames spread over a data set, with their boxes."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplots(2, -(-count // 2), squeeze=False).flat
    for axis, index in zip(axes, np.linspace(0, len(dataset) - 1, count).astype(int), strict=False):
        _draw_frame(axis, dataset.frame(int(index)))
        axis.set_title(dataset.ids[index], fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=60, metadata={"Software": None})


def _objects(frame: Frame) -> list[dict[str, float | str]]:
    owner = first_box(frame.points, frame.boxes)
    labels = frame.labels.select(frame.labels.name != "DontCare")
    rows: list[dict[str, float | str]] = [
        {
            "frame": frame.id,
            "class": str(frame.names[i]),
            "distance": float(np.hypot(*box[:2])),
            "points": len(held),
            "length": float(box[3]),
            "width": float(box[4]),
            "height": float(box[5]),
            "yaw": float(box[6]),
            "occlusion": int(labels.occlusion[i]),
            "truncation": float(labels.truncation[i]),
            "reflectance": float(np.median(held)) if len(held) else np.nan,
        }
        for i, box in enumerate(frame.boxes)
        for held in [frame.points[owner == i, 3]]
    ]
    ignored = int((frame.labels.name == "DontCare").sum())
    return rows + [{"frame": frame.id, "class": "DontCare"}] * ignored


def _frame(frame: Frame) -> dict[str, float]:
    points = frame.points
    low, middle, high = np.quantile(points[:, 3], QUANTILES)
    return {
        "points": len(points),
        "reflectance 10 %": low,
        "reflectance median": middle,
        "reflectance 90 %": high,
        "points beyond 30 m": float((np.hypot(points[:, 0], points[:, 1]) > 30).mean()),
    }


def _pillars(points: np.ndarray) -> np.ndarray:
    cells = np.floor(points[:, :2].astype(np.float64) / PILLAR).astype(np.int64)
    return np.unique(cells, axis=0, return_counts=True)[1]


def _describe_frames(summary: Summary) -> dict[str, str]:
    medians = summary.frames.median()
    tail = np.quantile(summary.pillars, (0.5, 0.9, 0.99)).astype(int)
    return {
        "frames": str(len(summary.frames)),
        "points in view, median": f"{medians['points']:.0f}",
        "of them beyond 30 m": f"{summary.frames['points beyond 30 m'].mean():.0%}",
        "reflectance 10 %, median, 90 %": ", ".join(
            f"{medians[name]:.2f}"
            for name in ("reflectance 10 %", "reflectance median", "reflectance 90 %")
        ),
        "occupied pillars per frame": f"{len(summary.pillars) / len(summary.frames):.0f}",
        "points per pillar: median, 90 %, 99 %, most": (
            f"{tail[0]}, {tail[1]}, {tail[2]}, {summary.pillars.max()}"
        ),
        "pillars with over 32 points": f"{(summary.pillars > 32).mean():.2%}",
    }


def _describe_classes(summary: Summary) -> dict[str, str]:
    found = {}
    for name in COMPARED_CLASSES:
        rows = summary.objects[summary.objects["class"] == name]
        text = f"{len(rows) / len(summary.frames):.2f}"
        if len(rows) and name != "DontCare":
            sizes = rows[["length", "width", "height"]].median()
            text += "; " + " x ".join(f"{size:.2f}" for size in sizes)
        found[name] = text
    return found


def _describe_points(summary: Summary) -> dict[str, str]:
    found = {}
    for name in COMPARED_CLASSES[:3]:
        for low, high in BANDS:
            rows = summary.objects[
                (summary.objects["class"] == name)
                & (summary.objects["distance"] >= low)
                & (summary.objects["distance"] < high)
            ]
            quantiles = rows["points"].quantile(list(QUANTILES)) if len(rows) >= 5 else ()
            text = ", ".join(f"{value:.0f}" for value in quantiles)
            found[f"{name}, {low}-{high} m"] = f"{text or '-'} ({len(rows)})"
    return found


def _describe_visibility(summary: Summary) -> dict[str, str]:
    found = {}
    for name in COMPARED_CLASSES[:3]:
        rows = summary.objects[summary.objects["class"] == name]
        shares = [(rows["occlusion"] == level).mean() for level in (0, 1, 2)]
        truncated = (rows["truncation"] > 0).mean()
        found[name] = ", ".join(f"{share:.0%}" for share in shares) + f"; {truncated:.0%}"
    return found


def _table(columns: Sequence[dict[str, str]], summaries: Iterable[Summary]) -> str:
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    head = ["", *(summary.name for summary in summaries)]
    return tabulate(rows, head, "pipe", disable_numparse=True)


def _running_median(distance: pd.Series, points: pd.Series) -> tuple[list[float], list[float]]:
    edges = np.arange(5, 51, 5)
    groups = [points[(distance >= a) & (distance < a + 5)] for a in edges[:-1]]
    kept = [(a + 2.5, float(g.median())) for a, g in zip(edges, groups, strict=False) if len(g) > 4]
    return [a for a, _ in kept], [max(b, 1.0) for _, b in kept]


def _draw_frame(axis: Any, frame: Frame) -> None:
    axis.scatter(*frame.points[:, :2].T, s=0.2, c=frame.points[:, 3], cmap="viridis", vmax=0.6)
    for corners in rotated_corners(torch.from_numpy(frame.boxes[:, [0, 1, 3, 4, 6]])).numpy():
        axis.plot(*np.vstack([corners, corners[:1]]).T, color="crimson", linewidth=1)
    axis.set(xlim=(0, 50), ylim=(-20, 20), aspect="equal")
