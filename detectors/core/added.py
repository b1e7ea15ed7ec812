"""Families of users, from a config of known parts or from code that registers one, and students
with a config of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from detectors.core.grid import DetectorError
from detectors.core.registry import FAMILIES, add_family, add_student
from kd_methods.core.errors import describe
from kd_methods.core.user_code import execute, new_module

if TYPE_CHECKING:
    from detectors.core.family import Family

_Family = TypeVar("_Family", bound="type[Family]")


def register_family(name: str, config: str, like: str) -> Callable[[_Family], _Family]:
    """Class decorator that adds a family.

    Args:
        name: what users write on the command line: letters, digits and underscores.
        config: file of the mmdet3d config that the class is made from, as seen from the class's
            own file, or below the configs that are installed with mmdet3d.
        like: the family whose recipe trains it where a profile has none for it.

    Raises:
        DetectorError: the name is taken or none, or there is no family ``like``.
    """

    def decorate(cls: _Family) -> _Family:
        code = Path(inspect.getfile(cls))
        beside = code.parent / config
        made: Any = cls
        family: Family = made(name, str(beside if beside.is_file() else config))
        family.source = family.digest(code.read_bytes())
        add_family(family, like)
        return cls

    return decorate


def load_detectors(files: Mapping[str, Path]) -> None:
    """Add families by name. Safe to call again.

    Args:
        files: mmdet3d's configs of detectors whose parts are known, or Python files that register
            a family; of a student, such as ``second@xs``, its own config. All are executed.

    Raises:
        DetectorError: a file is missing, cannot be executed, or does not describe the family.
    """
    for name, file in files.items():
        try:
            if not file.is_file():
                raise DetectorError(f"file {file} does not exist")
            if "@" in name:
                add_student(name, file)
            elif "register_family" in file.read_text("utf-8"):
                _run(name, file)
            else:
                _read(name, file)
        except DetectorError as error:
            raise DetectorError(f"detector {name}: {error}") from None
        except (Exception, SystemExit) as error:
            told = " ".join(describe(error).replace("<unknown>", str(file)).split())
            raise DetectorError(
                f"detector {name}: {file} cannot be read, built or run: {told}"
            ) from error


def _read(name: str, file: Path) -> None:
    """A family from a config."""
    from detectors.core.voxelnet import VoxelNet

    family = VoxelNet(name, str(file.resolve()))
    family.source = family.digest()
    family.try_out()
    add_family(family, family.encoder.like)


def _run(name: str, file: Path) -> None:
    """A family from code, executed as a module of its own."""
    execute(new_module(file, "detector"))
    if name not in FAMILIES:
        raise DetectorError(f"{file} has no class with @register_family({name!r}, ...)")
