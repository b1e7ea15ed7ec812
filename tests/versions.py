"""The test suite with other versions of Python and of the libraries than the pinned ones.

    python tests/versions.py                         # every environment, the whole suite: hours
    python tests/versions.py oldest tests/kd_methods # one environment, part of the suite

Each environment is made in a temporary folder (TMPDIR; up to 8 GB with the libraries of CUDA) and
deleted afterwards. Prints a table with a row for each to standard output, and what pip and pytest
say to standard error. The Pythons are found as python3.10 to python3.12; with pyenv, put
PYENV_VERSION=3.10:3.11:3.12 before the command.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
BUILDS = "benchmark/records/builds.py"


@dataclass(frozen=True)
class Environment:
    """What is installed.

    Attributes:
        python: version of the interpreter, found on the PATH as ``python3.10``.
        pins: what is not the newest version that suits the rest.
        lowest: every requirement in pyproject.toml at its lower bound instead.
    """

    name: str
    python: str
    pins: tuple[str, ...] = ()
    lowest: bool = False


ENVIRONMENTS = (
    Environment("oldest", "3.10", lowest=True),
    Environment("torch-2.4", "3.11", ("torch==2.4.1", "numpy<2")),
    Environment("torch-2.5", "3.12", ("torch==2.5.1", "numpy>=2")),
    Environment("newest", "3.12"),
)
SUITE = ("tests", "--ignore", "tests/perf")
PYTEST = ("-q", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
COLUMNS = ("environment", "Python", "torch", "numpy", "pandas", "mmengine", "mmdet", "passed",
           "failed", "skipped", "seconds")  # fmt: skip
VERSIONS = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"


def run(*command: str | Path, **options: str) -> str:
    """A command's output; what it says of itself goes to standard error."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env=environment | options
    )
    return done.stdout


def lowest(requirements: str) -> str:
    """Each requirement with a lower bound as exactly that version."""
    return re.sub(r">=([\w.]+).*", r"==\1", requirements)


def install(environment: Environment, folder: Path) -> Path:
    """The interpreter of an environment that has what the suite needs."""
    run(f"python{environment.python}", "-m", "venv", folder)
    python = folder / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet")
    run(*pip, "--no-deps", "--editable", ".")
    requirements = run(python, BUILDS, "dev")
    (folder / "requirements.txt").write_text(
        lowest(requirements) if environment.lowest else requirements
    )
    run(*pip, "--no-compile", "--requirement", folder / "requirements.txt", *environment.pins)
    return python


def counts(report: Path) -> tuple[int, int, int]:
    """Tests passed, failed and skipped in pytest's report in XML."""
    suite = ElementTree.parse(report).getroot()[0]
    total, failures, errors, skipped = (
        int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")
    )
    return total - failures - errors - skipped, failures + errors, skipped


def row(environment: Environment, tests: list[str]) -> tuple[list[str], bool]:
    """An environment's row of the table, and whether every test passed."""
    with tempfile.TemporaryDirectory(prefix=f"{environment.name}-") as folder:
        python = install(environment, Path(folder) / "venv")
        report = Path(folder) / "report.xml"
        begun = time.monotonic()
        command = (python, "-m", "pytest", *tests, *PYTEST, f"--junitxml={report}")
        code = subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode
        seconds = round(time.monotonic() - begun)
        versions = run(python, "-c", VERSIONS, *COLUMNS[2:7]).split()
        cells = [environment.name, environment.python, *versions, *counts(report), seconds]
        return [str(cell) for cell in cells], code == 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [environment.name for environment in ENVIRONMENTS]
    parser.add_argument("environment", nargs="?", choices=[*names, "all"], default="all")
    parser.add_argument("tests", nargs="*", default=SUITE, help="files, folders, pytest's options")
    asked, options = parser.parse_known_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    passed = []
    for environment in ENVIRONMENTS:
        if asked.environment in (environment.name, "all"):
            cells, good = row(environment, [*asked.tests, *options])
            print(f"| {' | '.join(cells)} |", flush=True)
            passed.append(good)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
