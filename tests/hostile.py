"""Plain values with one thing changed, as damaged or forged files hold them."""

import functools

from hypothesis import strategies as st

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "../../x", "\x1b[2J", "=1+1", "a\n\nb", "\u202e", "9" * 400]),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)


def places(value, path=()):
    """The path to every value inside another."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from places(item, (*path, i))


def changed(value, path, new, drop=False):
    """A copy with another value at a path, or without it."""
    if not path:
        return new
    first, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    if drop and not rest:
        del copy[first]
    else:
        copy[first] = changed(value[first], rest, new, drop)
    return copy


def damaged(value):
    """A strategy: the value with one of its parts replaced or left out."""
    return st.builds(
        lambda path, new, drop: changed(value, path, new, drop),
        st.sampled_from(list(places(value))),
        ODD,
        st.booleans(),
    )


BITS = (
    b"", b"\0", b"\xff\xfe", b"nan", b"-1", b"1e999", b"9" * 30, b" ", b"\n", b"\r", b"\xc2\xb2",
    b"[", b"{", b"../", b"\x1b[2J", b"inf", b":", b",", b"\xe2\x80\xa8", b"0x1", b"1_0",
)  # fmt: skip


def spliced(content):
    """A strategy: bytes with something put in, left out or doubled at a place or two."""

    def cut(data, start, length, new):
        start %= len(data) + 1
        return data[:start] + new + data[start + length :]

    new = st.sampled_from(BITS) | st.binary(max_size=6)
    place = st.tuples(st.integers(0, 10**6), st.integers(0, 40), new)
    return st.lists(place, min_size=1, max_size=3).map(
        lambda places: functools.reduce(lambda data, one: cut(data, *one), places, content)
    )
