"""What the matrix of versions installs, and how it counts; installing takes minutes."""

import re
from pathlib import Path

from versions import ENVIRONMENTS, counts, lowest

PROJECT = (Path(__file__).parents[1] / "pyproject.toml").read_text()


def test_lower_bounds_are_installed_exactly():
    asked = "torch>=2.1.2\nmmdet>=3.0.0,<3.4\nwheel<1\nlazy-loader>=0.3"
    assert lowest(asked) == "torch==2.1.2\nmmdet==3.0.0\nwheel<1\nlazy-loader==0.3"


def test_every_requirement_has_a_lower_bound():
    listed = PROJECT.partition("\ndependencies")[2].partition("[project.scripts]")[0]
    asked = re.findall(r'"([^"\n]+)",?$', listed, re.MULTILINE)
    assert len(asked) > 30
    assert [need for need in asked if "==" not in lowest(need)] == []


def test_the_first_and_the_last_python_are_among_them():
    minors = [int(environment.python.removeprefix("3.")) for environment in ENVIRONMENTS]
    assert f'requires-python = ">=3.{min(minors)},<3.{max(minors) + 1}"' in PROJECT


def test_errors_count_as_failures(tmp_path):
    path = tmp_path / "report.xml"
    path.write_text('<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3"/>'
                    "</testsuites>")  # fmt: skip
    assert counts(path) == (3, 3, 3)
