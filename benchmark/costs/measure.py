"""What a model costs: parameters, multiply-accumulates, activations, latency, memory."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import torch
from torch.utils import benchmark

from benchmark.costs.energy import read_joules
from benchmark.data.batches import evaluation_batch
from benchmark.data.dataset import Frame
from benchmark.evaluation.detector import ValidationFrames
from benchmark.files import write_atomically
from benchmark.records.provenance import environment
from benchmark.records.record import Cost, Latency
from benchmark.records.schema import form_of_costs
from benchmark.records.spread import says_little
from benchmark.training.setup import Setup
from detectors import Family, Grid, grid_settings
from detectors.core.flops import count_work
from kd_methods import Batch

MEASURED_FRAMES = 8
"""Frames that a model is measured on, the first of the validation split."""
ROUNDS = 3
MEGA = 1e6


def _silent(told: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Deployed:
    """A model as it is deployed: in evaluation mode, one frame at a time.

    Attributes:
        autocast: the precision of its forward passes.
    """

    model: Any
    family: Family
    grid: Grid
    device: torch.device
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext

    @cached_property
    def voxelize(self) -> Callable[[Batch], Any]:
        return self.family.voxelizer(self.grid, training=False)

    def batches(self, frames: Sequence[Frame]) -> list[Batch]:
        """Each frame as its own batch, on the device."""
        return [evaluation_batch(frame, self.grid, self.device) for frame in frames]

    def detect(self, batch: Batch) -> None:
        """From points to boxes."""
        with self.autocast():
            self.family.predict(self.model, self.voxelize(batch))


def remembered_cost(
    folder: Path, student: str, model: Any, setup: Setup, frames: ValidationFrames
) -> Cost:
    """:func:`model_cost`, measured once per student, grid, precision, frames and environment.

    A latency that says little is measured again for the next cell; so is what was damaged.

    Args:
        folder: where measurements are kept.
        frames: the first of them are measured; read only where nothing is remembered.
    """
    ids = frames.ids[:MEASURED_FRAMES]
    shared = {
        "student": student,
        "detector": setup.family.source,
        "grid": grid_settings(setup.grid),
        "precision": setup.precision,
        "data": str(frames.dataset.root.resolve()),
        "frames": ids,
        "environment": environment(setup.device),
        "figures": sorted([*Cost.__annotations__, *Latency.__annotations__]),
    }
    key = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{key}.json"
    if (kept := _kept_cost(path)) is not None:
        return kept
    deployed = Deployed(model.eval(), setup.family, setup.grid, setup.device, setup.autocast)
    cost = model_cost(deployed, [frames.dataset.frame(frame_id) for frame_id in ids])
    latency = cost["latency_ms"]
    if not latency or not says_little(latency["median"], latency["iqr"]):
        write_atomically(path, json.dumps(cost).encode())
    return cost  # if it says little, the next cell may have a better moment


def _kept_cost(path: Path) -> Cost | None:
    """The cost in a file; None where there is none, or what is there is damaged."""
    try:
        cost = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return None if form_of_costs()(cost) else cost


def model_cost(deployed: Deployed, frames: Sequence[Frame], timed: bool = True) -> Cost:
    """:func:`model_costs` of one student."""
    (cost,) = model_costs({"": deployed}, frames, timed).values()
    return cost


def model_costs(
    students: Mapping[str, Deployed],
    frames: Sequence[Frame],
    timed: bool = True,
    tell: Callable[[str], None] = _silent,
) -> dict[str, Cost]:
    """Costs of students as deployed, without anything that their training added.

    Args:
        students: by name.
        frames: what work, latency and memory are measured on.
        timed: whether to measure latency.
        tell: is told of each step before it begins.

    Returns:
        For each ``params``; ``flops_paper``, the convention of PointDistiller's tables: what mmcv's
        counter finds in a run whose sizes depend on the grid alone; ``flops_full`` and
        ``activations``, multiply-accumulates and output elements of all convolutions (sparse ones
        by their index pairs) and linear layers, mean over the frames; ``latency_ms``, see
        :func:`latencies`; ``peak_memory_mb`` (10^6 bytes) of weights and forward pass on CUDA, None
        elsewhere, and in ``peak_memory_of`` what it is the memory of; ``energy_j``, joules of the
        device per frame, None where no counter can be read; ``frames``, the ids of the frames.

    Raises:
        DetectorError: a model has a layer whose work cannot be counted.
    """
    costs = {}
    for number, (name, deployed) in enumerate(students.items(), start=1):
        tell(f"{name}: counting its work ({number} of {len(students)})")
        costs[name] = _untimed(deployed, frames)
    if timed:
        times = latencies(list(students.values()), frames, tell)
        for (name, deployed), latency in zip(students.items(), times, strict=True):
            costs[name]["latency_ms"] = latency
            costs[name]["energy_j"] = energy(deployed, deployed.batches(frames))
    return costs


def _untimed(deployed: Deployed, frames: Sequence[Frame]) -> Cost:
    """Everything but latency and energy."""
    batches = deployed.batches(frames)
    with count_work(deployed.model) as dry:
        deployed.family.dry_run(deployed.model, deployed.grid)
    with count_work(deployed.model) as work:
        for batch in batches:
            deployed.detect(batch)
    memory = peak_memory(deployed, batches)
    return {
        "params": sum(parameter.numel() for parameter in deployed.model.parameters()),
        "flops_paper": dry.mmcv_flops,
        "flops_full": round(work.multiply_accumulates / len(batches)),
        "activations": round(work.activations / len(batches)),
        "latency_ms": None,
        "peak_memory_mb": memory,
        "peak_memory_of": None if memory is None else "model",
        "energy_j": None,
        "frames": [frame.id for frame in frames],
    }


def latencies(
    students: Sequence[Deployed], frames: Sequence[Frame], tell: Callable[[str], None] = _silent
) -> list[Latency]:
    """Milliseconds from the points of one frame to its boxes: median, interquartile range.

    Students take turns on each frame, so that whatever else runs on the machine slows all of them
    alike. With the times come PyTorch's threads and the system's load before the measurement.
    """
    threads, load = torch.get_num_threads(), system_load()
    times: list[list[float]] = [[] for _ in students]
    for number, frame in enumerate(frames, start=1):
        tell(f"timing all in turns on frame {number} of {len(frames)}")
        timers = [_timer(deployed, frame, threads) for deployed in students]
        for timer in timers:
            timer.timeit(1)  # warm-up
        for _ in range(ROUNDS):
            for timer, mine in zip(timers, times, strict=True):
                mine.append(1000 * timer.timeit(1).median)
    return [_summary(mine, threads, load) for mine in times]


def _timer(deployed: Deployed, frame: Frame, threads: int) -> benchmark.Timer:
    known = {"detect": deployed.detect, "batch": deployed.batches([frame])[0]}
    return benchmark.Timer("detect(batch)", globals=known, num_threads=threads)


def _summary(times: Sequence[float], threads: int, load: float | None) -> Latency:
    low, median, high = statistics.quantiles(times, n=4)
    return {"median": median, "iqr": high - low, "threads": threads, "load": load}


def system_load() -> float | None:
    """The system's load average of the last minute, None where it has none."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def energy(deployed: Deployed, batches: Sequence[Batch]) -> float | None:
    """Joules that the whole device uses per frame, from points to boxes; see :mod:`.energy`.

    None where no counter can be read, or if it was reset in between.
    """
    before = read_joules(deployed.device)
    for batch in batches:
        deployed.detect(batch)
    after = read_joules(deployed.device)
    if before is None or after is None or after < before:
        return None
    return (after - before) / len(batches)


def peak_memory(deployed: Deployed, batches: Sequence[Batch]) -> float | None:
    """Peak megabytes of the weights and a forward pass, by CUDA's allocator.

    None on other devices, where it cannot be separated from the rest of the process.
    """
    if deployed.device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(deployed.device)
    torch.cuda.reset_peak_memory_stats(deployed.device)
    for batch in batches:
        deployed.detect(batch)
    held = torch.cuda.max_memory_allocated(deployed.device) - before
    state = deployed.model.state_dict().values()
    return (held + sum(value.numel() * value.element_size() for value in state)) / MEGA
