"""KITTI label and result files: one text file per frame, one line per object.

The format is the one of the KITTI object development kit (Geiger, Lenz, Urtasun, CVPR 2012): the
class, truncation, occlusion, alpha, four numbers of the 2D box, three of the size, three of the
location, the rotation about the vertical axis and, in result files only, a score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import NoReturn

import numpy as np

from benchmark.data.errors import DataError
from benchmark.files import read_text

LABEL_CLASSES = (
    "Car",
    "Van",
    "Truck",
    "Pedestrian",
    "Person_sitting",
    "Cyclist",
    "Tram",
    "Misc",
    "DontCare",
)
LABEL_COLUMNS = (
    "class",
    "truncation",
    "occlusion",
    "alpha",
    "left",
    "top",
    "right",
    "bottom",
    "height",
    "width",
    "length",
    "x",
    "y",
    "z",
    "rotation_y",
    "score",
)
LEAST_HEIGHT = (40.0, 25.0, 25.0)
"""Pixels that an object's height in the image exceeds at level Easy, Moderate, Hard."""
MOST_OCCLUSION = (0, 1, 2)
MOST_TRUNCATION = (0.15, 0.3, 0.5)
TURNS = 4 * math.pi
"""Angles beyond two turns are no radians."""
_SPELLING = {spelling: name for name in LABEL_CLASSES for spelling in (name, name.lower())}


class LabelError(DataError):
    """Lines that are not KITTI's, each as "FILE:LINE: what is wrong; what to do"."""


