"""Records to tables of comparable figures; every figure comes from a record."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from benchmark.evaluation.intervals import (
    Comparison,
    Gain,
    Rank,
    compare_methods,
    paired_gains,
    rank_intervals,
)
from benchmark.evaluation.protocol import Scoring, classes_of, scoring_of
from benchmark.leaderboard import controls
from benchmark.leaderboard.columns import COSTS, number
from benchmark.records.record import Record, has_own_config, is_teacher
from benchmark.records.store import NONE

TEACHER = "teacher"
MISSING = "missing"
Rows = dict[tuple[str, str], list[Record]]
"""Records by student and method."""
Figures = dict[str, dict[int, float]]
"""mAP by method and seed."""

PER_CELL = (
    "student", "method", "seed", "hyperparameters", "weighting", "source", "teacher", "checkpoint",
    "control", "beside", "rate", "tuned",
)  # fmt: skip
"""Settings in which the cells of a table may differ; the teacher is compared by its identity."""


@dataclass(frozen=True)
class Table:
    """The comparable records of one family.

    Attributes:
        example: one of the records, for what they have in common.
        scoring: how their figures are laid out.
        classes: that they are of, in order.
        machines: processors behind the records.
        timed_on: the one whose latencies and memory the rows have: behind most finished cells.
        commits: of the code behind the records, "+" after one whose code was changed.
        seeds: that any student of the table has.
        rows: one per student and method, the teacher first.
        pairs: differences of every two methods of a student, by the metric of verdicts.
        cells: one per student, method and seed, the missing ones too.
        controls: one per student, method and control, see :mod:`.controls`.
        tuned: what the settings of its cells were chosen by, None for the source's.
    """

    example: Record
    scoring: Scoring
    classes: Sequence[str]
    machines: Sequence[str]
    timed_on: str
    commits: Sequence[str]
    seeds: Sequence[int]
    rows: Sequence[dict[str, Any]]
    pairs: Sequence[dict[str, Any]]
    cells: Sequence[dict[str, Any]]
    controls: Sequence[dict[str, Any]]
    tuned: Mapping[str, Any] | None = None

    @property
    def family(self) -> str:
        return self.example["student"].partition("@")[0]

    @property
    def network(self) -> str:
        """The family, or the student if it has a config of its own, and thus a table; the teacher's
        family if that is another."""
        students = {row["student"] for row in self.rows if row["method"] != TEACHER}
        own = sorted(filter(has_own_config, students))
        shown = own[0] if own else self.family
        taught = {row["student"] for row in self.rows if row["method"] == TEACHER} - {self.family}
        return shown + "".join(f" taught by {family}" for family in taught)

    @property
    def title(self) -> str:
        """Network, data set, profile and precision."""
        example = self.example
        return (
            f"{self.network} on {example['dataset']['name']}, "
            f"profile {example['profile']['name']}, {example['precision']}"
            f"{', tuned' if self.tuned else ''}"
        )


def make_tables(records: Iterable[Record]) -> list[Table]:
    """One table for each set of records that may be compared: same family, teacher, data set,
    profile, precision and tool versions; tuned settings apart from the source's."""
    students: dict[bytes, list[Record]] = defaultdict(list)
    teachers: dict[str, Record] = {}
    for record in records:
        if is_teacher(record):
            teachers[record["cell"]] = record
        else:
            students[_comparable(record)].append(record)
    groups = {key: [*_taught_by(group[0], teachers), *group] for key, group in students.items()}
    named = {_teacher(record) for group in students.values() for record in group}
    groups |= {
        _comparable(record): [record]
        for cell, record in teachers.items()
        if cell not in named and not controls.is_control(record)
    }
    return [
        _table(part, teachers) for _, group in sorted(groups.items()) for part in _by_tuning(group)
    ]


def _teacher(record: Record) -> str:
    """The cell of the teacher that it stands beside in a table: its own, unless it is a control."""
    settings = record["settings"]
    return settings.get("beside") or settings.get("teacher") or record["cell"]


def _taught_by(record: Record, teachers: Mapping[str, Record]) -> list[Record]:
    found = teachers.get(_teacher(record))
    return [found] if found else []


def _by_tuning(group: Sequence[Record]) -> Iterator[list[Record]]:
    """Records by what their settings were chosen by, each part with the teacher."""
    parts: dict[str, list[Record]] = defaultdict(list)
    for record in group:
        if not is_teacher(record):
            parts[(_tuned(record) or {}).get("hash", "")].append(record)
    shared = [record for record in group if is_teacher(record)]
    for _, part in sorted(parts.items()) or [("", [])]:
        yield shared + part


