"""The checks that every method must pass, built-in or third-party.

In another package's tests::

    from benchmark.conformance import method_checks

    @method_checks("my_kd", expected_failures={"bf16": "needs double precision"})
    def test_my_kd(check):
        check()
"""

from __future__ import annotations

import gc
import io
import random
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.config.matrix import Cell, Data
from benchmark.config.profile import Profile, load_profile
from benchmark.config.recipe import Recipe
from benchmark.data import synthetic
from benchmark.data.batches import TrainingFrames
from benchmark.data.opening import open_dataset
from benchmark.data.sample import draw_points, frame_generator
from benchmark.device import make_deterministic
from benchmark.records.store import NONE
from benchmark.training.learner import Learner, place_of
from benchmark.training.lockstep import SharedBatch, train
from benchmark.training.randomness import RandomStream
from benchmark.training.setup import Clock, Position, TrainingSetup, unnoticed
from detectors import get_family, parse_student
from detectors.core.checkpoints import state_hash
from detectors.core.registry import FAMILIES
from kd_methods import Batch, create, method_class
from kd_methods.core.errors import describe

CHEAP = 0.5
"""Share of the student's own step, on the checks' small grid, above which a method is costly."""

Checked = Callable[["Workbench", str], str]
"""A check: takes a workbench and a method, returns a remark, raises CheckError on failure."""


class CheckError(AssertionError):
    """A method that does not do what the interface requires."""


class CheckWarning(UserWarning):
    """Something that an author should know and may leave as it is."""


@dataclass(frozen=True)
class Outcome:
    """Result of one check on one student.

    Attributes:
        status: ``passed``, ``failed``, ``warning``, ``skipped`` (the method does not suit the
            family) or ``not run`` (the method has no losses to look at, see ``finite``).
        remark: what was found.
    """

    check: str
    student: str
    status: str
    remark: str


class Workbench:
    """A small data set, a student and its untrained teacher, on the CPU.

    The heads start without the low prior that a focal loss gives them, so that both networks are
    confident about many boxes, and methods that read confident ones have some to read.
    """

    def __init__(
        self,
        student: str,
        precision: str = "fp32",
        on_failure: Callable[[BaseException], None] = unnoticed,
    ) -> None:
        make_deterministic(torch.device("cpu"))
        self.student = student
        family = parse_student(student).family
        profile = _profile()
        self._cell = Cell(
            Data("checks", True, "checks", 4, 1), profile, student, NONE, 0, precision
        )
        recipe, grid = profile.recipe(family.name), profile.grid(family)
        dataset = open_dataset(_small_set(), "train")
        frames = TrainingFrames(
            dataset=dataset,
            limit=None,
            grid=grid,
            augmentation=recipe.augmentation,
            objects=None,
            batch_size=2,
            batches_per_update=1,
            seed=0,
            device=torch.device("cpu"),
        )
        with RandomStream("teacher"):
            teacher = confident(family.deployed(family.build(1, grid)))
        teacher.eval().requires_grad_(False)
        self.setup = TrainingSetup(
            family=family,
            grid=grid,
            device=frames.device,
            precision=precision,
            frames=frames,
            teacher=teacher,
            recipe=recipe,
            on_failure=on_failure,
        )

    def learner(self, method: str) -> Learner:
        """The student with a method, ready to train.

        Raises:
            CheckError: the method cannot be built.
        """
        learner = _running(Learner(replace(self._cell, method=method), self.setup))
        confident(learner.model)
        return learner

    def batch(self) -> Batch:
        """The first training batch."""
        return next(self.setup.frames.epoch(0))

    def share(self, learner: Learner, batch: Batch) -> SharedBatch:
        """The batch as a learner sees it."""
        return SharedBatch(self.setup, batch, learner.needs, Clock(self.setup.device))

    def distil(self, method: str, batch: Batch) -> tuple[Learner, dict[str, Tensor]]:
        """A fresh learner and the method's losses on a batch."""
        learner = self.learner(method)
        shared = self.share(learner, batch)
        return learner, learner.losses_on(shared.inputs, shared.teacher)[1]


