"""Commands about a results folder: its state, tables and pages, its cells and their networks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmark.commands.common import (
    BAD_INPUT,
    DONE,
    add_budget,
    add_cache,
    add_command,
    add_detectors,
    add_device,
    add_results,
    add_scored_frames,
    load_given,
    read_budget,
)


def add(commands: Any) -> None:
    """The commands and their options."""
    told = "make tables from the records"
    here = "--results results/mini"
    budget = "--max-latency 10 --max-params 2"
    examples = [here, f"{here} {budget}", f"{here} --classes Car   # show it over one class"]
    command = add_command(commands, "leaderboard", show_leaderboard, told, examples)
    add_results(command)
    add_budget(command)
    told = "show means, gains and ranks over these alone, e.g. Car,Pedestrian"
    command.add_argument("--classes", default="", metavar="NAMES", help=told)
    sets = [here, "--results results/contributed/mini", "--results /shared/run"]
    told = "make an interactive page and plots for papers"
    add_results(add_command(commands, "report", write_report, told, sets))
    told = "show the progress of each cell"
    add_results(add_command(commands, "status", show_status, told, sets))
    told = "show everything about one cell"
    examples = [f"78d6f {here}", "78d6f95a10b2c3d4 --results /shared/run", f"0c9b {here}"]
    command = add_command(commands, "show", show_cell, told, examples)
    command.add_argument("cell", metavar="CELL", help="its first characters are enough")
    add_results(command)
    told = "check a set of records"
    examples = ["results/mini", "results/contributed/mini", "/shared/run"]
    command = add_command(commands, "verify-records", verify_records, told, examples)
    command.add_argument("results", type=Path, metavar="DIR")
    _add_networks(commands)
    _add_external(commands)


def show_status(options: argparse.Namespace) -> int:
    """Print every cell of a results folder with its progress."""
    from benchmark.running.status import describe_cells

    print(describe_cells(options.results))
    return DONE


def show_leaderboard(options: argparse.Namespace) -> int:
    """Make the leaderboard of a results folder from its records alone, or show a part of it."""
    from benchmark import leaderboard
    from benchmark.files import FolderError

    records = leaderboard.read(options.results)
    budget, classes = read_budget(options), [name for name in options.classes.split(",") if name]
    if budget or classes:
        print(leaderboard.show_part(options.results, records, budget, classes))
        return DONE
    try:
        print(leaderboard.write(options.results, records))
    except FolderError:  # who may only read sees the tables nevertheless
        print(leaderboard.show_part(options.results, records, budget))
        raise
    return DONE


def write_report(options: argparse.Namespace) -> int:
    """Make the report page and the plots of a results folder from its records and views."""
    from benchmark import leaderboard
    from benchmark.report.page import write

    page, *plots = write(options.results, leaderboard.read(options.results))
    beside = f", and {len(plots)} plots for papers in {plots[0].parent}" if plots else ""
    print(f"wrote {page}{beside}")
    return DONE


def show_cell(options: argparse.Namespace) -> int:
    """Print everything about one cell."""
    from benchmark.report.cell import describe_cell

    print(describe_cell(options.results, options.cell))
    return DONE


def verify_records(options: argparse.Namespace) -> int:
    """Check a set of records, for instance one to be contributed."""
    from benchmark.leaderboard.verification import verify_records

    found = verify_records(options.results)
    lines = [*found.problems, *(f"NOTE: {note}" for note in found.notes)]
    if not found.problems:
        lines.append(f"{options.results}: no problems found")
    print("\n".join(lines))
    return BAD_INPUT if found.problems else DONE


def export_model(options: argparse.Namespace) -> int:
    """Write the network of a finished cell as a checkpoint and config of plain mmdet3d."""
    from benchmark.records.record import describe_training, title
    from benchmark.running.export import export_cell
    from detectors import read_grid
    from detectors.core.checkpoints import usage

    load_given(options)
    record = export_cell(options.results, options.cell, options.folder)
    print(
        f"wrote {title(record)}, "
        f"{describe_training(record)}, to {options.folder}\n"
        f"grid: {read_grid(record['settings']['grid']).described}\n\n"
        f"in Python:\n\n{usage(options.folder)}"
    )
    return DONE


def score_network(options: argparse.Namespace) -> int:
    """Evaluate a trained network; write its detections as KITTI result files."""
    from benchmark.device import choose_device
    from benchmark.evaluation.checkpoint import find_network, score_network

    load_given(options)
    network = find_network(options.checkpoint, options.results, options.student)
    device = choose_device(options.device)
    print(score_network(network, options.data, options.cache, device, options.export))
    return DONE


def add_external(options: argparse.Namespace) -> int:
    """Score the results of other code and put them into a leaderboard."""
    from benchmark.files import in_shell
    from benchmark.leaderboard import external

    path, table = external.add(
        options.card,
        options.results,
        options.labels,
        split=options.split,
        missing_as_empty=options.missing_as_empty,
        replace=options.replace,
    )
    following = f"python run_bench.py leaderboard --results {in_shell(options.results)}"
    print(f"{table}\n\nwrote {path}; next: {following}")
    return DONE


def _add_networks(commands: Any) -> None:
    """Commands on trained networks."""
    told = "save a network for plain mmdet3d"
    here = "--results results/mini"
    examples = [f"78d6f student {here}", f"0c9b teacher {here}", "78d6f out --results /shared/run"]
    command = add_command(commands, "export", export_model, told, examples)
    told = "as `status` prints it; its first characters are enough"
    command.add_argument("cell", metavar="CELL", help=told)
    command.add_argument("folder", type=Path, metavar="DIR", help="for model.pth and config.py")
    add_results(command)
    add_detectors(command)
    told = "evaluate a trained network"
    examples = [
        f"78d6f {here} --data synthetic",
        "student --data /data/kitti --export found   # a folder written by `export`",
        "second.pth --student second@4 --data /data/kitti",
    ]
    command = add_command(commands, "test", score_network, told, examples)
    add = command.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="a .pth file, a folder written by `export` or, "
        "with --results, a cell")  # fmt: skip
    add("--data", required=True, help="folder or description of a data set, or 'synthetic'")
    add_results(command, required=False, help="results folder of the cell")
    add("--student", help="network of a .pth file made elsewhere, e.g. second@4")
    add("--export", type=Path, metavar="DIR", help="write a KITTI result file per frame there")
    add_detectors(command)
    add_device(command)
    add_cache(command)


def _add_external(commands: Any) -> None:
    told = "add a row for results of other code"
    some = "--results results/mine --labels kitti/training/label_2"
    examples = [
        f"card.yaml {some} --split kitti/ImageSets/val.txt",
        f"card.yaml {some} --missing-as-empty",
        f"card.yaml {some} --replace",
    ]
    command = add_command(commands, "add-external", add_external, told, examples)
    add = command.add_argument
    add("card", type=Path, metavar="CARD", help="a .yaml file; see results/README.md")
    add_results(command)
    add_scored_frames(command)
    add("--replace", action="store_true", help="write over another result of the same name")
