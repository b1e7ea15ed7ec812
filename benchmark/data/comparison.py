"""How alike data sets are, e.g. the built-in synthetic set and KITTI: tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from tabulate import tabulate

from benchmark.data.dataset import Dataset, Frame
from benchmark.data.statistics import (
    BANDS,
    CLASSES,
    CURVE,
    DISTANCES,
    PILLAR,
    TAIL,
    YAWS,
    Group,
    Objects,
    Summary,
)
from kd_methods.core.geometry import rotated_corners

COMPARED_CLASSES = CLASSES[:3]
UNKNOWN = "-"


def describe(summaries: Sequence[Summary]) -> str:
    """Tables of all figures, a column for each data set."""
    parts: dict[str, Callable[[Summary], dict[str, str]]] = {
        "Frames": _describe_frames,
        "Objects per frame, and median size (length x width x height, m)": _describe_classes,
        "Points in a box, by distance: 10 %, median, 90 % (objects)": _describe_points,
        "Visible, partly, largely occluded, unknown; truncated": _describe_visibility,
        "Headings along, across the view, give or take 20 degrees": _describe_headings,
    }
    return "\n\n".join(
        f"{title}\n\n{_table([columns(one) for one in summaries], summaries)}"
        for title, columns in parts.items()
    )


def draw(summaries: Sequence[Summary], path: Path) -> None:
    """Curves of points per box, points per pillar, distance and heading, in one figure."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    yaws = np.linspace(0, np.pi, YAWS + 1)
    for summary in summaries:
        cars, name = summary.objects["Car"], summary.name
        known = [(a + 2.5, max(b, 1)) for a, b in zip(CURVE, cars.curve, strict=False) if b]
        axes[0, 0].plot(*np.array(known).reshape(-1, 2).T, marker="o", label=name)
        axes[0, 1].plot(TAIL, summary.scans.tail, marker=".", label=name)
        axes[1, 0].stairs(_distances(summary), DISTANCES, label=name)
        axes[1, 1].stairs(cars.yaws, yaws, label=name)
    titles = (
        ("median points in a car's box", "distance (m)"),
        (f"share of occupied {PILLAR} m pillars with at least this many points", "points"),
        ("objects (car, pedestrian, cyclist) per frame in 2 m, as shares", "distance (m)"),
        ("cars' yaw modulo half a turn, shares", "yaw (rad)"),
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


def _distances(summary: Summary) -> np.ndarray:
    """Share of the compared classes' objects within 50 m in every 2 m."""
    found = (summary.objects[name] for name in COMPARED_CLASSES)
    counts = np.sum([one.per_frame * np.array(one.distances) for one in found], axis=0)
    return counts / max(counts.sum(), 1e-9)


def _describe_frames(summary: Summary) -> dict[str, str]:
    scans = summary.scans
    return {
        "frames": str(summary.frames),
        "points in view: 10 %, median, 90 %": _joined(summary.points, 0),
        "frames whose points are read for what follows": str(scans.frames),
        "points beyond 30 m": f"{scans.beyond:.0%}",
        "reflectance 10 %, median, 90 %": _joined(scans.reflectance, 2),
        "occupied pillars per frame": f"{scans.pillars:.0f}",
        "points per pillar: median, 90 %, 99 %, most": _joined(scans.per_pillar, 0),
        "pillars with over 32 points": f"{scans.crowded:.2%}",
    }


def _describe_classes(summary: Summary) -> dict[str, str]:
    found = {name: _describe_size(one) for name, one in summary.objects.items() if name in CLASSES}
    return {**found, "DontCare": f"{summary.ignored:.2f}"}


def _describe_size(objects: Objects) -> str:
    sizes = (objects.length, objects.width, objects.height)
    medians = " x ".join(f"{size[1]:.2f}" for size in sizes if size)
    return f"{objects.per_frame:.2f}" + (f"; {medians}" if medians else "")


def _describe_points(summary: Summary) -> dict[str, str]:
    return {
        f"{name}, {low}-{high} m": f"{_joined(group.points, 0)} ({group.count})"
        for name in COMPARED_CLASSES
        for (low, high), group in zip(BANDS, summary.objects[name].bands, strict=True)
    }


def _describe_visibility(summary: Summary) -> dict[str, str]:
    found = {}
    for name in COMPARED_CLASSES:
        objects = summary.objects[name]
        found[name] = _describe_hiding(objects.all)
        for (low, high), group in zip(BANDS, objects.bands, strict=True):
            found[f"{name}, {low}-{high} m"] = _describe_hiding(group)
    return found


def _describe_hiding(group: Group) -> str:
    if group.occlusion is None or group.truncated is None:
        return UNKNOWN
    return ", ".join(f"{share:.0%}" for share in group.occlusion) + f"; {group.truncated:.0%}"


def _describe_headings(summary: Summary) -> dict[str, str]:
    """Yaw 0 looks along the view, a quarter of a turn across it."""
    found = {}
    for name in COMPARED_CLASSES:
        yaws, edge, middle = summary.objects[name].yaws, YAWS // 9, YAWS // 2
        along = sum(yaws[:edge]) + sum(yaws[-edge:])
        found[name] = f"{along:.0%}, {sum(yaws[middle - edge : middle + edge]):.0%}"
    return found


def _joined(values: Sequence[float] | None, digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values) if values else UNKNOWN


def _table(columns: Sequence[dict[str, str]], summaries: Sequence[Summary]) -> str:
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    head = ["", *(summary.name for summary in summaries)]
    return tabulate(rows, head, "pipe", disable_numparse=True)


def _draw_frame(axis: Any, frame: Frame) -> None:
    axis.scatter(*frame.points[:, :2].T, s=0.2, c=frame.points[:, 3], cmap="viridis", vmax=0.6)
    for corners in rotated_corners(torch.from_numpy(frame.boxes[:, [0, 1, 3, 4, 6]])).numpy():
        axis.plot(*np.vstack([corners, corners[:1]]).T, color="crimson", linewidth=1)
    axis.set(xlim=(0, 50), ylim=(-20, 20), aspect="equal")
