"""Every command explains itself, by examples that it would take."""

import argparse
import shlex
from pathlib import Path

import pytest

import run_bench
from benchmark.commands import common


def commands(parser, path=()):
    """Every command with its parser."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below and path:
        yield " ".join(path), parser
    for action in below:
        for name, child in action.choices.items():
            yield from commands(child, (*path, name))


COMMANDS = dict(commands(run_bench.make_parser()))


def examples(name):
    _, _, told = COMMANDS[name].format_help().partition("examples:\n")
    return [shlex.split(line, comments=True) for line in told.splitlines()]


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_such_as_the_command_takes(name):
    found = examples(name)
    assert len(found) >= (1 if name == "list detectors" else 3)
    for _, script, *words in found:
        assert script == "run_bench.py"
        assert " ".join(words).startswith(name)
        assert callable(run_bench.make_parser().parse_args(words).command)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    for action in COMMANDS[name]._actions:
        if action.option_strings and action.nargs != 0:
            assert action.help, f"{name} {action.option_strings}"


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("", "is a folder; name a file"),
        ("nowhere/file", "nowhere does not exist; make it first"),
        ("kept/file", "cannot be written; choose another place"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "--labels", "l", "--detections", "d", "--json"],
        ["evaluate", "--labels", "l", "--detections", "d", "--curves"],
        ["cost", "second@4", "--json"],
        ["data", "verify", "d", "--json"],
        ["data", "describe", "d", "--output"],
        ["data", "compare", "d", "--summary"],
        ["tune", "--output"],
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_the_work(
    tmp_path, monkeypatch, capsys, command, place, told
):
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(common.os, "access", lambda path, mode: Path(path).name != "kept")
    with pytest.raises(SystemExit) as end:
        run_bench.main([*command, str(tmp_path / place)])
    assert end.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--patience", value) for value in ("-1", "0", "nan", "inf", "1e400")),
        *(("--checkpoint-every", value) for value in ("-1", "0", "nan", "inf")),
        *(("--jobs", value) for value in ("0", "\u00b2", "-1")),
        *(("--shard", value) for value in ("\u00b2/\u00b3", "3/2", "0/2", "1/2/3")),
    ],
)
def test_numbers_that_make_no_sense_are_refused(capsys, option, value):
    with pytest.raises(SystemExit) as end:
        run_bench.main(["run", f"{option}={value}"])
    assert end.value.code == 2
    assert f"argument {option}: {value!r} must be " in capsys.readouterr().err
