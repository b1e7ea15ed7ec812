"""Progress of training: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from benchmark.training import Learner, Setup


class TrainingProgress:
    """Shows epoch, loss of the first running cell, frames per second and time left."""

    def __init__(self, title: str, setup: Setup) -> None:
        self.title, self.setup = title, setup
        self.start = time.perf_counter()
        self.bar = tqdm(total=setup.steps, desc=title, unit="step") if sys.stderr.isatty() else None

    def __call__(self, epoch: int, step: int, learners: Sequence[Learner]) -> None:
        """Called after every step."""
        done = epoch * self.setup.frames.steps + step + 1
        if self.bar is not None:
            self.bar.update(1)
            self.bar.set_postfix_str(self._state(done, learners))
        elif step + 1 == self.setup.frames.steps:
            left = (self.setup.steps - done) * (time.perf_counter() - self.start) / done
            print(
                f"{self.title}: epoch {epoch + 1}/{self.setup.epochs}, "
                f"{self._state(done, learners)}, {left:.0f} s left",
                flush=True,
            )

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.close()

    def _state(self, done: int, learners: Sequence[Learner]) -> str:
        rate = done * self.setup.frames.batch_size / (time.perf_counter() - self.start)
        ended = [learner for learner in learners if not learner.running]
        state = f"loss {learners[0].latest_loss:.3f}, {rate:.1f} frames/s"
        return state + (f", {len(ended)} cells ended early" if ended else "")
