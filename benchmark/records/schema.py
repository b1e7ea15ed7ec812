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
def external_schema() -> dict[str, Any]:
    """Of an external result; its AP are as in records, its card is checked where it is read."""
    written = written_schema()
    fields = {
        "card": {"type": "object"},
        "frames": {"type": "integer", "minimum": 1},
        "labels_sha256": {"type": "string", "$ref": "#/$defs/sha256"},
        "detections_sha256": {"type": "string", "$ref": "#/$defs/sha256"},
        "evaluator": {"type": "string", "minLength": 1},
        "ap": written["properties"]["ap"] | {"type": "object"},
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(fields),
        "properties": fields,
        "$defs": written["$defs"],
    }


def form_of_records() -> Callable[[Any], str]:
    """What says the first thing for which a record cannot be read; empty if it can."""
    return _form("record")


def form_of_externals() -> Callable[[Any], str]:
    """The same for external results."""
    return _form("external")


def form_of_costs() -> Callable[[Any], str]:
    """The same for the costs of a student."""
    return _form("costs")


@cache
def _form(kind: str) -> Callable[[Any], str]:
    written = written_schema()
    cost = written["properties"]["cost"] | {"type": "object", "$defs": written["$defs"]}
    schema = {"record": written, "external": external_schema(), "costs": cost}[kind]
    lenient = _without_limits(schema) | {"$defs": _without_limits(schema["$defs"]) | LENIENT}
    check = fastjsonschema.compile(lenient)

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