@cache
def workbench(
    student: str,
    precision: str = "fp32",
    on_failure: Callable[[BaseException], None] = unnoticed,
) -> Workbench:
    """The workbench of a student, made once."""
    return Workbench(student, precision, on_failure)


def run_checks(
    method: str,
    students: list[str] | None = None,
    on_failure: Callable[[BaseException], None] = unnoticed,
) -> Iterator[Outcome]:
    """Every check on every student; by default one student of each family.

    Args:
        method: written form of a registered method.
        on_failure: called with each error of the method, e.g. a debugger.
    """
    for student in students or default_students():
        bench = workbench(student, on_failure=on_failure)
        reason, without = _unsuited(bench, method), ""
        for name in CHECKS:
            if reason:
                yield Outcome(name, student, "skipped", reason)
            elif without:
                yield Outcome(name, student, "not run", without)
            else:
                outcome = _outcome(bench, method, name)
                if name == "finite" and outcome.status == "failed":
                    without = "finite failed"
                yield outcome


def method_checks(
    method: str,
    students: list[str] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> Any:
    """Decorator that runs a pytest function once for each ``check``.

    Args:
        method: written form of a method.
        expected_failures: reason by name of a check that is known to fail.
    """
    import pytest

    known = expected_failures or {}
    unknown = sorted(known.keys() - CHECKS.keys())
    if unknown:
        raise ValueError(f"unknown check {unknown[0]!r}; known are {', '.join(CHECKS)}")
    cases = [
        pytest.param(
            lambda student=student, name=name: _one_check(method, student, name),
            id=f"{student}-{name}",
            marks=[pytest.mark.xfail(reason=known[name], strict=True)] if name in known else [],
        )
        for student in students or default_students()
        for name in CHECKS
    ]
    return pytest.mark.parametrize("check", cases)


def default_students() -> list[str]:
    """One student of each family that runs here: the paper's first ratio."""
    return [
        f"{name}@{listed.ratios[0]}"
        for name, listed in FAMILIES.items()
        if not get_family(name).lacking()
    ]


def suitability(student: str, method: str) -> str:
    """Whether a method fits a student, what it adds to its step, and where its values come from."""
    bench = workbench(student)
    if _unsuited(bench, method):
        return "does not fit"
    made = create(method, student)
    source = "extrapolated" if made.extrapolated() else "source"
    return f"{_added(bench, method):+.0%}, {source}"


def _outcome(bench: Workbench, method: str, name: str) -> Outcome:
    """Run one check; whatever it raises is the method's failure."""
    try:
        with _keeping_dtype():
            return Outcome(name, bench.student, "passed", CHECKS[name](bench, method))
    except CheckWarning as warning:
        return Outcome(name, bench.student, "warning", str(warning))
    except CheckError as error:
        return Outcome(name, bench.student, "failed", str(error))
    except (Exception, SystemExit) as error:
        bench.setup.on_failure(error)
        place = place_of(error, create(method, bench.student), "loss")
        return Outcome(name, bench.student, "failed", describe(error) + place)


@contextmanager
def _keeping_dtype() -> Iterator[None]:
    """Undo a method's change of the default dtype, which would break what runs after it."""
    before = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _one_check(method: str, student: str, name: str) -> None:
    import pytest

    bench = workbench(student)
    if reason := _unsuited(bench, method):
        pytest.skip(reason)
    with suppress(CheckWarning):
        CHECKS[name](bench, method)


def is_documented(bench: Workbench, method: str) -> str:
    """The class says in its docstring what it does and where it comes from."""
    cls = method_class(method.partition(":")[0].partition("+")[0])
    require("Source:" in (cls.__doc__ or ""), "the docstring has no 'Source: ...'")
    return f"{cls.paper} ({cls.year})"


def has_finite_losses(bench: Workbench, method: str) -> str:
    """Losses are finite scalars."""
    losses = _scalars(bench.distil(method, bench.batch())[1])
    return ", ".join(f"{name} {value:.4g}" for name, value in losses.items()) or "no losses"


def reaches_the_student_only(bench: Workbench, method: str) -> str:
    """Gradients reach the student's weights and none of the teacher's."""
    learner, losses = bench.distil(method, bench.batch())
    if not losses:
        return "no losses"
    total = _total(losses)
    require(total.requires_grad, "the losses do not depend on the student")
    total.backward()
    assert bench.setup.teacher is not None
    touched = any(parameter.grad is not None for parameter in bench.setup.teacher.parameters())
    require(not touched, "the teacher's weights receive a gradient; use only its outputs")
    reached = sum(_has_gradient(parameter) for parameter in learner.model.parameters())
    require(reached > 0, "no weight of the student receives a gradient")
    return f"reaches {reached} of the student's tensors"


def leaves_all_it_is_given_alone(bench: Workbench, method: str) -> str:
    """Teacher, outputs and batch are unchanged."""
    learner = bench.learner(method)
    shared = bench.share(learner, bench.batch())
    before = state_hash(bench.setup.teacher)  # type: ignore[arg-type]
    learner.step(shared.inputs, shared.teacher)
    _running(learner)
    require(not shared.changed(), f"the method {shared.changed()}")
    after = state_hash(bench.setup.teacher)  # type: ignore[arg-type]
    require(after == before, "the teacher's weights changed")
    return ""


def is_deterministic(bench: Workbench, method: str) -> str:
    """Two runs from the same generator give the same losses, bit for bit."""
    first, second = (_scalars(bench.distil(method, bench.batch())[1]) for _ in range(2))
    require(first == second, f"first run {first}, second run {second}")
    return ""


def is_alone_as_in_a_cohort(bench: Workbench, method: str) -> str:
    """Other cells change nothing: equal weights and losses after an epoch."""
    alone = [bench.learner(method)]
    cohort = [bench.learner(NONE), bench.learner(method), bench.learner("logit_kd")]
    for learners in (alone, cohort):
        train(learners, bench.setup)
    one, other = (_running_or_done(learner) for learner in (alone[0], cohort[1]))
    require(state_hash(one.model) == state_hash(other.model), "the weights differ from those alone")
    require(one.losses_hash() == other.losses_hash(), "the losses differ from those alone")
    return ""


def is_none_at_weight_zero(bench: Workbench, method: str) -> str:
    """With weight 0 the student trains exactly as it does alone."""
    if "+" in method:
        return "not applicable: each part of a composition has its own weight"
    if not bench.distil(method, bench.batch())[1]:
        return "no losses"
    alone, weightless = bench.learner(NONE), bench.learner(f"{method}:weight=0")
    for learner in (alone, weightless):
        train([learner], bench.setup)
        _running_or_done(learner)
    same = state_hash(alone.model) == state_hash(weightless.model)
    require(same, "the weights differ from those of the student trained alone")
    return ""


def survives_sparse_frames(bench: Workbench, method: str) -> str:
    """A frame without points or objects, and one with a single object, give finite losses."""
    full = bench.batch()
    no_points = np.zeros((0, 4), np.float32)
    drawn = torch.from_numpy(draw_points(no_points, bench.setup.grid, frame_generator("nothing")))
    nothing = torch.zeros(0, 7), torch.zeros(0, dtype=torch.long), drawn
    one = full.boxes[0][:1], full.labels[0][:1], full.points[0]
    for frames in ([nothing, nothing], [one, nothing], [nothing, one], [one]):
        boxes, labels, points = zip(*frames, strict=True)
        learner = bench.learner(method)
        shared = bench.share(learner, Batch(boxes, labels, points, learner.setup.grid.class_names))
        learner.step(shared.inputs, shared.teacher)
        _running(learner)
        finite = all(parameter.isfinite().all() for parameter in learner.model.parameters())
        require(finite, "the student's weights are not finite after the step")
    return ""


def runs_in_bf16(bench: Workbench, method: str) -> str:
    """Finite losses when the detector runs under bf16 autocast."""
    half = workbench(bench.student, "bf16", bench.setup.on_failure)
    _scalars(half.distil(method, half.batch())[1])
    return ""


def restores_from_its_state(bench: Workbench, method: str) -> str:
    """A fresh copy that resumes an interrupted run reaches the same losses and weights."""
    trained, fresh = bench.learner(method), bench.learner(method)
    shared = bench.share(trained, bench.batch())
    trained.step(shared.inputs, shared.teacher)
    buffer = io.BytesIO()
    torch.save(trained.state(Position(0, 1)), buffer)
    buffer.seek(0)
    fresh.restore(torch.load(buffer, weights_only=True))
    for learner in (trained, fresh):
        learner.step(shared.inputs, shared.teacher)
        _running(learner)
    one, other = trained.latest_loss, fresh.latest_loss
    advice = "keep state in parameters and buffers, or derive it in on_epoch"
    require(one == other, f"loss {one} uninterrupted, {other} resumed; {advice}")
    same = state_hash(trained.model) == state_hash(fresh.model)
    require(same, f"the weights differ from those of an uninterrupted run; {advice}")
    return ""


def leaves_nothing_in_the_student(bench: Workbench, method: str) -> str:
    """The trained student has the parameters and buffers of a plain one."""
    plain, learner = bench.learner(NONE).model.state_dict(), bench.learner(method)
    shared = bench.share(learner, bench.batch())
    learner.step(shared.inputs, shared.teacher)
    state = learner.model.state_dict()
    require(
        state.keys() == plain.keys(),
        f"the student's state_dict differs in {sorted(state.keys() ^ plain.keys())[:3]}",
    )
    require(
        all(state[k].shape == plain[k].shape for k in plain),
        "shapes in the student's state_dict changed",
    )
    extra = sum(p.numel() for p in learner.method.parameters()) if learner.method else 0
    return f"{extra} parameters of its own"


def touches_no_global_state(bench: Workbench, method: str) -> str:
    """Global generators and the default dtype are unchanged; no other generator is used."""
    before = _global_state()
    learner = bench.learner(method)
    shared = bench.share(learner, bench.batch())
    learner.step(shared.inputs, shared.teacher)
    require(_global_state() == before, "a global random generator or the default dtype changed")
    return ""


def keeps_no_tensor_alive(bench: Workbench, method: str) -> str:
    """After a step nothing of teacher or student outputs is still referenced."""
    learner = bench.learner(method)
    shared = bench.share(learner, bench.batch())
    learner.step(shared.inputs, shared.teacher)
    kept = [weakref.ref(tensor) for tensor in shared.tensors()]
    del shared
    gc.collect()
    alive = sum(reference() is not None for reference in kept)
    require(not alive, f"{alive} of {len(kept)} tensors of the step are still referenced")
    return ""


def learns(bench: Workbench, method: str) -> str:
    """Twenty steps on one batch lower the method's loss."""
    learner = bench.learner(method)
    shared = bench.share(learner, bench.batch())
    optimizer = torch.optim.AdamW(learner.optimizer.param_groups, 1e-3)
    values = []
    for _ in range(21):
        learner.restart_streams()
        losses = learner.losses_on(shared.inputs, shared.teacher)[1]
        if not losses:
            return "no losses"
        optimizer.zero_grad()
        total = _total(losses)
        total.backward()
        optimizer.step()
        values.append(total.item())
    require(
        values[-1] < values[0],
        f"the loss is {values[0]:.4g} at first and {values[-1]:.4g} after 20 steps",
    )
    return f"{values[0]:.4g} to {values[-1]:.4g}"


def costs(bench: Workbench, method: str) -> str:
    """Time of the method's share of a step relative to the student's own; never fails."""
    extra = _added(bench, method)
    told = f"{extra:+.0%} of the student's step on this small grid"
    if extra >= CHEAP:
        raise CheckWarning(f"{told}, above {CHEAP:.0%}")
    return told


def _added(bench: Workbench, method: str) -> float:
    """Time of a step above that of the student alone, as a share of it."""
    seconds = {name: _step_seconds(bench, name) for name in (NONE, method)}
    return seconds[method] / seconds[NONE] - 1


CHECKS: dict[str, Checked] = {
    "documented": is_documented,
    "finite": has_finite_losses,
    "gradients": reaches_the_student_only,
    "no_mutation": leaves_all_it_is_given_alone,
    "deterministic": is_deterministic,
    "alone_as_together": is_alone_as_in_a_cohort,
    "weight_zero": is_none_at_weight_zero,
    "sparse_frames": survives_sparse_frames,
    "bf16": runs_in_bf16,
    "state_dict": restores_from_its_state,
    "deployed_student": leaves_nothing_in_the_student,
    "global_state": touches_no_global_state,
    "no_leak": keeps_no_tensor_alive,
    "learns": learns,
    "cost": costs,
}
"""Every check by name, in the order in which they run."""


def _profile() -> Profile:
    """The smoke profile on a region of about 10 m."""
    smoke = load_profile("smoke", epochs=1)
    recipes = {name: _nearby(recipe) for name, recipe in smoke.recipes.items()}
    return replace(smoke, recipes=recipes)


def _nearby(recipe: Recipe) -> Recipe:
    """Two frames a step, without objects of others."""
    assert recipe.grid is not None
    region = (0.0, -5.12, -3.0, 10.24, 5.12, 1.0)
    return replace(
        recipe,
        batch_size=2,
        micro_batch_size=2,
        augmentation=Recipe.augmentation,
        grid=replace(recipe.grid, point_cloud_range=region),
    )


@cache
def _small_set() -> Path:
    folder = tempfile.mkdtemp(prefix="pointkd-checks-")
    return synthetic.ensure(folder, seed=0, train=4, val=1, max_range=15.0)


def _unsuited(bench: Workbench, method: str) -> str:
    """Why a method does not suit a family, or nothing."""
    with _keeping_dtype():
        learner = Learner(replace(bench._cell, method=method), bench.setup)
    return learner.reason if learner.status == "skipped" else ""


@torch.no_grad()
def confident(model: nn.Module) -> nn.Module:
    """Set the class biases of a focal-loss head, log(0.01 / 0.99) at the start, to zero."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias") and bool((parameter < -4).all()):
            parameter.zero_()
    return model


def _running(learner: Learner) -> Learner:
    require(learner.running, f"the cell {learner.status}: {learner.reason}")
    return learner


def _running_or_done(learner: Learner) -> Learner:
    require(learner.status in ("running", "done"), f"{learner.status}: {learner.reason}")
    return learner


def _scalars(losses: Mapping[str, Tensor]) -> dict[str, float]:
    for name, value in losses.items():
        require(bool(torch.isfinite(value)), f"loss {name} is {value.item()}")
    return {name: value.item() for name, value in losses.items()}


def _total(losses: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def _has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.any())


def _step_seconds(bench: Workbench, method: str, steps: int = 5) -> float:
    """Fastest of a few steps, after one to warm up."""
    learner = bench.learner(method)
    shared = bench.share(learner, bench.batch())
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        learner.step(shared.inputs, shared.teacher)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _global_state() -> tuple[Any, ...]:
    numpy = np.random.get_state(legacy=False)["state"]  # type: ignore[call-overload]
    return (
        random.getstate(),
        (numpy["pos"], numpy["key"].tobytes()),
        torch.get_rng_state().numpy().tobytes(),
        torch.get_default_dtype(),
    )


def require(condition: bool, message: str) -> None:
    """Raise :class:`CheckError` unless a condition holds."""
    if not condition:
        raise CheckError(message)
