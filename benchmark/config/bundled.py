"""The profiles and matrices that come with the benchmark, as text."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

Kind = Literal["profiles", "matrices"]


def names(kind: Kind) -> list[str]:
    """Their names, sorted."""
    entries = (Path(entry.name) for entry in files(__package__).joinpath(kind).iterdir())
    return sorted(entry.stem for entry in entries if entry.suffix == ".yaml")


def text(kind: Kind, name: str) -> str:
    """The YAML of one of them."""
    return files(__package__).joinpath(kind, f"{name}.yaml").read_text("utf-8")