def _tuned(record: Record) -> Mapping[str, Any] | None:
    return record["settings"].get("tuned")


def _comparable(record: Record) -> bytes:
    settings = record["settings"]
    shared = {key: value for key, value in settings.items() if key not in PER_CELL}
    family = record["student"].partition("@")[0]
    versions = record["provenance"]["versions"]
    name = record["profile"]["name"]
    return _key([family, name, shared, _teacher(record), versions])


def _table(together: Sequence[Record], teachers: Mapping[str, Record]) -> Table:
    together = sorted(together, key=lambda record: (record["seed"], record["cell"]))
    records = [record for record in together if not controls.is_control(record)]
    rows = _by_row(records)
    ap = next((record["ap"] for record in records if record["ap"]), None)
    scoring, classes = scoring_of(ap), classes_of(ap or {})
    headline = scoring.headline
    seeds = sorted({r["seed"] for r in records if "@" in r["student"]})
    figures = {
        metric: {student: _figures(rows, student, metric) for student in _students(rows)}
        for metric in scoring.labels
    }
    comparisons = {student: compare_methods(v) for student, v in figures[headline].items()}
    ranks = {
        (student, method): rank
        for student, found in comparisons.items()
        for method, rank in rank_intervals(figures[headline][student], found, seeds).items()
    }
    gains = {metric: _gains(of_students) for metric, of_students in figures.items()}
    timed_on = _most_used_machine(records)
    finished: dict[str, list[Record]] = defaultdict(list)
    for (student, _), group in rows.items():
        finished[student] += _done(group)
    deployed = {student: _deployed(done, timed_on) for student, done in finished.items()}
    unknown = _deployed([], timed_on)
    described = [
        _row(
            key,
            group,
            {m: gains[m].get(key) for m in scoring.labels},
            ranks.get(key),
            seeds,
            scoring,
        )
        | _ap_columns(_done(group), scoring, classes)
        | _training_columns(_done(group))
        | (deployed[key[0]] if _done(group) else unknown)
        for key, group in rows.items()
    ]
    described.sort(key=partial(_order, f"{scoring.main} mAP"))
    cells = [cell for row in described for cell in _cells(row, rows, seeds, scoring)]
    shown = records or together
    example = next((record for record in shown if not is_teacher(record)), shown[0])
    return Table(
        example,
        scoring,
        classes,
        sorted({record["provenance"]["machine"] for record in records}),
        timed_on,
        sorted({_commit(record) for record in records}),
        seeds,
        described,
        list(_pairs(comparisons)),
        cells,
        list(
            controls.rows(
                _by_control(together),
                {student: of.get(NONE, {}) for student, of in figures[headline].items()},
                gains[headline],
                teachers,
                scoring,
            )
        ),
        next(filter(None, map(_tuned, records)), None),
    )


def _by_control(records: Sequence[Record]) -> dict[controls.Key, list[Record]]:
    """Those of controls, by student, method and control."""
    names = sorted({record["settings"].get("control", "") for record in records} - {""})
    return {
        (student, method, name): group
        for name in names
        for (student, method), group in _by_row(
            [record for record in records if record["settings"].get("control") == name]
        ).items()
        if group
    }


def _commit(record: Record) -> str:
    made = record["provenance"]
    return (made.get("commit") or "unknown")[:12] + ("+" if made.get("clean") is False else "")


def _by_row(records: Sequence[Record]) -> Rows:
    """Records by student and method; a method of the table that a student lacks has none."""
    grouped: Rows = defaultdict(list)
    for record in records:
        grouped[record["student"], _label(record)].append(record)
    rows = {
        (student, label + told): part
        for (student, label), group in grouped.items()
        for told, part in _by_hyperparameters(group)
    }
    methods = sorted({label for student, label in rows if "@" in student})
    for student in _students(rows):
        for method in methods:
            rows.setdefault((student, method), [])
    return rows


def _label(record: Record) -> str:
    """The method, with its weighting or learning rate where that is not the source's."""
    if "@" not in record["student"]:
        return TEACHER
    balanced = record["weighting"] != "source"
    told = f" ({record['weighting']})" if balanced else ""
    rate = record["settings"].get("rate", 1.0)
    if rate != 1 and not _tuned(record):  # a trial of it
        told += f" (learning rate x{rate:g})"
    return record["method"] + told


def _by_hyperparameters(records: Sequence[Record]) -> Iterator[tuple[str, list[Record]]]:
    """Records of equal values; where there are several sets, with the values that differ."""
    sets: dict[bytes, list[Record]] = defaultdict(list)
    for record in records:
        sets[_key(_values(record))].append(record)
    latest = _source(max(records, key=_ended))
    for group in sets.values():
        others = [_values(other[0]) for other in sets.values()]
        told = [
            f"{name}={value}"
            for name, value in _values(group[0]).items()
            if any(other.get(name) != value for other in others)
        ]
        if any(name.startswith("code=") for name in told) and _source(group[0]) == latest:
            told.append("latest")
        yield (f" ({', '.join(told)})" if len(sets) > 1 else ""), group


def _ended(record: Record) -> str:
    """When it was finished, empty where that is not known."""
    return record["provenance"].get("ended") or ""


def _values(record: Record) -> dict[str, Any]:
    """The hyper-parameters, and the source of a plugin: edited code makes another row."""
    source = _source(record)
    return {**record["hyperparameters"], **({"code": source} if source else {})}


def _source(record: Record) -> str:
    """The hash of its plugin's code, empty for built-in methods."""
    return record["settings"].get("source", "")


def _students(rows: Rows) -> list[str]:
    return sorted({student for student, _ in rows if "@" in student})


def _figures(rows: Rows, student: str, metric: str) -> Figures:
    """mAP by method and seed of the cells that are done."""
    return {
        method: {r["seed"]: _mean_ap(r, metric) for r in group if r["status"] == "done"}
        for (name, method), group in rows.items()
        if name == student
    }


def _gains(of_students: Mapping[str, Figures]) -> dict[tuple[str, str], Gain]:
    """Gain of every student and method over ``none`` of the same student."""
    return {
        (student, method): gain
        for student, figures in of_students.items()
        if any(math.isfinite(value) for value in figures.get(NONE, {}).values())
        for method, gain in paired_gains(figures, NONE).items()
    }


def _row(
    key: tuple[str, str],
    records: Sequence[Record],
    gains: Mapping[str, Gain | None],
    rank: Rank | None,
    seeds: Sequence[int],
    scoring: Scoring,
) -> dict[str, Any]:
    done = _done(records)
    student, method = key
    of = 1 if method == TEACHER else len(seeds)
    row: dict[str, Any] = {
        "student": student,
        "method": method,
        "extrapolated": any(
            r["training"] is not None and r["training"]["extrapolated"] for r in done
        ),
        "seeds": len(done),
        "of seeds": of,
    }
    for metric, label in scoring.labels.items():
        row[f"{label} mAP"] = _mean(_mean_ap(record, metric) for record in done)
    for metric, label in scoring.labels.items():
        gain = gains[metric]
        row[f"{label} gain"] = gain.mean if gain else math.nan
        row[f"{label} gain low"] = gain.low if gain else math.nan
        row[f"{label} gain high"] = gain.high if gain else math.nan
    row[f"verdict ({scoring.main})"] = _verdict(gains[scoring.headline], records, of)
    row[f"rank ({scoring.main})"] = rank.place if rank else math.nan
    row[f"rank ({scoring.main}) low"] = rank.low if rank else math.nan
    row[f"rank ({scoring.main}) high"] = rank.high if rank else math.nan
    return row


def _ap_columns(
    done: Sequence[Record], scoring: Scoring, classes: Sequence[str]
) -> dict[str, float]:
    """AP of every class, metric and level, and the fewest valid objects behind it."""
    columns = {}
    for name in classes:
        for i, level in enumerate(scoring.levels):
            for metric, label in scoring.labels.items():
                figures = [scoring.figure(_ap(record), name, metric, i) for record in done]
                columns[f"{name} {label} {level}"] = _mean(figures)
            objects = [_ap(record)[name]["objects"][i] for record in done]
            columns[f"{name} objects {level}"] = min(objects, default=math.nan)
    return columns


def _training_columns(done: Sequence[Record]) -> dict[str, Any]:
    """What the cells of a row cost to train, mean over the seeds, and on which machines."""
    machines = sorted({record["provenance"]["machine"] for record in done})
    figures = {
        column.key: _mean(map(column.figure, done))
        for column in COSTS
        if column.figure and not column.deployed
    }
    return {**figures, "machine": ", ".join(machines)}


def _deployed(done: Sequence[Record], timed_on: str) -> dict[str, float]:
    """What a student costs as deployed: its methods share the network, so it has one figure each,
    the median over all its finished cells; NaN without any."""
    timed = [record for record in done if record["provenance"]["machine"] == timed_on]
    figures = {}
    for column in COSTS:
        of = timed if column.one_machine else done
        if column.figure and column.deployed:
            figures[column.key] = _median(map(column.figure, of))
        if column.iqr:
            figures[f"{column.key} iqr"] = _median(map(column.iqr, of))
    return figures


