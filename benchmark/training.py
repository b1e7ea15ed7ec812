"""Train the cells of a cohort in lockstep: one batch, one voxelization, one teacher pass."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmark.data.batches import TrainingFrames
from benchmark.matrix import Cell
from benchmark.profiles import Recipe
from benchmark.randomness import RandomStream
from benchmark.schedule import Schedule
from detectors import DetectorError, Family, Grid, Inputs, parse_student
from kd_methods import Batch, KDMethod, MethodError, Outputs

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DIVERGENCE = 100.0
"""An epoch whose mean detection loss exceeds the first epoch's by this factor has diverged."""


class SettingError(ValueError):
    """A device or precision that this machine does not have."""


class DivergedError(RuntimeError):
    """A loss or a detection that is no finite number, or a loss that has grown out of bounds."""


class Position(NamedTuple):
    """How far a cohort has come: whole epochs, and batches of the epoch after them."""

    epoch: int = 0
    step: int = 0


BEGINNING = Position()


@dataclass(frozen=True)
class Setup:
    """What the cells of a cohort share while they train.

    Attributes:
        frames: the training frames.
        teacher: the frozen teacher in evaluation mode, None when teachers are trained.
        recipe: how the family is trained.
        precision: ``fp32``, ``bf16`` or ``fp16`` (autocast; losses always run in float32).
        mark: called with a cell's identity before something is done for that cell alone, and with
            other words before what cells share; it tells who was at work when a process dies.
    """

    family: Family
    grid: Grid
    frames: TrainingFrames
    teacher: nn.Module | None
    recipe: Recipe
    precision: str
    mark: Callable[[str], None] = lambda name: None

    @property
    def device(self) -> torch.device:
        return self.frames.device

    @property
    def epochs(self) -> int:
        return self.recipe.epochs

    @property
    def steps(self) -> int:
        """Batches in all."""
        return self.epochs * self.frames.steps

    @cached_property
    def voxelize(self) -> Callable[[Batch], Inputs]:
        """Training batches to inputs."""
        return self.family.voxelizer(self.grid, training=True)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """The precision of forward passes."""
        dtype = PRECISIONS[self.precision]
        with torch.autocast(self.device.type, dtype, enabled=self.precision != "fp32"):
            yield


@dataclass
class Clock:
    """Seconds spent by kind, the device's queue included."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        start = self._now()
        try:
            yield
        finally:
            self.seconds[kind] += self._now() - start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


STATE_FIELDS = ("status", "reason", "losses", "latest_loss", "balance")
"""What a learner's state holds beside tensors, sums and seconds."""


