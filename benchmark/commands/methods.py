"""Commands about methods and detectors: list them, check a method, start a new one."""

from __future__ import annotations

import argparse
import itertools
import pdb
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.commands.common import (
    CELLS_FAILED,
    DONE,
    add_command,
    add_detectors,
    load_given,
)

if TYPE_CHECKING:
    from benchmark.conformance.checks import Outcome


def add(commands: Any) -> None:
    """The commands and their options."""
    listing = commands.add_parser("list", help="list methods or list detectors")
    kinds = listing.add_subparsers(required=True, metavar="methods|detectors")
    told = "methods, their papers, what they read"
    examples = ["", "--plugin my_kd.py", "--plugin my_kd.py --plugin other.py"]
    methods = add_command(kinds, "methods", list_methods, told, examples)
    told = "a file that registers methods; may be repeated"
    add = methods.add_argument
    add("--plugin", type=Path, action="append", default=[], metavar="FILE", help=told)
    told = "family by family: which fit, where their values come from, what a step costs (a minute)"
    add("--fits", action="store_true", help=told)
    add_detectors(methods)
    told = "detectors and their students"
    add_detectors(add_command(kinds, "detectors", list_detectors, told, [""]))
    check = add_command(
        commands,
        "check-method",
        check_method,
        "does a method keep to the interface?",
        ["my_kd.py", "fitnet:weight=3 --students second@4", "my_kd.py --pdb", "all"],
    )
    check.add_argument("method", metavar="NAME|FILE|all")
    check.add_argument("--students", help="default: one of each family")
    check.add_argument("--pdb", action="store_true", help="stop where the method raises an error")
    add_detectors(check)
    told = "does a detector keep to the interface?"
    examples = ["centerpoint_pillar", "my_net.py", "second@xs.py", "all"]
    check = add_command(commands, "check-detector", check_detector, told, examples)
    told = "a detector or student; a file is called by its own name; all are those that come along"
    check.add_argument("detector", metavar="NAME|FILE|all", help=told)
    add_detectors(check)
    new = add_command(
        commands,
        "new-method",
        new_method,
        "a plugin file and its test, ready to edit",
        ["my_kd", "my_kd --folder methods", "focal_kd --folder ~/kd"],
    )
    _add_place(new)
    told = "a config and its test, ready to edit"
    examples = ["my_net", "my_net --like pointpillars", "my_net --folder detectors"]
    new = add_command(commands, "new-detector", new_detector, told, examples)
    _add_place(new)
    told = "the detector that it begins as (default %(default)s)"
    new.add_argument("--like", choices=("pointpillars", "second"), default="second", help=told)


def _add_place(command: argparse.ArgumentParser) -> None:
    """What is written, and where."""
    command.add_argument("name", metavar="NAME")
    command.add_argument("--folder", type=Path, default=Path(), help="default: the current one")


def list_methods(options: argparse.Namespace) -> int:
    """Print every method with its source, year and the outputs it reads."""
    from tabulate import tabulate

    from kd_methods.core.catalogue import describe_file, describe_installed

    load_given(options)
    if options.fits:
        return _list_fits(options.plugin)
    described = describe_installed()
    for plugin in options.plugin:
        described += describe_file(plugin)
    rows = [
        {
            "method": method.name,
            "paper": method.paper,
            "year": method.year,
            "reads": ", ".join(method.outputs) or "weights only",
            "what it does": method.summary,
        }
        for method in described
    ]
    print(tabulate(rows, headers="keys"))
    return DONE


def _list_fits(plugins: Sequence[Path]) -> int:
    """Print which methods suit which family."""
    from tabulate import tabulate

    from benchmark.config.request import every_method
    from benchmark.conformance.checks import default_students, suitability
    from benchmark.records.store import NONE
    from kd_methods import load_plugin

    for plugin in plugins:
        load_plugin(plugin)
    students, rows = default_students(), []
    forms = [form for form in every_method() if form != NONE]
    for number, form in enumerate(forms, 1):
        print(f"trying {form} ({number} of {len(forms)})", file=sys.stderr, flush=True)
        tried = {student: suitability(student, form) for student in students}
        rows.append({"method": form} | tried)
    print(tabulate(rows, headers="keys"))
    print(
        "\n+N %: time of a step above the student's own, on a small grid of this processor. "
        "source: values of a published LiDAR recipe; extrapolated: of another detector or of images"
    )
    return DONE


