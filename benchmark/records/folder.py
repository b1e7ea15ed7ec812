"""The layout of a results folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MARGIN = "    "
"""Before each line of a traceback in a log."""


@dataclass(frozen=True)
class ResultsFolder:
    """The paths of a results folder; none of them need exist.

    Attributes:
        root: the folder itself.
    """

    root: Path

    @property
    def records(self) -> Path:
        """A record for each finished cell."""
        return self.root / "records"

    def record(self, cell: str) -> Path:
        """The record of a cell."""
        return self.records / f"{cell}.json"

    def find_records(self, beginning: str) -> list[Path]:
        """The records of the cells whose identity begins with these characters."""
        found = self.records.glob("*.json")
        return sorted(path for path in found if path.name.startswith(beginning))

    def checkpoint(self, cell: str) -> Path:
        """The weights of a finished cell."""
        return self.root / "checkpoints" / f"{cell}.pth"

    def statistics(self, cell: str) -> Path:
        """What resampling frames needs from a cell."""
        return self.root / "statistics" / f"{cell}.npz"

    def view(self, cell: str) -> Path:
        """What the report shows of a cell besides its figures."""
        return self.root / "views" / f"{cell}.json"

    def scene(self, fingerprint: str, frame: str) -> Path:
        """Points and objects of a frame that views show, by the fingerprint of its data set."""
        return self.root / "views" / "frames" / fingerprint / f"{frame}.json"

    @property
    def curves(self) -> Path:
        """TensorBoard's folders, one for each cell."""
        return self.root / "curves"

    def log(self, title: str) -> Path:
        """The log of the cohorts that train under a title."""
        return self.root / "logs" / f"{title.replace(', ', '-').replace(' ', '-')}.log"

    @property
    def work(self) -> Path:
        """What is kept of cells until they have a record."""
        return self.root / "work"

    def entry(self, cell: str) -> Path:
        """The progress of an unfinished cell."""
        return self.work / f"{cell}.json"

    def state(self, cell: str) -> Path:
        """The latest checkpoint of an unfinished cell."""
        return self.work / f"{cell}.pt"

    def lock(self, cell: str) -> Path:
        """Locked by the process that trains a cell."""
        return self.work / f"{cell}.lock"

    def marker(self, process: str) -> Path:
        """What a cohort's process is doing."""
        return self.work / f"running-{process}"

    @property
    def external(self) -> Path:
        """Scored results of other code."""
        return self.root / "external"

    def leaderboard(self, kind: str) -> Path:
        """The leaderboard as ``md``, ``csv``, ``tex`` or ``json``."""
        return self.root / f"leaderboard.{kind}"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.root / "report.html"

    @property
    def plots(self) -> Path:
        """The report's plots for papers."""
        return self.root / "plots"
