"""The error every reader of a data folder raises, and many of them told together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from kd_methods.core.errors import PointKDError

KINDS_SHOWN, LINES_SHOWN = 12, 3
"""Kinds of problems that are listed, and lines of each."""


class DataError(PointKDError):
    """A data folder or file that cannot be used: names the file (and line) and what to do."""


def lines_of(error: Exception) -> list[str]:
    """Lines that say what is wrong with files, also where the system does not let them be read."""
    if isinstance(error, OSError):
        return [f"{error.filename}: {error.strerror}; put a file there that can be read"]
    return str(error).splitlines()


def grouped(problems: Iterable[str]) -> list[str]:
    """Problems with those alike put together: the first few of each kind, and how many more."""
    kinds: dict[str, list[str]] = {}
    for line in problems:
        kinds.setdefault(_kind(line), []).append(line)
    shown = [
        "\n".join([*lines[:LINES_SHOWN], *_more(len(lines) - LINES_SHOWN, "more like this")])
        for lines in list(kinds.values())[:KINDS_SHOWN]
    ]
    return shown + _more(len(kinds) - KINDS_SHOWN, "more kinds of problems")


def _more(count: int, told: str) -> list[str]:
    return [f"... and {count} {told}"] if count > 0 else []


def _kind(line: str) -> str:
    """What a problem is, whichever file, line, number and word it names."""
    place, _, told = line.partition(": ")
    folder = Path(place).parent.name
    return f"{folder}: {_PARTICULARS.sub('#', told)}"


_PARTICULARS = re.compile(r"'[^']*'| \(and \d+ more lines?\)|-?[0-9][0-9.e+-]*")
