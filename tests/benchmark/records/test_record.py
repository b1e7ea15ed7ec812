"""The record's types in Python and its schema for other programs say the same."""

import types
from importlib.resources import files
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import orjson
import pytest
from jsonschema import Draft202012Validator

from benchmark.records.record import Record

SCHEMA = orjson.loads(files("benchmark.records").joinpath("record.schema.json").read_bytes())
NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"}
NAMES |= {list: "array", type(None): "null"}


def typed_dicts(kind, schema, path="record"):
    """Every TypedDict of a record with the part of the schema that describes it."""
    yield path, kind, schema
    for name, hint in get_type_hints(kind).items():
        for option in options(hint):
            if is_typeddict(option):
                yield from typed_dicts(option, schema["properties"][name], f"{path}.{name}")


def options(hint):
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def json_types(hint):
    """Names of the JSON types that a hint allows, or the values of a Literal."""
    found = set()
    for option in options(hint):
        if get_origin(option) is Literal:
            found |= set(get_args(option))
        elif is_typeddict(option):
            found.add("object")
        elif option is not Any:
            found.add(NAMES[get_origin(option) or option])
    return found


def allowed(schema):
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] | schema
    if "enum" in schema:
        return set(schema["enum"])
    kinds = schema["type"]
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    return kinds | {"integer"} if "number" in kinds else kinds


@pytest.mark.parametrize(
    ("path", "kind", "schema"),
    [pytest.param(*parts, id=parts[0]) for parts in typed_dicts(Record, SCHEMA)],
)
def test_fields_and_their_types_are_those_of_the_schema(path, kind, schema):
    hints = get_type_hints(kind)
    assert kind.__required_keys__ == set(schema["required"]) | set(hints) - set(
        schema["properties"]
    )
    assert kind.__optional_keys__ == set(schema["properties"]) - set(schema["required"])
    for name, hint in hints.items():
        told = schema["properties"].get(name) or schema["additionalProperties"]
        assert told, f"{path}.{name} is not in the schema"
        if hint is not str or "enum" not in told:
            assert allowed(told) >= json_types(hint), f"{path}.{name}"
    assert set(schema["properties"]) <= set(hints)


@pytest.mark.parametrize("kept", [{}, {"threads": 2, "load": 0.5}, {"threads": 1, "load": None}])
def test_what_a_latency_depends_on_may_be_absent(kept):
    told = SCHEMA["properties"]["cost"]["properties"]["latency_ms"]
    assert Draft202012Validator(told).is_valid({"median": 7.0, "iqr": 0.5, **kept})
