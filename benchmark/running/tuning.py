"""Settings chosen by trials: as many for every method, on a part of the training frames.

Trials are cells like any other, so they train in lockstep, resume, and have records.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from scipy.stats import qmc

from benchmark.config.matrix import Cell, Matrix
from benchmark.config.tuned import Choice
from benchmark.evaluation.protocol import classes_of, scoring_of
from benchmark.files import write_atomically
from benchmark.records.record import Record
from benchmark.records.store import NONE
from kd_methods import create

SPREAD = 10.0
"""Factor up and down within which a weight is tried."""
RATES = 4.0
"""The same of the learning rate of the student alone, which diverges at ten times the recipe's."""


@dataclass(frozen=True)
class Trial:
    """A choice, and its mAP with each seed; None where training or evaluation failed."""

    choice: Choice
    figures: Sequence[float | None]

    @property
    def mean(self) -> float:
        """Over the seeds; minus infinity where one has no figure."""
        return _mean(self.figures)


def choices(method: str, student: str, trials: int) -> list[Choice]:
    """What to try, the source's values first, then others spread evenly over the method's space.

    Args:
        method: written form; of ``none`` the learning rate is tried.

    Raises:
        MethodError: the method cannot be created.
    """
    space = {"": Range(1 / RATES, RATES)} if method == NONE else _space(method, student)
    points = qmc.Sobol(len(space), seed=0).random_base2(math.ceil(math.log2(trials + 1)))
    found = [Choice(method)]
    for point in points[: trials - 1]:
        values = {
            name: ends.at(share)
            for (name, ends), share in zip(space.items(), point.tolist(), strict=True)
        }
        if method == NONE:
            found.append(Choice(NONE, values[""]))
        else:
            found.append(Choice(_written(method, values)))
    return list(dict.fromkeys(found))


def trial_matrix(matrix: Matrix, trials: int) -> tuple[Matrix, dict[str, dict[str, list[Choice]]]]:
    """The matrix of all trials, and what is tried of each method, by student.

    Args:
        matrix: on a part of the training frames.
    """
    tried = {
        student: {method: choices(method, student, trials) for method in matrix.methods}
        for student in matrix.students
    }
    every = {
        student: list(dict.fromkeys(one for those in of.values() for one in those))
        for student, of in tried.items()
    }
    return replace(matrix, trials=every), tried


def choose(trials: Sequence[Trial]) -> Choice:
    """The choice to train with: of those within one standard error of the best, which the spread
    over the seeds gives, the first: the source's own where it is among them.

    A trial is one of few, and the best of them is partly luck: what the seeds cannot tell from it
    is no reason to leave the source's values.
    """
    best = max(trials, key=lambda trial: trial.mean)
    if best.mean == -math.inf:
        return trials[0].choice
    near = best.mean - _standard_error(trials)
    return next(trial.choice for trial in trials if trial.mean >= near)


def outcome(
    tried: Mapping[str, Mapping[str, Sequence[Choice]]], records: Mapping[tuple[str, Choice], Any]
) -> dict[str, Any]:
    """All trials and what was chosen, by student and method, as plain values.

    Args:
        records: of each student and choice, one for each seed.
    """
    found: dict[str, Any] = {}
    for student, methods in tried.items():
        found[student] = {}
        for method, these in methods.items():
            trials = [Trial(one, [figure(r) for r in records[student, one]]) for one in these]
            found[student][method] = {
                "chosen": _plain(choose(trials)),
                "trials": [{**_plain(t.choice), "mAP": _rounded(t.figures)} for t in trials],
            }
    return found


def figure(record: Record) -> float | None:
    """The mean over the classes of the metric of verdicts; classes of few objects count too, as
    all trials are of the same ones. None where there is none."""
    ap = record["ap"]
    if record["status"] != "done" or not ap:
        return None
    scoring = scoring_of(ap)
    found = [scoring.figure(ap, c, scoring.headline, scoring.level) for c in classes_of(ap)]
    known = [one for one in found if one is not None]
    return statistics.fmean(known) if known else None