def list_detectors(options: argparse.Namespace) -> int:
    """Print every detector family with the paper's compression ratios."""
    from detectors.core.registry import FAMILIES, get_family, installed, shipped_students

    load_given(options)
    for name in installed():
        get_family(name)
    for name, listed in FAMILIES.items():
        known = [*(f"{name}@{ratio}" for ratio in listed.ratios), *shipped_students(name)]
        print(f"{name} (teacher); students {', '.join(known)} or any other compression ratio")
    return DONE


def check_method(options: argparse.Namespace) -> int:
    """Run the conformance checks on a method and print a line for each."""
    from benchmark.config.request import every_method
    from benchmark.conformance import run_checks
    from benchmark.records.store import NONE
    from benchmark.training.setup import unnoticed
    from kd_methods import create, load_plugin

    load_given(options)
    path = Path(options.method)
    names = load_plugin(path) if path.suffix == ".py" else [options.method]
    if options.method == "all":
        names = [form for form in every_method() if form != NONE]
    students = options.students.split(",") if options.students else None
    on_failure = _debug if options.pdb else unnoticed
    counts: Counter[str] = Counter()
    for name in names:
        create(name, "pointpillars@4")
        for outcome in run_checks(name, students, on_failure):
            _tell(outcome, f"{name} {outcome.student}", counts)
    if len(names) > 1:
        print(f"{len(names)} methods: {', '.join(f'{n} {how}' for how, n in counts.items())}")
    return CELLS_FAILED if counts["failed"] else DONE


def check_detector(options: argparse.Namespace) -> int:
    """Run the conformance checks on a detector and print a line for each."""
    from benchmark.config.request import student_file
    from benchmark.conformance.detector_suite import run_checks
    from detectors import load_detectors
    from detectors.core.registry import BUILT_IN

    load_given(options)
    name, path = options.detector, Path(options.detector)
    if own := student_file(name):
        name, path = own
    elif path.suffix and "@" not in name:  # second@2.5 is no file
        name = path.stem
    if name != options.detector:
        load_detectors({name: path})
    names = BUILT_IN if name == "all" else [name]
    counts: Counter[str] = Counter()
    for outcome in itertools.chain.from_iterable(map(run_checks, names)):
        _tell(outcome, outcome.student, counts)
    return CELLS_FAILED if counts["failed"] else DONE


def _tell(outcome: Outcome, checked: str, counts: Counter[str]) -> None:
    """Print and count an outcome."""
    line = f"{outcome.status:9}{checked} {outcome.check}"
    print(f"{line}: {outcome.remark}" if outcome.remark else line, flush=True)
    counts[outcome.status] += 1


def _debug(error: BaseException) -> None:
    """Open a debugger where an error was raised."""
    traceback.print_exception(error)
    pdb.post_mortem(error.__traceback__)


def new_method(options: argparse.Namespace) -> int:
    """Write a plugin and its test, ready to edit."""
    from benchmark.conformance.scaffold import write_plugin
    from benchmark.files import in_shell

    plugin, test = write_plugin(options.name, options.folder)
    print(f"wrote {plugin} and {test}; next: python run_bench.py check-method {in_shell(plugin)}")
    return DONE


def new_detector(options: argparse.Namespace) -> int:
    """Write a config and its test, ready to edit."""
    from benchmark.conformance.scaffold import write_detector
    from benchmark.files import in_shell

    config, test = write_detector(options.name, options.like, options.folder)
    print(f"wrote {config} and {test}; next: python run_bench.py check-detector {in_shell(config)}")
    return DONE
