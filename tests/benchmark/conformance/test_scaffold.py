"""The files of a new method or detector pass as they are."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmark.conformance import checks
from benchmark.conformance.scaffold import BASES, write_detector, write_plugin
from benchmark.running.server import CONTEXT
from detectors import DetectorError, get_family
from detectors.core.family import installed_config
from kd_methods import MethodError

ROOT = Path(__file__).parents[2]


def run_pytest(test, output):
    """Run a test file in its folder."""
    checks._step_seconds = partial(checks._step_seconds, steps=1)  # the check of costs never fails
    os.chdir(test.parent)
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "pointpillars", str(test)]))


def test_the_written_test_passes_at_once(tmp_path):
    plugin, test = write_plugin("my_first_method", tmp_path)
    assert plugin.read_text().count("\n") < 40
    output = tmp_path / "output.txt"
    process = CONTEXT.Process(target=run_pytest, args=(test, output))
    process.start()
    process.join()
    assert process.exitcode == 0, output.read_text()
    assert "passed" in output.read_text()
    command = [sys.executable, "-m", "ruff", "check", "--isolated", str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FitNet", "there is a method 'FitNet' already"),
        ("none", "'none' is taken"),
        ("two words", "cannot name a method"),
        ("my/my_kd.py", "give its folder apart"),
    ],
)
def test_names_that_are_taken_or_none_are_refused(tmp_path, name, message):
    with pytest.raises(MethodError, match=message):
        write_plugin(name, tmp_path)


def test_nothing_is_overwritten(tmp_path):
    write_plugin("twice", tmp_path)
    for name in ("twice", "TWICE"):  # one file, on some systems
        with pytest.raises(MethodError, match="exists"):
            write_plugin(name, tmp_path)


@pytest.mark.parametrize("like", BASES)
def test_a_new_detector_begins_as_one_of_ours(tmp_path, like):
    """Every width that the config names is mmdet3d's own, so its model is the same."""
    config, test = write_detector("my_net", like, tmp_path)
    theirs, ours = get_family(like).base_config(), installed_config(str(config))["model"]
    for part, settings in theirs.items():
        if isinstance(settings, dict):  # what mmdet3d leaves to its defaults is written out
            assert settings.items() <= ours[part].items()
    assert "out_channels" in config.read_text()
    assert '@detector_checks("my_net")' in test.read_text()


def test_names_of_detectors_that_are_taken_or_none_are_refused(tmp_path):
    write_detector("twice", "second", tmp_path)
    for name, told in (
        ("Second", "there is a detector 'Second' already"),
        ("two words", "cannot name a detector"),
        ("twice", "exists"),
    ):
        with pytest.raises(DetectorError, match=told):
            write_detector(name, "second", tmp_path)
