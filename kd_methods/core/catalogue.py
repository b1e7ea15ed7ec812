"""Which methods there are and what their files say of them, without importing any.

Names and descriptions are read from the source, so that listing methods needs no PyTorch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kd_methods.core.errors import PointKDError

ENTRY_POINT_GROUP = "kd_methods"
BUILT_IN = {
    "logit_kd": "kd_methods.logit_kd",
    "fitnet": "kd_methods.fitnet",
    "point_distiller": "kd_methods.point_distiller",
    "attention_transfer": "kd_methods.attention_transfer",
    "similarity_preserving": "kd_methods.similarity_preserving",
    "crd": "kd_methods.crd",
    "overhaul": "kd_methods.overhaul",
    "fbkd": "kd_methods.fbkd",
    "se_ssd": "kd_methods.se_ssd",
    "sparsekd_logit": "kd_methods.sparsekd_logit",
    "sparsekd_label": "kd_methods.sparsekd_label",
    "sparsekd_tgi": "kd_methods.sparsekd_tgi",
    "rdd": "kd_methods.rdd",
    "itkd": "kd_methods.itkd",
    "mimic": "kd_methods.mimic",
    "fg": "kd_methods.fg",
    "cwd": "kd_methods.cwd",
    "gid_feature": "kd_methods.gid_feature",
    "gid_response": "kd_methods.gid_response",
    "fgd": "kd_methods.fgd",
    "mgd": "kd_methods.mgd",
    "pkd": "kd_methods.pkd",
    "dist": "kd_methods.dist",
    "bckd": "kd_methods.bckd",
    "rkd": "kd_methods.rkd",
    "dkd": "kd_methods.dkd",
    "crosskd": "kd_methods.crosskd",
    "reviewkd": "kd_methods.reviewkd",
    "unidistill": "kd_methods.unidistill",
    "lgsd": "kd_methods.lgsd",
}
"""Name and module of our own methods, imported when asked for."""

OUTPUTS = ("local", "stages", "neck", "head")
"""What a method can ask for; ``stages:pre_relu`` and ``neck:pre_relu`` add the pre-activations."""
NEEDS = (*OUTPUTS, "stages:pre_relu", "neck:pre_relu")
"""All that ``needs`` may name."""


@dataclass(frozen=True)
class Description:
    """What the source of a method says of it.

    Attributes:
        paper: author and venue.
        outputs: those that its ``needs`` mentions; none for a method of the weights alone.
        summary: the first line of its docstring.
    """

    name: str
    paper: str
    year: int | None
    outputs: tuple[str, ...]
    summary: str


@cache
def plugins() -> dict[str, EntryPoint]:
    """The methods of installed packages, by name."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def describe_installed() -> list[Description]:
    """Every built-in method and those of installed packages, by name."""
    modules = BUILT_IN | {name: point.module for name, point in plugins().items()}
    return [_of_module(name, module) for name, module in sorted(modules.items())]


def describe_file(path: Path) -> list[Description]:
    """Every method that a file registers.

    Raises:
        PointKDError: the file is missing or is not Python.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise PointKDError(f"plugin {path} cannot be read: {error}") from None
    return list(_registered(tree))


def _of_module(name: str, module: str) -> Description:
    try:
        spec = find_spec(module)
        found = describe_file(Path(spec.origin)) if spec and spec.origin else []
    except (ImportError, PointKDError):
        found = []
    other = Description(name, f"{module} does not register it", None, (), "")
    return next((described for described in found if described.name == name), other)


def _registered(tree: ast.Module) -> Iterator[Description]:
    """The classes under ``@register(name, paper=..., year=...)``."""
    for node in [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]:
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("register"):
                words = {key.arg: _constant(key.value) for key in call.keywords}
                yield Description(
                    str(_constant(call.args[0]) if call.args else words.get("name")),
                    str(words.get("paper", "")),
                    words.get("year"),
                    _outputs(node),
                    (ast.get_docstring(node) or "").partition("\n")[0],
                )


def _constant(node: ast.expr) -> Any:
    return node.value if isinstance(node, ast.Constant) else ast.unparse(node)


def _outputs(method: ast.ClassDef) -> tuple[str, ...]:
    """The outputs that ``needs`` mentions."""
    words = {
        node.value
        for function in method.body
        if isinstance(function, ast.FunctionDef) and function.name == "needs"
        for node in ast.walk(function)
        if isinstance(node, ast.Constant)
    }
    return tuple(name for name in NEEDS if name in words)
