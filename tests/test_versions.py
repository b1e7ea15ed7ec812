"""What the matrix of versions installs, and how it counts; installing takes minutes."""

import importlib.metadata
import sys
from pathlib import Path

from versions import ENVIRONMENTS, counts, lowest, run

ROOT = Path(__file__).parents[1]


def test_lower_bounds_are_installed_exactly():
    asked = "torch>=2.1.2\nmmdet>=3.0.0,<3.4\nwheel<1\nlazy-loader>=0.3"
    assert lowest(asked) == "torch==2.1.2\nmmdet==3.0.0\nwheel<1\nlazy-loader==0.3"


def test_every_requirement_has_a_lower_bound_that_is_tested():
    told = lowest(run(sys.executable, "benchmark/records/builds.py", "dev")).splitlines()
    assert [need for need in told if "==" not in need] == []


def test_the_first_and_the_last_python_are_among_them():
    allowed = importlib.metadata.metadata("pointkd-bench")["Requires-Python"]
    pythons = sorted((e.python for e in ENVIRONMENTS), key=lambda version: int(version[2:]))
    assert set(allowed.split(",")) == {f">={pythons[0]}", f"<3.{int(pythons[-1][2:]) + 1}"}


def test_errors_count_as_failures(tmp_path):
    path = tmp_path / "report.xml"
    path.write_text('<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3"/>'
                    "</testsuites>")  # fmt: skip
    assert counts(path) == (3, 3, 3)
