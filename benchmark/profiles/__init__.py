"""How long and how large to train."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from detectors import Family, Grid
from kd_methods.core.interface import suggestion


class ProfileError(ValueError):
    """A profile that does not exist or cannot be used; lists all that is wrong with it."""


@dataclass(frozen=True)
class Profile:
    """A profile, read from YAML.

    Attributes:
        name: file name without its ending.
        purpose: what it is good for, printed under every table.
        epochs: passes over the training frames.
        batch_size: frames per step, all on one device: also the batch-norm batch.
        learning_rate: at the start; the one-cycle schedule climbs to ten times as much.
        synthetic: how many frames the embedded data set has (``train``, ``val``), how far its
            objects stand (``max_range``, metres) and its ``seed``.
        max_frames: at most so many frames of a split are used, the first of its list.
        grids: point_cloud_range (metres), voxel_size (metres) and max_voxels by family; a family
            that is not listed runs on mmdet3d's own grid.
    """

    name: str
    purpose: str
    epochs: int
    batch_size: int
    learning_rate: float
    synthetic: Mapping[str, Any]
    max_frames: Mapping[str, int] = field(default_factory=dict)
    grids: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def grid(self, family: Family) -> Grid:
        """The grid of a family."""
        if family.name not in self.grids:
            return family.default_grid()
        return Grid(**{key: tuple(value) for key, value in self.grids[family.name].items()})

    def reduced(self, family: Family) -> bool:
        """Whether the family sees less than on mmdet3d's own grid."""
        return family.name in self.grids


def profile_names() -> list[str]:
    """The profiles that come with the benchmark."""
    names = (Path(entry.name) for entry in files(__package__).iterdir())
    return sorted(name.stem for name in names if name.suffix == ".yaml")


def load_profile(name: str, **overrides: Any) -> Profile:
    """A profile by name, or from a YAML file of one's own.

    Args:
        overrides: values that replace those of the file; None leaves them.

    Raises:
        ProfileError: no such profile, or fields that are unknown, missing or of a wrong type.
    """
    own = Path(name)
    if own.suffix in (".yaml", ".yml"):
        if not own.is_file():
            raise ProfileError(f"profile file {own} does not exist")
        text, title = own.read_text(encoding="utf-8"), own.stem
    elif name in profile_names():
        text, title = files(__package__).joinpath(f"{name}.yaml").read_text("utf-8"), name
    else:
        known = profile_names()
        raise ProfileError(
            f"no profile {name!r}{suggestion(name, known)}; there are {', '.join(known)}, "
            "or give the path of a .yaml file"
        )
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ProfileError(f"profile {name}: {error}") from None
    if not isinstance(fields, dict):
        raise ProfileError(f"profile {name} must be a list of 'field: value'")
    fields |= {key: value for key, value in overrides.items() if value is not None}
    problems = list(_problems(fields))
    if problems:
        raise ProfileError(f"profile {name}: " + "; ".join(problems))
    return Profile(name=title, **fields)


_POSITIVE_INTEGERS = ("epochs", "batch_size")
_MAPPINGS = {
    "synthetic": {"train", "val", "max_range", "seed"},
    "max_frames": {"train", "val"},
    "grids": None,
}
_GRID = {"point_cloud_range": 6, "voxel_size": 3, "max_voxels": 2}


def _problems(fields: dict[str, Any]) -> list[str]:
    known = {key for key in Profile.__dataclass_fields__ if key != "name"}
    required = {"purpose", "epochs", "batch_size", "learning_rate", "synthetic"}
    problems = [
        f"unknown field {key!r}{suggestion(key, sorted(known))}" for key in fields.keys() - known
    ]
    problems += [f"field {key!r} is missing" for key in sorted(required - fields.keys())]
    for key in _POSITIVE_INTEGERS:
        value = fields.get(key, 1)
        if type(value) is not int or value < 1:
            problems.append(f"{key} is {value!r}; it must be a positive integer")
    rate = fields.get("learning_rate", 1.0)
    if type(rate) not in (int, float) or not 0 < rate < math.inf:
        problems.append(f"learning_rate is {rate!r}; it must be a positive number")
    for key, names in _MAPPINGS.items():
        value = fields.get(key, {})
        if not isinstance(value, dict):
            problems.append(f"{key} is {value!r}; it must be 'field: value' pairs")
        elif names is not None:
            problems += [f"{key} has no field {name!r}" for name in sorted(value.keys() - names)]
    if isinstance(fields.get("grids"), dict):
        problems += [
            p for name, grid in fields["grids"].items() for p in _grid_problems(name, grid)
        ]
    return problems


def _grid_problems(name: str, grid: Any) -> list[str]:
    if not isinstance(grid, dict) or grid.keys() != _GRID.keys():
        return [f"grids.{name} must have exactly {', '.join(_GRID)}"]
    return [
        f"grids.{name}.{key} must be {length} numbers"
        for key, length in _GRID.items()
        if not isinstance(grid[key], list)
        or len(grid[key]) != length
        or not all(type(value) in (int, float) for value in grid[key])
    ]