def _most_used_machine(records: Sequence[Record]) -> str:
    """The machine of most finished cells."""
    machines = sorted(record["provenance"]["machine"] for record in _done(records))
    return statistics.mode(machines) if machines else ""


def _done(records: Sequence[Record]) -> list[Record]:
    """The finished ones."""
    return [record for record in records if record["status"] == "done"]


def _verdict(gain: Gain | None, records: Sequence[Record], of: int) -> str:
    """The gain's verdict in words, and the number of seeds behind it if some are missing."""
    if not any(record["status"] == "done" for record in records):
        return ", ".join(sorted({record["status"] for record in records})) or MISSING
    if any(_mean_ap_missing(record) for record in records):
        return "no mAP: a class has too few valid objects"
    said = "" if gain is None else _significance(gain)
    done = gain.n_seeds if gain else sum(record["status"] == "done" for record in records)
    told = f"{done} of {of} seeds" if done < of else ""
    return "; ".join(part for part in (said, told) if part)


def _mean_ap_missing(record: Record) -> bool:
    if record["status"] != "done":
        return False
    scoring = scoring_of(_ap(record))
    return scoring.mean(_ap(record), scoring.headline) is None


def _significance(gain: Gain) -> str:
    if not math.isfinite(gain.mean):
        return "no seed in common with none"
    if not math.isfinite(gain.low):
        return "no interval: one seed" if gain.n_seeds == 1 else "no interval"
    if not gain.distinguishable:
        return "not distinguishable from none"
    return "better than none" if gain.mean > 0 else "worse than none"


def _order(best: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Teacher, then students by ratio or name, each with its methods from the best figure down;
    those with fewer seeds than the table come after the complete ones."""
    family, _, width = row["student"].partition("@")
    ratio = math.inf if has_own_config(row["student"]) else float(width or 1)
    value = row[best]
    undefined = math.isnan(value)
    fewer = row["seeds"] < row["of seeds"]
    best_first = 0 if undefined else -value
    place = row["method"] != TEACHER, family, ratio, width
    return *place, undefined, fewer, best_first, row["method"]


def _pairs(comparisons: Mapping[str, Sequence[Comparison]]) -> Iterator[dict[str, Any]]:
    """Differences of mAP, the better method first, the lowest p-value first."""
    for student, pairs in comparisons.items():
        lines = [_pair(student, pair) for pair in pairs if pair.gain.n_seeds]
        yield from sorted(
            lines,
            key=lambda line: (_last(line["p"]), -line["difference"], line["first"], line["second"]),
        )


def _pair(student: str, pair: Comparison) -> dict[str, Any]:
    gain, names = pair.gain, (pair.first, pair.second)
    mean, low, high = gain.mean, gain.low, gain.high
    if mean < 0:
        mean, low, high, names = -mean, -high, -low, names[::-1]
    return {
        "student": student,
        "first": names[0],
        "second": names[1],
        "seeds": gain.n_seeds,
        "difference": mean,
        "low": low,
        "high": high,
        "p": pair.p_value,
        "p (Holm)": pair.p_holm,
        "distinguishable": pair.distinguishable,
    }


def _cells(
    row: Mapping[str, Any], rows: Rows, seeds: Sequence[int], scoring: Scoring
) -> Iterator[dict[str, Any]]:
    """Every cell of a row, by seed."""
    key = row["student"], row["method"]
    found = {record["seed"]: record for record in rows[key]}
    for seed in found if row["method"] == TEACHER else seeds:
        record = found.get(seed)
        done = record is not None and record["status"] == "done"
        yield {
            "student": row["student"],
            "method": row["method"],
            "seed": seed,
            "status": record["status"] if record else MISSING,
            "reason": record["reason"] if record else "no record",
            "cell": record["cell"] if record else "",
            **{
                f"{label} mAP": _mean_ap(record, metric) if record and done else math.nan
                for metric, label in scoring.labels.items()
            },
        }


def _ap(record: Record) -> Mapping[str, Any]:
    """The AP of a cell that is done."""
    return record["ap"] or {}


def _mean_ap(record: Record, metric: str) -> float:
    ap = _ap(record)
    return number(scoring_of(ap).mean(ap, metric))


def _mean(values: Iterable[float | None]) -> float:
    numbers = [number(value) for value in values]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def _median(values: Iterable[float]) -> float:
    """Of those that were measured."""
    numbers = [value for value in values if not math.isnan(value)]
    return statistics.median(numbers) if numbers else math.nan


def _key(value: Any) -> bytes:
    """The same for equal plain values."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _last(value: float) -> float:
    """For sorting: undefined values come last."""
    return math.inf if math.isnan(value) else value
