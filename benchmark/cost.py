"""What a model costs: parameters, multiply-accumulates, latency."""

from __future__ import annotations

import hashlib
import itertools
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import benchmark
from torch.utils.flop_counter import FlopCounterMode

from benchmark.data.batches import Sample, to_batch
from benchmark.data.kitti import Frame
from benchmark.records import provenance, write_atomically
from benchmark.training import Setup
from detectors import grid_settings

LATENCY_FRAMES = 8
LATENCY_ROUNDS = 3


def remembered_cost(
    folder: Path, student: str, model: nn.Module, setup: Setup, frames: Iterable[Frame]
) -> dict[str, Any]:
    """:func:`model_cost`, measured once per student, grid, precision and machine.

    Args:
        folder: where measurements are kept.
        frames: the first of them are measured.
    """
    first = list(itertools.islice(frames, LATENCY_FRAMES))
    shared = {
        "student": student,
        "grid": grid_settings(setup.grid),
        "precision": setup.precision,
        "frames": [frame.id for frame in first],
        "provenance": provenance(setup.device),
    }
    key = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{key}.json"
    if not path.exists():
        write_atomically(path, json.dumps(model_cost(model, setup, first)).encode())
    return json.loads(path.read_bytes())


def model_cost(model: nn.Module, setup: Setup, frames: Sequence[Frame]) -> dict[str, Any]:
    """Cost of a student as deployed, without anything that its training added.

    Args:
        frames: what latency is measured on, batch 1.

    Returns:
        ``params``; ``flops_paper``, multiply-accumulates of the dense convolutions at the setup's
        grid (the convention of PointDistiller's tables); ``latency_ms``, median and
        interquartile range from points to boxes on this machine, and the frames it was measured on.
    """
    model.eval()
    return {
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "flops_paper": dense_macs(model, setup, frames[0]),
        "latency_ms": latency(model, setup, frames),
    }


@torch.no_grad()
def dense_macs(model: nn.Module, setup: Setup, frame: Frame) -> int:
    """Multiply-accumulates of all dense convolutions for one frame."""
    voxelize = setup.family.voxelizer(setup.grid, training=False)
    inputs = voxelize(to_batch([Sample.of(frame)], setup.grid, setup.device))
    with FlopCounterMode(display=False) as counter:
        setup.family.observe(model, inputs)
    operators = counter.get_flop_counts()["Global"]
    return sum(n for operator, n in operators.items() if "convolution" in str(operator)) // 2


def latency(model: nn.Module, setup: Setup, frames: Sequence[Frame]) -> dict[str, Any]:
    """Milliseconds from the points of one frame to its boxes: median, interquartile range."""
    voxelize = setup.family.voxelizer(setup.grid, training=False)
    batches = [to_batch([Sample.of(frame)], setup.grid, setup.device) for frame in frames]

    def run(batch: Any) -> None:
        with setup.autocast():
            setup.family.predict(model, voxelize(batch))

    times = []
    for batch in batches:
        timer = benchmark.Timer(
            "run(batch)", globals={"run": run, "batch": batch}, num_threads=torch.get_num_threads()
        )
        timer.timeit(1)  # warm-up
        times += [1000 * timer.timeit(1).median for _ in range(LATENCY_ROUNDS)]
    low, median, high = statistics.quantiles(times, n=4)
    return {"median": median, "iqr": high - low, "frames": [frame.id for frame in frames]}
