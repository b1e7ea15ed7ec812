"""What docs/reliability.md says: its rules without a test elsewhere, and the tests it names."""

import ast
import re
from pathlib import Path

import pytest

from benchmark.device import SettingError
from benchmark.evaluation import detector
from benchmark.running.setups import make_training_setup, make_validation
from benchmark.training.learner import Learner

ROOT = Path(__file__).parents[3]
ROWS = re.findall(
    r"^\|([^|]+)\|.+\| (\S+\.py)::(\w+) \|$",
    (ROOT / "docs" / "reliability.md").read_text(),
    re.MULTILINE,
)


def test_many_faults_are_listed():
    assert len(ROWS) >= 110


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


def test_a_build_that_does_not_know_the_graphics_card_ends_no_cell(matrix, workplace, monkeypatch):
    def unfit(*_):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(Learner, "losses_on", unfit)
    monkeypatch.setattr(detector, "detect", unfit)
    (cell,) = matrix(["none"]).cohorts()[0].cells
    setup = make_training_setup(cell, None, workplace)
    learner = Learner(cell, setup)
    with pytest.raises(SettingError, match="no kernel image .*: PyTorch or spconv .*doctor"):
        learner.step(None, None)
    assert learner.running
    with pytest.raises(SettingError, match="no kernel image .*: PyTorch or spconv .*doctor"):
        detector.detect_all({"a": learner.model}, setup, make_validation(cell, workplace))
