"""The base of every error whose message is meant for users, and a help against misspelling.

PointKDError
├── kd_methods: MethodError > MissingOutputError
├── detectors: DetectorError, CheckpointError, MissingOperatorError
└── benchmark
    ├── what is asked for: RequestError, ProfileError, SettingError
    ├── data: DataError > LabelError, MissingFilesError
    ├── records: RecordError, ViewError, CardError, PublishedError, ClassError
    ├── while running: JournalError, TeacherError, CohortError, TimingError, Interrupted,
    │   DiskFullError
    └── a cell's own end: DivergedError, UndefinedBalanceError; ExportError for a cell without one

``run_bench.py`` prints these, and the system's own OSError, as one line; whatever else is raised
is a fault of the code and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PointKDError(Exception):
    """What is wrong, where, and what to do about it, in words for whoever runs the benchmark."""


def describe(error: BaseException) -> str:
    """An error that nobody foresaw: its kind and what it says, if it can say anything."""
    try:
        told = str(error)
    except Exception:
        told = "its text cannot be had"
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def suggestion(word: str, known: Iterable[str]) -> str:
    """``", did you mean 'x'?"`` for a misspelt word, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
