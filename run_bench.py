"""The command line of PointKD-Bench."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DONE, CELLS_FAILED, BAD_INPUT = 0, 1, 2

# Read when PyTorch is loaded: waiting threads spin for a moment only, else they stall each other on
# a machine that does other work too.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the command, print its result.

    Returns:
        0 when all is done, 1 when cells did not finish, 2 for bad usage or input.
    """
    options = _parser().parse_args(arguments)
    warnings.filterwarnings("ignore")
    try:
        return options.command(options)
    except (ValueError, OSError, RuntimeError) as error:
        if not _is_input_error(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT


def run(options: argparse.Namespace) -> int:
    """Train what is missing of a matrix and print its leaderboard."""
    from benchmark import leaderboard
    from benchmark.records import store
    from benchmark.running.cohort import Interrupted
    from benchmark.running.matrix_run import make_executor, run_matrix

    matrix, workplace = _prepare(options)
    if options.dry_run:
        from benchmark.running.planning import describe_plan

        print(describe_plan(matrix, workplace, options.shard))
        return DONE
    execute = make_executor(options.executor, options.address, workplace)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # batch systems end runs so
    try:
        found = run_matrix(matrix, workplace, execute, options.retry, options.shard)
    except (Interrupted, KeyboardInterrupt) as stop:
        print(f"interrupted: {str(stop) or 'the same command goes on from here'}", file=sys.stderr)
        return CELLS_FAILED
    everything = store.read_all(workplace.results / "records")
    print(leaderboard.write(workplace.results, everything))
    ended = [record for record in found if record["status"] not in ("done", "skipped")]
    for record in ended:
        name = f"{record['student']} {record['method']} seed {record['seed']}"
        print(f"{record['status']}: {name}: {record['reason']}", file=sys.stderr)
    return CELLS_FAILED if ended else DONE


def show_status(options: argparse.Namespace) -> int:
    """Print every cell of a results folder with how far it has come."""
    from benchmark.running.status import describe_cells

    print(describe_cells(options.results))
    return DONE


def show_leaderboard(options: argparse.Namespace) -> int:
    """Make the leaderboard of a results folder from its records alone."""
    from benchmark import leaderboard
    from benchmark.records import store

    found = store.read_results(options.results)
    print(leaderboard.write(options.results, found))
    return DONE


def show_cell(options: argparse.Namespace) -> int:
    """Print everything behind one number."""
    from benchmark.report.cell import describe_cell

    print(describe_cell(options.results, options.cell))
    return DONE


def score_network(options: argparse.Namespace) -> int:
    """Evaluate a trained network; write its detections as KITTI result files."""
    from benchmark.device import choose_device
    from benchmark.evaluation.checkpoint import find_network, score_network

    network = find_network(options.checkpoint, options.results, options.student)
    device = choose_device(options.device)
    print(score_network(network, options.data, options.cache, device, options.export))
    return DONE


def verify_records(options: argparse.Namespace) -> int:
    """Check a set of records, for instance one to be contributed."""
    from benchmark.leaderboard.verification import verify_records

    problems = verify_records(options.results)
    print("\n".join(problems) or f"{options.results}: no problem found")
    return BAD_INPUT if problems else DONE


def add_external(options: argparse.Namespace) -> int:
    """Score the results of other code and put them into a leaderboard."""
    from benchmark.leaderboard import external

    path, table = external.add(options.card, options.results, options.labels, options.split)
    print(f"{table}\n\nwrote {path}; next: run_bench.py leaderboard --results {options.results}")
    return DONE


def diagnose(options: argparse.Namespace) -> int:
    """Print what works on this machine, and what to do about the rest."""
    from benchmark.doctor import examine

    findings = list(examine(options.data, options.cache))
    print("\n".join(map(str, findings)))
    return CELLS_FAILED if any(f.level == "problem" for f in findings) else DONE


def write_report(options: argparse.Namespace) -> int:
    """Make the report page and the plots of a results folder from its records and views."""
    from benchmark import report
    from benchmark.records import store

    found = store.read_results(options.results)
    page, *plots = report.page.write(options.results, found)
    print(f"wrote {page}, and {len(plots)} plots for papers beside it in {page.parent / 'plots'}")
    return DONE


def export_model(options: argparse.Namespace) -> int:
    """Write the network of a finished cell as a checkpoint and config of plain mmdet3d."""
    from benchmark.running.export import export_cell

    record = export_cell(options.results, options.cell, options.folder)
    print(f"wrote {record['student']} {record['method']} seed {record['seed']} to {options.folder}")
    return DONE


def list_methods(options: argparse.Namespace) -> int:
    """Print every method with its source, year and the outputs it reads."""
    from tabulate import tabulate

    from benchmark.commands.methods import describe_methods
    from kd_methods import load_plugin

    for plugin in options.plugin:
        load_plugin(plugin)
    print(tabulate(describe_methods(), headers="keys"))
    return DONE


def check_method(options: argparse.Namespace) -> int:
    """Run the conformance checks on a method and print a line for each."""
    from benchmark.conformance.checks import run_checks
    from kd_methods import create, load_plugin

    path = Path(options.method)
    names = load_plugin(path) if path.suffix == ".py" else [options.method]
    failed = 0
    for name in names:
        create(name, "pointpillars@4")
        for outcome in run_checks(name, options.students.split(",") if options.students else None):
            line = f"{outcome.status:8}{name} {outcome.student} {outcome.check}"
            print(f"{line}: {outcome.remark}" if outcome.remark else line, flush=True)
            failed += outcome.status == "failed"
    return CELLS_FAILED if failed else DONE


def new_method(options: argparse.Namespace) -> int:
    """Write a plugin and its test, ready to edit."""
    from benchmark.conformance.scaffold import write_plugin

    plugin, test = write_plugin(options.name, options.folder)
    print(f"wrote {plugin} and {test}; next: run_bench.py check-method {plugin}")
    return DONE


def list_detectors(options: argparse.Namespace) -> int:
    """Print every detector family with the paper's compression ratios."""
    from detectors import get_family
    from detectors.core.family import FAMILIES

    for name in FAMILIES:
        ratios = ", ".join(f"{name}@{ratio}" for ratio in get_family(name).ratios)
        print(f"{name} (teacher); students {ratios} or any other ratio")
    return DONE


def evaluate(options: argparse.Namespace) -> int:
    """Score KITTI result files of any detector."""
    from benchmark.evaluation.command import evaluate_command

    print(
        evaluate_command(
            options.labels,
            options.detections,
            split=options.split,
            json_file=options.json,
            missing_as_empty=options.missing_as_empty,
            loose=options.loose,
            by_distance=options.by_distance,
            points=options.points,
            curves=options.curves,
        )
    )
    return DONE


def show_cost(options: argparse.Namespace) -> int:
    """Print what a student costs, or all that the paper has, beside the paper's figures."""
    import json

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


def verify_data(options: argparse.Namespace) -> int:
    """Read every file of a KITTI folder and list all that is wrong."""
    from benchmark.data.kitti import verify

    problems = verify(options.data)
    print("\n".join(problems) or f"{options.data}: no problem found")
    return BAD_INPUT if problems else DONE


def synthesize_data(options: argparse.Namespace) -> int:
    """Write an embedded data set into a folder."""
    from benchmark.data.synthetic.generator import generate

    generate(options.data, options.seed, options.train, options.val, options.max_range)
    print(f"wrote {options.train} + {options.val} synthetic frames to {options.data}")
    return DONE


def prepare_data(options: argparse.Namespace) -> int:
    """Collect the objects that training pastes into other frames."""
    from benchmark.data.kitti import KittiDataset
    from benchmark.data.objects import load_objects
    from detectors import CLASSES

    objects = load_objects(KittiDataset(options.data, "train"), options.cache / "objects")
    counts = (f"{(objects.labels == i).sum()} {name}" for i, name in enumerate(CLASSES))
    print(f"{options.data}: ready; {', '.join(counts)} with {len(objects.points)} points")
    return DONE


def compare_data(options: argparse.Namespace) -> int:
    """Print how alike two folders are, and draw it."""
    from benchmark.data import comparison
    from benchmark.data.kitti import KittiDataset

    datasets = [KittiDataset(path, options.split) for path in (options.data, options.other)]
    summaries = [comparison.summarise(one.root.resolve().name, one) for one in datasets]
    print(comparison.describe(summaries))
    if options.pictures:
        comparison.draw(summaries, options.pictures / "statistics.png")
        for summary, dataset in zip(summaries, datasets, strict=True):
            comparison.draw_frames(dataset, options.pictures / f"frames-{summary.name}.png")
    return DONE


def _prepare(options: argparse.Namespace) -> tuple[Any, Any]:
    from benchmark.config.request import FIELDS, read_request, resolve
    from benchmark.device import choose_device
    from benchmark.running.workplace import Workplace

    given = {name: getattr(options, name) for name in FIELDS}
    request = read_request(options.matrix, given)
    device = choose_device(options.device)
    matrix, root = resolve(request, options.cache, device)
    workplace = Workplace(
        root,
        request.results,
        options.cache,
        device,
        tuple(request.plugins),
        60 * options.patience,
        options.checkpoint_every,
    )
    return matrix, workplace


def _shard(text: str) -> Any:
    from benchmark.running.matrix_run import Shard

    index, _, shards = text.partition("/")
    if not (index.isdigit() and shards.isdigit() and 1 <= int(index) <= int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r} is not i/n with i from 1 to n, e.g. 2/8")
    return Shard(int(index) - 1, int(shards))


def _positive(text: str) -> int:
    if not (text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _statuses(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not set(words) <= {"failed", "diverged", "skipped"}:
        raise argparse.ArgumentTypeError(f"{text!r}: give some of failed,diverged,skipped")
    return words


def _is_input_error(error: Exception) -> bool:
    """Whether an error is one of ours, with a message meant for users."""
    module = type(error).__module__.partition(".")[0]
    return module in ("benchmark", "detectors", "kd_methods") or isinstance(error, OSError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run_bench.py", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands)
    command = commands.add_parser("leaderboard", help="tables from the records of a folder")
    command.add_argument("--results", type=Path, required=True, metavar="DIR")
    command.set_defaults(command=show_leaderboard)
    command = commands.add_parser("report", help="a page to explore, and plots for papers")
    command.add_argument("--results", type=Path, required=True, metavar="DIR")
    command.set_defaults(command=write_report)
    command = commands.add_parser("status", help="how far the cells of a folder have come")
    command.add_argument("--results", type=Path, required=True, metavar="DIR")
    command.set_defaults(command=show_status)
    _add_show(commands)
    command = commands.add_parser("export", help="a trained network for plain mmdet3d")
    command.add_argument(
        "cell", metavar="CELL", help="as `status` prints it; its beginning is enough"
    )
    command.add_argument("folder", type=Path, metavar="DIR", help="gets model.pth and config.py")
    command.add_argument("--results", type=Path, required=True, metavar="DIR")
    command.set_defaults(command=export_model)
    listing = commands.add_parser("list", help="what there is").add_subparsers(required=True)
    methods = listing.add_parser("methods")
    methods.add_argument("--plugin", type=Path, action="append", default=[], metavar="FILE")
    methods.set_defaults(command=list_methods)
    listing.add_parser("detectors").set_defaults(command=list_detectors)
    check = commands.add_parser("check-method", help="does a method keep to the interface?")
    check.add_argument("method", metavar="NAME|FILE")
    check.add_argument("--students", help="default: one of each family")
    check.set_defaults(command=check_method)
    new = commands.add_parser("new-method", help="a plugin file and its test, ready to edit")
    new.add_argument("name", metavar="NAME")
    new.add_argument("--folder", type=Path, default=Path(), help="default: the current one")
    new.set_defaults(command=new_method)
    _add_evaluate(commands)
    _add_cost(commands)
    _add_data(commands)
    return parser


def _add_show(commands: Any) -> None:
    command = commands.add_parser("show", help="everything behind one number")
    command.add_argument("cell", metavar="CELL", help="its beginning is enough")
    command.add_argument("--results", type=Path, required=True, metavar="DIR")
    command.set_defaults(command=show_cell)
    command = commands.add_parser("test", help="evaluate a trained network")
    command.set_defaults(command=score_network)
    add = command.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="a .pth file, a folder that `export` wrote, or "
        "with --results a cell")  # fmt: skip
    add("--data", required=True, help="folder in KITTI's layout, or 'synthetic'")
    add("--results", type=Path, metavar="DIR", help="of the cell")
    add("--student", help="what a file of elsewhere is the weights of, e.g. second@4")
    add("--export", type=Path, metavar="DIR", help="gets a KITTI result file for each frame")
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1")
    _add_cache(command)
    command = commands.add_parser("verify-records", help="is a set of records sound?")
    command.add_argument("results", type=Path, metavar="DIR")
    command.set_defaults(command=verify_records)
    command = commands.add_parser("add-external", help="results of other code as a row")
    command.set_defaults(command=add_external)
    add = command.add_argument
    add("card", type=Path, metavar="CARD", help="a .yaml file, see results/README.md")
    add("--results", type=Path, required=True, metavar="DIR")
    add("--labels", type=Path, required=True, metavar="DIR", help="label_2 of the ground truth")
    add("--split", type=Path, metavar="FILE", help="list of frames; default: all labels")
    command = commands.add_parser("doctor", help="what works on this machine")
    command.add_argument("--data", type=Path, metavar="DIR", help="a KITTI folder to look at")
    _add_cache(command)
    command.set_defaults(command=diagnose)


def _add_run(commands: Any) -> None:
    run_ = commands.add_parser("run", help="train a matrix and print its leaderboard")
    run_.set_defaults(command=run)
    add = run_.add_argument
    add(
        "matrix",
        nargs="?",
        metavar="MATRIX",
        help="a .yaml file, or one of smoke, smoke-all, mini, paper-table-3, paper-table-1-2; "
        "the options below win over its fields of the same names",
    )
    add("--data", help="folder in KITTI's layout, or 'synthetic' (default)")
    add("--profile", help="smoke (default), mini, kitti or a .yaml file")
    add("--students", help="e.g. pointpillars@4,second@4; default pointpillars@4")
    add("--methods", help="e.g. none,fitnet:weight=3,logit_kd+fitnet; default all")
    add("--seeds", help="e.g. 0,1,2; default 0")
    add("--epochs", type=int, help="instead of the profile's")
    add("--results", metavar="DIR", help="default results/run, or results/MATRIX")
    add("--precision", help="auto (default: bf16 where it is fast), fp32, bf16, fp16")
    add("--weighting", help="source: the methods' own weights (default); balanced: losses scaled "
        "to equal gradient norms")  # fmt: skip
    add(
        "--plugin",
        dest="plugins",
        action="append",
        metavar="FILE",
        help="a file that registers methods; may be given again",
    )
    add(
        "--teacher",
        dest="teachers",
        action="append",
        metavar="FAMILY=FILE",
        help="an mmdet3d checkpoint instead of a trained teacher; may be given again",
    )
    add("--cohort-size", type=int, metavar="N", help="most cells that train in lockstep")
    _add_cache(run_)
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1")
    add(
        "--retry",
        type=_statuses,
        default=(),
        metavar="STATUSES",
        help="run cells again that ended so, e.g. failed,diverged",
    )
    add("--shard", type=_shard, metavar="I/N", help="every N-th cohort, the I-th of them first")
    add("--executor", default="local", choices=("local", "ray"), help="default %(default)s")
    add("--address", help="of a running Ray cluster; default: a new one on this machine")
    add(
        "--patience",
        type=float,
        default=15.0,
        metavar="MINUTES",
        help="end a process that does nothing for so long (default %(default)s)",
    )
    add(
        "--checkpoint-every",
        type=float,
        default=5.0,
        metavar="MINUTES",
        help="time between two checkpoints (default %(default)s)",
    )
    add("--dry-run", action="store_true", help="print what would be run, how long, how large")


def _add_cache(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--cache",
        type=Path,
        default=Path(".cache/pointkd"),
        metavar="DIR",
        help="keeps generated data, objects, teachers and model costs (default %(default)s)",
    )


def _add_evaluate(commands: Any) -> None:
    command = commands.add_parser("evaluate", help="score KITTI result files of any detector")
    command.set_defaults(command=evaluate)
    add = command.add_argument
    add("--labels", type=Path, required=True, metavar="DIR", help="label_2 of the ground truth")
    add("--detections", type=Path, required=True, metavar="DIR", help="result files")
    add("--split", type=Path, metavar="FILE", help="list of frames; default: all labels")
    add("--json", type=Path, metavar="FILE", help="write all figures there too")
    add("--missing-as-empty", action="store_true", help="a missing result file has no detection")
    add("--loose", action="store_true", help="the looser set of overlaps")
    add("--by-distance", action="store_true", help="also for 0-30, 30-50 and over 50 m")
    add("--points", type=Path, metavar="DIR", help="KITTI training folder: also by points in box")
    add("--curves", type=Path, metavar="PREFIX", help="precision-recall curves as CSV and PNG")


def _add_cost(commands: Any) -> None:
    command = commands.add_parser("cost", help="parameters, FLOPs, latency, memory of a student")
    command.set_defaults(command=show_cost)
    add = command.add_argument
    add("student", metavar="STUDENT", help="e.g. second@4, or 'all' that the paper has")
    add("--data", default="synthetic", help="folder in KITTI's layout, or 'synthetic' (default)")
    add("--profile", default="kitti", help="whose grid (default %(default)s: mmdet3d's own)")
    add("--frames", type=_positive, default=8, metavar="N", help="measured (default %(default)s)")
    add("--no-latency", action="store_true", help="leave out the timing")
    add("--json", type=Path, metavar="FILE", help="write all figures there too")
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1")
    _add_cache(command)


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", help="check, prepare or generate data").add_subparsers(
        required=True
    )
    check = data.add_parser("verify", help="read every file of a KITTI folder")
    check.add_argument("data", type=Path, metavar="DIR")
    check.set_defaults(command=verify_data)
    prepare = data.add_parser("prepare", help="collect the objects that training pastes")
    prepare.add_argument("data", type=Path, metavar="DIR")
    _add_cache(prepare)
    prepare.set_defaults(command=prepare_data)
    compare = data.add_parser("compare", help="how alike two KITTI folders are")
    compare.add_argument("data", type=Path, metavar="DIR")
    compare.add_argument("other", type=Path, metavar="OTHER")
    compare.add_argument("--split", default="train", help="default %(default)s")
    compare.add_argument("--pictures", type=Path, metavar="FOLDER", help="write pictures there")
    compare.set_defaults(command=compare_data)
    make = data.add_parser("synthesize", help="generate an embedded data set")
    make.add_argument("data", type=Path, metavar="DIR")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--train", type=int, default=256, help="frames (default %(default)s)")
    make.add_argument("--val", type=int, default=128, help="frames (default %(default)s)")
    make.add_argument("--max-range", type=float, default=50.0, help="metres (default %(default)s)")
    make.set_defaults(command=synthesize_data)


if __name__ == "__main__":
    sys.exit(main())
