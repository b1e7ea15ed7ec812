"""``cost``: what a student costs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmark.commands.common import DONE, add_cache, add_device, positive


def add(commands: Any) -> None:
    """The command and its options."""
    command = commands.add_parser("cost", help="measure a student's parameters, FLOPs, latency")
    command.set_defaults(command=show_cost)
    add = command.add_argument
    add("student", metavar="STUDENT", help="e.g. second@4, or 'all' of the paper's")
    add("--data", default="synthetic", help="folder in KITTI's layout, or 'synthetic' (default)")
    add("--profile", default="kitti", help="sets the grid (default %(default)s: mmdet3d's)")
    add("--frames", type=positive, default=8, metavar="N", help="to measure (default %(default)s)")
    add("--no-latency", action="store_true", help="skip the timing")
    add("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    add_device(command)
    add_cache(command)


def show_cost(options: argparse.Namespace) -> int:
    """Print what a student costs, or all of the paper's, next to the paper's figures."""
    from benchmark.costs.table import ALL, describe_costs, measure_students
    from benchmark.device import choose_device

    costs = measure_students(
        options.student,
        options.data,
        options.profile,
        options.cache,
        choose_device(options.device),
        options.frames,
        timed=not options.no_latency,
    )
    print(describe_costs(costs))
    if options.json:
        written = costs if options.student == ALL else costs[0]
        options.json.write_text(json.dumps(written, indent=1) + "\n")
    return DONE
