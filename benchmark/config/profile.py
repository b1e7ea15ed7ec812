"""How long and how large to train."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.config import bundled
from benchmark.config.recipe import Recipe
from benchmark.data.description import KITTI, Description
from benchmark.files import read_text
from benchmark.files.settings import Problems, parse_yaml, read_dataclass
from detectors import Family, Grid
from detectors.core.registry import FAMILIES
from kd_methods.core.errors import PointKDError, suggestion

__all__ = ["Profile", "ProfileError", "load_profile"]


class ProfileError(PointKDError):
    """A profile that does not exist or cannot be used; lists all problems."""


@dataclass(frozen=True)
class Profile:
    """A profile, read from YAML.

    Attributes:
        name: file name without its ending.
        purpose: what it is good for, printed under every table.
        recipes: how each family is trained; in the file ``defaults`` and, over them, ``families``.
        synthetic: how many frames the built-in set has (``train``, ``val``), how far away
            its objects are (``max_range``, metres) and its ``seed``.
        max_frames: most frames of a split that are used, from the start of its list.
    """

    name: str
    purpose: str
    recipes: Mapping[str, Recipe]
    synthetic: Mapping[str, Any]
    max_frames: Mapping[str, int] = field(default_factory=dict)

    def recipe(self, family: str) -> Recipe:
        """How a family is trained: as the profile says, or as the family that it is like.

        Raises:
            ProfileError: the profile does not say.
        """
        if family not in self.recipes and family in FAMILIES:
            family = FAMILIES[family].like or family
        if family not in self.recipes:
            raise ProfileError(
                f"profile {self.name} has no recipe for {family}, only for "
                f"{', '.join(self.recipes)}; choose another profile or add families.{family}"
            )
        return self.recipes[family]

    def grid(self, family: Family, data: Description = KITTI) -> Grid:
        """The grid of a family, laid over what a data set covers, with its classes.

        A profile's own grid keeps its size: it is laid around the sensor, as far as the data reach.

        Raises:
            ProfileError: a grid of the profile lacks what the family reads.
        """
        own = self.recipe(family.name).grid
        if own and family.default_grid().voxel_size and not own.voxel_size:
            raise ProfileError(
                f"profile {self.name}: the grid of {family.name} has no voxel_size; write it in "
                f"families.{family.name}.grid, x, y, z in metres"
            )
        return _lay(family, family.adapted(own), data) if own else whole_grid(family, data)

    def reduced(self, family: Family) -> bool:
        """Whether the family sees less than mmdet3d's own grid."""
        return self.recipe(family.name).grid is not None


def whole_grid(family: Family, data: Description) -> Grid:
    """mmdet3d's own grid of a family, widened or cut to all that a data set covers."""
    grid = replace(family.default_grid(), classes=data.object_classes)
    return family.cover(grid, data.range[:3], data.range[3:]) if data.range else grid


def _lay(family: Family, grid: Grid, data: Description) -> Grid:
    """A grid moved to where a data set's points are, with its classes."""
    grid = replace(grid, classes=data.object_classes)
    if not data.range:
        return grid
    own, region = grid.point_cloud_range, data.range
    sides = own[3] - own[0], own[4] - own[1]
    low = [_start(side, region[axis], region[axis + 3]) for axis, side in enumerate(sides)]
    high = [start + side for start, side in zip(low, sides, strict=True)]
    return family.cover(grid, [*low, region[2]], [*high, region[5]])


def _start(side: float, low: float, high: float) -> float:
    """Where a side begins that is as near to the sensor as a region allows."""
    return max(low, min(-side / 2, high - side))


def load_profile(name: str, epochs: int | None = None) -> Profile:
    """A profile by name, or from the user's YAML file.

    Args:
        epochs: instead of the file's, for every family.

    Raises:
        ProfileError: no such profile, or fields that are unknown, missing or of a wrong type.
    """
    title, text = _find(name)
    try:
        fields = parse_yaml(text)
    except ValueError as error:
        raise ProfileError(f"profile {name}: {error}") from None
    problems: Problems = []
    written = read_dataclass(_Written, fields, "", problems)
    recipes = _recipes(fields, epochs, problems) if isinstance(fields, dict) else {}
    if problems:
        raise ProfileError(f"profile {name}: " + "; ".join(dict.fromkeys(problems)))
    limits = {key: value for key, value in asdict(written.max_frames).items() if value}
    return Profile(title, written.purpose, recipes, asdict(written.synthetic), limits)


@dataclass(frozen=True)
class _Limits:
    train: int | None = field(default=None, metadata={"least": 1})
    val: int | None = field(default=None, metadata={"least": 1})


@dataclass(frozen=True)
class _Synthetic:
    train: int = field(metadata={"least": 1})
    val: int = field(metadata={"least": 1})
    max_range: float = field(metadata={"above": 0})
    seed: int = field(metadata={"least": 0})


def _pairs(value: Any, path: str, problems: Problems) -> Mapping[str, Any]:
    """A mapping as it is; an absent one is empty."""
    if not isinstance(value, Mapping | None):
        problems.append(f"{path} is {value!r}; it must be 'field: value' pairs")
        return {}
    return value or {}


@dataclass(frozen=True)
class _Written:
    """A profile file, its recipes not yet read."""

    purpose: str
    synthetic: _Synthetic
    max_frames: _Limits = _Limits()
    defaults: Mapping[str, Any] = field(default_factory=dict, metadata={"read": _pairs})
    families: Mapping[str, Any] = field(default_factory=dict, metadata={"read": _pairs})


def _find(name: str) -> tuple[str, str]:
    """Title and text of a profile."""
    own = Path(name)
    if own.suffix in (".yaml", ".yml"):
        if not own.is_file():
            raise ProfileError(f"profile file {own} does not exist")
        return own.stem, read_text(own, ProfileError)
    known = bundled.names("profiles")
    if name not in known:
        raise ProfileError(
            f"unknown profile {name!r}{suggestion(name, known)}; known are {', '.join(known)}, "
            "or give the path of a .yaml file"
        )
    return name, bundled.text("profiles", name)


def _recipes(fields: Mapping[str, Any], epochs: int | None, problems: Problems) -> dict[str, Any]:
    """The recipes of the families that a profile names, or of all if it names none."""
    ignored: Problems = []  # reported by the reader of the file as a whole
    defaults = dict(_pairs(fields.get("defaults"), "defaults", ignored))
    families = _pairs(fields.get("families"), "families", ignored) or dict.fromkeys(FAMILIES)
    problems += [
        f"families.{name}: unknown detector{suggestion(str(name), FAMILIES)}; known are "
        f"{', '.join(FAMILIES)}"
        for name in families
        if name not in FAMILIES
    ]
    recipes = {}
    for name, own in families.items():
        own = dict(_pairs(own, f"families.{name}", problems))
        if epochs is not None:
            own.pop("epochs", None)
            defaults["epochs"] = epochs
        found: Problems = []
        recipes[name] = read_dataclass(Recipe, {**defaults, **own}, "", found)
        problems += [_located(problem, name, own) for problem in found]
    return recipes


def _located(problem: str, family: str, own: Mapping[str, Any]) -> str:
    """A recipe's problem with its path in the file."""
    place = re.match(r"\w*", problem)
    inside = place is not None and place[0] in own
    return f"families.{family}.{problem}" if inside else f"defaults.{problem}"
