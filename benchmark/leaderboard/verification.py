"""Checks that a set of records is what a run produces, for contributed sets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from benchmark.config.matrix import WEIGHTINGS
from benchmark.evaluation.protocol import (
    BY_DISTANCE,
    MEAN,
    METRICS,
    RECALLS,
    classes_of,
    mean_of,
    scoring_of,
)
from benchmark.files import in_shell
from benchmark.leaderboard import consistency, external, pages
from benchmark.records import store
from benchmark.records.folder import ResultsFolder
from benchmark.records.record import KD_LOSS, Record, loss_names
from benchmark.records.schema import written_schema
from benchmark.records.store import NONE

SHOWN = 120
"""Characters of a schema's message that are shown."""
TOLERANCE = 1e-6
"""Largest deviation of a mean of classes, percent."""
ABOVE_BEV = 5.0
"""Largest excess of 3D AP over BEV AP, percent. A match in BEV that 3D lacks may take an object
from a better one: in 400 crowded random sets 0.3 % of the figures were larger, by 2.0 at most."""
BOUNDS = {"3d": ("bev", ABOVE_BEV), "aos": ("bbox", TOLERANCE)}
"""What bounds a metric, and by how much it may be above. Seen from above the overlaps of the same
boxes are larger; AOS weights the matches of image boxes by at most 1."""


@dataclass(frozen=True)
class Findings:
    """What was found in a set of records, each as "FILE: what; remedy".

    Attributes:
        problems: for which the set is refused.
        notes: what a reader of a sound set must know and its ``README.md`` should explain.
    """

    problems: list[str]
    notes: list[str] = field(default_factory=list)


def verify_records(results: Path) -> Findings:
    """All problems of a results folder, and what a reader must know of it.

    Checked are each record by ``record.schema.json``, its identity against its settings, its AP
    (means against classes, 3D against BEV), its checkpoint where there is one; what the records of
    a set have in common, by :mod:`.consistency`; external results; and that the leaderboard files
    match the records.
    """
    found, problems = {}, []
    paths = ResultsFolder(results).find_records("")
    for path in paths:
        try:
            record = store.load(path)
        except store.RecordError as error:
            problems.append(str(error))
            continue
        wrong = [_told(error) for error in _by_place(_schema(), record)]
        if not wrong:
            found[path] = record
            wrong = _problems(record, path)
        problems += [f"{path}: {told}" for told in wrong]
    problems += _external_problems(results, list(found.values()))
    if not paths and not external.paths(results):
        return Findings([f"{results}/records: no records; give the results folder of a run"])
    if len(found) == len(paths):  # what they have in common needs all of them
        problems += consistency.find_problems(results, found)
    problems = problems or list(_stale(results, list(found.values())))
    return Findings(problems, [] if problems else _notes(results, found))


def _notes(results: Path, found: consistency.Found) -> list[str]:
    """Of a sound set."""
    outside = [
        note
        for stored in external.read_all(results)
        for note in external.beside(stored, list(found.values()))
    ]
    return [*consistency.find_notes(results, found), *outside]


def _external_problems(results: Path, records: Sequence[Record]) -> list[str]:
    """What is wrong with the external results of a folder with these records."""
    problems = []
    for path in external.paths(results):
        try:
            stored = external.load(path)
        except external.CardError as error:
            problems.append(str(error))
            continue
        wrong = [_told(error) for error in _by_place(_external_schema(), stored)]
        if not wrong:
            wrong = [*_wrong_ap(stored["ap"]), *external.unfit(stored, records)]
        if path.stem != stored["card"]["name"]:
            wrong.append(f"the file's name is not that of its card, {stored['card']['name']}")
        problems += [f"{path}: {told}; {external.AGAIN}" for told in wrong]
    return problems


def _problems(record: Record, path: Path) -> list[str]:
    """Of one record of the right form."""
    problems = []
    if path.stem != record["cell"]:
        problems.append(f"the file's name is not that of its cell, {record['cell']}")
    if (identity := store.identity(record["settings"])) != record["cell"]:
        problems.append(f"its settings belong to cell {identity}, not to {record['cell']}")
    problems += [
        f"{name} is {value!r}, but {said!r} in settings"
        for name, value, said in _said_twice(record)
        if value != said
    ]
    if record["ap"]:
        problems += _wrong_ap(record["ap"])
    if distilled := _losses_of_a_method(record):
        problems.append(f"training.losses has {', '.join(distilled)}, but {NONE} has no method")
    return problems + _wrong_checkpoint(record, path)


def _losses_of_a_method(record: Record) -> list[str]:
    """Names of a method's losses in a cell that has none."""
    if record["method"] != NONE:
        return []
    return [name for name in loss_names(record) if name.startswith(KD_LOSS)]


