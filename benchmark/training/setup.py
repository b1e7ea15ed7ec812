"""What the cells of a cohort share while they train."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import nn

from benchmark.config.recipe import Recipe
from benchmark.data.batches import TrainingFrames
from benchmark.device import PRECISIONS
from detectors import Family, Grid, Inputs
from kd_methods import Batch
from kd_methods.core.alignment import Alignment


class Position(NamedTuple):
    """A cohort's progress: whole epochs, and batches of the next epoch."""

    epoch: int = 0
    step: int = 0


BEGINNING = Position()


def unmarked(name: str) -> None:
    """Ignores what is done next."""


def unasked() -> bool:
    """Never asks to stop."""
    return False


def unnoticed(error: BaseException) -> None:
    """Ignores an error."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What runs a network.

    Attributes:
        family: the network's.
        grid: what it sees.
        device: that it runs on.
        precision: ``fp32``, ``bf16`` or ``fp16`` (autocast; losses always run in float32).
        mark: called with a cell's identity before something is done for that cell alone, and with
            other words before what cells share; it shows what a process was doing when it died.
    """

    family: Family
    grid: Grid
    device: torch.device
    precision: str = "fp32"
    mark: Callable[[str], None] = unmarked

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """The precision of forward passes."""
        mixed = self.precision != "fp32"  # which PyTorch 2.1 refuses even where it is not enabled
        dtype = getattr(torch, PRECISIONS[self.precision]) if mixed else None
        with torch.autocast(self.device.type, dtype, enabled=mixed):
            yield


@dataclass(frozen=True, kw_only=True)
class TrainingSetup(Setup):
    """What the cells of a cohort share while they train.

    Attributes:
        frames: the training frames.
        teacher: the frozen teacher in evaluation mode, None when teachers are trained.
        guide: what runs the teacher, None where the students' family and grid are its own.
        recipe: how the family is trained.
        on_failure: called with the error that is about to end a cell; a debugger looks there.
    """

    frames: TrainingFrames
    teacher: nn.Module | None
    recipe: Recipe
    guide: Setup | None = None
    on_failure: Callable[[BaseException], None] = unnoticed

    @property
    def epochs(self) -> int:
        """Passes over the training frames."""
        return self.recipe.epochs

    @property
    def steps(self) -> int:
        """Batches in all."""
        return self.epochs * self.frames.steps

    @cached_property
    def voxelize(self) -> Callable[[Batch], Inputs]:
        """Training batches to inputs."""
        return self.family.voxelizer(self.grid, training=True)

    @cached_property
    def revoxelize(self) -> Callable[[Batch], Inputs]:
        """Training batches to inputs of the ``guide``."""
        assert self.guide is not None
        return self.guide.family.voxelizer(self.guide.grid, training=True)

    @cached_property
    def alignment(self) -> Alignment | None:
        """How the teacher's outputs are brought to the students', None where they are alike."""
        if self.guide is None:
            return None
        theirs, ours = (s.family.maps(s.grid) for s in (self.guide, self))
        return Alignment(theirs, ours, related=self.guide.family.name == self.family.name)


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
