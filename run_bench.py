"""The command line of PointKD-Bench."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence

try:
    from benchmark.commands import cost, data, doctor, evaluate, methods, results, run, tune
    from benchmark.commands.common import BAD_INPUT, DONE, INTERRUPTED
    from benchmark.device import let_numba_cache, quiet_libraries
    from kd_methods import PointKDError
    from kd_methods.core.errors import legible
except ModuleNotFoundError as missing:
    sys.exit(
        f"error: this Python ({sys.executable}) has no package {missing.name!r}; "
        "run `make setup` once and `source .venv/bin/activate` in each new shell"
    )

# Read when PyTorch is loaded: waiting threads spin for a moment only, else they stall each other on
# a machine that does other work too.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the command, print its result.

    Returns:
        0 when all is done, 1 when cells did not finish, 2 for bad usage or input, 75 when a batch
        system asked it to stop (SIGTERM, SIGUSR1, SIGHUP), 130 on Ctrl-C.
    """
    options = make_parser().parse_args(arguments)
    quiet_libraries()
    let_numba_cache()
    for stream in (sys.stdout, sys.stderr):  # names of files may hold what is no character
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return options.command(options)
    except BrokenPipeError:  # whoever read the output has seen enough, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except UnicodeEncodeError as error:  # of a file's name, in a locale without its characters
        print(f"error: {legible(str(error))}; export LC_ALL=C.UTF-8", file=sys.stderr)
        return BAD_INPUT
    except (PointKDError, OSError) as error:
        print(f"error: {legible(str(error))}", file=sys.stderr)
        return BAD_INPUT


def make_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(
        prog="run_bench.py",
        description=__doc__,
        epilog="COMMAND --help shows its options and examples; README.md says where to begin",
    )
    parser.add_argument("--version", action="version", version=f"pointkd-bench {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (run, tune, results, methods, evaluate, cost, data, doctor):
        group.add(commands)
    return parser


def _version() -> str:
    try:
        return importlib.metadata.version("pointkd-bench")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
