"""The base of every error whose message is meant for users, and a help against misspelling.

PointKDError
├── kd_methods: MethodError > MissingOutputError
├── detectors: DetectorError, CheckpointError, MissingOperatorError
└── benchmark
    ├── what is asked for: RequestError, ProfileError, SettingError
    ├── data: DataError > LabelError
    ├── records: RecordError, ViewError, CardError, PublishedError
    ├── while running: JournalError, TeacherError, CohortError, Interrupted, DiskFullError
    └── a cell's own end: DivergedError, UndefinedBalanceError; ExportError for a cell without one

``run_bench.py`` prints these, and the system's own OSError, as one line; whatever else is raised
is a fault of the code and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PointKDError(Exception):
    """What is wrong, where, and what to do about it, in words for whoever runs the benchmark."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """``", did you mean 'x'?"`` for a misspelt word, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
