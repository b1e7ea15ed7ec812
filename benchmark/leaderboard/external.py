"""Results of other code: KITTI result files and a card that describes them."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from benchmark.evaluation.protocol import MEAN, SCORED_CLASSES, classes_of, scoring_of
from benchmark.files import read_file, read_text, write_atomically
from benchmark.files.settings import Problems, parse_yaml, read_dataclass
from benchmark.leaderboard.columns import number
from benchmark.records import store
from benchmark.records.folder import ResultsFolder
from benchmark.records.provenance import TOOLS, tool_version
from benchmark.records.record import Record
from benchmark.records.schema import form, written_schema
from benchmark.records.store import NONE
from kd_methods.core.catalogue import BUILT_IN
from kd_methods.core.errors import PointKDError

LARGEST = 2**63
"""Above all costs: what every reader of JSON takes as a whole number."""
AGAIN = "add the external result again with --replace"
"""What to do about a stored result that is wrong."""


class CardError(PointKDError):
    """A card, or a stored external result, that cannot be used; lists all problems."""


def _costs(value: Any, path: str, problems: Problems) -> Mapping[str, Any]:
    """Numbers by name."""
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and type(number) in (int, float) and abs(number) < LARGEST
        for name, number in value.items()
    ):
        problems.append(f"{path} is {value!r}; it must be 'name: number' pairs")
        return {}
    return value


def _url(value: Any, path: str, problems: Problems) -> str:
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        problems.append(f"{path} is {value!r}; it must be a web address")
        return ""
    return value


def _name(value: Any, path: str, problems: Problems) -> str:
    """Also the name of a file."""
    fine = isinstance(value, str) and value and not value.startswith(".")
    if not fine or not all(c.isalnum() or c in "._+-" for c in value):
        problems.append(f"{path} is {value!r}; use letters, digits and . _ + -")
        return ""
    if value in {NONE, *BUILT_IN}:
        problems.append(f"{path} {value!r} is a method of this benchmark; use e.g. {value}-theirs")
    return value


@dataclass(frozen=True)
class Card:
    """What the authors of results state about them, read from YAML.

    Attributes:
        name: of the row; also the file's.
        paper: authors, venue, year.
        url: of paper or code.
        data: data set, e.g. KITTI.
        split: e.g. val.
        detector: e.g. ``SECOND with half the channels``.
        detections: folder of the KITTI result files, relative to the card.
        notes: what a reader must know.
        costs: as the authors state them, e.g. ``params (M): 1.3``.
    """

    paper: str
    data: str
    split: str
    detector: str
    name: str = field(metadata={"read": _name})
    url: str = field(metadata={"read": _url})
    detections: str = "."
    notes: str = ""
    costs: Mapping[str, float] = field(default_factory=dict, metadata={"read": _costs})


def add(
    card_file: Path,
    results: Path,
    labels: Path,
    split: Path | None = None,
    missing_as_empty: bool = False,
    replace: bool = False,
) -> tuple[Path, str]:
    """Score the detections of a card and store them as ``external/NAME.json`` next to the records.

    Args:
        labels: folder of the ground truth's label files.
        split: file that lists the frames; default: all label files.
        missing_as_empty: take a frame without result file as one without detections.
        replace: write over another result of the same name.

    Returns:
        The file written, and the table of the evaluation with what a reader must know of it.

    Raises:
        CardError: lists all problems of the card; its data set is not that of the folder's
            records; its split names another number of frames than are scored; or there is
            another result of its name.
        RecordError: a record of the folder cannot be read.
        LabelError, DataError: as ``evaluate``.
    """
    card = read_card(card_file)
    records = store.read_all(results)
    _refuse(card_file, _other_data(asdict(card), records))
    stored, text = _score(card, card_file.parent, labels, split, missing_as_empty)
    _refuse(card_file, _other_frames(stored["card"], stored["frames"]))
    content = (json.dumps(stored, indent=1, ensure_ascii=False) + "\n").encode()
    path = ResultsFolder(results).external / f"{card.name}.json"
    if path.exists() and path.read_bytes() != content and not replace:
        raise CardError(
            f"{path}: holds another result of this name; give the card another name, or use "
            "--replace"
        )
    write_atomically(path, content)
    return path, "\n".join([text, *(f"NOTE: {n}" for n in beside(stored, records))])


def _refuse(card_file: Path, problems: Iterable[str]) -> None:
    if told := "; ".join(problems):
        raise CardError(f"{card_file}: {told}")


def _score(
    card: Card, folder: Path, labels: Path, split: Path | None, missing_as_empty: bool
) -> tuple[dict[str, Any], str]:
    """What is stored of an external result, and the table of its evaluation.

    Args:
        folder: of the card.
    """
    from benchmark.evaluation.command import evaluate_command, list_frames

    detections = folder / card.detections
    with tempfile.TemporaryDirectory() as place:
        scored = Path(place) / "ap.json"
        text = evaluate_command(labels, detections, split, scored, missing_as_empty)
        ap = json.loads(scored.read_bytes())
    frames = list_frames(labels, split)
    stored = {
        "card": asdict(card),
        "frames": len(frames),
        "labels_sha256": _hash(labels, frames),
        "detections_sha256": _hash(detections, frames),
        "evaluator": f"{TOOLS[0]} {tool_version(TOOLS[0])}",
        "ap": ap,
    }
    return stored, text


def read_card(path: Path) -> Card:
    """A card from YAML.

    Raises:
        CardError: lists all problems.
    """
    try:
        fields = parse_yaml(read_text(path, CardError))
    except (OSError, ValueError) as error:
        raise CardError(f"{path}: {error}") from None
    problems: Problems = []
    card = read_dataclass(Card, fields, "", problems)
    if problems:
        raise CardError(f"{path}: {'; '.join(problems)}")
    return card


def unfit(stored: Mapping[str, Any], records: Sequence[Record]) -> Problems:
    """Why an external result does not belong beside these records; empty if it does."""
    card = stored["card"]
    return [*_other_frames(card, stored["frames"]), *_other_data(card, records)]


def _other_frames(card: Mapping[str, Any], frames: int) -> Iterator[str]:
    said = _said_frames(card["split"])
    if said is not None and said != frames:
        yield f"split is {card['split']!r}, but {frames} frames are scored; correct the card"


def _other_data(card: Mapping[str, Any], records: Sequence[Record]) -> Iterator[str]:
    """Names are compared without case; a folder without records takes any."""
    names = sorted({record["dataset"]["name"] for record in records})
    if names and card["data"].casefold() not in map(str.casefold, names):
        yield (
            f"data is {card['data']!r}, but the folder's records are of {', '.join(names)}; use "
            "another results folder, or correct the card"
        )


def beside(stored: Mapping[str, Any], records: Sequence[Record]) -> Iterator[str]:
    """What a reader must know of an external result beside these records."""
    profiles = {r["profile"]["name"] for r in records if r["profile"]["reduced"]}
    if profiles:
        yield (
            f"{stored['card']['name']} counts objects wherever they are, the folder's records of "
            f"{', '.join(sorted(profiles))} those in its reduced grid only: not comparable"
        )
    counts = sorted({record["dataset"]["val_frames"] for record in records})
    if counts and stored["frames"] not in counts:
        yield (
            f"{stored['card']['name']} is scored on {stored['frames']} frames, the folder's "
            f"records on {', '.join(map(str, counts))}: the figures are not comparable"
        )


def _said_frames(split: str) -> int | None:
    """The number of frames that the text of a split names."""
    found = re.search(r"(\d[\d,]*) frames?\b", split)
    return int(found[1].replace(",", "")) if found else None


def row(stored: Mapping[str, Any]) -> dict[str, Any]:
    """An external result as a row: texts, and figures with full precision, NaN for none."""
    card, ap = stored["card"], stored["ap"]
    shown = {name: card[name] for name in ("name", "url", "paper", "detector", "data")}
    shown["split"] = _split_text(stored)
    scoring = scoring_of(ap)
    for metric, label in scoring.labels.items():
        shown[f"{label} mAP"] = number(scoring.mean(ap, metric))
    for name in classes_of(ap):
        for i, level in enumerate(scoring.levels):
            for metric, label in scoring.labels.items():
                shown[f"{name} {label} {level}"] = number(scoring.figure(ap, name, metric, i))
            shown[f"{name} objects {level}"] = ap[name]["objects"][i]
    costs = (card.get("costs") or {}).items()
    shown["stated costs"] = ", ".join(f"{name} {value}" for name, value in costs)
    shown["notes"] = card.get("notes", "")
    return shown


def _split_text(stored: Mapping[str, Any]) -> str:
    """The split with its number of frames."""
    split = stored["card"]["split"]
    return split if _said_frames(split) is not None else f"{split} ({stored['frames']} frames)"


def paths(results: Path) -> list[Path]:
    """The files of a folder's external results, by name."""
    return sorted(ResultsFolder(results).external.glob("*.json"))


