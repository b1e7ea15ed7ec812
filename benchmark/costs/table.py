"""Costs of students with fresh weights, next to the paper's figures."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from benchmark.config.profile import Profile, load_profile
from benchmark.config.request import SYNTHETIC
from benchmark.costs.measure import MEASURED_FRAMES, MEGA, Deployed, model_cost
from benchmark.data import synthetic
from benchmark.data.kitti import Frame, KittiDataset
from detectors import Family, get_family, parse_student, student_name
from detectors.core.registry import FAMILIES

GIGA = 1e9
ALL = "all"
"""Stands for the teacher and the paper's students of every family."""
PUBLISHED = {
    "pointpillars": (4.8, 34.3),
    "pointpillars@4": (1.3, 9.0),
    "pointpillars@16": (0.3, 2.5),
    "second": (5.3, 69.8),
    "second@4": (1.4, 17.8),
    "second@16": (0.4, 4.6),
    "pointrcnn": (4.1, 104.9),
    "pointrcnn@8": (0.5, 13.7),
    "pointrcnn@16": (0.3, 7.1),
}
"""Millions of parameters and GFLOPs that PointDistiller prints (arXiv 2205.11098, table 1)."""


def measure_students(
    student: str,
    data: str,
    profile: str,
    cache: Path,
    device: torch.device,
    count: int = MEASURED_FRAMES,
    timed: bool = True,
) -> list[dict[str, Any]]:
    """Cost of a student by name, or of ``all`` that the paper has, in float32.

    Args:
        data: folder in KITTI's layout, or ``synthetic``.
        profile: name or file; its grid is used.
        count: number of validation frames, the first of the split.
        timed: whether to measure latency.

    Returns:
        :func:`~benchmark.costs.measure.model_cost` of each after its ``name`` and ``data``. For a
        single student without CUDA ``peak_memory_mb`` is that of the process.

    Raises:
        DetectorError, ProfileError, DataError: no such student, profile or data.
    """
    students = _paper_students() if student == ALL else [parse_student(student)]
    loaded = load_profile(profile)
    frames = _frames(data, loaded, cache, count)
    costs = []
    for family, ratio in students:
        grid = loaded.grid(family)
        torch.manual_seed(0)
        model = family.place(family.build(ratio, grid), device).eval()
        cost = model_cost(Deployed(model, family, grid, device), frames, timed)
        costs.append({"name": student_name(family.name, ratio), "data": data, **cost})
    if student != ALL and costs[0]["peak_memory_mb"] is None:
        costs[0].update(peak_memory_mb=_process_memory(), peak_memory_of="process")
    return costs


def describe_costs(costs: Sequence[dict[str, Any]]) -> str:
    """A table of costs next to the paper's figures, and what they were measured on."""
    rows = [_row(cost) for cost in costs]
    table = tabulate(rows, "keys", "github", missingval="-", disable_numparse=True)
    frames = costs[0]["frames"]
    return f"{table}\n\n{len(frames)} frames of {costs[0]['data']}: {', '.join(frames)}"


def _row(cost: dict[str, Any]) -> dict[str, Any]:
    params, flops = cost["params"] / MEGA, cost["flops_paper"] / GIGA
    published = PUBLISHED.get(cost["name"], (None, None))
    time, memory = cost["latency_ms"], cost["peak_memory_mb"]
    return {
        "model": cost["name"],
        "params (M)": f"{params:.3f}",
        "printed (M)": _beside(params, published[0]),
        "GFLOPs, the paper's": f"{flops:.3f}",
        "printed (G)": _beside(flops, published[1]),
        "GMACs, all layers": f"{cost['flops_full'] / GIGA:.3f}",
        "activations (M)": f"{cost['activations'] / MEGA:.1f}",
        "latency (ms)": time and f"{time['median']:.1f} (iqr {time['iqr']:.1f})",
        "peak memory (MB)": memory and f"{memory:.0f} ({cost['peak_memory_of']})",
        "energy (J a frame)": cost["energy_j"] and f"{cost['energy_j']:.2f}",
    }


def _beside(measured: float, published: float | None) -> str | None:
    """A published figure and the measured one's deviation from it."""
    return None if published is None else f"{published} ({100 * (measured / published - 1):+.1f} %)"


def _paper_students() -> list[tuple[Family, float]]:
    families = [get_family(name) for name in FAMILIES]
    return [(family, ratio) for family in families for ratio in (1, *FAMILIES[family.name].ratios)]


def _frames(data: str, profile: Profile, cache: Path, count: int) -> list[Frame]:
    root = Path(data)
    if data == SYNTHETIC:
        few = {**profile.synthetic, "train": 1, "val": count}
        root = synthetic.ensure(cache / "synthetic", **few)
    dataset = KittiDataset(root, "val")
    return [dataset.frame(frame_id) for frame_id in dataset.ids[:count]]


def _process_memory() -> float:
    """Peak memory of this process, megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGA
