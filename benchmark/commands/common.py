"""What several commands share: exit codes and options."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.config.budget import Budget

DONE, CELLS_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all is done; some cells did not finish; bad usage or input; Ctrl-C."""


def add_command(
    commands: Any,
    name: str,
    function: Callable[[argparse.Namespace], int],
    told: str,
    examples: Sequence[str],
) -> argparse.ArgumentParser:
    """A command with its help.

    Args:
        told: one line on what it does.
        examples: what follows the command in a few calls of it.
    """
    command = commands.add_parser(
        name,
        help=told,
        description=function.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    calls = [f"  python {command.prog} {example}".rstrip() for example in examples]
    command.epilog = "\n".join(["examples:", *calls])
    command.set_defaults(command=function)
    return command


def add_results(command: argparse.ArgumentParser, **changes: Any) -> None:
    """``--results DIR``, required unless ``changes`` say otherwise."""
    settings: dict[str, Any] = {"type": Path, "required": True, "metavar": "DIR"}
    settings |= {"help": "results folder", **changes}
    command.add_argument("--results", **settings)


def add_cache(command: argparse._ActionsContainer) -> None:
    """``--cache DIR``."""
    command.add_argument(
        "--cache",
        type=Path,
        default=Path(".cache/pointkd"),
        metavar="DIR",
        help="for generated data, objects, teachers and model costs (default %(default)s)",
    )


def add_device(command: argparse._ActionsContainer) -> None:
    """``--device D``."""
    command.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1")


def add_detectors(command: argparse._ActionsContainer) -> None:
    """``--detector NAME=FILE``."""
    told = "an mmdet3d config, or a Python file that registers a detector; may be repeated"
    command.add_argument(
        "--detector", dest="detectors", action="append", metavar="NAME=FILE", help=told
    )


def load_given(options: argparse.Namespace) -> None:
    """Load what :func:`add_detectors` was given.

    Raises:
        RequestError: a file cannot be loaded.
    """
    if options.detectors:
        from benchmark.config.request import FIELDS, RequestError

        problems: list[str] = []
        FIELDS["detectors"](options.detectors, "--detector", problems)
        if problems:
            raise RequestError("; ".join(problems))


def add_scored_frames(command: argparse.ArgumentParser) -> None:
    """Which frames are scored, and what a missing result file means."""
    add = command.add_argument
    add("--labels", type=Path, required=True, metavar="DIR", help="ground-truth label_2 folder")
    add("--split", type=Path, metavar="FILE", help="file that lists the frames; default: all")
    add("--missing-as-empty", action="store_true", help="read a missing file as no detections")


def add_budget(command: argparse.ArgumentParser) -> None:
    """``--max-latency MS``, ``--max-params M``, ``--max-gflops G``."""
    for name, unit, told in (
        ("latency", "MS", "of at most so many milliseconds"),
        ("params", "M", "of at most so many million parameters"),
        ("gflops", "G", "of at most so many GFLOPs (dense layers, as the paper counts)"),
    ):
        told = f"show which students are {told}"
        command.add_argument(f"--max-{name}", type=above_zero, metavar=unit, help=told)


def read_budget(options: argparse.Namespace) -> Budget:
    """What :func:`add_budget` was given."""
    from benchmark.config.budget import GFLOPS, LATENCY, PARAMS, Budget

    given = {
        LATENCY: options.max_latency,
        PARAMS: options.max_params,
        GFLOPS: options.max_gflops,
    }
    return Budget({name: most for name, most in given.items() if most is not None})


def above_zero(text: str) -> float:
    """A number above 0, as an option's type."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return value


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number of at least so many."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least {least}")
        return int(text)

    return read


def new_file(text: str) -> Path:
    """The type of an option that names a file to write: told before the work, not after it."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; name a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"folder {path.parent} does not exist; make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written; choose another place")
    return path


def minutes(text: str) -> float:
    """The type of an option that is a time."""
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} must be a number of minutes above 0")


def or_auto(read: Callable[[str], int]) -> Callable[[str], int | None]:
    """The type of an option that may also be ``auto``, which is None."""
    return lambda text: None if text == "auto" else read(text)
