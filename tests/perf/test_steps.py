"""What a training step is made of, and what precision and shared searches save.

On the smoke grid, two frames a step. ``pytest tests/perf/test_steps.py -s`` prints seconds;
asserted are ratios.
"""

from contextlib import nullcontext

import pytest
import torch
from stepping import make_cohort, time_steps
from tabulate import tabulate
from timing import one_thread
from torch.profiler import ProfilerActivity, profile

import detectors.core.family
from benchmark.device import choose_precision
from benchmark.records.store import NONE
from benchmark.training.learner import Learner
from benchmark.training.lockstep import SharedBatch
from benchmark.training.setup import Clock

FRAMES, WARM, STEPS = 2, 2, 5
PRODUCTS = (
    "convolution", "conv2d", "conv3d", "aten::mm", "aten::addmm", "aten::bmm",
    "aten::baddbmm", "aten::linear",
)  # fmt: skip
"""Names of convolutions and matrix products, forward and backward, as the profiler has them."""
SPEEDUP = {"pointpillars@4": 1.1, "pointpillars@16": 0.8, "second@4": 1.0, "pointrcnn@8": 0.8}
"""Least ratio of a student's step in float32 to that in bfloat16, where the processor has it."""


@pytest.mark.parametrize("student", SPEEDUP)
def test_a_step_in_both_precisions(student, tmp_path):
    steps = {}
    for precision in ("fp32", "bf16"):
        cells, setup = make_cohort(tmp_path, student, [NONE, "fitnet"], precision=precision)
        none, distilled = time_steps(cells, setup).cells
        steps[precision] = {**none, "teacher": distilled["teacher"]}
    rows = [
        [precision, *(spent[kind] for kind in ("data", "teacher", "own")), FRAMES / spent["data"],
         FRAMES / (spent["data"] + spent["own"])]
        for precision, spent in steps.items()
    ]  # fmt: skip
    ratio = steps["fp32"]["own"] / steps["bf16"]["own"]
    head = ["", "data (s)", "teacher (s)", "student (s)", "frames/s read", "frames/s trained"]
    print(f"\n{student}: float32 / bfloat16 {ratio:.2f}")
    print(tabulate(rows, head, floatfmt=("", ".3f", ".3f", ".3f", ".0f", ".1f")))
    assert steps["bf16"]["data"] < steps["bf16"]["own"]
    if choose_precision("auto", torch.device("cpu")) == "bf16":
        assert ratio > SPEEDUP[student]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("student", SPEEDUP)
def test_what_of_a_step_is_convolutions_and_matrix_products(student, precision, tmp_path):
    """The step of a student alone, from voxels to update. Goal: at most 1.6 times these alone."""
    cells, setup = make_cohort(tmp_path, student, [NONE], precision=precision)
    learner = Learner(cells[0], setup)
    batch = next(setup.frames.epoch(0))
    shared = SharedBatch(setup, batch, learner.needs, Clock(setup.device))
    with one_thread():
        for _ in range(WARM):
            learner.step(shared.inputs, shared.teacher)
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            for _ in range(STEPS):
                learner.step(shared.inputs, shared.teacher)
    found = profiled.key_averages()
    times = {event.key: event.self_cpu_time_total / STEPS / 1e3 for event in found}
    products = sum(ms for name, ms in times.items() if any(one in name for one in PRODUCTS))
    whole = sum(times.values())
    others = sorted(((ms, name) for name, ms in times.items()), reverse=True)[:8]
    print(f"\n{student}, {precision}: {whole:.0f} ms a step, {products:.0f} ms of them products: "
          f"{whole / products:.2f} times; most: "
          + ", ".join(f"{name} {ms:.1f}" for ms, name in others))  # fmt: skip
    assert products < whole


@pytest.mark.parametrize("student", ["second@4", "pointrcnn@8"])
def test_searches_shared_by_a_cohort(student, tmp_path, monkeypatch):
    """A student's step when the teacher has searched before it, and when it searches itself."""
    cells, setup = make_cohort(tmp_path, student, [NONE, "fitnet"])
    shared = time_steps(cells, setup).cells[0]["own"]
    monkeypatch.setattr(detectors.core.family, "remembering", lambda searches: nullcontext())
    apart = time_steps(cells, setup).cells[0]["own"]
    print(
        f"\n{student}: {apart:.3f} s a step with its own searches, {shared:.3f} s with the batch's"
    )
    assert shared < apart