def write(path: Path, matrix: Matrix, trials: int, students: Mapping[str, Any]) -> None:
    """Write the file that ``run --settings`` reads; equal trials make equal bytes."""
    content = {
        "profile": matrix.profile.name,
        "data": matrix.data.fingerprint,
        "trials": trials,
        "seeds": list(matrix.seeds),
        "frames": {"train": matrix.data.train_frames, "chosen by": matrix.data.val_frames},
        "students": students,
    }
    text = "# Written by `run_bench.py tune`; `run --settings` trains with what is chosen here.\n"
    text += yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    write_atomically(path, text.encode())


def by_choice(cells: Sequence[Cell], records: Sequence[Record]) -> dict[tuple[str, Choice], Any]:
    """Records by student and choice, in the order of their cells."""
    found: dict[tuple[str, Choice], list[Record]] = {}
    for cell, record in zip(cells, records, strict=True):
        found.setdefault((cell.student, Choice(cell.method, cell.rate)), []).append(record)
    return found


class Range(NamedTuple):
    """Where a setting is tried."""

    low: float
    high: float
    whole: bool = False

    def at(self, share: float) -> float:
        """The value a share of the way up, on a logarithmic scale, to three digits."""
        value = self.low * (self.high / self.low) ** share
        return round(value) if self.whole else float(f"{value:.3g}")


def _space(method: str, student: str) -> dict[str, Range]:
    """What is varied, by part and setting: what the method declares, else its weight."""
    found: dict[str, Range] = {}
    for part in method.split("+"):
        made = create(part, student)
        declared = made.space or {"weight": (made.weight / SPREAD, made.weight * SPREAD)}
        name = part.partition(":")[0]
        for setting, (low, high) in declared.items():
            whole = isinstance(getattr(made, setting, None), int)
            found[f"{name}.{setting}"] = Range(low, high, whole)
    return found


def _written(method: str, values: Mapping[str, float]) -> str:
    """The written form with other values."""
    return "+".join(_rewritten(part, values) for part in method.split("+"))


def _rewritten(part: str, values: Mapping[str, float]) -> str:
    name, *said = part.split(":")
    own = {k.partition(".")[2]: v for k, v in values.items() if k.partition(".")[0] == name}
    kept = [pair for pair in said if pair.partition("=")[0] not in own]
    return ":".join([name, *kept, *(f"{setting}={value:g}" for setting, value in own.items())])


def _standard_error(trials: Sequence[Trial]) -> float:
    """Of a trial's mean, by the spread over seeds pooled over the trials; 0 with one seed."""
    spreads = [
        statistics.variance(known)
        for trial in trials
        if len(known := [f for f in trial.figures if f is not None]) > 1
    ]
    count = len(trials[0].figures)
    return math.sqrt(statistics.fmean(spreads) / count) if spreads else 0.0


def _plain(choice: Choice) -> dict[str, Any]:
    return {"method": choice.method} | ({"rate": choice.rate} if choice.rate != 1 else {})


def _rounded(figures: Sequence[float | None]) -> list[float | None]:
    return [None if figure is None else round(figure, 4) for figure in figures]


def told(students: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of what was chosen, mAP as the mean over the seeds."""
    for student, methods in students.items():
        for method, found in methods.items():
            means = {_key(trial): _mean(trial["mAP"]) for trial in found["trials"]}
            chosen = _key(found["chosen"])
            yield {
                "student": student,
                "method": method,
                "trials": len(means),
                "source mAP": next(iter(means.values())),
                "best mAP": max(means.values()),
                "chosen": chosen.method
                + (f", learning rate x{chosen.rate:g}" * (chosen.rate != 1)),
                "its mAP": means[chosen],
            }


def _key(written: Mapping[str, Any]) -> Choice:
    return Choice(written["method"], written.get("rate", 1.0))


def _mean(figures: Sequence[float | None]) -> float:
    """Minus infinity where a seed has no figure."""
    known = [figure for figure in figures if figure is not None]
    return statistics.fmean(known) if len(known) == len(figures) else -math.inf
