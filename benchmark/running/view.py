"""How far the cells of several jobs are: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from benchmark.config.matrix import Cell
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
        self._begun, self._next, self._told = time.monotonic(), 0.0, 0.0
        self._cells = [_Seen(job, cell) for job in jobs for cell in job.cells]
        self._epochs = sum(cell.epochs for cell in self._cells)
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
        state = f"{ended} of {len(self._cells)} cells ended"
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
        ended = [cell.ended() for cell in self._cells]
        epochs = [
            cell.epochs if over else cell.trained()
            for cell, over in zip(self._cells, ended, strict=True)
        ]
        return sum(epochs), sum(ended)

    def _left(self, epochs: int) -> str:
        """The time that is left at the pace so far."""
        if not self._first < epochs < self._epochs:
            return ""
        pace = (time.monotonic() - self._begun) / (epochs - self._first)
        return f", about {pace * (self._epochs - epochs) / 60:.0f} min left"


class _Seen:
    """A cell that is looked at; its identity is hashed once."""

    def __init__(self, job: Job, cell: Cell) -> None:
        self.epochs = cell.recipe.epochs
        self._identity, self._record = cell.identity(), job.workplace.record_path(cell)
        self._journal = Journal(job.workplace.results)

    def ended(self) -> bool:
        """Whether it has a record."""
        return self._record.exists()

    def trained(self) -> int:
        """The epochs that it says are trained."""
        return self._journal.entry(self._identity).get("epoch") or 0