class Learner:
    """One cell in training: student, method, optimiser, random streams, status.

    Attributes:
        status: ``running``, then ``done``, ``failed``, ``diverged`` or ``skipped``.
        reason: why it is neither running nor done.
        losses: per epoch the mean of every loss.
        latest_loss: sum of the losses of the latest step.
        balance: factor of the method's losses that the cell's weighting asks for.
        clock: seconds of its ``own`` steps, of the ``method`` within them, of the ``data`` and
            ``teacher`` passes that it shared, and its ``share`` of the latter two.
    """

    def __init__(self, cell: Cell, setup: Setup, balance: float = 1.0) -> None:
        self.cell, self.setup, self.balance = cell, setup, balance
        self.identity = cell.identity()
        self.status, self.reason = "running", ""
        self.losses: list[dict[str, float]] = []
        self.latest_loss = math.nan
        self.clock = Clock(setup.device)
        self.method: KDMethod | None = None
        self.needs: set[str] = set()
        self._sums: dict[str, float] = defaultdict(float)
        self._passes = 0
        self.restart_streams()
        with self._guard():
            self._build()

    @property
    def running(self) -> bool:
        return self.status == "running"

    def restart_streams(self) -> None:
        """Let the random streams of detector and method begin anew."""
        self._detector_stream = RandomStream("detector", self.cell.seed)
        self._method_stream = RandomStream("method", self.cell.seed)

    def begin_epoch(self, epoch: int) -> None:
        """Tell the method which epoch starts, from 0."""
        if self.method is not None:
            with self._guard(), self._method_stream:
                self.method.on_epoch(epoch, self.setup.epochs)

    def state(self, position: Position) -> dict[str, Any]:
        """All that :meth:`restore` needs to go on from here, as plain values and tensors."""
        state = {
            "position": list(position),
            "fields": {name: getattr(self, name) for name in STATE_FIELDS},
            "sums": dict(self._sums),
            "seconds": dict(self.clock.seconds),
        }
        if self.status in ("running", "done"):
            state["streams"] = [stream.state() for stream in self._streams()]
            state["parts"] = {name: part.state_dict() for name, part in self._parts().items()}
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state`, to the bit.

        What a method keeps must be in parameters and buffers, or follow from ``on_epoch``.
        """
        position = Position(*state["position"])
        if self.running and position.step:
            self.begin_epoch(position.epoch)
        for name, value in state["fields"].items():
            setattr(self, name, value)
        self._sums.update(state["sums"])
        self.clock.seconds.update(state["seconds"])
        if "parts" in state:
            for name, part in self._parts().items():
                part.load_state_dict(state["parts"][name])
            for stream, where in zip(self._streams(), state["streams"], strict=True):
                stream.restore(where)

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimiser": self.optimiser, "scaler": self.scaler}
        parts["schedule"] = self.schedule
        return parts if self.method is None else {**parts, "method": self.method}

    def _streams(self) -> tuple[RandomStream, RandomStream]:
        return self._detector_stream, self._method_stream

    def share(self, seconds: Mapping[str, float], companions: int) -> None:
        """Book the seconds of what this cell shared with others in one step."""
        for kind, spent in seconds.items():
            self.clock.seconds[kind] += spent
        self.clock.seconds["share"] += sum(seconds.values()) / companions

    def step(self, inputs: Inputs, teacher: Outputs | None) -> None:
        """Forward and backward on a batch, which stays as it is.

        The weights move once the recipe's number of batches is through, by the mean gradient.
        """
        with self._guard(), self.clock.measure("own"):
            detection, distillation = self.losses_on(inputs, teacher)
            losses = detection | {f"kd.{name}": value for name, value in distillation.items()}
            stacked = torch.stack(list(losses.values()))
            values = dict(zip(losses, stacked.tolist(), strict=True))  # the device waits once
            _check_finite(values)
            self.scaler.scale(stacked.sum() / self.setup.recipe.passes).backward()
            self._passes += 1
            if self._passes == self.setup.recipe.passes:
                self._update()
            self.latest_loss = sum(values.values())
            for name, value in values.items():
                self._sums[name] += value

    def _update(self) -> None:
        """Move the weights by the gradients gathered so far."""
        self.scaler.unscale_(self.optimiser)
        clip = self.setup.recipe.gradient_clip
        nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.schedule.step()
        self._passes = 0

    def losses_on(
        self, inputs: Inputs, teacher: Outputs | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The detector's and the method's losses on a batch, with their graph."""
        family, method = self.setup.family, self.method if self.needs else None
        if method is not None and teacher is not None:
            with self._method_stream:
                inputs = inputs.with_targets(method.targets(teacher, inputs.batch))
        with self._detector_stream, family.capture(self.model, self.needs, self.setup.grid) as take:
            with self.setup.autocast():
                detection = family.losses(self.model, inputs)
            student = take(inputs)
        if method is None or teacher is None:
            return detection, {}
        with self._method_stream, self.clock.measure("method"):
            distillation = method(teacher, student, inputs.batch)
        return detection, {name: self.balance * v for name, v in distillation.items()}

    def end_epoch(self) -> None:
        """Keep the epoch's mean losses; end the cell if its detection loss has exploded."""
        steps = self.setup.frames.steps
        self.losses.append({name: total / steps for name, total in sorted(self._sums.items())})
        self._sums.clear()
        first, last = (_detection(self.losses[i]) for i in (0, -1))
        if last > DIVERGENCE * first:
            self.end("diverged", f"detection loss grew from {first:.3g} to {last:.3g}")

    def losses_hash(self) -> str:
        """SHA-256 of the mean losses of every epoch, to the last bit."""
        exact = [{name: value.hex() for name, value in epoch.items()} for epoch in self.losses]
        return hashlib.sha256(json.dumps(exact).encode()).hexdigest()

    def _build(self) -> None:
        family, ratio = parse_student(self.cell.student)
        with self._detector_stream:
            self.model = family.build(ratio, self.setup.grid)
        family.place(self.model, self.setup.device).train()
        self.method = self.cell.new_method()
        if self.method is not None:
            with self._method_stream:
                self._build_method(self.method)
            self.method.to(self.setup.device).train()
        groups: list[dict[str, Any]] = [{"params": list(self.model.parameters())}]
        if self.method is not None:
            groups.append({"params": list(self.method.parameters())})
        recipe = self.setup.recipe
        self.optimiser = torch.optim.AdamW(
            groups, recipe.learning_rate, recipe.betas, weight_decay=recipe.weight_decay
        )
        updates = recipe.epochs * self.setup.frames.updates
        self.schedule = Schedule(self.optimiser, recipe.cycle, updates)
        self.scaler = _scaler(self.setup.device, self.setup.precision == "fp16")

    def _build_method(self, method: KDMethod) -> None:
        assert self.setup.teacher is not None
        family = self.setup.family
        self.needs = method.needs()
        family.taps(self.model, self.needs)
        method.build(family.spec(self.setup.teacher), family.spec(self.model))
        method.initialise(self.model, self.setup.teacher)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn an error into this cell's end; its companions go on."""
        self.setup.mark(self.identity)
        try:
            yield
        except DivergedError as error:
            self.end("diverged", str(error))
        except (MethodError, DetectorError) as error:
            self.end("skipped" if not self.losses and not self._sums else "failed", str(error))
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            self.end("failed", f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})")

    def end(self, status: str, reason: str) -> None:
        """Take the cell out of the cohort."""
        self.status = status
        self.reason = f"{reason}, in epoch {len(self.losses) + 1}" if self._sums else reason


class SharedBatch:
    """What all cells see in one step, and a guard over it.

    Attributes:
        inputs: the voxelised batch.
        teacher: the frozen teacher's outputs, None where no method asks for any.
    """

    def __init__(self, setup: Setup, batch: Batch, needs: set[str], clock: Clock) -> None:
        self.setup, self.needs = setup, needs
        with clock.measure("data"):
            self._spare = copy.deepcopy(batch)
            self.inputs = setup.voxelize(batch)
        with clock.measure("teacher"):
            self._observe()

    def changed(self) -> str:
        """What of it was changed in place or otherwise: a reason, or nothing."""
        current = self._versions()
        return next((f"changed {k} in place" for k, v in current.items() if v != self._was[k]), "")

    def tensors(self) -> list[Tensor]:
        """Every captured tensor of the teacher's outputs."""
        return self._captured

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Make it again, the teacher's weights included, for the cells that come after."""
        assert self.setup.teacher is not None
        self.setup.teacher.load_state_dict(weights)
        self.setup.teacher.eval().requires_grad_(False)
        self.inputs = self.setup.voxelize(copy.deepcopy(self._spare))
        self._observe()

    def _observe(self) -> None:
        self.teacher = observe_teacher(self.setup, self.inputs, self.needs)
        self._captured = list(_tensors(self.teacher))
        self._was = self._versions()

    def _versions(self) -> dict[str, Any]:
        batch, model = self.inputs.batch, self.setup.teacher
        weights = [] if model is None else list(model.state_dict(keep_vars=True).values())
        return {
            "the teacher's weights": [tensor._version for tensor in weights],
            "the teacher's mode": None if model is None else [m.training for m in model.modules()],
            "the batch": [t._version for t in (*batch.points, *batch.boxes, *batch.labels)],
            "the teacher's outputs": [tensor._version for tensor in self._captured],
        }


Watch = Callable[[Position, "list[Learner]"], None]
"""Called after each batch, at the end of an epoch once its losses are kept."""


def train(
    learners: list[Learner],
    setup: Setup,
    watch: Watch = lambda *_: None,
    start: Position = BEGINNING,
) -> None:
    """Train learners in lockstep to the last epoch, or until none is left running."""
    weights = {} if setup.teacher is None else copy.deepcopy(setup.teacher.state_dict())
    for epoch in range(start.epoch, setup.epochs):
        first = start.step if epoch == start.epoch else 0
        train_epoch(learners, setup, epoch, weights, watch, first)
        if not _running(learners):
            return
    for learner in _running(learners):
        learner.status = "done"


def train_epoch(
    learners: list[Learner],
    setup: Setup,
    epoch: int,
    weights: Mapping[str, Tensor],
    watch: Watch = lambda *_: None,
    first: int = 0,
) -> None:
    """One epoch in lockstep.

    Args:
        weights: the teacher's, to put back should a method change them.
        first: the batch to begin with.
    """
    if not first:
        for learner in _running(learners):
            learner.begin_epoch(epoch)
    batches = setup.frames.epoch(epoch, first)
    for step in range(first, setup.frames.steps):
        clock = Clock(setup.device)
        setup.mark("data and teacher")
        with clock.measure("data"):
            batch = next(batches)
        shared = SharedBatch(setup, batch, _needs(learners), clock)
        companions = _running(learners)
        for learner in companions:
            learner.share(clock.seconds, len(companions))
            learner.step(shared.inputs, shared.teacher)
            if learner.method is not None and (change := shared.changed()):
                learner.end("failed", f"{learner.cell.method} {change}")
                shared.restore(weights)
        if step + 1 < setup.frames.steps:
            watch(Position(epoch, step + 1), learners)
    for learner in _running(learners):
        learner.end_epoch()
    watch(Position(epoch + 1), learners)


@torch.no_grad()
def observe_teacher(setup: Setup, inputs: Inputs, needs: set[str]) -> Outputs | None:
    """The frozen teacher's outputs on a batch; None where no method asks for any."""
    if setup.teacher is None or not needs:
        return None
    with setup.family.capture(setup.teacher, needs, setup.grid) as take:
        with setup.autocast():
            setup.family.observe(setup.teacher, inputs)
        return take(inputs)


def make_deterministic(device: torch.device) -> None:
    """Let PyTorch choose deterministic kernels; on CUDA it warns where there is none."""
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes CUDA where there is some.

    Raises:
        SettingError: no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingError(
            f"device {name!r} cannot be used: {str(error).splitlines()[0]}"
        ) from None
    return device


def _check_finite(losses: Mapping[str, float]) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise DivergedError(f"loss {name} is {value}")


def choose_precision(name: str, device: torch.device) -> str:
    """The precision of that name; ``auto`` takes bf16 where the device has units for it.

    Raises:
        SettingError: no such precision.
    """
    if name == "auto":
        return "bf16" if _fast_bf16(device) else "fp32"
    if name not in PRECISIONS:
        raise SettingError(f"precision {name!r}: use auto or one of {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type != "cuda":
        raise SettingError("precision 'fp16' needs a CUDA device; use bf16 or fp32 here")
    return name


def _fast_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 instructions (on x86: AVX-512 BF16 or AMX)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def state_hash(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers, by name."""
    return weights_hash(module.state_dict())


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _running(learners: Sequence[Learner]) -> list[Learner]:
    return [learner for learner in learners if learner.running]


def _tensors(outputs: Outputs | None) -> Iterator[Tensor]:
    """Every captured tensor of a forward pass."""
    for captured in vars(outputs).values() if outputs is not None else ():
        for item in captured if isinstance(captured, list) else [captured]:
            if dataclasses.is_dataclass(item):
                yield from (v for v in vars(item).values() if isinstance(v, Tensor))


def _scaler(device: torch.device, enabled: bool) -> Any:
    """PyTorch's gradient scaler, which does nothing unless enabled."""
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device.type, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)  # torch 2.1 and 2.2


def _detection(losses: Mapping[str, float]) -> float:
    """The sum of an epoch's losses without the method's."""
    return sum(value for name, value in losses.items() if not name.startswith("kd."))


def _needs(learners: Sequence[Learner]) -> set[str]:
    return set().union(*(learner.needs for learner in _running(learners)))
