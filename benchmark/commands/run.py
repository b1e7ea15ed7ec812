"""``run``: train the missing cells of a matrix and print its leaderboard."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.commands.common import CELLS_FAILED, DONE, add_command
from benchmark.commands.training import (
    add_execution,
    add_fields,
    execution,
    make_workplace,
    train,
    try_folders,
    warn,
)

if TYPE_CHECKING:
    from benchmark.config.matrix import Cell
    from benchmark.records.record import Record
    from benchmark.running.executors import Execution
    from benchmark.running.workplace import Workplace


def add(commands: Any) -> None:
    """The command and its options."""
    command = add_command(
        commands,
        "run",
        run,
        "train a matrix and print its leaderboard",
        [
            "mini                                    # a matrix that comes along",
            "--methods none,fitnet:weight=3,logit_kd+fitnet --seeds 0,1,2",
            "paper-table-3 --data /data/kitti --dry-run",
            "--plugin my_kd.py --methods none,my_kd --retry failed",
        ],
    )
    add_fields(command)
    add_execution(command)


def run(options: argparse.Namespace) -> int:
    """Train the missing cells of a matrix and print its leaderboard."""
    from benchmark import leaderboard
    from benchmark.records import store
    from benchmark.running.matrix_run import all_cells

    how = execution(options)
    matrix, workplace = _prepare(options, how)

    def finish(found: Sequence[Record]) -> int:
        if how.executor != "ray":
            _time(all_cells(matrix, workplace, options.shard), workplace)
        print(leaderboard.write(workplace.results, store.read_all(workplace.results)))
        ended = [record for record in found if record["status"] != "done"]
        if ended:
            students = sum(bool(record["settings"].get("teacher")) for record in found)
            print(_describe_ends(ended, students), file=sys.stderr)
        return CELLS_FAILED if any(record["status"] != "skipped" for record in ended) else DONE

    return train(options, how, matrix, workplace, finish)


def _time(cells: Sequence[Cell], workplace: Workplace) -> None:
    """Latencies side by side; without them the records keep those that they have."""
    from benchmark.running.latency import TimingError, time_in_turns

    try:
        time_in_turns(cells, workplace)
    except TimingError as error:
        warn(str(error))


def _describe_ends(ended: Sequence[Record], cells: int) -> str:
    """The cells without a figure, why, and how to run them again."""
    from benchmark.records.record import title

    lines = [f"{len(ended)} of {cells} cells have no figure:"]
    for record in ended:
        lines.append(f"{record['status']}: {title(record)} ({record['cell']}): {record['reason']}")
    statuses = ",".join(sorted({record["status"] for record in ended}))
    lines.append(
        "`show CELL` gives details; an edited plugin trains anew by itself, anything else with "
        f"--retry {statuses}"
    )
    return "\n".join(lines)


def _prepare(options: argparse.Namespace, how: Execution) -> tuple[Any, Any]:
    from benchmark.config.request import FIELDS, SYNTHETIC, read_request, resolve
    from benchmark.device import choose_device
    from benchmark.evaluation.class_suspicions import not_held
    from benchmark.evaluation.suspicions import check, notes

    given = {name: getattr(options, name) for name in FIELDS}
    request = read_request(options.matrix, given)
    try_folders(options, request)
    device = choose_device(options.device)
    found = None
    if request.data != SYNTHETIC:
        found = check(Path(request.data), warn)
        for told in notes(found):
            print(f"note: {told}", file=sys.stderr)
    matrix, root = resolve(request, options.cache, device)
    if found is not None:
        for cell in map(matrix.teacher, matrix.families()):
            print(f"grid of {cell.family}, {found.held_by(cell.grid)}", flush=True)
            for told in not_held(found, cell.grid):
                warn(f"{cell.family}: {told}")
    return matrix, make_workplace(options, how, request, root, device)
