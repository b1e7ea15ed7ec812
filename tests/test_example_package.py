"""A stranger's package: installed out of tree, found by its entry point, seen in a leaderboard."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_run_bench import TINY

import run_bench
from benchmark.commands.common import BAD_INPUT

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "pointkd_example"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Environment variables of an installation that holds the example package."""
    source = tmp_path_factory.mktemp("source") / "example"
    shutil.copytree(EXAMPLE, source)
    site = tmp_path_factory.mktemp("site")
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site, source]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, [site, ROOT, ROOT / "tests"])),
    }


RUN = """
import json, sys
import run_bench
from benchmark.commands.common import DONE
for command in json.loads(sys.argv[1]):
    assert run_bench.main(command) == DONE
    print("====", flush=True)
"""


def test_method_and_detector_are_found_and_trained(environment, tmp_path):
    profile = tmp_path / "tiny.yaml"
    profile.write_text(yaml.safe_dump(TINY))
    run = ["run", "--profile", profile, "--students", "slim_pillars@4", "--methods",
           "none,channel_mean:exponent=2", "--results", tmp_path / "results", "--cache",
           tmp_path / "cache", "--here"]  # fmt: skip
    commands = json.dumps([["list", "methods"], run], default=str)
    command = [sys.executable, "-c", RUN, commands]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed, output, _ = done.stdout.split("====\n")
    assert "channel_mean" in listed
    assert "channel_mean:exponent=2" in output
    table = (tmp_path / "results" / "leaderboard.csv").read_text()
    assert "channel_mean" in table
    assert "slim_pillars@4" in table


def test_without_the_package_both_are_unknown(capsys):
    command = ["run", "--methods", "channel_mean", "--students", "slim_pillars@4"]
    assert run_bench.main(command) == BAD_INPUT
    told = capsys.readouterr().err
    assert "unknown method 'channel_mean'" in told
    assert "unknown detector 'slim_pillars'" in told


def test_the_example_is_under_30_lines_of_code():
    tree = ast.parse((EXAMPLE / "pointkd_example.py").read_text())
    lines = {node.lineno for node in ast.walk(tree) if hasattr(node, "lineno")}
    assert len(lines) < 30
