"""One cell in training."""

from __future__ import annotations

import bdb
import hashlib
import inspect
import json
import math
import multiprocessing
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmark.config.matrix import Cell
from benchmark.device import SettingError, unfit_build
from benchmark.records.record import KD_LOSS, Status
from benchmark.training.optimizer import OneCycleSchedule, make_optimizer
from benchmark.training.randomness import RandomStream
from benchmark.training.setup import Clock, Position, TrainingSetup
from benchmark.training.shared_settings import settings_kept
from detectors import DetectorError, Inputs, parse_student
from kd_methods import KDMethod, MethodError, Outputs
from kd_methods.core.errors import PointKDError, describe, legible
from kd_methods.core.interface import checked_needs
from kd_methods.core.registry import Composition, source_files

DIVERGENCE = 100.0
"""An epoch whose mean detection loss exceeds the first epoch's by this factor has diverged."""


class DivergedError(PointKDError):
    """A loss or a detection is not finite, or a loss has grown out of bounds."""


STATE_FIELDS = ("status", "reason", "trace", "losses", "latest_loss", "balance")
"""What a learner's state holds besides tensors, sums and seconds."""


class Learner:
    """One cell in training: student, method, optimizer, random streams, status.

    Attributes:
        status: ``running``, then ``done``, ``failed``, ``diverged`` or ``skipped``.
        reason: why it is neither running nor done.
        trace: the traceback of the error that ended it.
        losses: per epoch the mean of every loss.
        latest_loss: sum of the losses of the latest step.
        balance: factor of the method's losses under the cell's weighting.
        clock: seconds of its ``own`` steps, of the ``method`` within them, of the ``data`` and
            ``teacher`` forward passes that it shared, and its ``share`` of the latter two.
    """

    def __init__(self, cell: Cell, setup: TrainingSetup, balance: float = 1.0) -> None:
        self.cell, self.setup, self.balance = cell, setup, balance
        self.identity = cell.identity()
        self.status: Status | Literal["running"] = "running"
        self.reason = self.trace = ""
        self.losses: list[dict[str, float]] = []
        self.latest_loss = math.nan
        self.clock = Clock(setup.device)
        self.method: KDMethod | None = None
        self.needs: set[str] = set()
        self._sums: dict[str, float] = defaultdict(float)
        self._accumulated = 0
        self._stage, self._called = "", "loss"
        self.restart_streams()
        with self._guard():
            self._build()

    @property
    def running(self) -> bool:
        return self.status == "running"

    def restart_streams(self) -> None:
        """Restart the random streams of detector and method."""
        self._detector_stream = RandomStream("detector", self.cell.seed)
        self._method_stream = RandomStream("method", self.cell.seed)

    def begin_epoch(self, epoch: int) -> None:
        """Tell the method which epoch starts, from 0."""
        self._stage = f", in epoch {epoch + 1}"
        if self.method is not None:
            with self._guard(), self._in_method("on_epoch"):
                self.method.on_epoch(epoch, self.setup.epochs)

    def state(self, position: Position) -> dict[str, Any]:
        """All that :meth:`restore` needs to resume from here, as plain values and tensors."""
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
        """Resume from a :meth:`state`, bit for bit.

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
        parts = {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}
        parts["schedule"] = self.schedule
        return parts if self.method is None else {**parts, "method": self.method}

    def _streams(self) -> tuple[RandomStream, RandomStream]:
        return self._detector_stream, self._method_stream

    def share(self, seconds: Mapping[str, float], companions: int) -> None:
        """Record the seconds of what this cell shared with others in one step."""
        for kind, spent in seconds.items():
            self.clock.seconds[kind] += spent
        self.clock.seconds["share"] += sum(seconds.values()) / companions

    def step(self, inputs: Inputs, teacher: Outputs | None) -> None:
        """Forward and backward on a micro-batch, which stays unchanged.

        The weights are updated with the mean gradient after the recipe's number of micro-batches.
        """
        with self._guard(), self.clock.measure("own"):
            detection, distillation = self.losses_on(inputs, teacher)
            losses = detection | {KD_LOSS + name: value for name, value in distillation.items()}
            stacked = torch.stack(list(losses.values()))
            values = dict(zip(losses, stacked.tolist(), strict=True))  # the device waits once
            _check_finite(values)
            self.scaler.scale(stacked.sum() / self.setup.recipe.accumulation_steps).backward()
            self._accumulated += 1
            if self._accumulated == self.setup.recipe.accumulation_steps:
                self._update()
            self.latest_loss = sum(values.values())
            for name, value in values.items():
                self._sums[name] += value

    def _update(self) -> None:
        """Update the weights with the gradients accumulated so far."""
        self.scaler.unscale_(self.optimizer)
        clip = self.setup.recipe.max_grad_norm
        nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self._accumulated = 0

    def losses_on(
        self, inputs: Inputs, teacher: Outputs | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The detector's and the method's losses on a batch, with their graph."""
        family, method = self.setup.family, self.method if self.needs else None
        if method is not None and teacher is not None:
            with self._in_method("targets"):
                inputs = inputs.with_targets(method.targets(teacher, inputs.batch))
        with self._detector_stream, family.capture(self.model, self.needs, self.setup.grid) as take:
            with self.setup.autocast():
                detection = family.losses(self.model, inputs)
            student = take(inputs)
        if method is None or teacher is None:
            return detection, {}
        with self._in_method("loss"), self.clock.measure("method"):
            distillation = method(teacher, student, inputs.batch)
        return detection, {name: self.balance * v for name, v in distillation.items()}

    def end_epoch(self) -> None:
        """Keep the epoch's mean losses; end the cell if its detection loss has exploded."""
        self._stage = ""
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
        _, family, ratio = parse_student(self.cell.student)
        with self._detector_stream:
            self.model = family.build(ratio, self.setup.grid)
        family.place(self.model, self.setup.device).train()
        self.method = self.cell.new_method()
        if self.method is not None:
            with self._in_method("build"):
                self._build_method(self.method)
            self.method.to(self.setup.device).train()
        if not self.running:
            return
        groups = [self.model, *([self.method] if self.method is not None else [])]
        recipe, updates = self.setup.recipe, self.setup.epochs * self.setup.frames.updates
        self.optimizer = make_optimizer(groups, recipe, self.cell.rate)
        self.schedule = OneCycleSchedule(self.optimizer, recipe.one_cycle, updates)
        self.scaler = _scaler(self.setup.device, self.setup.precision == "fp16")

    def _build_method(self, method: KDMethod) -> None:
        """Only here may a method reject the student: the cell is skipped."""
        teacher, family, alignment = self.setup.teacher, self.setup.family, self.setup.alignment
        assert teacher is not None
        self.needs = checked_needs(method)
        try:
            family.taps(self.model, self.needs)
            theirs = (self.setup.guide or self.setup).family.spec(teacher)
            if alignment is not None:
                alignment.check(method)
                theirs = alignment.spec(theirs)
            method.build(theirs, family.spec(self.model))
            method.initialise(family.deployed(self.model), teacher)
        except (MethodError, DetectorError) as error:
            self.end("skipped", str(error))

    @contextmanager
    def _in_method(self, called: str) -> Iterator[None]:
        """The method's random stream, and nothing of the process changed afterwards.

        Args:
            called: the method's function, for whoever reads of its errors.
        """
        self._called = called
        with self._method_stream, settings_kept(self.cell.method):
            yield
        self._called = "loss"

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn an error into this cell's end; the others in its cohort continue."""
        self.setup.mark(self.identity)
        try:
            yield
        except DivergedError as error:
            self.end("diverged", str(error))
        except (Exception, SystemExit) as error:
            if isinstance(error, bdb.BdbQuit) and multiprocessing.parent_process() is None:
                raise KeyboardInterrupt from error  # somebody left the debugger
            if told := unfit_build(error):
                raise SettingError(told) from error
            self.setup.on_failure(error)
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End the cell with an error, reported with its place in the method's own code."""
        self.trace = "".join(traceback.format_exception(error))
        if isinstance(error, bdb.BdbQuit):
            told = "a breakpoint() needs `run --here`"
        elif isinstance(error, PointKDError):
            told = legible(str(error))
        else:
            told = describe(error)
        self.end(
            "failed", told + place_of(error, self.method, self._called if self.needs else "needs")
        )

    def end(self, status: Status, reason: str) -> None:
        """Take the cell out of the cohort."""
        self.status = status
        self.reason = reason + self._stage


