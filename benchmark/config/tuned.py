"""Settings that ``tune`` has chosen, by student and method."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmark.files import read_text
from benchmark.files.settings import Problems, parse_yaml, read_dataclass
from kd_methods.core.errors import PointKDError, suggestion


class TuningError(PointKDError):
    """A file of chosen settings that cannot be used; lists all problems."""


@dataclass(frozen=True)
class Budget:
    """What settings were chosen by, the same for every method.

    Attributes:
        hash: 16 hex digits of the file that holds them and all trials.
        trials: of each method.
        seeds: that each trial was run with.
    """

    hash: str
    trials: int
    seeds: int

    def settings(self) -> dict[str, Any]:
        """Plain values, as a cell's settings have them."""
        return asdict(self)


@dataclass(frozen=True)
class Choice:
    """What a cell trains with.

    Attributes:
        method: written form.
        rate: factor of the recipe's learning rate.
    """

    method: str
    rate: float = field(default=1.0, metadata={"above": 0})


@dataclass(frozen=True)
class Tuned:
    """Choices by student and method as requested, and what they were chosen by."""

    budget: Budget
    choices: Mapping[str, Mapping[str, Choice]]

    def lacking(self, students: Sequence[str], methods: Sequence[str]) -> list[str]:
        """Why a matrix cannot be run with them, one line each."""
        problems = [
            f"no settings of {student}; there are those of {', '.join(self.choices) or 'none'}"
            for student in students
            if student not in self.choices
        ]
        problems += [
            f"no settings of {student} {method}{suggestion(method, list(self.choices[student]))}; "
            f"there are those of {', '.join(self.choices[student])}"
            for student in students
            for method in methods
            if student in self.choices and method not in self.choices[student]
        ]
        return problems


def read_tuned(path: Path) -> Tuned:
    """The choices in a file that ``tune`` wrote.

    Raises:
        TuningError: lists all that is wrong with it.
    """
    if not path.is_file():
        raise TuningError(f"{path}: no such file; `run_bench.py tune` writes one")
    problems: Problems = []
    written = None
    try:
        written = read_dataclass(_Written, parse_yaml(read_text(path, TuningError)), "", problems)
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise TuningError("\n".join(f"{path}: {told}" for told in problems))
    assert isinstance(written, _Written)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Tuned(Budget(digest, written.trials, len(written.seeds)), written.students)


def _choices(value: Any, path: str, problems: Problems) -> Mapping[str, Mapping[str, Choice]]:
    """``{student: {method: {chosen: {method: ..., rate: ...}, trials: ...}}}``."""
    found: dict[str, dict[str, Choice]] = {}
    for student, methods in _pairs(value, path, problems).items():
        of_student = found.setdefault(str(student), {})
        for method, said in _pairs(methods, f"{path}.{student}", problems).items():
            place = f"{path}.{student}.{method}"
            chosen = _pairs(said, place, problems).get("chosen")
            of_student[str(method)] = read_dataclass(Choice, chosen, f"{place}.chosen", problems)
    return found


def _pairs(value: Any, path: str, problems: Problems) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        problems.append(f"{path} is {value!r}; it must be 'name: ...' pairs")
        return {}
    return value


@dataclass(frozen=True)
class _Written:
    """The file."""

    profile: str
    data: str
    trials: int = field(metadata={"least": 1})
    seeds: tuple[int, ...]
    frames: Mapping[str, int]
    students: Mapping[str, Mapping[str, Choice]] = field(metadata={"read": _choices})
