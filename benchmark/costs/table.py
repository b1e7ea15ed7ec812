"""Costs of students with fresh weights, next to the paper's figures."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tabulate import tabulate

from benchmark.config.budget import GFLOPS, LATENCY, PARAMS, Budget
from benchmark.config.profile import Profile, load_profile
from benchmark.config.request import SYNTHETIC
from benchmark.costs.measure import MEASURED_FRAMES, MEGA, Deployed, model_costs
from benchmark.data import synthetic
from benchmark.data.dataset import Frame
from benchmark.data.description import KITTI, find_description
from benchmark.data.opening import open_dataset
from benchmark.records.provenance import machine
from benchmark.records.spread import NOISY, NOISY_MARK, says_little
from detectors import Grid, Student, grid_settings, parse_student

GIGA = 1e9
PRECISION = "fp32"
ALL = "all"
"""Stands for the teachers and students whose figures are printed."""


class Printed(NamedTuple):
    """What a paper prints of a network on the full grid.

    Attributes:
        params: millions of parameters.
        flops: giga multiply-accumulates.
        sparse: whether these count sparse convolutions.
    """

    params: float
    flops: float
    sparse: bool = False


PUBLISHED = {
    "pointpillars": Printed(4.8, 34.3),
    "pointpillars@4": Printed(1.3, 9.0),
    "pointpillars@16": Printed(0.3, 2.5),
    "pointpillars@rdd_s": Printed(1.5, 9.8, sparse=True),
    "second": Printed(5.3, 69.8),
    "second@4": Printed(1.4, 17.8),
    "second@16": Printed(0.4, 4.6),
    "second@rdd_s": Printed(1.6, 23.0, sparse=True),
    "pointrcnn": Printed(4.1, 104.9),
    "pointrcnn@8": Printed(0.5, 13.7),
    "pointrcnn@16": Printed(0.3, 7.1),
}
"""By PointDistiller (arXiv 2205.11098, table 1) and RDD (arXiv 2308.10308, table 4)."""

PRINTED = (
    "printed: by PointDistiller (table 1), which counts dense layers, and by RDD (table 4), which "
    "counts all, on the full grid"
)
NOISE = f"{NOISY_MARK} says little: iqr, the interquartile range, above {100 * NOISY:.0f} % of it"


def measure_students(
    named: str,
    data: str,
    profile: str,
    cache: Path,
    device: torch.device,
    count: int = MEASURED_FRAMES,
    timed: bool = True,
    tell: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Costs of students in float32, their latencies measured in turns.

    Args:
        named: students by name, separated by commas; ``all`` are those that the paper has.
        data: folder in KITTI's layout, or ``synthetic``.
        profile: name or file; its grid is used.
        count: number of validation frames, the first of the split.
        timed: whether to measure latency.
        tell: is told of each step before it begins.

    Returns:
        :func:`~benchmark.costs.measure.model_costs` of each after its ``name`` and what the figures
        depend on: ``data``, ``profile``, ``reduced`` (its grid is smaller than the paper's),
        ``grid``, ``precision``, ``machine``, ``threads``. For a single student without CUDA
        ``peak_memory_mb`` is that of the process.

    Raises:
        DetectorError, ProfileError, DataError: no such student, profile or data.
    """
    students, loaded = _students(named), load_profile(profile)
    frames = _frames(data, loaded, cache, count)
    described = KITTI if data == SYNTHETIC else find_description(Path(data))[1]
    deployed = {
        student.name: _fresh(student, loaded.grid(student.family, described), device)
        for student in students
    }
    measured = model_costs(deployed, frames, timed, tell)
    shared = {
        "data": data,
        "profile": loaded.name,
        "precision": PRECISION,
        "machine": machine(device),
        "threads": torch.get_num_threads(),
    }
    costs: list[dict[str, Any]] = [
        {
            "name": name,
            **shared,
            "reduced": loaded.reduced(deployed[name].family),
            "grid": grid_settings(deployed[name].grid),
            **cost,
        }
        for name, cost in measured.items()
    ]
    if len(costs) == 1 and costs[0]["peak_memory_mb"] is None:
        costs[0].update(peak_memory_mb=_process_memory(), peak_memory_of="process")
    return costs


def _fresh(student: Student, grid: Grid, device: torch.device) -> Deployed:
    """A student that is not trained."""
    torch.manual_seed(0)
    _, family, ratio = student
    model = family.place(family.deployed(family.build(ratio, grid)), device).eval()
    return Deployed(model, family, grid, device)


def describe_costs(costs: Sequence[Mapping[str, Any]]) -> str:
    """A table of costs, next to the paper's figures where the grid is the paper's, and what they
    were measured on."""
    rows = [_row(cost) for cost in costs]
    compared = not all(cost["reduced"] for cost in costs)
    if not compared:
        rows = [{k: v for k, v in row.items() if not k.startswith("printed")} for row in rows]
    table = tabulate(rows, "keys", "github", missingval="-", disable_numparse=True)
    frames = costs[0]["frames"]
    notes = [_setting(costs), f"{len(frames)} frames of {costs[0]['data']}: {', '.join(frames)}"]
    notes += [PRINTED] if compared else []
    notes += [NOISE] if NOISY_MARK in table else []
    return "\n".join([table, "", *notes])


