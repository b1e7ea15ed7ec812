"""What ``run`` and ``tune`` share: their options, and how the cells of a matrix are trained."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.commands.common import (
    DONE,
    INTERRUPTED,
    add_cache,
    add_detectors,
    add_device,
    at_least,
    minutes,
    or_auto,
)
from benchmark.config import bundled
from benchmark.config.controls import CONTROLS
from benchmark.signals import STOPPED, Asked

if TYPE_CHECKING:
    from benchmark.config.matrix import Matrix
    from benchmark.config.request import Request
    from benchmark.records.record import Record
    from benchmark.running.executors import Execution
    from benchmark.running.workplace import Workplace


def train(
    options: argparse.Namespace,
    how: Execution,
    matrix: Matrix,
    workplace: Workplace,
    finish: Callable[[Sequence[Record]], int],
) -> int:
    """Train the missing cells of a matrix, or print what that would be.

    Args:
        finish: what follows, from the matrix's records to the exit code.

    Returns:
        The exit code.
    """
    from benchmark.running.cohort import Interrupted
    from benchmark.running.executors import make_executor
    from benchmark.running.matrix_run import describe_work, run_matrix
    from benchmark.running.planning import describe_plan
    from benchmark.signals import stop_on_warnings

    if options.dry_run:
        slots = len(how.slots(workplace.device))
        print(describe_plan(matrix, workplace, options.shard, slots))
        return DONE
    execute = make_executor(how, workplace)
    stop_on_warnings()
    print(describe_work(matrix, workplace, options.retry, options.shard), flush=True)
    print(how.told(workplace), flush=True)
    try:
        return finish(run_matrix(matrix, workplace, execute, options.retry, options.shard))
    except (Interrupted, KeyboardInterrupt) as stop:
        return told_of_stop(stop)


def told_of_stop(stop: BaseException) -> int:
    """Say that a run was stopped; the exit code, by who stopped it."""
    print(f"interrupted: {str(stop) or 'run the same command to resume'}", file=sys.stderr)
    by_hand = isinstance(stop, KeyboardInterrupt) and not isinstance(stop, Asked)
    return INTERRUPTED if by_hand else STOPPED


def execution(options: argparse.Namespace) -> Execution:
    """Where and how the cells run."""
    from benchmark.running.executors import Execution

    return Execution(**{field.name: getattr(options, field.name) for field in fields(Execution)})


def make_workplace(
    options: argparse.Namespace, how: Execution, request: Request, root: Path, device: Any
) -> Workplace:
    """Where a request's cells train."""
    from benchmark.running.workplace import Workplace

    return Workplace(
        data=root,
        results=request.results,
        cache=options.cache,
        device=device,
        plugins=tuple(request.plugins),
        detectors=request.detectors,
        patience=60 * options.patience,
        checkpoint_minutes=options.checkpoint_every,
        workers=how.readers(device),
    )


def try_folders(options: argparse.Namespace, request: Request) -> None:
    """Say what the file systems of results and cache can do, unless nothing is to be written.

    Raises:
        FolderError, LockError: one of them cannot be written or locked; says what to do.
    """
    from benchmark.files.trial import try_folder

    for folder in () if options.dry_run else (request.results, options.cache):
        found = try_folder(folder)
        print(found, flush=True)
        for told, remedy in found.lacking():
            warn(f"{told}: {remedy}")


def warn(told: str) -> None:
    """Tell of what is no error."""
    print(f"warning: {told}", file=sys.stderr)


