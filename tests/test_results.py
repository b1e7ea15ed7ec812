"""What lies in results/ is sound: contributed records, and published figures."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.leaderboard import published
from benchmark.leaderboard.verification import verify_records
from detectors import parse_student
from kd_methods import create

ROOT = Path(__file__).parents[1]
CONTRIBUTED = sorted(path for path in (ROOT / "results" / "contributed").glob("*") if path.is_dir())


@pytest.mark.parametrize("folder", CONTRIBUTED, ids=lambda path: path.name)
def test_a_contributed_set_is_sound(folder):
    assert verify_records(folder).problems == []


VERIFY = """
import sys
import run_bench

sys.exit(max(run_bench.main(["verify-records", folder]) for folder in sys.argv[1:]))
"""


def test_tables_are_the_same_on_another_processor():
    """OpenBLAS rounds otherwise on every kind of processor; here it is told of an old one."""
    old = {**os.environ, "OPENBLAS_CORETYPE": "Nehalem"}
    subprocess.run([sys.executable, "-c", VERIFY, *CONTRIBUTED], cwd=ROOT, env=old, check=True)


def test_published_students_and_methods_are_ours():
    printed = published.read()
    assert len(printed) > 0
    for student in set(printed["student"]) - {""}:
        parse_student(student)
    for method in set(printed["method"]) - {"", "none", "teacher"}:
        create(method, "pointpillars@4")


def test_the_commands_that_the_readme_names_are_there():
    import run_bench

    told = " ".join((ROOT / "results" / "README.md").read_text().split())
    found = re.findall(r"`run_bench\.py (list[^`]*)`", told)
    assert found == ["list detectors", "list methods"]
    for command in found:
        assert run_bench.main(command.split()) == 0


def test_published_costs_are_those_beside_measured_ones():
    from benchmark.costs.table import PUBLISHED

    printed = published.read()
    zhang = printed[printed["table"].isin(["1", "2"]) & printed["params_m"].notna()]
    for student, params, flops in zip(
        zhang["student"], zhang["params_m"], zhang["gflops"], strict=True
    ):
        assert PUBLISHED[student][:2] == (params, flops)
