"""``doctor``: what works on this machine, and how to fix the rest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmark.commands.common import CELLS_FAILED, DONE, add_cache


def add(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser("doctor", help="check what works on this machine")
    command.add_argument("--data", type=Path, metavar="DIR", help="also check this KITTI folder")
    add_cache(command)
    command.set_defaults(command=diagnose)


def diagnose(options: argparse.Namespace) -> int:
    """Print what works on this machine, and how to fix the rest."""
    from benchmark.doctor import examine

    findings = list(examine(options.data, options.cache))
    print("\n".join(map(str, findings)))
    return CELLS_FAILED if any(f.level == "problem" for f in findings) else DONE
