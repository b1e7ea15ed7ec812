"""Plain values to dataclasses and back; every mistake is reported with its path."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from kd_methods.core.errors import PointKDError, suggestion

Problems = list[str]
"""The problems so far, each as "PATH ...": readers append to it."""
Reader = Callable[[Any, str, Problems], Any]
"""Reads a field's value, given its path; appends what is wrong."""


SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character, which no file can hold."""
MOST_CHARACTERS = 2**22
"""Of a document; the parser takes a hundred times as many bytes."""
MOST_VALUES = 100_000
"""Of a document; aliases of aliases make billions with a few lines."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1, in which alone 1e-3 is text, and a key twice is taken without a word."""

    def construct_scalar(self, node: Any) -> Any:
        if SURROGATE.search(str(node.value)):
            raise yaml.constructor.ConstructorError(
                problem="it is no text: \\ud800 to \\udfff are halves of characters; write them "
                "whole",
                problem_mark=node.start_mark,
            )
        return super().construct_scalar(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value!r} is on line {seen[key.value]} already; keep one",
                    problem_mark=key.start_mark,
                )
            seen[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """The plain values of a YAML document.

    Raises:
        ValueError: says where it is wrong, and what helps most often.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, over {MOST_CHARACTERS:,}; shorten it")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise ValueError(f"aliases make over {MOST_VALUES:,} values of it; write fewer")
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("brackets are nested too deeply; it needs a few levels") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        told = getattr(error, "problem", None) or str(error)
        raise ValueError(f"{where}{told}{_remedy(told)}") from None


def _values(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """How many values a node stands for, with all aliases written out."""
    if node not in known:
        known[node] = 1  # what holds itself is counted once
        children = itertools.chain.from_iterable(
            child if isinstance(child, tuple) else (child,)
            for child in (node.value if isinstance(node, yaml.CollectionNode) else ())
        )
        known[node] = 1 + sum(_values(child, known) for child in children)
    return known[node]


def _remedy(told: str) -> str:
    """What helps most often against a mistake of YAML's grammar."""
    if "; " in told:
        return ""
    if r"'\t'" in told:
        return "; indent with blanks, not with tabs"
    return "; put text with ': ', ' #' or a special first character into quotes"


def read_dataclass(kind: type, value: Any, path: str, problems: Problems) -> Any:
    """An instance of a dataclass from 'field: value' pairs.

    Field types may be numbers, str, tuples and mappings of numbers, dataclasses, and any of these
    or None. In a field's metadata ``least``, ``above`` and ``most`` bound its numbers, and
    ``read`` reads it instead, a `Reader`.

    Returns:
        The instance, or None if there was a problem.
    """
    if not isinstance(value, Mapping):
        told = "is empty" if value is None else f"is {value!r}"
        problems.append(f"{path or 'the file'} {told}; it must be 'field: value' pairs")
        return None
    fields = {field.name: field for field in dataclasses.fields(kind)}
    before = len(problems)
    problems += [
        f"{_join(path, name)}: unknown field{suggestion(str(name), list(fields))}; known are "
        f"{', '.join(fields)}"
        for name in value
        if name not in fields
    ]
    problems += [
        f"{_join(path, name)} is missing"
        for name, field in fields.items()
        if name not in value
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    hints = get_type_hints(kind)
    given = {
        name: _read_field(field, hints[name], value[name], _join(path, name), problems)
        for name, field in fields.items()
        if name in value
    }
    if len(problems) > before:
        return None
    try:
        return kind(**given)
    except (ValueError, PointKDError) as error:
        problems.append(f"{path}: {error}" if path else str(error))
        return None


def choice(*choices: str) -> Reader:
    """The reader of a field that is one of some words."""

    def read(value: Any, path: str, problems: Problems) -> Any:
        if value not in choices:
            near = suggestion(str(value), choices)
            problems.append(f"{path} is {value!r}{near}; use one of {', '.join(choices)}")
        return value

    return read


def changed_settings(instance: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not at their default, as plain values."""
    return {
        field.name: _plain(value)
        for field in dataclasses.fields(instance)
        if (value := getattr(instance, field.name)) != _default(field)
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return changed_settings(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _read_field(
    field: dataclasses.Field[Any], hint: Any, value: Any, path: str, problems: Problems
) -> Any:
    if "read" in field.metadata:
        return field.metadata["read"](value, path, problems)
    return _read_value(hint, value, path, problems, field.metadata)


def _read_value(
    hint: Any, value: Any, path: str, problems: Problems, bounds: Mapping[str, Any]
) -> Any:
    """A value of a type, or None if there was a problem."""
    arguments = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return None if value is None else _read_value(arguments[0], value, path, problems, bounds)
    if dataclasses.is_dataclass(hint):
        return read_dataclass(hint, value, path, problems)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        return _read_tuple(arguments, value, path, problems, bounds)
    if get_origin(hint) is Mapping:
        return _read_mapping(arguments[1], value, path, problems, bounds)
    if hint is int and type(value) is float and value.is_integer():
        value = int(value)  # 1e3 is one to YAML
    if hint is str:
        fine, wanted = isinstance(value, str), "text"
    elif hint is int:
        fine, wanted = type(value) is int, "a whole number"
    else:
        fine, wanted = type(value) in (int, float) and math.isfinite(value), "a number"
    if not fine or not _within(value, bounds):
        problems.append(f"{path} is {value!r}; it must be {wanted}{_named(bounds)}")
        return None
    return float(value) if hint is float else value


def _read_tuple(
    kinds: tuple[Any, ...], value: Any, path: str, problems: Problems, bounds: Mapping[str, Any]
) -> Any:
    open_ended = kinds[-1] is Ellipsis
    if not isinstance(value, list) or not (open_ended or len(value) == len(kinds)):
        length = "" if open_ended else f"{len(kinds)} "
        problems.append(f"{path} is {value!r}; it must be a list of {length}numbers")
        return None
    return tuple(
        _read_value(kinds[0], item, f"{path}[{i}]", problems, bounds)
        for i, item in enumerate(value)
    )


def _read_mapping(
    kind: Any, value: Any, path: str, problems: Problems, bounds: Mapping[str, Any]
) -> Any:
    if not isinstance(value, Mapping):
        problems.append(f"{path} is {value!r}; it must be 'name: value' pairs")
        return None
    return {
        name: _read_value(kind, item, _join(path, name), problems, bounds)
        for name, item in value.items()
    }


def _within(value: Any, bounds: Mapping[str, Any]) -> bool:
    if "least" in bounds and value < bounds["least"]:
        return False
    if "above" in bounds and value <= bounds["above"]:
        return False
    return not ("most" in bounds and value > bounds["most"])


def _named(bounds: Mapping[str, Any]) -> str:
    words = {"least": "of at least", "above": "above", "most": "of at most"}
    named = [f"{words[key]} {limit:g}" for key, limit in bounds.items() if key in words]
    return f" {' and '.join(named)}" if named else ""


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)
