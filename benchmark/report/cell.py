"""Everything about one cell: its record, how to reproduce it, where its files are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

from benchmark.config import bundled
from benchmark.evaluation.table import ap_table
from benchmark.records import store
from benchmark.records.folder import MARGIN, ResultsFolder
from benchmark.records.provenance import code_version, is_processor
from benchmark.records.record import Record, cohort_title, has_own_config, is_teacher, title
from detectors.core.registry import shipped_students
from kd_methods.core.catalogue import BUILT_IN
from kd_methods.core.errors import visible

TRACEBACK = r"^.* traceback of {cell}\n((?:" + MARGIN + r".*\n?)*)"
"""A failed cell's traceback in its cohort's log."""


def describe_cell(results: Path, cell: str) -> str:
    """All that is known of a cell, in sections.

    Args:
        cell: its identity, or its first characters.

    Raises:
        RecordError: no record matches, or several do.
    """
    record = store.find(results, cell)
    ended = f"{record['status']}{', ' if record['reason'] else ''}{record['reason']}"
    parts = [f"{title(record)}: {ended}"]
    if record["ap"]:
        parts.append(ap_table(record["ap"]))
    sections = {
        "cell": _identity(record),
        "hyper-parameters": record["hyperparameters"],
        "cost of the student": record["cost"] or {},
        "training": _training(record["training"] or {}),
        "made by": _provenance(record["provenance"]),
        "files": dict(_files(results, record)),
    }
    parts += [_section(heading, fields) for heading, fields in sections.items() if fields]
    if trace := _traceback(results, record):
        parts.append(trace)
    command, needs = reproduction(record, _maker(results, record))
    return visible("\n\n".join([*parts, "\n  ".join(["reproduce", command, *needs])]))


def reproduction(record: Record, teachers: Record | None = None) -> tuple[str, list[str]]:
    """The command that trains the same cell, and what it needs that a record does not hold.

    Args:
        teachers: the teacher's record; None for a teacher, or if there is none.
    """
    data = record["dataset"]
    profile, epochs, needs = _profile(record)
    teacher, control = is_teacher(record), record["settings"].get("control", "")
    family, _, width = record["student"].partition("@")
    maker = teachers or record
    guide = maker["student"].partition("@")[0]
    tuned, rate = record["settings"].get("tuned"), record["settings"].get("rate", 1.0)
    options = {
        "data": "synthetic" if data["synthetic"] else f"FOLDER/{data['name']}",
        "profile": profile,
        "epochs": epochs,
        "students": record["student"] if width else f"{family}@4",
        "methods": None if tuned else record["method"],
        "settings": "FILE" if tuned else None,
        "seeds": record["seed"],
        "precision": record["precision"],
        "weighting": record["weighting"],
        "controls": control or None,
        "results": "results/again",
    }
    words = [
        word
        for name, value in options.items()
        if value is not None
        for word in (f"--{name}", str(value))
    ]
    needs += _other_code(record) + _missing_method(record)
    if guide != family:
        words += ["--teacher-of", f"{family}={guide}"]
    own = record["student"] if has_own_config(record["student"]) else family
    hashes = {guide: maker["settings"].get("detector"), own: record["settings"].get("detector")}
    for name, detector in hashes.items():
        if detector and name not in shipped_students(family):
            words += ["--detector", f"{name}=FILE"]
            needs.append(f"the FILE of the detector {name} whose hash is {detector}")
    if checkpoint := maker["settings"].get("checkpoint"):
        words += ["--teacher", f"{guide}=FILE"]
        needs.append(f"a FILE whose SHA-256 begins with {checkpoint}")
    if tuned:
        needs.append(f"a FILE of `tune` whose SHA-256 begins with {tuned['hash']}")
    elif rate != 1:
        needs.append(f"`tune`, which tries the learning rate times {rate:g}")
    if not data["synthetic"]:
        needs.append(f"a FOLDER of data with fingerprint {data['fingerprint']}")
    command = shlex.join(["python", "run_bench.py", "run", *words])
    said = [f"needs {n}" for n in needs]
    if teacher:
        said.append("trains a student after the teacher, which does not change it")
    return _threads(record) + command, said


def _threads(record: Record) -> str:
    """The number of threads before a command; on a processor every number rounds differently."""
    made = record["provenance"]
    return f"OMP_NUM_THREADS={made['threads']} " if is_processor(made["machine"]) else ""


def _maker(results: Path, record: Record) -> Record | None:
    """The record of the cell's teacher, if there is one."""
    teacher = record["settings"].get("teacher", "")
    path = ResultsFolder(results).record(teacher)
    return store.read(path) if teacher and path.exists() else None


