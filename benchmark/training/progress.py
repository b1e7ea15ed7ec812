"""What a training run leaves to be watched: a log file, TensorBoard curves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from benchmark.training.learner import Learner
from benchmark.training.setup import Position


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
            name = f"{cell.title} {learner.identity}"
            with SummaryWriter(str(self.folder / name), purge_step=self.start) as writer:
                for loss, value in learner.losses[-1].items():
                    writer.add_scalar(loss, value, len(learner.losses))


def open_log(path: Path) -> logging.Logger:
    """A log file to append to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = logging.getLogger(str(path))
    if not log.handlers:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    return log


def summary(learner: Learner, position: Position) -> str:
    """One line on a cell for the log."""
    cell = learner.cell
    return f"{cell.title}: {learner.status}, epoch {position.epoch}, loss {learner.latest_loss:.4f}"
