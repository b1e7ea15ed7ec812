"""The checks that every detector must pass, built-in or a user's.

In another package's tests::

    from benchmark.conformance import detector_checks

    @detector_checks("my_net")
    def test_my_net(check):
        check()
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.conformance.checks import (
    CheckError,
    Outcome,
    Workbench,
    confident,
    is_alone_as_in_a_cohort,
    require,
    workbench,
)
from detectors import Inputs, get_family, parse_student
from detectors.core.checkpoints import export, load_plain
from detectors.core.family import Model
from detectors.core.flops import count_work
from detectors.core.registry import FAMILIES
from kd_methods import Outputs
from kd_methods.core.catalogue import OUTPUTS
from kd_methods.core.errors import describe

CLOSE = 1e-4
"""Metres and radians by which boxes may differ."""
COMPARED = 20
"""Detections of a frame that are looked for among the head's boxes."""


def run_checks(name: str) -> Iterator[Outcome]:
    """Every check on a student.

    Args:
        name: of a family, for its first student, or of a student.

    Raises:
        DetectorError: no such family or student.
    """
    student = _student(name)
    family = parse_student(student).family
    for check, function in CHECKS.items():
        try:
            remark = function(workbench(student))
            yield Outcome(check, student, "passed", remark)
        except CheckError as error:
            yield Outcome(check, student, "failed", str(error))
        except (Exception, SystemExit) as error:
            told = " ".join(describe(error).split())
            yield Outcome(check, student, "failed", f"{family.name}: {told}")


def detector_checks(name: str) -> Any:
    """Decorator that runs a pytest function once for each ``check``.

    Args:
        name: of a family, for its first student, or of a student.
    """
    import pytest

    student = _student(name)
    cases = [
        pytest.param(lambda function=function: function(workbench(student)), id=check)
        for check, function in CHECKS.items()
    ]
    return pytest.mark.parametrize("check", cases)


def builds_at_every_width(bench: Workbench) -> str:
    """The teacher and its students build, each smaller than the one before; a student with a config
    of its own builds as that says."""
    _, family, ratio = parse_student(bench.student)
    ratios = (1,) if ratio == 1 else (1, *FAMILIES[family.name].ratios)
    models = [family.deployed(_built(bench, ratio)) for ratio in ratios]
    sizes = [sum(p.numel() for p in model.parameters()) for model in models]
    told = ", ".join(f"{n / 1e6:.3f} M at {r}" for r, n in zip(ratios, sizes, strict=True))
    require(sizes == sorted(sizes, reverse=True) and len(set(sizes)) == len(sizes), told)
    return told


def gives_what_it_announces(bench: Workbench) -> str:
    """Every output is captured once, in float32, in the shape that the spec announces."""
    family, model = bench.setup.family, _built(bench)
    outputs, spec = _trained(bench, model), family.spec(model)
    require(len(outputs.stages) == len(spec.stages), f"{len(outputs.stages)} stages")
    pairs = [("local", spec.local, outputs.local), ("neck", spec.neck, outputs.neck)]
    pairs += [("stages", *pair) for pair in zip(spec.stages, outputs.stages, strict=True)]
    for name, layer, features in pairs:
        found = features.values
        channels = found.shape[1]
        require(channels == layer.channels, f"{name} has {channels} channels, not {layer.channels}")
        require(hasattr(features, "extent") == layer.dense, f"{name} is no map, or is one")
        require(found.dtype == torch.float32, f"{name} is {found.dtype}, not float32")
    head = outputs.head
    require(head.class_logits.shape[2] == spec.classes, "the head has not the spec's classes")
    require(head.priors.shape == head.boxes.shape, "priors and boxes differ in shape")
    require(head.assigned.shape == head.class_logits.shape[:2], "one assignment for each prior")
    return f"{len(outputs.stages)} stages, {head.priors.shape[1]} priors"


def decodes_what_it_detects(bench: Workbench) -> str:
    """Detections from captured outputs are a prediction's, and among the head's boxes where no
    second stage refines them."""
    family, model = bench.setup.family, _built(bench).eval()
    inputs = _inputs(bench, training=False)
    with torch.no_grad(), family.capture(model, {"head"}, bench.setup.grid) as take:
        family.observe(model, inputs)
    outputs, count = take(inputs), 0
    frames = zip(outputs.detections, family.predict(model, inputs), strict=True)
    for frame, (ours, theirs) in enumerate(frames):
        require(len(ours.boxes) == len(theirs.boxes), "captured outputs give other detections")
        require(_alike(ours.boxes, theirs.boxes), "captured outputs give other boxes")
        if not hasattr(model, "roi_head"):
            for box in ours.boxes[:COMPARED]:
                near = (outputs.head.boxes[frame, :, :6] - box[:6]).abs().amax(1) < CLOSE
                require(bool(near.any()), f"no box of the head is the detection {box.tolist()}")
        count += len(ours.boxes)
    require(count > 0, "nothing is detected, even without a prior against objects")
    return f"{count} detections"


