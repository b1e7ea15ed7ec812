"""YAML and dataclasses: what is wrong is told, and costs neither memory nor time."""

import tracemalloc
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings, strategies as st

from benchmark.files.settings import MOST_VALUES, parse_yaml, read_dataclass

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
YAMLS = list("&*!{}[]:-?|>'\"#% \n\ta1")
EXAMPLES = 200


@dataclass(frozen=True)
class Inner:
    side: float = field(default=1.0, metadata={"above": 0, "most": 10})


@dataclass(frozen=True)
class Outer:
    """A field of every kind."""

    count: int = field(metadata={"least": 1})
    name: str = ""
    sides: tuple[float, ...] = ()
    pair: tuple[int, int] = (1, 2)
    sizes: Mapping[str, float] = field(default_factory=dict)
    inner: Inner | None = None


def bomb(levels):
    """Lists of ten lists each, by aliases: ten to the power of the levels."""
    lines = ["a0: &a0 x"]
    for i in range(1, levels):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
    return "\n".join([*lines, f"epochs: *a{levels - 1}"])


def test_aliases_of_aliases_cost_no_memory():
    assert len(parse_yaml(bomb(4))["epochs"]) == 10
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"aliases make over {MOST_VALUES:,} values of it"):
        parse_yaml(bomb(12))
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


@pytest.mark.parametrize("text", ["a: &a [*a]", "&a {b: *a}", "- &a\n  - *a"])
def test_what_holds_itself_is_read(text):
    assert parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('x: "\\ud800"', "line 1, column 4: it is no text: .* write them whole$"),
        ('"\\udfff": 1', "line 1, column 1: it is no text"),
        ("[" * 3000, "nested too deeply"),
        ("a: 1\na: 2", "'a' is on line 1 already; keep one$"),
        ("a: [", "line 1, column 5"),
        ("!!python/object/apply:os.system [true]", "line 1, column 1: could not determine"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, told):
    with pytest.raises(ValueError, match=told):
        parse_yaml(text)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text() | st.lists(st.sampled_from(YAMLS), max_size=30).map("".join))
def test_any_text_is_read_or_refused(text):
    with suppress(ValueError):
        parse_yaml(text)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    VALUES
    | st.fixed_dictionaries(
        {"count": VALUES},
        optional=dict.fromkeys(("name", "sides", "pair", "sizes", "inner", "other"), VALUES),
    )
)
def test_any_values_make_a_dataclass_or_problems(value):
    problems = []
    made = read_dataclass(Outer, value, "", problems)
    assert (made is None) == bool(problems)
    if made is not None:
        assert type(made.count) is int
        assert made.count >= 1
        assert made.inner is None or 0 < made.inner.side <= 10
