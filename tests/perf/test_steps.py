"""What a training step is made of, and what precision and shared searches save.

On the smoke grid, two frames a step. ``pytest tests/perf/test_steps.py -s`` prints seconds;
asserted are ratios.
"""

from contextlib import nullcontext

import pytest
import torch
from stepping import make_cohort, time_steps
from tabulate import tabulate

import detectors.core.family
from benchmark.device import choose_precision
from benchmark.records.store import NONE

FRAMES = 2
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
