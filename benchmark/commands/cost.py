"""``cost``: what a student costs."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from benchmark.commands.common import (
    DONE,
    add_budget,
    add_cache,
    add_command,
    add_detectors,
    add_device,
    at_least,
    load_given,
    new_file,
    read_budget,
)


def add(commands: Any) -> None:
    """The command and its options."""
    told = "measure students' parameters, FLOPs, latency"
    examples = [
        "second@4",
        "all --profile mini --max-latency 20",
        "pointpillars@4,pointpillars@16 --data /data/kitti --json cost.json",
    ]
    command = add_command(commands, "cost", show_cost, told, examples)
    add = command.add_argument
    told = "e.g. second@4; several separated by commas; or 'all' of the paper's"
    add("students", metavar="STUDENTS", help=told)
    add("--data", default="synthetic", help="folder in KITTI's layout, or 'synthetic' (default)")
    add("--profile", default="kitti", help="sets the grid (default %(default)s: mmdet3d's)")
    add(
        "--frames",
        type=at_least(1),
        default=8,
        metavar="N",
        help="to measure (default %(default)s)",
    )
    add("--no-latency", action="store_true", help="skip the timing")
    add("--json", type=new_file, metavar="FILE", help="also write all figures to this file")
    add_budget(command)
    add_detectors(command)
    add_device(command)
    add_cache(command)


def show_cost(options: argparse.Namespace) -> int:
    """Print what students cost, next to the paper's figures, and which keep to a budget."""
    from benchmark.config.budget import LATENCY
    from benchmark.config.request import RequestError
    from benchmark.costs.table import answer_budget, describe_costs, measure_students
    from benchmark.device import choose_device

    budget = read_budget(options)
    if options.no_latency and LATENCY in budget.limits:
        raise RequestError("--max-latency needs what --no-latency leaves out; give one of them")
    load_given(options)
    costs = measure_students(
        options.students,
        options.data,
        options.profile,
        options.cache,
        choose_device(options.device),
        options.frames,
        timed=not options.no_latency,
        tell=_tell,
    )
    print(describe_costs(costs))
    if budget:
        print(f"\n{answer_budget(costs, budget)}")
    if options.json:
        written = costs if len(costs) > 1 else costs[0]
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return DONE


def _tell(step: str) -> None:
    """Progress, apart from the table."""
    print(step, file=sys.stderr, flush=True)
