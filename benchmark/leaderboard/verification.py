"""Checks that a set of records is what a run produces, for contributed sets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from benchmark.config.matrix import WEIGHTINGS
from benchmark.evaluation.protocol import ENOUGH_OBJECTS, METRICS, RECALLS, SCORED_CLASSES
from benchmark.leaderboard import external, pages
from benchmark.records import store
from benchmark.records.folder import ResultsFolder
from benchmark.records.record import Record

SHOWN = 120
"""Characters of a schema's message that are shown."""
TOLERANCE = 1e-6
"""Largest deviation of a mean of classes, percent."""


def verify_records(results: Path) -> list[str]:
    """All problems of a results folder, each as "FILE: what"; empty if it is sound.

    Checked are each record by ``record.schema.json``, its identity against its settings, its means
    against its classes, its checkpoint where there is one; that all are of one set of versions
    and every student's teacher is there; external results; and that the leaderboard files
    match the records.
    """
    found, problems = {}, []
    for path in ResultsFolder(results).find_records(""):
        try:
            record = store.read(path)
        except store.RecordError as error:
            problems.append(str(error))
            continue
        found[path] = record
        problems += [f"{path}: {problem}" for problem in _problems(record, path)]
    if not found:
        return problems or [f"{results}/records: no records; give the results folder of a run"]
    problems += [f"{results}: {problem}" for problem in _of_the_set(list(found.values()))]
    try:
        external.read_all(results)
    except external.CardError as error:
        problems.append(str(error))
    return problems or list(_stale(results, list(found.values())))


def _problems(record: Record, path: Path) -> list[str]:
    """Of one record. The rest is checked only if its form is right."""
    wrong = sorted(_schema().iter_errors(record), key=lambda error: error.json_path)
    if wrong:
        return [
            f"{error.json_path[2:] or 'the record'}: {error.message[:SHOWN]}" for error in wrong
        ]
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
        problems += _wrong_means(record["ap"])
    return problems + _wrong_checkpoint(record, path)


@cache
def _schema() -> Draft202012Validator:
    text = files("benchmark.records").joinpath("record.schema.json").read_bytes()
    return Draft202012Validator(orjson.loads(text))


def _said_twice(record: Record) -> Iterator[tuple[str, Any, Any]]:
    """Fields that settings repeat unless they are at their default: name, value, in settings."""
    settings = record["settings"]
    for name in ("student", "method", "precision", "seed"):
        yield name, record[name], settings.get(name)  # type: ignore[literal-required]
    yield "weighting", record["weighting"], settings.get("weighting", WEIGHTINGS[0])
    values, said = record["hyperparameters"], settings.get("hyperparameters", {})
    yield "hyperparameters", {name: values.get(name) for name in said}, said
    yield "dataset.fingerprint", record["dataset"]["fingerprint"], settings.get("data")


def _wrong_means(ap: Mapping[str, Any]) -> list[str]:
    """Means that are not over three unbounded classes, or do not equal their mean."""
    problems = []
    for metric in METRICS:
        for recalls in RECALLS:
            for i, mean in enumerate(ap["mAP"][metric][recalls]):
                figures = [ap[name][metric][recalls][i] for name in SCORED_CLASSES]
                bounded = any(ap[name]["objects"][i] < ENOUGH_OBJECTS for name in SCORED_CLASSES)
                expected = None if bounded or None in figures else sum(figures) / len(figures)
                if not _equal(mean, expected):
                    problems.append(
                        f"ap.mAP.{metric}.{recalls}[{i}] is {mean}, but its classes give {expected}"
                    )
    return problems


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


def _of_the_set(found: Sequence[Record]) -> list[str]:
    """What the records of a folder must have in common."""
    problems = []
    versions = {orjson.dumps(r["provenance"]["versions"], option=orjson.OPT_SORT_KEYS)
                for r in found if _has(r, "provenance", "versions")}  # fmt: skip
    if len(versions) > 1:
        told = "; ".join(sorted(version.decode() for version in versions))
        problems.append(
            f"records of {len(versions)} sets of versions: {told}; keep one set per folder"
        )
    done = {record["cell"] for record in found if record["status"] == "done"}
    teachers = {r["settings"]["teacher"] for r in found if _has(r, "settings", "teacher")}
    problems += [
        f"no record of teacher {teacher}, from which students were distilled"
        for teacher in sorted(teachers - done - {""})
    ]
    return problems


def _has(record: Mapping[str, Any], outer: str, inner: str) -> bool:
    """Whether a record whose form may be wrong has a field."""
    return isinstance(record[outer], Mapping) and inner in record[outer]


def _stale(results: Path, found: Sequence[Record]) -> Iterator[str]:
    """Leaderboard files that are missing or do not match the records."""
    _, contents = pages(results, found)
    for path, text in contents.items():
        if not path.exists() or path.read_bytes() != text.encode():
            remedy = f"run `run_bench.py leaderboard --results {results}`"
            yield f"{path}: does not match the records; {remedy}"