def read_all(results: Path) -> list[dict[str, Any]]:
    """The external results of a folder, by name.

    Raises:
        CardError: a file is damaged.
    """
    return [read(path) for path in paths(results)]


def read(path: Path) -> dict[str, Any]:
    """A stored external result.

    Raises:
        CardError: it is damaged.
    """
    stored = load(path)
    if problem := _form()(stored):
        raise CardError(f"{path}: {problem}; {AGAIN}")
    return stored


def load(path: Path) -> dict[str, Any]:
    """What the file of an external result holds: a sound card, frames and AP of whatever form.

    Raises:
        CardError: it is damaged.
    """
    try:
        record = orjson.loads(read_file(path))
    except (OSError, orjson.JSONDecodeError) as error:
        raise CardError(f"{path}: {error}; {AGAIN}") from None
    problems: Problems = []
    if not isinstance(record, Mapping):
        problems.append("it must be 'field: value' pairs")
    else:
        problems += [
            f"{name} is missing" for name in ("card", "frames", "ap") if name not in record
        ]
        if "card" in record:
            read_dataclass(Card, record["card"], "card", problems)
    if problems:
        raise CardError(f"{path}: {'; '.join(problems)}; {AGAIN}")
    return dict(record)


@cache
def schema() -> dict[str, Any]:
    """Of an external result; its AP are KITTI's, its card is checked where it is read."""
    fields = {
        "card": {"type": "object"},
        "frames": {"type": "integer", "minimum": 1},
        "labels_sha256": {"type": "string", "$ref": "#/$defs/sha256"},
        "detections_sha256": {"type": "string", "$ref": "#/$defs/sha256"},
        "evaluator": {"type": "string", "minLength": 1},
        "ap": {
            "type": "object",
            "required": [MEAN, *SCORED_CLASSES],
            "properties": {MEAN: {"$ref": "#/$defs/metrics"}},
            "additionalProperties": {"$ref": "#/$defs/class"},
        },
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(fields),
        "properties": fields,
        "$defs": written_schema()["$defs"],
    }


@cache
def _form() -> Callable[[Any], str]:
    return form(schema())


def _hash(folder: Path, frames: list[str]) -> str:
    """SHA-256 of the files of these frames; one that is missing is as an empty one."""
    digest = hashlib.sha256()
    for frame in frames:
        path = folder / f"{frame}.txt"
        digest.update(f"{frame}\n".encode() + (path.read_bytes() if path.exists() else b""))
    return digest.hexdigest()
