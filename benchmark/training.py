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
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.data.batches import TrainingFrames
from benchmark.matrix import Cell
from benchmark.randomness import RandomStream
from detectors import DetectorError, Family, Grid, Inputs, parse_student
from kd_methods import Batch, KDMethod, MethodError, Outputs

BETAS = (0.95, 0.99)
WEIGHT_DECAY = 0.01
PEAK = 10.0
"""AdamW and one-cycle settings of mmdet3d's cyclic KITTI schedules."""


PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class SettingError(ValueError):
    """A device or precision that this machine does not have."""


class DivergedError(RuntimeError):
    """A loss that is no finite number."""


@dataclass(frozen=True)
class Setup:
    """What the cells of a cohort share while they train.

    Attributes:
        frames: the training frames.
        teacher: the frozen teacher in evaluation mode, None when teachers are trained.
        epochs: passes over the frames.
        learning_rate: at the start of the one-cycle schedule.
        precision: ``fp32`` or ``bf16`` (autocast; losses always run in float32).
    """

    family: Family
    grid: Grid
    frames: TrainingFrames
    teacher: nn.Module | None
    epochs: int
    learning_rate: float
    precision: str

    @property
    def device(self) -> torch.device:
        return self.frames.device

    @property
    def steps(self) -> int:
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


class Learner:
    """One cell in training: student, method, optimiser, random streams, status.

    Attributes:
        status: ``running``, then ``done``, ``failed``, ``diverged`` or ``skipped``.
        reason: why it is neither running nor done.
        losses: per epoch the mean of every loss.
        latest_loss: sum of the losses of the latest step.
        balance: factor of the method's losses that the cell's weighting asks for.
    """

    def __init__(self, cell: Cell, setup: Setup, balance: float = 1.0) -> None:
        self.cell, self.setup, self.balance = cell, setup, balance
        self.status, self.reason = "running", ""
        self.losses: list[dict[str, float]] = []
        self.latest_loss = math.nan
        self.clock = Clock(setup.device)
        self.method: KDMethod | None = None
        self.needs: set[str] = set()
        self._sums: dict[str, float] = defaultdict(float)
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

    def step(self, inputs: Inputs, teacher: Outputs | None) -> None:
        """One optimisation step on a batch; the inputs stay as they are."""
        with self._guard(), self.clock.measure("own"):
            losses = self._forward(inputs, teacher)
            total = torch.stack(list(losses.values())).sum()
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.setup.family.gradient_clip)
            self.optimiser.step()
            self.schedule.step()
            self.latest_loss = total.item()
            for name, value in losses.items():
                self._sums[name] += value.item()

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
        """Keep the epoch's mean losses."""
        steps = self.setup.frames.steps
        self.losses.append({name: total / steps for name, total in sorted(self._sums.items())})
        self._sums.clear()

    def losses_hash(self) -> str:
        """SHA-256 of the mean losses of every epoch, to the last bit."""
        exact = [{name: value.hex() for name, value in epoch.items()} for epoch in self.losses]
        return hashlib.sha256(json.dumps(exact).encode()).hexdigest()

    def _build(self) -> None:
        family, ratio = parse_student(self.cell.student)
        with self._detector_stream:
            self.model = family.build(ratio, self.setup.grid)
        self.model.to(self.setup.device, memory_format=torch.channels_last).train()
        self.method = self.cell.new_method()
        if self.method is not None:
            with self._method_stream:
                self._build_method(self.method)
            self.method.to(self.setup.device).train()
        groups: list[dict[str, Any]] = [{"params": list(self.model.parameters())}]
        if self.method is not None:
            groups.append({"params": list(self.method.parameters())})
        rate = self.setup.learning_rate
        self.optimiser = torch.optim.AdamW(groups, rate, BETAS, weight_decay=WEIGHT_DECAY)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            max_lr=PEAK * rate,
            total_steps=max(self.setup.steps, 2),
            pct_start=0.4,
            div_factor=PEAK,
            final_div_factor=1e4,
        )

    def _build_method(self, method: KDMethod) -> None:
        assert self.setup.teacher is not None
        family = self.setup.family
        self.needs = method.needs()
        family.taps(self.model, self.needs)
        method.build(family.spec(self.setup.teacher), family.spec(self.model))
        method.initialise(self.model, self.setup.teacher)

    def _forward(self, inputs: Inputs, teacher: Outputs | None) -> dict[str, Tensor]:
        detection, distillation = self.losses_on(inputs, teacher)
        losses = detection | {f"kd.{name}": value for name, value in distillation.items()}
        for name, value in losses.items():
            if not math.isfinite(value.item()):
                raise DivergedError(f"loss {name} is {value.item()}")
        return losses

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn an error into this cell's end; its companions go on."""
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


Progress = Callable[[int, int, "list[Learner]"], None]
"""Called after each step with the epoch (from 0), the step within it and the learners."""


def train(
    learners: list[Learner], setup: Setup, progress: Progress = lambda *_: None
) -> dict[str, float]:
    """Train learners in lockstep to the last epoch.

    Returns:
        The seconds spent on what they share (``data``, ``teacher``).
    """
    weights = {} if setup.teacher is None else copy.deepcopy(setup.teacher.state_dict())
    clock = Clock(setup.device)
    for epoch in range(setup.epochs):
        train_epoch(learners, setup, epoch, weights, clock, progress)
    for learner in _running(learners):
        learner.status = "done"
    return dict(clock.seconds)


def train_epoch(
    learners: list[Learner],
    setup: Setup,
    epoch: int,
    weights: Mapping[str, Tensor],
    clock: Clock,
    progress: Progress = lambda *_: None,
) -> None:
    """One epoch in lockstep.

    Args:
        weights: the teacher's, to put back should a method change them.
    """
    for learner in _running(learners):
        learner.begin_epoch(epoch)
    batches = setup.frames.epoch(epoch)
    for step in range(setup.frames.steps):
        with clock.measure("data"):
            batch = next(batches)
        shared = SharedBatch(setup, batch, _needs(learners), clock)
        for learner in _running(learners):
            learner.step(shared.inputs, shared.teacher)
            if learner.method is not None and (change := shared.changed()):
                learner.end("failed", f"{learner.cell.method} {change}")
                shared.restore(weights)
        progress(epoch, step, learners)
    for learner in _running(learners):
        learner.end_epoch()


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


def choose_precision(name: str, device: torch.device) -> str:
    """The precision of that name; ``auto`` takes bf16 where the device has units for it.

    Raises:
        SettingError: no such precision.
    """
    if name == "auto":
        return "bf16" if _fast_bf16(device) else "fp32"
    if name not in PRECISIONS:
        raise SettingError(f"precision {name!r}: use auto or one of {', '.join(PRECISIONS)}")
    return name


def _fast_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 instructions (on x86: AVX-512 BF16 or AMX)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def state_hash(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
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


def _needs(learners: Sequence[Learner]) -> set[str]:
    return set().union(*(learner.needs for learner in _running(learners)))
