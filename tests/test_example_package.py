"""A stranger's package: installed out of tree, found by its entry point, seen in a leaderboard."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_run_bench import TINY

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
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}


def bench(environment, *arguments):
    command = [sys.executable, str(ROOT / "run_bench.py"), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_method_is_listed_and_trained(environment, tmp_path):
    assert "channel_mean" in bench(environment, "list", "methods")
    profile = tmp_path / "tiny.yaml"
    profile.write_text(yaml.safe_dump(TINY))
    output = bench(
        environment, "run", "--profile", profile, "--methods", "none,channel_mean:exponent=2",
        "--results", tmp_path / "results", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert "channel_mean:exponent=2" in output
    assert "channel_mean" in (tmp_path / "results" / "leaderboard.csv").read_text()


def test_without_the_package_the_method_is_unknown():
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_bench.py"), "run", "--methods", "channel_mean"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no method 'channel_mean'" in done.stderr


def test_the_example_is_under_30_lines_of_code():
    tree = ast.parse((EXAMPLE / "pointkd_example.py").read_text())
    lines = {node.lineno for node in ast.walk(tree) if hasattr(node, "lineno")}
    assert len(lines) < 30
