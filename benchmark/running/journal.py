"""What the runners of one results folder write there for each other and for observers.

In RESULTS/work, until a cell's record is published:

- CELL.json: what the cell is, its progress, how often its process died in its step;
- CELL.pt: its latest checkpoint;
- CELL.lock: locked by the process that trains the cell, see :mod:`benchmark.files.locks`.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from benchmark.files import read_file, write_atomically
from benchmark.files.locks import Lock, locked
from benchmark.files.settings import Problems, read_dataclass
from benchmark.records.folder import ResultsFolder
from kd_methods.core.errors import PointKDError, visible

if TYPE_CHECKING:
    from benchmark.config.matrix import Cell  # what is left there is read without PyTorch

PATIENCE = 0.2
"""Seconds to wait for a lock: longer than another process takes to check it."""


class JournalError(PointKDError):
    """A file of the journal that cannot be read."""


@dataclass(frozen=True)
class _Entry:
    """What an entry holds: the cell, then its progress."""

    cell: str
    student: str
    method: str
    weighting: str
    precision: str
    seed: int
    source: str
    profile: str
    data: str
    updated: float
    status: str | None = None
    reason: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    where: str | None = None
    deaths: int | None = None


class Journal:
    """The work folder of a results folder."""

    def __init__(self, results: Path) -> None:
        self._place = ResultsFolder(results)
        self.folder = self._place.work

    def request(self, cell: Cell) -> None:
        """Enter a cell that is to be trained, unless it has an entry."""
        if not self._place.entry(cell.identity()).exists():
            self._write(cell, {})

    def lock(self, cell: Cell) -> Lock | None:
        """The lock of a cell, held until released or this process ends; None if another has it.

        Raises:
            LockError: the file cannot be locked.
        """
        lock = Lock(self._place.lock(cell.identity()))
        return lock if lock.acquire(PATIENCE) else None

    @contextmanager
    def holding(self, cell: Cell) -> Iterator[bool]:
        """Hold the lock of a cell; False if another process has it."""
        lock = self.lock(cell)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def locked(self, identity: str) -> bool:
        """Whether a process trains the cell now.

        Raises:
            LockError: the file cannot be asked for.
        """
        return locked(self._place.lock(identity))

    def free(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells that no process trains now."""
        return [cell for cell in cells if not self.locked(cell.identity())]

    def saved(self, cell: Cell) -> bool:
        """Whether there is a checkpoint of the cell."""
        return self._place.state(cell.identity()).exists()

    def save(self, cell: Cell, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint of a cell.

        Raises:
            DiskFullError: the old one stays.
        """
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self._place.state(cell.identity()), buffer.getvalue())

    def load(self, cell: Cell) -> dict[str, Any] | None:
        """The checkpoint of a cell, None where there is none. Nothing but data is unpickled.

        Raises:
            JournalError: the file is damaged.
        """
        path = self._place.state(cell.identity())
        if not path.exists():
            return None
        import torch

        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            epoch, step = state["position"]
            if type(epoch) is not int or type(step) is not int or "fields" not in state:
                raise ValueError
        except Exception as error:
            raise JournalError(
                f"checkpoint {path} cannot be read ({type(error).__name__}); remove it, and "
                f"{cell.title} trains from the start"
            ) from None
        return state

    def report(self, cell: Cell, **progress: Any) -> None:
        """Write a cell's progress."""
        self._write(cell, self.entry(cell.identity()) | progress)

    def entry(self, identity: str) -> dict[str, Any]:
        """What is known of a cell; empty if it has no entry."""
        path = self._place.entry(identity)
        return _read(path) if path.exists() else {}

    def blame(self, cell: Cell) -> int:
        """Count one more death of a process in a step of the cell; returns the total."""
        deaths = (self.entry(cell.identity()).get("deaths") or 0) + 1
        self.report(cell, deaths=deaths)
        return deaths

    def close(self, cell: Cell) -> None:
        """Drop what a published cell no longer needs; the lock stays, as others may check it."""
        for path in (self._place.state(cell.identity()), self._place.entry(cell.identity())):
            path.unlink(missing_ok=True)
        for part in self.folder.glob(f".{cell.identity()}.*"):  # of a write that was killed
            part.unlink(missing_ok=True)

    def entries(self) -> list[dict[str, Any]]:
        """Every cell that is entered and has no record yet, by file name."""
        paths = sorted(self.folder.glob("*.json"))
        return [_read(path) for path in paths if not self._place.record(path.stem).exists()]

    def _write(self, cell: Cell, progress: Mapping[str, Any]) -> None:
        known = {
            "cell": cell.identity(),
            "student": cell.student,
            "method": cell.method,
            "weighting": cell.weighting,
            "precision": cell.precision,
            "seed": cell.seed,
            "source": " ".join(filter(None, [cell.source, cell.detector])),
            "profile": cell.profile.name,
            "data": cell.data.name,
        }
        said = {**known, **progress, "updated": time.time()}
        content = {name: visible(v) if isinstance(v, str) else v for name, v in said.items()}
        write_atomically(self._place.entry(cell.identity()), json.dumps(content).encode())


def _read(path: Path) -> dict[str, Any]:
    """The entry of a cell; empty if another runner closed it a moment ago."""
    try:
        content = orjson.loads(read_file(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise JournalError(f"{path}: {error}; remove the file") from None
    if not isinstance(content, dict):
        raise JournalError(f"{path} is not the journal entry of a cell; remove the file")
    known = {field.name: content[field.name] for field in fields(_Entry) if field.name in content}
    problems: Problems = []
    read_dataclass(_Entry, known, "", problems)
    if not problems and known["cell"] != path.stem:
        problems.append(f"is the entry of cell {known['cell']}")
    if problems:
        raise JournalError(f"{path}: {problems[0]}; remove the file")
    return known
