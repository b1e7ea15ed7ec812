"""Commands about methods."""

from __future__ import annotations

from typing import Any

from detectors import get_family
from detectors.core.family import FAMILIES
from kd_methods import MethodError, create, method_class, method_names


def describe_methods() -> list[dict[str, Any]]:
    """One row per method: name, source, year, outputs it reads by family, purpose."""
    return [_describe(name) for name in method_names()]


def _describe(name: str) -> dict[str, Any]:
    try:
        cls = method_class(name)
    except MethodError as error:
        return {"method": name, "paper": f"does not load: {error}"}
    taps = {family: _taps(name, family) for family in FAMILIES}
    return {
        "method": name,
        "paper": cls.paper,
        "year": cls.year,
        **taps,
        "what it does": (cls.__doc__ or "").strip().partition("\n")[0],
    }


def _taps(name: str, family: str) -> str:
    """The outputs that a method reads of a family; says so where it does not suit it."""
    student = f"{family}@{get_family(family).ratios[0]}"
    try:
        return ", ".join(sorted(create(name, student).needs())) or "weights only"
    except MethodError as error:
        return f"unsuited: {error}"
