"""Detector families and students by name; a family is imported when first asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from detectors.core.grid import DetectorError
from kd_methods.core.errors import describe, suggestion

if TYPE_CHECKING:
    from detectors.core.family import Family

ENTRY_POINT_GROUP = "pointkd.detectors"
"""Of installed packages; the name is the family's, the value a module that registers it."""
RESERVED = ("all", "none", "teacher")
"""What commands and tables mean by these words is something else."""
MOST_RATIO = 1e6
"""Names have six digits of a ratio; larger ones would be written with an exponent."""
RATIOS = (4, 16)
"""Compression ratios that are tried of a family for which no paper has any."""


@dataclass(frozen=True)
class Listed:
    """What is known of a family without importing it.

    Attributes:
        module: that holds it; empty for families that were registered.
        ratios: compression ratios of the paper's students.
        like: the family whose recipe trains it where a profile has none for it.
    """

    module: str
    ratios: tuple[int, ...]
    like: str = ""


FAMILIES = {
    "pointpillars": Listed("detectors.pointpillars", (4, 16)),
    "second": Listed("detectors.second", (4, 16)),
    "centerpoint_pillar": Listed("detectors.centerpoint_pillar", (4, 16), "pointpillars"),
    "centerpoint_voxel": Listed("detectors.centerpoint_voxel", (4, 16), "second"),
    "pointrcnn": Listed("detectors.pointrcnn", (8, 16)),
    "pv_rcnn": Listed("detectors.pv_rcnn", (4, 16), "second"),
}
"""Every family by name: ours, and those that were added."""
BUILT_IN = tuple(FAMILIES)
STUDENTS = Path(__file__).parents[1] / "configs" / "students"
"""mmdet3d configs of students, named FAMILY_WIDTHS.py."""
_added: dict[str, Family] = {}
_students: dict[str, Family] = {}


def get_family(name: str) -> Family:
    """A family by name.

    Raises:
        DetectorError: no such family, or its package does not import.
    """
    if name not in FAMILIES and name in installed():
        load_installed(installed()[name])
    if name in _added:
        return _added[name]
    if name not in BUILT_IN:
        known = [*FAMILIES, *installed()]
        raise DetectorError(
            f"unknown detector {name!r}{suggestion(name, known)}; known are {', '.join(known)}; "
            "--detector NAME=FILE adds your own"
        )
    import detectors.operators  # noqa: F401  (before mmdet3d)

    return import_module(FAMILIES[name].module).FAMILY


@cache
def installed() -> dict[str, EntryPoint]:
    """The families of installed packages, by name."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def load_installed(point: EntryPoint) -> None:
    """Import the module of an installed package that registers a family.

    Raises:
        DetectorError: it cannot be imported.
    """
    try:
        point.load()
    except (Exception, SystemExit) as error:
        raise DetectorError(
            f"detector {point.name} ({point.value}) failed to import: {describe(error)}"
        ) from error


def add_family(family: Family, like: str) -> None:
    """Put a family into the registry.

    Raises:
        DetectorError: its name is taken or none, or there is no family ``like``.
    """
    name = family.name
    if not is_name(name) or name in RESERVED:
        raise DetectorError(
            f"{name!r} cannot name a detector; use letters, digits and underscores, a letter first"
        )
    if name in BUILT_IN:
        raise DetectorError(f"there is a detector {name!r} already; choose another name")
    if like not in FAMILIES:
        raise DetectorError(f"like is {like!r}{suggestion(like, FAMILIES)}; use a detector's name")
    _added[name], FAMILIES[name] = family, Listed("", RATIOS, like)


class Student(NamedTuple):
    """A network to train.

    Attributes:
        name: ``pointpillars@4``; ``pointpillars`` for a teacher.
        family: its family, at the widths of its own config.
        ratio: by which those are compressed; 1 for one with a config of its own.
    """

    name: str
    family: Family
    ratio: float


def parse_student(text: str) -> Student:
    """The student of ``pointpillars@4``, or of ``second@xs``, which has a config of its own.

    Raises:
        DetectorError: no such family, or neither a number of at least 1 that a
            name can hold nor such a config.
    """
    name, at, width = text.partition("@")
    family = get_family(name)
    if text not in _students and text in shipped_students(name):
        add_student(text, STUDENTS / f"{name}_{width}.py")
    if text in _students:
        return Student(text, _students[text], 1.0)
    try:
        ratio = float(width) if at else 1.0
        valid = 1 <= ratio < MOST_RATIO and float(f"{ratio:g}") == ratio
    except ValueError:
        valid = False
    if not valid:
        others = f", or its file as --detector {text}=FILE" if is_name(width) else ""
        others += "".join(f", or {known}" for known in shipped_students(name))
        raise DetectorError(
            f"student {text!r}: write {name}@RATIO with a number of at least 1, of six digits at "
            f"most, or {name}@FILE.py with the path of its own config{others}"
        )
    return Student(name if ratio == 1 else f"{name}@{ratio:g}", family, ratio)


def add_student(name: str, file: Path) -> None:
    """A student by name, from a config that differs from its family's in widths and voxels alone.

    Args:
        name: ``second@xs``.

    Raises:
        DetectorError: it is named wrongly, or the config is of another network.
    """
    of, _, width = name.partition("@")
    if not is_name(width):
        raise DetectorError(
            f"{width!r} cannot name a student; use letters, digits and underscores, a letter first"
        )
    if name in shipped_students(of) and file.parent != STUDENTS:
        raise DetectorError(f"there is a student {name!r} already; give the file another name")
    _students[name] = get_family(of).with_config(file)


@cache
def shipped_students(family: str) -> tuple[str, ...]:
    """Students with a config of their own that come along; every cell's name is looked up here."""
    files = sorted(STUDENTS.glob(f"{family}_*.py"))
    return tuple(f"{family}@{file.stem.removeprefix(family + '_')}" for file in files)


def is_name(text: str) -> bool:
    """Whether it can name a detector or a student's widths."""
    return re.fullmatch(r"[A-Za-z]\w*", text, re.ASCII) is not None