def add_fields(command: argparse.ArgumentParser) -> None:
    """The fields of a matrix file."""
    add = command.add_argument_group("what to run (the fields of a matrix file)").add_argument
    add(
        "matrix",
        nargs="?",
        metavar="MATRIX",
        help=f"a .yaml file, or one of {', '.join(bundled.names('matrices'))}; "
        "the options below override its fields of the same names",
    )
    add("--data", help="a data set's folder or description, or 'synthetic' (default)")
    profiles = ", ".join(bundled.names("profiles"))
    add("--profile", help=f"one of {profiles} (default smoke), or a .yaml file")
    add("--students", help="e.g. pointpillars@4,second@xs.py; default pointpillars@4")
    add("--methods", help="e.g. none,fitnet:weight=3,logit_kd+fitnet,sparsekd_*; default all")
    add("--seeds", help="e.g. 0,1,2; default 0")
    add("--epochs", type=int, help="of students and teacher, override the profile's")
    add("--results", metavar="DIR", help="default results/run, or results/MATRIX")
    add("--precision", help="auto (default: bf16 where it is fast), fp32, bf16, fp16")
    add("--weighting", help="source: the methods' own weights (default); balanced: losses scaled "
        "to equal gradient norms")  # fmt: skip
    add(
        "--plugin",
        dest="plugins",
        action="append",
        metavar="FILE",
        help="a file that registers methods; may be repeated",
    )
    add_detectors(command)
    add(
        "--teacher",
        dest="teachers",
        action="append",
        metavar="FAMILY=FILE",
        help="an mmdet3d checkpoint instead of a trained teacher; may be repeated",
    )
    add(
        "--teacher-of",
        action="append",
        metavar="FAMILY=FAMILY",
        help="the teacher of a family's students is of another one, e.g. pointpillars=second",
    )
    told = "train with what `tune` chose, instead of the source's settings"
    add("--settings", metavar="FILE", help=told)
    controls = ", ".join(CONTROLS)
    add("--controls", help=f"beside the methods, apart from them: {controls}")
    add("--cohort-size", type=int, metavar="N", help="train at most N cells in lockstep")


def add_execution(command: argparse.ArgumentParser) -> None:
    """Where and how the cells run; nothing here changes a result."""
    group = command.add_argument_group("where and how to run it")
    add = group.add_argument
    add_cache(group)
    add_device(group)
    add(
        "--retry",
        type=_statuses,
        default=(),
        metavar="STATUSES",
        help="run cells with these statuses again, e.g. failed,diverged",
    )
    add("--shard", type=_shard, metavar="I/N", help="every N-th cohort, starting with the I-th")
    add(
        "--jobs",
        type=or_auto(at_least(1)),
        metavar="N",
        help="processes side by side; default auto: one for each core, or on each graphics card",
    )
    add(
        "--per-gpu",
        type=at_least(1),
        default=1,
        metavar="N",
        help="processes that share a graphics card (default %(default)s)",
    )
    add(
        "--workers",
        type=or_auto(at_least(0)),
        metavar="N",
        help="processes that read frames ahead of each of them; default auto: idle cores, none "
        "with --here or Ray",
    )
    add("--executor", default="local", choices=("local", "ray"), help="default %(default)s")
    add(
        "--here",
        dest="executor",
        action="store_const",
        const="here",
        help="in this process, so that a method's breakpoint() stops; cells are not isolated",
    )
    add("--address", help="of a running Ray cluster; default: start one on this machine")
    add(
        "--patience",
        type=minutes,
        default=15.0,
        metavar="MINUTES",
        help="kill a process that makes no progress for this long (default %(default)s)",
    )
    add(
        "--checkpoint-every",
        type=minutes,
        default=5.0,
        metavar="MINUTES",
        help="time between checkpoints (default %(default)s)",
    )
    add("--dry-run", action="store_true", help="print what would run, its time and disk space")


def _shard(text: str) -> Any:
    from benchmark.running.matrix_run import Shard

    index, _, shards = text.partition("/")
    if not (index.isdecimal() and shards.isdecimal() and 1 <= int(index) <= int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r} must be I/N with I from 1 to N, e.g. 2/8")
    return Shard(int(index) - 1, int(shards))


def _statuses(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not set(words) <= {"failed", "diverged", "skipped"}:
        raise argparse.ArgumentTypeError(f"{text!r}: choose from failed,diverged,skipped")
    return words
