"""What the records of one set have in common, and what a set cannot hold twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median, mode
from typing import Any

import orjson

from benchmark.leaderboard.tables import MISSING, make_tables
from benchmark.records.record import (
    GENERATED,
    KD_LOSS,
    Record,
    has_own_config,
    loss_names,
    title,
)
from benchmark.records.spread import says_little
from benchmark.records.store import NONE

Found = Mapping[Path, Record]
"""Records of the right form, by their paths."""

ENVIRONMENT = {
    "versions": "sets of versions",
    "machine": "machines",
    "python": "versions of Python",
    "operators": "sets of operators",
}
"""Fields of provenance that are the same in a whole set, and what several of them are called."""
COUNTED = ("params", "flops_paper", "flops_full", "activations")
"""Costs that are counted, not timed: the same in every cell of a student."""
BUILT_IN_SETS = {
    "788f2d260f0bac37": "smoke",
    "bbac598b2672efe9": "mini",
    "47af687956656cf0": "smoke",
    "26a68d0a2fc9ec66": "mini",
}
"""Profiles by the fingerprint of the frames that are generated for them, by both worlds."""
OF_TRAINING = ("extra_params", "extrapolated")
"""The same in every cell of a method with the same values."""
NOTED = (
    ("threads", "numbers of threads", "they round differently, say so in README.md"),
    ("commit", "commits", "say so in README.md"),
)
"""Fields of provenance in which a sound set may differ: field, what it is called, remedy."""
WITHOUT_EFFECT = ("method", "hyperparameters", "weighting", "source", "teacher", "max_frames")
"""Settings in which cells may differ and still train alike, e.g. two methods of weight 0."""


def find_problems(results: Path, found: Found) -> list[str]:
    """For what a set is refused, each as "FILE: what; remedy".

    Refused are several environments in one set, students without their teacher's record, copies
    of a record (see :func:`find_copies`), and counted costs that differ between cells of one
    student, grid, precision and frames, or of one method and its values on it.
    """
    return [
        *(
            f"{results}: {told}; keep one per folder"
            for field, called in ENVIRONMENT.items()
            for told in _several(found, field, called)
        ),
        *(f"{results}: {told}" for told in _without_teacher(found)),
        *(line for line, forged in find_copies(found) if forged),
        *_uneven_costs(found),
        *_built_in_as_real(found),
    ]


def find_notes(results: Path, found: Found) -> list[str]:
    """What a reader must know of a sound set, each as "FILE: what; remedy".

    Noted are several numbers of threads or commits, seeds that some or all rows of a table lack,
    latencies of one student that lie far apart, losses of one method with other names, code that is
    not known or was changed, and methods that train the same weights as another.
    """
    return [
        *(
            f"{results}: {told}; {remedy}"
            for field, called, remedy in NOTED
            for told in _several(found, field, called)
        ),
        *(f"{results}: {told}" for told in _missing_seeds(found)),
        *_other_losses(found),
        *_unsure_code(results, found),
        *_uneven_latencies(found),
        *(line for line, forged in find_copies(found) if not forged),
    ]


def find_copies(found: Found) -> Iterator[tuple[str, bool]]:
    """Finished cells with the weights or losses of another: a line, and whether forged.

    Training is deterministic and depends on the seed, so one cell with those of another seed,
    student, recipe or data set is a copy under a new identity. Cells that differ only in
    ``WITHOUT_EFFECT`` may train alike: two methods of weight 0, or one hyper-parameter that the
    chosen variant does not read. Such a pair is named, not refused, and only if one of the two is
    a method whose weight is not 0. Teachers from a checkpoint are left out: one file may serve
    several profiles.
    """
    first: dict[tuple[str, str], Path] = {}
    for path, record in found.items():
        if record["status"] != "done" or "checkpoint" in record["settings"]:
            continue
        same: dict[Path, list[str]] = defaultdict(list)
        for name, value in _fingerprints(record):
            if value and (other := first.setdefault((name, value), path)) != path:
                same[other].append(name)
        for other, names in same.items():
            told = f"{path}: {_joined(names)} as in {other.name} ({title(found[other])})"
            if _decisive(record) != _decisive(found[other]):
                yield f"{told}, which is another training: one of them is a copy; remove it", True
            elif _has_effect(record) or _has_effect(found[other]):
                told += f", so {title(record)} has no effect of its own"
                yield f"{told}; say why in README.md, or remove the copy", False


def _joined(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _fingerprints(record: Record) -> Iterator[tuple[str, str]]:
    """What no other training has."""
    yield "weights_sha256", record["weights_sha256"] or ""
    yield "losses_sha256", record["losses_sha256"] or ""
    losses = record["training"]["losses"] if record["training"] else []
    of_detector = [
        {name: value for name, value in epoch.items() if not name.startswith(KD_LOSS)}
        for epoch in losses
    ]
    yield "training.losses", _text(of_detector) if losses else ""


def _decisive(record: Record) -> dict[str, Any]:
    """Settings that change every training. Of a student's own config that is its hash, whatever it
    is called."""
    found = {k: v for k, v in record["settings"].items() if k not in WITHOUT_EFFECT}
    if has_own_config(record["student"]):
        found["student"] = record["student"].partition("@")[0]
    return found


def _has_effect(record: Record) -> bool:
    """Whether a cell has a method, or a part of a combined one, whose weight is not 0."""
    values = record["hyperparameters"]
    parts = [part for part in values.values() if isinstance(part, Mapping)] or [values]
    return record["method"] != NONE and any(part.get("weight", 1) for part in parts)


def _several(found: Found, field: str, called: str) -> Iterator[str]:
    """The values of a field of provenance, if it has several."""
    values = _by_value(found, field)
    if len(values) > 1:
        yield f"records of {len(values)} {called}: {_listed(values)}"


def _by_value(found: Found, field: str) -> dict[str, list[Path]]:
    """The paths of the records by their value of a field of provenance."""
    values: dict[str, list[Path]] = defaultdict(list)
    for path, record in found.items():
        values[_text(record["provenance"][field])].append(path)  # type: ignore[literal-required]
    return values


def _listed(values: Mapping[str, list[Path]]) -> str:
    return "; ".join(
        f"{value} in {len(paths)} records, e.g. {paths[0].name}"
        for value, paths in sorted(values.items())
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _without_teacher(found: Found) -> Iterator[str]:
    done = {record["cell"] for record in found.values() if record["status"] == "done"}
    teachers = {record["settings"].get("teacher", "") for record in found.values()}
    for teacher in sorted(teachers - done - {""}):
        yield (
            f"no record of teacher {teacher}, from which students were distilled; add the record "
            "of its cell"
        )


def _uneven_costs(found: Found) -> Iterator[str]:
    """Counted costs other than those of most cells of the same student or method."""
    students, methods = _students(found), _methods(found)
    counted = [(students, "cost", name) for name in COUNTED]
    counted += [(methods, "training", name) for name in OF_TRAINING]
    for groups, part, name in counted:
        for paths in groups.values():
            values = {path: found[path][part][name] for path in paths}  # type: ignore
            for path, usual, times in _unusual(values):
                told = f"{part}.{name} is {values[path]}, but {usual} in {times} other records of "
                yield f"{path}: {told}{_of(found[path], part)}; train the cell again"


def _of(record: Record, part: str) -> str:
    return record["student"] if part == "cost" else f"{record['student']} {record['method']}"


def _unusual(values: Mapping[Path, Any]) -> Iterator[tuple[Path, Any, int]]:
    """Paths with another value than most; that value and how many have it."""
    every = list(values.values())
    usual = mode(every)
    times = every.count(usual)
    yield from ((path, usual, times) for path, value in values.items() if value != usual)


def _students(found: Found) -> dict[str, list[Path]]:
    """Cells whose networks cost the same."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path, record in found.items():
        if record["cost"]:
            settings = record["settings"]
            alike = [settings[name] for name in ("student", "grid", "precision", "data")]
            alike.append(settings.get("detector", ""))
            groups[_text([*alike, record["cost"]["frames"]])].append(path)
    return groups


