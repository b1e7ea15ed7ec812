"""What a record must be like: ``record.schema.json``, whole or as far as reading it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import fastjsonschema
import orjson

LENIENT = {"identity": {"type": "string"}, "sha256": {}}
"""Definitions as far as reading needs them."""


@cache
def written_schema() -> dict[str, Any]:
    """The schema as it is written, never to be changed."""
    return orjson.loads(files(__package__).joinpath("record.schema.json").read_bytes())


@cache
def form_of_records() -> Callable[[Any], str]:
    """What says the first thing for which a record cannot be read; empty if it can."""
    return form(written_schema())


@cache
def form_of_costs() -> Callable[[Any], str]:
    """The same for the costs of a student."""
    written = written_schema()
    return form(written["properties"]["cost"] | {"type": "object", "$defs": written["$defs"]})


def form(schema: Mapping[str, Any]) -> Callable[[Any], str]:
    """What says the first thing that a schema refuses, but for hashes and unknown fields."""
    lenient = _without_limits(schema) | {"$defs": _without_limits(schema["$defs"]) | LENIENT}
    check = fastjsonschema.compile(lenient, use_default=False)

    def first_problem(value: Any) -> str:
        try:
            check(value)
        except fastjsonschema.JsonSchemaException as error:
            return str(error).replace("data.", "", 1)
        return ""

    return first_problem


def _without_limits(schema: Any) -> Any:
    """A schema that also takes fields it does not know, from another version of this tool."""
    if isinstance(schema, list):
        return [_without_limits(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        key: _without_limits(value)
        for key, value in schema.items()
        if not (key == "additionalProperties" and value is False)
    }