def answer_budget(costs: Sequence[Mapping[str, Any]], budget: Budget) -> str:
    """In words which of the measured students keep to a budget."""
    figures = {cost["name"]: _limited(cost) for cost in costs}
    kept = [name for name, known in figures.items() if budget.keeps(known)]
    if not kept:
        return budget.unanswered(figures)
    marked = {cost["name"] for cost in costs if _noisy(cost)} if LATENCY in budget.limits else ()
    names = [name + (f" {NOISY_MARK}" if name in marked else "") for name in kept]
    return f"{budget}: kept by {', '.join(names)} ({len(kept)} of {len(costs)} measured)."


def _limited(cost: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures that a budget limits."""
    time = cost["latency_ms"]
    return {
        LATENCY: time and time["median"],
        PARAMS: cost["params"] / MEGA,
        GFLOPS: cost["flops_paper"] / GIGA,
    }


def _noisy(cost: Mapping[str, Any]) -> bool:
    time = cost["latency_ms"]
    return bool(time) and says_little(time["median"], time["iqr"])


def _setting(costs: Sequence[Mapping[str, Any]]) -> str:
    """What the figures depend on."""
    first = costs[0]
    time = first["latency_ms"] or {}
    sized = "reduced" if all(cost["reduced"] for cost in costs) else "full"
    load = time.get("load")
    parts = [
        f"profile {first['profile']} ({sized} grid)",
        *dict.fromkeys(_described_grid(cost) for cost in costs),
        first["precision"],
        first["machine"],
        f"{first['threads']} thread{'' if first['threads'] == 1 else 's'}",
        *([] if load is None else [f"load before timing {load}"]),
    ]
    return "; ".join(parts)


def _described_grid(cost: Mapping[str, Any]) -> str:
    grid, family = cost["grid"], cost["name"].partition("@")[0]
    low, high = grid["point_cloud_range"][:3], grid["point_cloud_range"][3:]
    sides = [f"{axis} {a:g} to {b:g}" for axis, a, b in zip("xyz", low, high, strict=True)]
    voxels = " x ".join(f"{size:g}" for size in grid["voxel_size"])
    read = f"voxels {voxels} m" if voxels else f"{grid['num_points']} points"
    return f"{family}: {', '.join(sides)} m, {read}"


def _row(cost: Mapping[str, Any]) -> dict[str, Any]:
    params, flops = cost["params"] / MEGA, cost["flops_paper"] / GIGA
    printed = None if cost["reduced"] else PUBLISHED.get(cost["name"])
    counted = cost["flops_full"] / GIGA if printed and printed.sparse else flops
    time, memory = cost["latency_ms"], cost["peak_memory_mb"]
    mark = f" {NOISY_MARK}" if _noisy(cost) else ""
    return {
        "model": cost["name"],
        "params (M)": f"{params:.3f}",
        "printed (M)": printed and _beside(params, printed.params),
        "GFLOPs, the paper's": f"{flops:.3f}",
        "printed (G)": printed and _beside(counted, printed.flops),
        "GMACs, all layers": f"{cost['flops_full'] / GIGA:.3f}",
        "activations (M)": f"{cost['activations'] / MEGA:.1f}",
        "latency (ms)": time and f"{time['median']:.1f} (iqr {time['iqr']:.1f}){mark}",
        "peak memory (MB)": memory and f"{memory:.0f} ({cost['peak_memory_of']})",
        "energy (J a frame)": cost["energy_j"] and f"{cost['energy_j']:.2f}",
    }


def _beside(measured: float, printed: float) -> str:
    """A printed figure and the measured one's deviation from it."""
    return f"{printed} ({100 * (measured / printed - 1):+.1f} %)"


def _students(named: str) -> list[Student]:
    """Each student once, in the order in which they are named."""
    parsed = [
        found
        for name in named.split(",")
        for found in (_paper_students() if name.strip() == ALL else [parse_student(name.strip())])
    ]
    return list({student.name: student for student in parsed}.values())


def _paper_students() -> list[Student]:
    return [parse_student(name) for name in PUBLISHED]


def _frames(data: str, profile: Profile, cache: Path, count: int) -> list[Frame]:
    root = Path(data)
    if data == SYNTHETIC:
        few = {**profile.synthetic, "train": 1, "val": count}
        root = synthetic.ensure(cache / "synthetic", **few)
    dataset = open_dataset(root, "val")
    return [dataset.frame(frame_id) for frame_id in dataset.ids[:count]]


def _process_memory() -> float:
    """Peak memory of this process, megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGA
