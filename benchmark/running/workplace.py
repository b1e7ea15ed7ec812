"""Where cohorts run, and what a process is asked to run there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from benchmark.config.matrix import Cell
from benchmark.records import store
from benchmark.records.folder import ResultsFolder
from benchmark.records.record import Record, cohort_title
from benchmark.records.store import NONE
from detectors import load_detectors
from kd_methods import load_plugin


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where cohorts run.

    Attributes:
        data: folder in KITTI's layout.
        results: what is kept of the cells, see :class:`~benchmark.records.folder.ResultsFolder`.
        cache: keeps teachers and model costs for other results folders.
        device: that trains and evaluates.
        plugins: files that register methods.
        detectors: files of detectors that are none of ours, by name.
        patience: seconds after which a process that does nothing is ended.
        checkpoint_minutes: time between two checkpoints.
        workers: processes that read frames ahead of each cohort.
    """

    data: Path
    results: Path
    cache: Path
    device: torch.device
    plugins: Sequence[Path] = ()
    detectors: Mapping[str, Path] = field(default_factory=dict)
    patience: float = 900.0
    checkpoint_minutes: float = 5.0
    workers: int = 0

    def load_others(self) -> None:
        """Load the methods and detectors that are none of ours into this process.

        Raises:
            MethodError, DetectorError: a file cannot be loaded.
        """
        for plugin in self.plugins:
            load_plugin(plugin)
        load_detectors(self.detectors)

    def absolute(self) -> Workplace:
        """The same as seen from any folder."""
        return replace(
            self,
            data=self.data.resolve(),
            results=self.results.resolve(),
            cache=self.cache.resolve(),
            plugins=tuple(plugin.resolve() for plugin in self.plugins),
            detectors={name: file.resolve() for name, file in self.detectors.items()},
        )

    def for_teachers(self) -> Workplace:
        """The same with the cache's teachers as its results."""
        return replace(self, results=self.cache / "teachers")

    @property
    def folder(self) -> ResultsFolder:
        """The paths of the results."""
        return ResultsFolder(self.results)

    def record_path(self, cell: Cell) -> Path:
        """Where the record of a cell is or will be."""
        return self.folder.record(cell.identity())

    def finished(self, cell: Cell) -> bool:
        """Whether a cell has a record, whatever its status."""
        return self.record_path(cell).exists()

    def record(self, cell: Cell) -> Record:
        """The record of a finished cell."""
        return store.read(self.record_path(cell))


def wanted_threads() -> int:
    """Threads of each process."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """Cells of one cohort to run.

    Attributes:
        cells: what to train; those that have a record, or that another process trains, are left.
        teacher: the teacher's cell, None where the cells are teachers.
        workplace: where.
        checkpoint: file whose weights the teacher takes instead of being trained.
        threads: of PyTorch, the same whichever process does it: one, as a second makes no step
            faster, unless OMP_NUM_THREADS asks for more.
    """

    cells: Sequence[Cell]
    teacher: Cell | None
    workplace: Workplace
    checkpoint: Path | None = None
    threads: int = field(default_factory=wanted_threads)

    @property
    def title(self) -> str:
        """What it is called in progress, messages and its log's name."""
        return cohort_title(self.cells[0].settings())

    @property
    def distils(self) -> bool:
        """Whether a method of its cells needs the teacher."""
        return any(cell.method != NONE for cell in self.cells)

    @property
    def log(self) -> Path:
        """The log file."""
        return self.workplace.folder.log(self.title)

    def unfinished(self) -> list[Cell]:
        """The cells without a record."""
        return [cell for cell in self.cells if not self.workplace.finished(cell)]
