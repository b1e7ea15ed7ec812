"""What may stand in a message."""

import pytest

from kd_methods.core.errors import LONGEST, describe, legible, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines, a\ttab, \u00fc \u4e2d", "two\nlines, a\ttab, \u00fc \u4e2d"),
        ("\x1b]0;pwn\x07\x1b[2Jx", "]0;pwn[2Jx"),
        ("caf\udce9", "caf?"),
        ("\u202eevil\u2066 \u200f\x9b", "evil "),
    ],
)
def test_what_is_visible_stays(text, shown):
    assert visible(text) == shown
    assert legible(text) == shown


def test_a_message_is_short_enough_for_a_pipe_that_nobody_reads():
    told = describe(ValueError("\U0001f600" * 10**6))
    assert told.startswith("ValueError: \U0001f600")
    assert told.endswith("... (and more)")
    assert len(told.encode()) < 4 * LONGEST + 100 < 65536
    assert legible("x" * LONGEST) == "x" * LONGEST
