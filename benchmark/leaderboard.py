"""Records to tables. Nothing here trains or measures; every figure comes from a record."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from benchmark.evaluation.intervals import Gain, paired_gains
from benchmark.evaluation.kitti_ap import CLASSES, ENOUGH_OBJECTS
from benchmark.matrix import NONE
from benchmark.records import write_atomically

MODERATE = 1
METRICS = {"bev": "BEV", "3d": "3D"}
Record = Mapping[str, Any]

LEGEND = """\
AP in percent, R40, Moderate; mAP is the mean of Car, Pedestrian and Cyclist. Gain: mean paired
difference to `none` over seeds with its 95 % interval; "distinguishable" means that the interval
leaves out 0. \\* marks an AP bounded by too few valid objects (fewer than {enough}), which enters
no mean. Parameters, GFLOPs (dense layers, as the paper counts) and GMACs (all layers) are of the
student as deployed; latency is the median from points to boxes, batch 1, on the machine named;
training seconds are what the cell would have cost alone, and its share as run in lockstep."""


@dataclass(frozen=True)
class Table:
    """The comparable records of one family.

    Attributes:
        caption: data set, profile, precision, machine and versions behind every row.
        rows: one per student and method, the teacher first.
    """

    caption: str
    rows: pd.DataFrame


def make_tables(records: Iterable[Record]) -> list[Table]:
    """One table for each set of records that may be compared: same family, data set, profile,
    precision and tool versions."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[_comparable(record)].append(record)
    return [_table(group) for _, group in sorted(groups.items())]


def to_markdown(tables: Sequence[Table], title: str) -> str:
    """A page with all tables."""
    parts = [f"# {title}", LEGEND.format(enough=ENOUGH_OBJECTS)]
    for table in tables:
        body = tabulate(
            _shown(table.rows),
            headers="keys",
            tablefmt="pipe",
            showindex=False,
            disable_numparse=True,
        )
        parts += [table.caption, body]
    return "\n\n".join(parts) + "\n"


def to_csv(tables: Sequence[Table]) -> str:
    """All rows with full precision; empty where there is no figure."""
    frames = [table.rows.assign(table=i) for i, table in enumerate(tables)]
    return pd.concat(frames).to_csv(index=False, lineterminator="\n") if frames else ""


def write(folder: Path, records: Sequence[Record], title: str) -> str:
    """Write ``leaderboard.md`` and ``leaderboard.csv`` into a results folder; the markdown."""
    tables = make_tables(records)
    markdown = to_markdown(tables, title)
    write_atomically(folder / "leaderboard.md", markdown.encode())
    write_atomically(folder / "leaderboard.csv", to_csv(tables).encode())
    return markdown


def _comparable(record: Record) -> str:
    settings = {
        key: value
        for key, value in record["settings"].items()
        if key not in ("student", "method", "hyperparameters", "seed", "teacher", "weighting")
    }
    family = record["student"].partition("@")[0]
    versions = record["provenance"]["versions"]
    return json.dumps([family, settings, record["profile"]["name"], versions], sort_keys=True)


def _table(records: Sequence[Record]) -> Table:
    rows: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: (r["seed"], r["cell"])):
        rows[record["student"], _label(record)].append(record)
    gains = {metric: _gains(rows, metric) for metric in METRICS}
    described = [
        _row(student, method, group, {m: gains[m].get((student, method)) for m in METRICS})
        for (student, method), group in rows.items()
    ]
    described.sort(key=_rank)
    return Table(_caption(records), pd.DataFrame(described))


def _label(record: Record) -> str:
    """The method, with its weighting where that is not the source's."""
    balanced = record["weighting"] != "source"
    return record["method"] + (f" ({record['weighting']})" if balanced else "")


def _row(
    student: str, method: str, records: Sequence[Record], gains: Mapping[str, Gain | None]
) -> dict[str, Any]:
    done = [record for record in records if record["status"] == "done"]
    row: dict[str, Any] = {
        "student": student,
        "method": "teacher" if "@" not in student else method,
        "seeds": len(done),
    }
    for metric, label in METRICS.items():
        row[f"{label} mAP"] = _mean(record["ap"]["mAP"][metric]["R40"][MODERATE] for record in done)
    for metric, label in METRICS.items():
        gain = gains[metric]
        row[f"{label} gain"] = gain.mean if gain else math.nan
        row[f"{label} gain low"] = gain.low if gain else math.nan
        row[f"{label} gain high"] = gain.high if gain else math.nan
    row["verdict"] = _verdict(gains["3d"], records)
    for name in CLASSES:
        for metric, label in METRICS.items():
            values = [record["ap"][name][metric]["R40"][MODERATE] for record in done]
            row[f"{name} {label}"] = _mean(values)
        objects = [record["ap"][name]["objects"][MODERATE] for record in done]
        row[f"{name} bounded"] = bool(objects) and min(objects) < ENOUGH_OBJECTS
    cost = done[0]["cost"] if done else {}
    row["params (M)"] = cost.get("params", math.nan) / 1e6
    row["GFLOPs"] = cost.get("flops_paper", math.nan) / 1e9
    row["GMACs"] = cost.get("flops_full", math.nan) / 1e9
    row["latency (ms)"] = cost.get("latency_ms", {}).get("median", math.nan)
    row["train alone (s)"] = _mean(record["training"]["seconds_alone"] for record in done)
    row["train as run (s)"] = _mean(record["training"]["seconds_as_run"] for record in done)
    return row


