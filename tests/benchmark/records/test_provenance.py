"""A record says which code made it, and when."""

import datetime
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmark.records.provenance import environment, provenance

ROOT = Path(__file__).parents[3]
CODE = """
import sys
from benchmark.records import provenance
print(provenance.__file__, *provenance.code_version())
"""


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", *who, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def told(folder):
    """What a fresh process of the code in a folder says of itself."""
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    file, commit, clean = done.stdout.split()
    assert Path(file).is_relative_to(folder)
    return commit, clean


@pytest.fixture
def checkout(tmp_path):
    """A small repository with the package that tells."""
    for name in ("benchmark/__init__.py", "benchmark/records", "kd_methods/__init__.py",
                 "kd_methods/__init__.pyi", "kd_methods/core/errors.py",
                 "kd_methods/core/__init__.py"):  # fmt: skip
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, target)
    (tmp_path / ".gitignore").write_text("__pycache__/\nresults/\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_commit_and_changes_of_the_code_are_told(checkout):
    first = git(checkout, "rev-parse", "HEAD")
    assert told(checkout) == (first, "True")
    (checkout / "notes.txt").write_text("not code")
    assert told(checkout) == (first, "True")
    file = checkout / "benchmark" / "__init__.py"
    file.write_text(file.read_text() + "\n")
    assert told(checkout) == (first, "False")
    git(checkout, "commit", "-qam", "second")
    second = git(checkout, "rev-parse", "HEAD")
    assert told(checkout) == (second, "True")
    assert second != first


def test_without_a_repository_nothing_is_claimed(checkout):
    shutil.rmtree(checkout / ".git")
    assert told(checkout)[1] == "None"


def test_the_time_is_the_end_in_utc_and_in_no_cache_key():
    made = provenance(torch.device("cpu"))
    ended = datetime.datetime.fromisoformat(made["ended"])
    assert ended.utcoffset() == datetime.timedelta(0)
    age = datetime.datetime.now(datetime.timezone.utc) - ended
    assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=1)
    assert made.keys() - environment(torch.device("cpu")).keys() == {"commit", "clean", "ended"}
