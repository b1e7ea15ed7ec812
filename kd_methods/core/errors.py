"""The base of every error whose message is meant for users, and a help against misspelling.

PointKDError
├── kd_methods: MethodError > MissingOutputError
├── detectors: DetectorError, CheckpointError, MissingOperatorError
└── benchmark
    ├── what is asked for: RequestError, ProfileError, SettingError
    ├── data: DataError > LabelError, MissingFilesError
    ├── files: TextError, LockError, FolderError > DiskFullError
    ├── records: RecordError, ViewError, CardError, PublishedError, ClassError
    ├── while running: JournalError, TeacherError, CohortError, TimingError, Interrupted
    └── a cell's own end: DivergedError, UndefinedBalanceError; ExportError for a cell without one

``run_bench.py`` prints these, and the system's own OSError, as one line; whatever else is raised
is a fault of the code and keeps its traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that drive a terminal, or turn the direction of the text around them."""
LONGEST = 8000
"""Characters of a message: less than a pipe takes while nobody reads it."""


class PointKDError(Exception):
    """What is wrong, where, and what to do about it, in words for whoever runs the benchmark."""


def describe(error: BaseException) -> str:
    """An error that nobody foresaw: its kind and what it says, if it can say anything."""
    try:
        told = str(error)
    except Exception:
        told = "its text cannot be had"
    return legible(f"{type(error).__name__}: {told}" if told else type(error).__name__)


def visible(text: str) -> str:
    """The text without characters that drive a terminal or that UTF-8 cannot hold."""
    return UNSEEN.sub("", text.encode("utf-8", "replace").decode())


def legible(message: str) -> str:
    """A message as :func:`visible` text that is not too long to be read."""
    told = visible(message[: LONGEST + 1])
    return told if len(message) <= LONGEST else f"{told[:LONGEST]} ... (and more)"


def suggestion(word: str, known: Iterable[str]) -> str:
    """``", did you mean 'x'?"`` for a misspelt word, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