def _gains(
    rows: Mapping[tuple[str, str], Sequence[Record]], metric: str
) -> dict[tuple[str, str], Gain]:
    """Gain of every student and method over ``none`` of the same student."""
    found = {}
    for student in sorted({student for student, _ in rows if "@" in student}):
        values = {
            method: {
                record["seed"]: _number(record["ap"]["mAP"][metric]["R40"][MODERATE])
                for record in group
                if record["status"] == "done"
            }
            for (name, method), group in rows.items()
            if name == student
        }
        if any(math.isfinite(value) for value in values.get(NONE, {}).values()):
            for method, gain in paired_gains(values, NONE).items():
                found[student, method] = gain
    return found


def _verdict(gain: Gain | None, records: Sequence[Record]) -> str:
    ended = [record for record in records if record["status"] != "done"]
    if ended:
        return "; ".join(f"seed {r['seed']} {r['status']}: {r['reason']}" for r in ended)
    if any(record["ap"]["mAP"]["3d"]["R40"][MODERATE] is None for record in records):
        return "no mAP: a class has too few valid objects"
    if gain is None or not math.isfinite(gain.mean):
        return ""
    if not math.isfinite(gain.low):
        return "no interval: one seed" if gain.n_seeds == 1 else "no interval"
    if not gain.distinguishable:
        return "not distinguishable from none"
    return "better than none" if gain.mean > 0 else "worse than none"


def _caption(records: Sequence[Record]) -> str:
    record = records[0]
    data, profile = record["dataset"], record["profile"]
    kind = "synthetic data" if data["synthetic"] else "real frames"
    versions = record["provenance"]["versions"]
    machines = sorted({r["provenance"]["machine"] for r in records})
    region = "reduced grid, objects outside it ignored" if profile["reduced"] else "full grid"
    return (
        f"**{record['student'].partition('@')[0]}** on {data['name']} ({kind}, "
        f"{data['train_frames']} training and {data['val_frames']} validation frames, "
        f"fingerprint {data['fingerprint']}); profile {profile['name']}: {profile['purpose']} "
        f"({region}); {record['precision']}; {', '.join(machines)}; "
        f"mmdet3d {versions['mmdet3d']}, torch {versions['torch']}."
    )


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns people read, as text."""
    shown = pd.DataFrame()
    for column in ("student", "method", "seeds"):
        shown[column] = rows[column].astype(str)
    for label in METRICS.values():
        shown[f"{label} mAP"] = [_text(value, 2) for value in rows[f"{label} mAP"]]
        shown[f"{label} gain"] = [
            _gain_text(*values)
            for values in zip(
                rows[f"{label} gain"],
                rows[f"{label} gain low"],
                rows[f"{label} gain high"],
                strict=True,
            )
        ]
    shown["verdict (3D)"] = [_escape(text) for text in rows["verdict"]]
    for name in CLASSES:
        shown[f"{name} BEV / 3D"] = [
            f"{_text(bev, 1)} / {_text(box, 1)}" + (r"\*" if bounded else "")
            for bev, box, bounded in zip(
                rows[f"{name} BEV"], rows[f"{name} 3D"], rows[f"{name} bounded"], strict=True
            )
        ]
    for column, digits in (
        ("params (M)", 3), ("GFLOPs", 2), ("GMACs", 2), ("latency (ms)", 1)
    ):  # fmt: skip
        shown[column] = [_text(value, digits) for value in rows[column]]
    shown["train alone / as run (s)"] = [
        f"{_text(alone, 0)} / {_text(run, 0)}"
        for alone, run in zip(rows["train alone (s)"], rows["train as run (s)"], strict=True)
    ]
    return shown


def _rank(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Teacher, then students by ratio, each with its methods from the best 3D mAP down."""
    family, _, ratio = row["student"].partition("@")
    value = row["3D mAP"]
    return (
        family,
        float(ratio or 1),
        math.isnan(value),
        -value if value == value else 0,
        row["method"],
    )


def _mean(values: Iterable[float | None]) -> float:
    numbers = [_number(value) for value in values]
    return sum(numbers) / len(numbers) if numbers else math.nan


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _text(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _gain_text(mean: float, low: float, high: float) -> str:
    if math.isnan(mean):
        return ""
    return f"{mean:+.2f}" + ("" if math.isnan(low) else f" [{low:+.2f}, {high:+.2f}]")


def _escape(text: str) -> str:
    """Text of a record that cannot break the table or smuggle in markup."""
    for character in "\\|<>`*_[]":
        text = text.replace(character, "\\" + character if character in "\\|*_[]`" else " ")
    return " ".join(text.split())
