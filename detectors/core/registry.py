"""Detector families and students by name; a family is imported when first asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from detectors.core.grid import DetectorError
from kd_methods.core.errors import suggestion

if TYPE_CHECKING:
    from detectors.core.family import Family


@dataclass(frozen=True)
class Listed:
    """What is known of a family without importing it.

    Attributes:
        module: that holds it.
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
}
"""Every family by name."""


def get_family(name: str) -> Family:
    """A family by name.

    Raises:
        DetectorError: no such family.
    """
    if name not in FAMILIES:
        raise DetectorError(
            f"unknown detector {name!r}{suggestion(name, FAMILIES)}; known are "
            f"{', '.join(FAMILIES)}"
        )
    return import_module(FAMILIES[name].module).FAMILY


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