@dataclass(frozen=True, eq=False)
class Labels:
    """The n >= 0 objects of one frame, in the order of their lines.

    All arrays are float64 except `name` (str) and `occlusion` (int64).

    Attributes:
        name: (n,) the class, one of LABEL_CLASSES or another, which nothing here looks for.
        truncation: (n,) 0 (inside the image) to 1; -1 where unknown.
        occlusion: (n,) 0 visible, 1 partly, 2 largely occluded, 3 unknown; -1 where not given.
        alpha: (n,) observation angle in radians; -10 where not given.
        bbox: (n, 4) left, top, right, bottom in pixels of camera 2.
        dimensions: (n, 3) height, width, length in metres.
        location: (n, 3) x, y, z of the bottom's centre in metres, rectified camera frame.
        rotation_y: (n,) radians about the camera's y axis (down).
        score: (n,) confidence of detections, higher is more confident; None for ground truth.

    Raises:
        ValueError: if an array does not have the shape above.
    """

    name: np.ndarray
    truncation: np.ndarray
    occlusion: np.ndarray
    alpha: np.ndarray
    bbox: np.ndarray
    dimensions: np.ndarray
    location: np.ndarray
    rotation_y: np.ndarray
    score: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.name)
        for name, array in self._arrays().items():
            shape = (n, *_SHAPES[name])
            if array.shape != shape:
                raise ValueError(f"{name} of {n} objects has shape {array.shape}, not {shape}")

    def __len__(self) -> int:
        return len(self.name)

    def select(self, index: np.ndarray) -> Labels:
        """The objects at `index` (a boolean mask (n,) or integer positions)."""
        return replace(self, **{name: array[index] for name, array in self._arrays().items()})

    @classmethod
    def empty(cls, scored: bool = False) -> Labels:
        """A frame without objects; with `scored`, one without detections."""
        return _from_table([], np.empty((0, 15 if scored else 14)))

    @classmethod
    def concatenate(cls, frames: Sequence[Labels]) -> Labels:
        """The objects of all frames one after the other; all frames scored, or none.

        Raises:
            ValueError: if only some of the frames have scores.
        """
        if not frames:
            return cls.empty()
        if len({frame.score is None for frame in frames}) > 1:
            raise ValueError("cannot join labels with and without scores; give only one kind")
        columns = [frame._arrays() for frame in frames]
        joined = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
        return replace(frames[0], **joined)

    def without_score(self) -> Labels:
        """The objects as ground truth."""
        return replace(self, score=None)

    def _arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are present, by name."""
        arrays = {name: getattr(self, name) for name in _SHAPES}
        return {name: array for name, array in arrays.items() if array is not None}


_SHAPES: dict[str, tuple[int, ...]] = {
    "name": (),
    "truncation": (),
    "occlusion": (),
    "alpha": (),
    "bbox": (4,),
    "dimensions": (3,),
    "location": (3,),
    "rotation_y": (),
    "score": (),
}


def read_labels(path: str | Path, scored: bool = False) -> Labels:
    """Read one label file or, with `scored`, one result file (whose lines end in a score).

    KITTI's classes may be written in lower case, as the development kit allows; others are taken
    as they are. Blank lines are skipped; a file without other lines is a frame without objects. The
    sixteenth field of a label, a score in files that tools export, is ignored.

    Raises:
        LabelError: names the malformed lines of the file, once for all lines of a kind: a wrong
            number of fields, a field that is not a number, NaN or infinity, an occlusion that is
            not a whole number, a missing score, a label's rotation of more than two turns, an
            object of a class of KITTI's without a size.
        OSError: if the file cannot be read.
    """
    path = Path(path)
    lines = read_text(path, LabelError).split("\n")
    rows = [row if scored else _without_score(row) for row in map(str.split, lines) if row]
    width = len(LABEL_COLUMNS) if scored else len(LABEL_COLUMNS) - 1
    try:
        names = [_SPELLING.get(row[0], row[0]) for row in rows]
        numbers = [float(field) for row in rows for field in row[1:]]
        table = np.array(numbers, np.float64).reshape(len(rows), width - 1)
    except ValueError:
        _raise_errors(path, lines, scored)
    regular = all(len(row) == width and _is_name(row[0]) for row in rows)
    if not (regular and np.isfinite(table).all() and (table[:, 1] % 1 == 0).all()):
        _raise_errors(path, lines, scored)
    if not scored and (np.abs(table[:, 13]) > TURNS).any():
        _raise_errors(path, lines, scored)
    if not scored and not (table[:, 7:10] > 0).all():
        _refuse_flat(path, lines)
    return _from_table(names, table)


def has_sixteenth_field(path: Path) -> bool:
    """Whether a label has a field more than it should, a score in files that tools export."""
    lines = read_text(path, LabelError).splitlines()
    return any(len(line.split()) == len(LABEL_COLUMNS) for line in lines)


def write_labels(path: str | Path, labels: Labels) -> None:
    """Write one label file, or one result file if `labels` has scores.

    Every number is written with the digits it takes to read back exactly the same one.
    """
    numbers = np.column_stack(
        [
            labels.truncation,
            labels.occlusion,
            labels.alpha,
            labels.bbox,
            labels.dimensions,
            labels.location,
            labels.rotation_y,
            *([] if labels.score is None else [labels.score]),
        ]
    ).astype(np.float64)
    lines = []
    for name, row in zip(labels.name, numbers.tolist(), strict=True):
        words = [str(name), repr(row[0]), str(int(row[1])), *map(repr, row[2:])]
        lines.append(" ".join(words) + "\n")
    Path(path).write_text("".join(lines), encoding="utf-8")


def _from_table(names: Sequence[str], table: np.ndarray) -> Labels:
    """Labels from names (n) and the numbers of the lines (n, 14), or (n, 15) with scores."""
    return Labels(
        name=np.array(names, np.str_),
        truncation=table[:, 0],
        occlusion=table[:, 1].astype(np.int64),
        alpha=table[:, 2],
        bbox=table[:, 3:7],
        dimensions=table[:, 7:10],
        location=table[:, 10:13],
        rotation_y=table[:, 13],
        score=table[:, 14] if table.shape[1] == 15 else None,
    )


def _without_score(row: list[str]) -> list[str]:
    return row[:-1] if len(row) == len(LABEL_COLUMNS) else row


def _is_name(word: str) -> bool:
    """Whether a word can be the name of a class, and not a number of another format."""
    return word[0].isalpha() and "," not in word and ";" not in word


def _raise_errors(path: Path, lines: Sequence[str], scored: bool) -> NoReturn:
    """Name the malformed lines, those of a kind once; called only if there is one."""
    raise LabelError(locate_kinds(path, (_problem(line.split(), scored) for line in lines)))


def locate_kinds(path: Path, problems: Iterable[str | None]) -> str:
    """One line for each kind of problem in a file, with the first line that has it.

    Args:
        problems: of each line of the file, None where there is none.
    """
    kinds: dict[str, list[int]] = {}
    for number, problem in enumerate(problems, 1):
        if problem:
            kinds.setdefault(problem, []).append(number)
    return "\n".join(
        f"{path}:{numbers[0]}: {told}{_and_more(len(numbers) - 1)}"
        for told, numbers in kinds.items()
    )


def number_problem(column: str, field: str) -> str | None:
    """Why a field is no finite number; None if it is one."""
    if not is_number(field):
        wanted = f"{field.replace(',', '.')} with a point" if "," in field else "a decimal number"
        return f"{column} '{field}' is not a number; write {wanted}"
    if not math.isfinite(float(field)):
        return f"{column} is {field}; write a finite number or leave the object out"
    return None


def is_number(field: str) -> bool:
    """Whether a field is a number, finite or not."""
    try:
        float(field)
    except ValueError:
        return False
    return True


def separator(row: Sequence[str], width: int) -> str:
    """What separates fields instead of blanks; empty where nothing else does."""
    marks = {",": "commas", ";": "semicolons"}
    return next((told for m, told in marks.items() if m in row[0] and len(row) < width), "")


def heading_problem(row: Sequence[str]) -> str | None:
    """What to do about a line of words: one that names the columns."""
    if len(row) > 7 and not any(is_number(field.replace(",", ".")) for field in row):
        return "looks like the names of columns; remove the line"
    return None


def blank_problem(words: Sequence[str]) -> str | None:
    """What to do about a class of several words."""
    if len(words) > 1 and all(map(_is_name, words)):
        return f"class '{' '.join(words)}' has a blank; write {'_'.join(words)}"
    return None


def _and_more(count: int) -> str:
    return f" (and {count} more line{'s' * (count > 1)})" if count else ""


def _refuse_flat(path: Path, lines: Sequence[str]) -> None:
    """Refuse objects of KITTI's classes without a size, which no scan can hold."""
    for number, line in enumerate(lines, 1):
        name, *fields = line.split() or ["DontCare"]
        known = _SPELLING.get(name, "DontCare")
        if known != "DontCare" and not all(float(size) > 0 for size in fields[7:10]):
            raise LabelError(
                f"{path}:{number}: {known} has the size {' '.join(fields[7:10])}; write height, "
                "width and length in metres, or DontCare where only the 2D box is known"
            )