def _check_finite(losses: Mapping[str, float]) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise DivergedError(f"loss {name} is {value}")


def _scaler(device: torch.device, enabled: bool) -> Any:
    """PyTorch's gradient scaler, which does nothing unless enabled."""
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device.type, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)  # torch 2.1 and 2.2


def _detection(losses: Mapping[str, float]) -> float:
    """The sum of an epoch's losses without the method's."""
    return sum(value for name, value in losses.items() if not name.startswith(KD_LOSS))


def place_of(error: BaseException, method: KDMethod | None, called: str) -> str:
    """Where in the method's own code an error arose: its last line there, else the function that
    was called. Without a method, where it arose at all."""
    frames = traceback.extract_tb(error.__traceback__)
    parts = list(method.parts) if isinstance(method, Composition) else [method] if method else []
    functions = [inspect.unwrap(getattr(type(part), called)).__code__ for part in parts]
    files = {code.co_filename for code in functions}
    files |= {str(file) for part in parts for file in source_files(type(part))}  # type: ignore[arg-type]
    own = [frame for frame in frames if frame.filename in files]
    if own or len(functions) != 1:
        frame = (own or frames)[-1]
        return f" ({Path(frame.filename).name}:{frame.lineno} in {frame.name})"
    (code,) = functions
    return f" ({Path(code.co_filename).name}:{code.co_firstlineno} in {called})"
