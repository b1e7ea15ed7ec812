"""The wheel holds what an installation needs, and nothing else."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Files of a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = ["--exclude=./.*", "--exclude=./results", "--exclude=*.egg-info", "--exclude=build"]
    source.mkdir()
    packed = subprocess.run(["tar", "-C", ROOT, *ignored, "-cf", "-", "."], capture_output=True,
                            check=True)  # fmt: skip
    subprocess.run(["tar", "-C", source, "-xf", "-"], input=packed.stdout, check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_packages_and_their_data_are_in(names):
    sources = [
        path.relative_to(ROOT).as_posix()
        for room in ("kd_methods", "detectors", "benchmark")
        for pattern in ("*.py", "*.pyi", "*.yaml", "*.csv", "*.html", "*.css", "*.js")
        for path in (ROOT / room).rglob(pattern)
    ]
    assert set(sources) <= set(names)
    assert "run_bench.py" in names


def test_tests_results_and_documents_are_not(names):
    rooms = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert rooms == {"kd_methods", "detectors", "benchmark", "run_bench.py"}


def test_the_tests_that_the_readme_names_are_found():
    """By `pytest` itself; as a module of Python it would have the repository on its path."""
    named = re.findall(r"`pytest (\S+)`", (ROOT / "README.md").read_text())
    assert len(named) >= 2
    command = [Path(sys.executable).with_name("pytest"), "--collect-only", "-q", *named]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-2000:]
