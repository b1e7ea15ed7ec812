"""What docs/reliability.md says: its rules without a test elsewhere, and the tests it names."""

import ast
import re
from pathlib import Path

import pytest

from benchmark.running.setups import make_training_setup
from benchmark.training.learner import Learner

ROOT = Path(__file__).parents[3]
ROWS = re.findall(
    r"^\|[^|]+\| `(.+)` \| (\S+\.py)::(\w+) \|$",
    (ROOT / "docs" / "reliability.md").read_text(),
    re.MULTILINE,
)


def test_many_messages_are_listed():
    assert len({message for message, *_ in ROWS}) >= 40


@pytest.mark.parametrize("file", sorted({file for _, file, _ in ROWS}))
def test_the_tests_of_messages_are_there(file):
    tree = ast.parse((ROOT / "tests" / file).read_text())
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert {test for _, name, test in ROWS if name == file} <= found


@pytest.mark.parametrize(("last", "status"), [(99, "running"), (101, "diverged")])
def test_a_loss_that_grows_a_hundredfold_has_diverged(matrix, workplace, last, status):
    (cell,) = matrix(["none"]).cohorts()[0].cells
    learner = Learner(cell, make_training_setup(cell, None, workplace))
    for detection in (1, last):
        learner._sums.update({"loss_cls": 3 * detection, "kd.own": 1e9 * detection})
        learner.end_epoch()
    assert learner.status == status
    assert learner.reason in ("", "detection loss grew from 1 to 101")