def _missing_method(record: Record) -> list[str]:
    """What is needed for a method that is not built in."""
    if record["method"] == store.NONE:
        return []
    names = {part.partition(":")[0] for part in record["method"].split("+")}
    source = record["settings"].get("source")
    if not source and names <= BUILT_IN.keys():
        return []
    told = f" (16 hex digits of its SHA-256: {source})" if source else ""
    return [f"--plugin with the file that registers the method, or its package installed{told}"]


def _other_code(record: Record) -> list[str]:
    """The commit that made the record, where this is another."""
    commit, here = record["provenance"]["commit"], code_version()[0]
    if commit is None or commit == here:
        return []
    changed = ", with changes that were not committed" if not record["provenance"]["clean"] else ""
    return [f"the code of commit {commit}{changed}"]


def _profile(record: Record) -> tuple[str, int | None, list[str]]:
    """The profile as an option, the epochs if they are not its own, and what is needed for it."""
    name, recipe = record["profile"]["name"], record["profile"]["recipe"]
    if name in bundled.names("profiles"):
        own = _own_recipe(name, record["student"].partition("@")[0])
        others = [key for key, value in own.items() if not _same(value, recipe.get(key))]
        if set(others) <= {"epochs"}:
            return name, recipe.get("epochs") if others else None, []
    return f"{name}.yaml", None, [f"the profile {name}.yaml with which it was trained"]


@cache
def _own_recipe(name: str, family: str) -> dict[str, Any]:
    """What a built-in profile says about a family, as written."""
    fields = yaml.safe_load(bundled.text("profiles", name))
    return {**(fields.get("defaults") or {}), **((fields.get("families") or {}).get(family) or {})}


def _same(written: Any, recorded: Any) -> bool:
    """Whether a recorded value has what is written of it in a profile."""
    if isinstance(written, Mapping):
        return isinstance(recorded, Mapping) and all(
            _same(value, recorded.get(key)) for key, value in written.items()
        )
    if isinstance(written, list):
        if not isinstance(recorded, list) or len(recorded) != len(written):
            return False
        return all(_same(*pair) for pair in zip(written, recorded, strict=True))
    if isinstance(written, str) and isinstance(recorded, Mapping):
        return list(recorded) == [written]  # a step without fields
    return written == recorded


def _identity(record: Record) -> dict[str, Any]:
    data, profile = record["dataset"], record["profile"]
    frames = f"{data['train_frames']} training and {data['val_frames']} validation frames"
    return {
        "identity": record["cell"],
        "data": f"{data['name']}, {'synthetic' if data['synthetic'] else 'real'}, {frames}",
        "data fingerprint": data["fingerprint"],
        "profile": f"{profile['name']}: {profile['purpose']}",
        "weighting": record["weighting"],
        "precision": record["precision"],
        "teacher": record["settings"].get("teacher") or "none: this is a teacher",
        "weights SHA-256": record["weights_sha256"],
        "losses SHA-256": record["losses_sha256"],
    }


def _training(training: Mapping[str, Any]) -> dict[str, Any]:
    """The training without its losses, and these of the first and the last epoch."""
    shown = {name: value for name, value in training.items() if name != "losses"}
    losses = training.get("losses") or []
    ends = {1: losses[0], len(losses): losses[-1]} if losses else {}
    for epoch, means in ends.items():
        listed = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
        shown[f"losses, epoch {epoch}"] = listed
    return shown


def _provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {**provenance["versions"], **{k: v for k, v in provenance.items() if k != "versions"}}


def _traceback(results: Path, record: Record) -> str:
    """The traceback of the cell's failure, from its cohort's log; empty if there is none."""
    log = ResultsFolder(results).log(_cohort(record))
    if record["status"] != "failed" or not log.exists():
        return ""
    text = log.read_text(encoding="utf-8", errors="replace")
    found = re.findall(TRACEBACK.format(cell=re.escape(record["cell"])), text, re.MULTILINE)
    return dedent(found[-1]).rstrip() if found else ""


def _cohort(record: Record) -> str:
    """The title of the cell's cohort."""
    return cohort_title(record["settings"])


def _files(results: Path, record: Record) -> Iterator[tuple[str, str]]:
    """The files that exist, by kind."""
    cell, place = record["cell"], ResultsFolder(results)
    places = {
        "record": [place.record(cell)],
        "checkpoint": [place.checkpoint(cell)],
        "matches of each frame": [place.statistics(cell)],
        "log": [place.log(_cohort(record))],
        "curves": sorted(place.curves.glob(f"* {cell}")),
    }
    for name, paths in places.items():
        yield from ((name, str(path)) for path in paths if path.exists())


def _section(heading: str, fields: Mapping[str, Any]) -> str:
    width = max(map(len, fields))
    lines = [f"  {name:{width}}  {_plain(value)}" for name, value in fields.items()]
    return "\n".join([heading, *lines])


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else str(value)