def _problem(row: list[str], scored: bool) -> str | None:
    """What is wrong with the fields of one line, and what to do; None if nothing is."""
    if not row:
        return None
    width = len(LABEL_COLUMNS) if scored else len(LABEL_COLUMNS) - 1
    wanted = f"write {width} fields: {' '.join(LABEL_COLUMNS[:width])}"
    if problem := heading_problem(row):
        return problem
    if mark := separator(row, width):
        return f"fields are separated by {mark}; separate them by blanks and {wanted}"
    if row[0].isdigit() and len(row) > 2 and _is_name(row[2]):
        return (
            "looks like KITTI's tracking benchmark, with frame and track before the class; write "
            "one file per frame without these two"
        )
    if not _is_name(row[0]):
        return f"'{row[0]}' is not a class; {wanted}"
    if scored and len(row) == width - 1:
        return (
            "the score is missing; write it as the 16th field of a detection (labels have none: "
            "were the two folders swapped?)"
        )
    if len(row) > width and (
        problem := blank_problem(list(takewhile(lambda word: not is_number(word), row)))
    ):
        return problem
    row = row if scored else _without_score(row)
    if len(row) != width:
        return f"{len(row)} fields; {wanted}"
    for column, field in zip(LABEL_COLUMNS[1:], row[1:], strict=False):
        if problem := number_problem(column, field):
            return problem
        if column == "occlusion" and float(field) % 1:
            return f"occlusion {field} is not a whole number; write 0, 1, 2, 3 or -1"
        if column == "rotation_y" and not scored and abs(float(field)) > TURNS:
            return f"rotation_y is over two turns ({TURNS:.1f}); write radians"
    return None
