"""Detector families and students by name; a family is imported when first asked for."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from detectors.core.grid import DetectorError
from kd_methods.core.errors import describe, suggestion

if TYPE_CHECKING:
    from detectors.core.family import Family

ENTRY_POINT_GROUP = "pointkd.detectors"
"""Of installed packages; the name is the family's, the value a module that registers it."""
RESERVED = ("all", "none", "teacher")
"""What commands and tables mean by these words is something else."""
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
_added: dict[str, Family] = {}


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
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or name in RESERVED:
        raise DetectorError(
            f"{name!r} cannot name a detector; use letters, digits and underscores, a letter first"
        )
    if name in BUILT_IN:
        raise DetectorError(f"there is a detector {name!r} already; choose another name")
    if like not in FAMILIES:
        raise DetectorError(f"like is {like!r}{suggestion(like, FAMILIES)}; use a detector's name")
    _added[name], FAMILIES[name] = family, Listed("", RATIOS, like)


def parse_student(text: str) -> tuple[Family, float]:
    """Family and compression ratio of ``pointpillars@4``; 1 without a ratio.

    Raises:
        DetectorError: no such family, or the ratio is not a number of at least 1.
    """
    name, at, ratio = text.partition("@")
    family = get_family(name)
    try:
        number = float(ratio) if at else 1.0
        valid = 1 <= number < math.inf
    except ValueError:
        valid = False
    if not valid:
        raise DetectorError(f"student {text!r}: write {name}@RATIO with a number of at least 1")
    return family, number


def student_name(family: str, ratio: float) -> str:
    """``pointpillars@4``, or ``pointpillars`` for the ratio 1."""
    return family if ratio == 1 else f"{family}@{ratio:g}"