def _methods(found: Found) -> dict[str, list[Path]]:
    """Finished cells that differ in their seeds and teachers alone."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path, record in found.items():
        if record["status"] == "done" and record["training"]:
            settings = record["settings"]
            alike = {k: v for k, v in settings.items() if k not in ("seed", "teacher")}
            groups[_text(alike)].append(path)
    return groups


def _other_losses(found: Found) -> Iterator[str]:
    """Losses with other names than those of most cells of the same method."""
    for paths in _methods(found).values():
        names = {path: loss_names(found[path]) for path in paths}
        for path, usual, times in _unusual(names):
            told = f"training.losses of {title(found[path])} are {', '.join(names[path])}, but "
            told += f"{', '.join(usual)} in {times} others of the same method"
            yield f"{path}: {told}; say why in README.md, or train the cell again"


def _unsure_code(results: Path, found: Found) -> Iterator[str]:
    """Records whose code nobody can look up."""
    made = [record["provenance"] for record in found.values()]
    for told, count in (
        ("do not say which code made them", sum(m.get("commit") is None for m in made)),
        ("were made by code with uncommitted changes", sum(m.get("clean") is False for m in made)),
    ):
        if count:
            yield f"{results}: {count} of {len(made)} records {told}; say so in README.md"


def _built_in_as_real(found: Found) -> Iterator[str]:
    """Records of generated frames that are called real, or by another name."""
    for path, record in found.items():
        data = record["dataset"]
        profile = BUILT_IN_SETS.get(data["fingerprint"])
        if profile and (data["name"], data["synthetic"]) != (GENERATED, True):
            told = f"dataset is {data['name']}, synthetic {data['synthetic']}, but its fingerprint"
            yield f"{path}: {told} is that of profile {profile}'s generated frames; correct it"


def _uneven_latencies(found: Found) -> Iterator[str]:
    """Students whose latency differs much between their cells, and what tables show of it."""
    for paths in _students(found).values():
        times = [time["median"] for path in paths if (time := found[path]["cost"]["latency_ms"])]  # type: ignore
        if times and says_little(median(times), max(times) - min(times)):
            first = paths[0]
            yield (
                f"{first.parents[1]}: latencies of {found[first]['student']} lie between "
                f"{min(times):.1f} and {max(times):.1f} ms; tables show their median, "
                f"{median(times):.1f}; say in README.md what else ran, or measure with `cost`"
            )


def _missing_seeds(found: Found) -> Iterator[str]:
    """Rows that lack a seed which other rows of their table have, and seeds that all rows lack."""
    for number, table in enumerate(make_tables(found.values()), 1):
        skipped = sorted(set(range(max(table.seeds, default=0))) - set(table.seeds))
        if skipped:
            yield (
                f"table {number} has seeds {', '.join(map(str, table.seeds))}, and no row has "
                f"{', '.join(map(str, skipped))}; run them, or say in README.md why"
            )
        seeds: dict[tuple[str, str], list[str]] = defaultdict(list)
        for cell in table.cells:
            if cell["status"] == MISSING:
                seeds[cell["student"], cell["method"]].append(str(cell["seed"]))
        for (student, method), lacking in seeds.items():
            yield (
                f"{student} {method} has no record of seed {', '.join(lacking)}, which other rows "
                f"of table {number} have; run it, or say in README.md why it is missing"
            )
