"""What a training run shows: a bar or lines, a log file, TensorBoard curves."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from benchmark.training.learner import Learner
from benchmark.training.setup import BEGINNING, Position, TrainingSetup


class TrainingProgress:
    """A bar on a terminal, a line per epoch elsewhere: loss, frames per second, time left."""

    def __init__(self, title: str, setup: TrainingSetup, start: Position = BEGINNING) -> None:
        self.title, self.setup = title, setup
        self.begun, self.first = time.perf_counter(), self._batches(start)
        self.bar = None
        if sys.stderr.isatty():
            self.bar = tqdm(total=setup.steps, initial=self.first, desc=title, unit="step")

    def __call__(self, position: Position, learners: Sequence[Learner]) -> None:
        """Called after every batch."""
        done = self._batches(position) - self.first
        if self.bar is not None:
            self.bar.update(1)
            self.bar.set_postfix_str(self._state(done, learners))
        elif not position.step:
            left = self.setup.steps - self._batches(position)
            seconds = left * (time.perf_counter() - self.begun) / done
            print(
                f"{self.title}: epoch {position.epoch}/{self.setup.epochs}, "
                f"{self._state(done, learners)}, {seconds:.0f} s left",
                flush=True,
            )

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.close()

    def _batches(self, position: Position) -> int:
        return position.epoch * self.setup.frames.steps + position.step

    def _state(self, done: int, learners: Sequence[Learner]) -> str:
        rate = done * self.setup.frames.batch_size / (time.perf_counter() - self.begun)
        ended = [learner for learner in learners if learner.status not in ("running", "done")]
        losses = [lr.latest_loss for lr in learners if lr not in ended]
        parts = [f"loss {losses[0]:.3f}"] if losses else []
        parts.append(f"{rate:.1f} frames/s")
        if ended:
            parts.append(f"{len(ended)} of {len(learners)} cells ended early")
        return ", ".join(parts)


class Curves:
    """Mean losses per epoch for TensorBoard, one folder per cell.

    Args:
        folder: for the folders.
        start: epoch to resume from; what an interrupted run logged of later ones is hidden.
    """

    def __init__(self, folder: Path, start: int) -> None:
        self.folder, self.start = folder, start

    def write(self, learners: Sequence[Learner]) -> None:
        """Add the latest epoch of the running cells."""
        from torch.utils.tensorboard import SummaryWriter

        for learner in learners:
            if learner.status not in ("running", "done"):
                continue
            cell = learner.cell
            name = f"{cell.student} {cell.method} seed {cell.seed} {learner.identity}"
            with SummaryWriter(str(self.folder / name), purge_step=self.start) as writer:
                for loss, value in learner.losses[-1].items():
                    writer.add_scalar(loss, value, len(learner.losses))


def open_log(path: Path) -> logging.Logger:
    """A log file to append to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = logging.getLogger(str(path))
    if not log.handlers:
        handler = logging.FileHandler(path)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    return log


def summary(learner: Learner, position: Position) -> str:
    """One line on a cell for the log."""
    cell = learner.cell
    return (
        f"{cell.student} {cell.method} seed {cell.seed}: {learner.status}, epoch {position.epoch}, "
        f"loss {learner.latest_loss:.4f}"
    )
