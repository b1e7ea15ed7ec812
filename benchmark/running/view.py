"""How far the cells of several jobs are: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from benchmark.running.journal import Journal
from benchmark.running.workplace import Job

PERIOD = 2.0
"""Seconds between two looks at the journal, at least."""
SHARE = 50
"""Times that a look takes until the next one: large matrices are looked at less often."""
QUIET = 60.0
"""Seconds after which a line is printed although no cell has ended."""


class View:
    """One view of all processes of a run, from what they write into the journal."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs, self._begun, self._next, self._told = jobs, time.monotonic(), 0.0, 0.0
        self._cells = sum(len(job.cells) for job in jobs)
        self._epochs = sum(_epochs(job) * len(job.cells) for job in jobs)
        self._first, self._ended = self._done()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=self._epochs, initial=self._first, unit="epoch")

    def show(self) -> None:
        """Look, and tell what is new."""
        now = time.monotonic()
        if now < self._next:
            return
        epochs, ended = self._done()
        self._next = now + max(PERIOD, SHARE * (time.monotonic() - now))
        state = f"{ended} of {self._cells} cells done"
        if self._bar is not None:
            self._bar.update(epochs - self._bar.n)
            self._bar.set_postfix_str(state)
        elif ended > self._ended or now - self._told >= QUIET:
            print(f"{state}, {epochs} of {self._epochs} epochs{self._left(epochs)}", flush=True)
            self._told = now
        self._ended = ended

    def close(self) -> None:
        """Tell what came last; end the bar."""
        self._next = 0.0
        self.show()
        if self._bar is not None:
            self._bar.close()

    def _done(self) -> tuple[int, int]:
        """Epochs that are trained, and cells that have a record."""
        epochs = ended = 0
        for job in self._jobs:
            journal = Journal(job.workplace.results)
            for cell in job.cells:
                if job.workplace.finished(cell):
                    epochs, ended = epochs + _epochs(job), ended + 1
                else:
                    epochs += journal.entry(cell).get("epoch", 0)
        return epochs, ended

    def _left(self, epochs: int) -> str:
        """The time that is left at the pace so far."""
        if epochs <= self._first:
            return ""
        pace = (time.monotonic() - self._begun) / (epochs - self._first)
        return f", about {pace * (self._epochs - epochs) / 60:.0f} min left"


def _epochs(job: Job) -> int:
    """Of each cell."""
    cell = job.cells[0]
    return cell.profile.recipe(cell.family).epochs
