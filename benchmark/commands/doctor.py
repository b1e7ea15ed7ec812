"""``doctor``: what works on this machine, and how to fix the rest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmark.commands.common import CELLS_FAILED, DONE, add_cache, add_command, add_results


def add(commands: Any) -> None:
    """The command and its options."""
    command = add_command(
        commands,
        "doctor",
        diagnose,
        "what works on this machine",
        [
            "",
            "--thorough                # also runs a network of each family",
            "--data /data/kitti --results /shared/results",
        ],
    )
    command.add_argument("--data", type=Path, metavar="DIR", help="a KITTI folder to look at")
    command.add_argument(
        "--thorough", action="store_true", help="run a network of each family, time precisions"
    )
    add_results(command, required=False, help="a results folder whose file system to try")
    add_cache(command)


def diagnose(options: argparse.Namespace) -> int:
    """Print what works on this machine, and how to fix the rest."""
    from benchmark.doctor import examine

    problems, folders = 0, [f for f in (options.cache, options.results) if f is not None]
    for finding in examine(options.data, folders, options.thorough):
        print(finding, flush=True)
        problems += finding.level == "problem"
    return CELLS_FAILED if problems else DONE