def leaves_its_input_alone(bench: Workbench) -> str:
    """Points, ground truth and voxels are unchanged by training and prediction."""
    family, model, inputs = bench.setup.family, _built(bench), _inputs(bench, training=True)
    given = [*inputs.batch.points, *inputs.batch.boxes, *inputs.batch.labels]
    given += inputs.voxels.values()
    before = [tensor.clone() for tensor in given]
    family.losses(model.train(), inputs)
    family.predict(model.eval(), inputs)
    same = all(torch.equal(was, now) for was, now in zip(before, given, strict=True))
    require(same, "a forward pass changes what it is given")
    return ""


def trains_every_weight(bench: Workbench) -> str:
    """In float32 and in bfloat16, losses are finite and every weight has a finite gradient."""
    model = _built(bench).train()
    for precision in (torch.float32, torch.bfloat16):
        half = precision == torch.bfloat16
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            losses = bench.setup.family.losses(model, _inputs(bench, training=True))
        torch.stack(list(losses.values())).sum().backward()
        told = {name: loss.item() for name, loss in losses.items()}
        require(all(map(math.isfinite, told.values())), f"losses in {precision}: {told}")
        for name, weight in model.named_parameters():
            good = weight.grad is not None and bool(weight.grad.isfinite().all())
            require(good, f"{name} has no finite gradient in {precision}")
    return ", ".join(f"{name} {value:.3g}" for name, value in told.items())


def is_the_same_in_a_cohort(bench: Workbench) -> str:
    """An epoch beside other cells ends in the weights of an epoch alone."""
    return is_alone_as_in_a_cohort(bench, "logit_kd")


def runs_in_plain_mmdet3d(bench: Workbench) -> str:
    """What is exported loads into mmdet3d's own classes and detects the same boxes."""
    family, grid, model = bench.setup.family, bench.setup.grid, _built(bench).eval()
    with tempfile.TemporaryDirectory() as name:
        export(model, parse_student(bench.student), grid, Path(name))
        plain = load_plain(Path(name))
    inputs = _inputs(bench, training=False, frames=1)
    with torch.no_grad():
        theirs = plain.predict(inputs.tensors(), inputs.samples())[0].pred_instances_3d
    (ours,) = family.predict(model, inputs)
    require(_alike(ours.boxes, theirs.bboxes_3d.tensor), "plain mmdet3d detects other boxes")
    return f"{len(ours.boxes)} detections"


def counts_its_work(bench: Workbench) -> str:
    """The counter of operations knows every layer, and every layer runs."""
    model = bench.setup.family.deployed(_built(bench)).eval()
    with count_work(model) as work:
        bench.setup.family.dry_run(model, bench.setup.grid)
    require(work.multiply_accumulates > 0, "no operation was counted")
    return f"{work.multiply_accumulates / 1e9:.3f} GMACs on this small grid"


CHECKS: dict[str, Callable[[Workbench], str]] = {
    "builds": builds_at_every_width,
    "outputs": gives_what_it_announces,
    "decodes": decodes_what_it_detects,
    "no_mutation": leaves_its_input_alone,
    "gradients": trains_every_weight,
    "alone_as_together": is_the_same_in_a_cohort,
    "export": runs_in_plain_mmdet3d,
    "operations": counts_its_work,
}
"""Every check by name, in the order in which they run."""


def _student(name: str) -> str:
    """A student by name, or the first of a family."""
    return name if "@" in name else f"{get_family(name).name}@{FAMILIES[name].ratios[0]}"


def _built(bench: Workbench, ratio: float | None = None) -> Model:
    """A network of the family, the student by default, confident about many boxes."""
    _, family, own = parse_student(bench.student)
    torch.manual_seed(0)
    return confident(family.build(own if ratio is None else ratio, bench.setup.grid))


def _inputs(bench: Workbench, training: bool, frames: int = 2) -> Inputs:
    """The first frames of the training batch."""
    batch = bench.batch()
    batch = replace(
        batch,
        boxes=batch.boxes[:frames],
        labels=batch.labels[:frames],
        points=batch.points[:frames],
    )
    return bench.setup.family.voxelizer(bench.setup.grid, training)(batch)


def _trained(bench: Workbench, model: Model) -> Outputs:
    """All outputs of a training pass."""
    family, inputs = bench.setup.family, _inputs(bench, training=True)
    with family.capture(model.train(), set(OUTPUTS), bench.setup.grid) as take:
        family.losses(model, inputs)
    return take(inputs)


def _alike(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=CLOSE, rtol=CLOSE)
