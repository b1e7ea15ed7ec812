"""A Ray cluster gives the records of a single process, even where it loses workers."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from benchmark.executors import make_executor
from benchmark.isolation import CohortError

pytest.importorskip("ray")

RUN = "import os, sys, pytest; os._exit(pytest.main(sys.argv[1:]))"
"""Ends without exit handlers, in which Ray may end the process with a status of its own."""


def test_a_cluster(tmp_path):
    """In a process of its own, as Ray ends the whole process of a driver that loses its node."""
    cases = Path(__file__).with_name("ray_cluster.py")
    command = [sys.executable, "-c", RUN, "-v", "--durations=9", "-p", "no:xdist", "-p", "no:cacheprovider", cases]
    output = tmp_path / "output.txt"
    with output.open("w") as file:
        run = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        status = run.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)  # what is left of the cluster
        print(output.read_text())
    assert status == 0
    assert "3 passed" in output.read_text()


def test_a_cluster_that_does_not_answer_is_named(workplace):
    with pytest.raises(CohortError, match="no Ray cluster at 127.0.0.1:1 .*refused.*--address"):
        make_executor("ray", "127.0.0.1:1", workplace)


def test_without_ray_the_remedy_is_told(workplace, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CohortError, match="pip install"):
        make_executor("ray", None, workplace)