def _by_place(schema: Draft202012Validator, value: Any) -> list[ValidationError]:
    return sorted(schema.iter_errors(value), key=lambda error: error.json_path)


def _told(error: ValidationError) -> str:
    return f"{error.json_path[2:] or 'the file'}: {error.message[:SHOWN]}"


@cache
def _schema() -> Draft202012Validator:
    return Draft202012Validator(written_schema())


@cache
def _external_schema() -> Draft202012Validator:
    return Draft202012Validator(external.schema())


def _said_twice(record: Record) -> Iterator[tuple[str, Any, Any]]:
    """Fields that settings repeat unless they are at their default: name, value, in settings."""
    settings = record["settings"]
    for name in ("student", "method", "precision", "seed"):
        yield name, record[name], settings.get(name)  # type: ignore[literal-required]
    yield "weighting", record["weighting"], settings.get("weighting", WEIGHTINGS[0])
    values, said = record["hyperparameters"], settings.get("hyperparameters", {})
    yield "hyperparameters", {name: values.get(name) for name in said}, said
    yield "dataset.fingerprint", record["dataset"]["fingerprint"], settings.get("data")


def _wrong_ap(ap: Mapping[str, Any]) -> list[str]:
    """Figures of an evaluation that cannot belong together."""
    wrong = _wrong_means(ap)
    return wrong if scoring_of(ap) == BY_DISTANCE else [*wrong, *_above_bounds(ap), *_apart(ap)]


def _above_bounds(ap: Mapping[str, Any]) -> Iterator[str]:
    """APs above those that bound them."""
    for name, recalls, (metric, (bound, slack)) in itertools.product(
        classes_of(ap), RECALLS, BOUNDS.items()
    ):
        pairs = zip(ap[name][metric][recalls], ap[name][bound][recalls], strict=True)
        for i, (value, most) in enumerate(pairs):
            if value is not None and most is not None and value > most + slack:
                told = f"{bound.upper()} AP only {most:.2f}"
                yield f"ap.{name}.{metric}.{recalls}[{i}] is {value:.2f}, but {told}"


def _apart(ap: Mapping[str, Any]) -> Iterator[str]:
    """R40 and R11 that no one precision-recall curve gives.

    Precision interpolated at recalls 0, 1/40, ... 1 never rises, R11 is the mean of every fourth of
    these and R40 that of all but the first, so (11 R11 - 100) / 10 <= R40 <= 1.1 R11.
    """
    for name in classes_of(ap):
        for metric in METRICS:
            pairs = zip(ap[name][metric]["R40"], ap[name][metric]["R11"], strict=True)
            for i, (fine, coarse) in enumerate(pairs):
                if fine is None or coarse is None:
                    continue
                low, high = (11 * coarse - 100) / 10, 1.1 * coarse
                if not low - TOLERANCE <= fine <= high + TOLERANCE:
                    yield (
                        f"ap.{name}.{metric}.R40[{i}] is {fine:.2f}, but R11 of {coarse:.2f} "
                        f"leaves {max(low, 0):.2f} to {high:.2f}"
                    )


def _wrong_means(ap: Mapping[str, Any]) -> list[str]:
    """Means that are not over unbounded classes, or do not equal their mean."""
    expected = mean_of(ap, classes_of(ap))
    return [
        f"ap.mAP.{metric}.{recalls}[{i}] is {mean}, but its classes give {wanted}"
        for metric, by_recalls in ap[MEAN].items()
        for recalls, means in by_recalls.items()
        for i, (mean, wanted) in enumerate(zip(means, expected[metric][recalls], strict=True))
        if not _equal(mean, wanted)
    ]


def _equal(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, abs_tol=TOLERANCE)


def _wrong_checkpoint(record: Record, path: Path) -> list[str]:
    checkpoint = ResultsFolder(path.parents[1]).checkpoint(record["cell"])
    if record["status"] != "done" or not checkpoint.exists():
        return []
    from detectors.core.checkpoints import CheckpointError, read_weights  # PyTorch

    try:
        read_weights(checkpoint, record["weights_sha256"])
    except CheckpointError as error:
        return [str(error)]
    return []


def _stale(results: Path, found: Sequence[Record]) -> Iterator[str]:
    """Leaderboard files that are missing or do not match the records."""
    _, contents = pages(results, found)
    for path, text in contents.items():
        if not path.is_file() or path.read_bytes() != text.encode():
            remedy = f"run `run_bench.py leaderboard --results {in_shell(results)}`"
            yield f"{path}: does not match the records; {remedy}"
