"""The batch scripts of docs/clusters.md, under a stand-in for Slurm."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from fake_slurm import Batch

from benchmark.running.matrix_run import Shard
from benchmark.signals import STOPPED
from run_bench import make_parser

ROOT = Path(__file__).parents[2]
DOCUMENTED = (ROOT / "docs" / "clusters.md").read_text()
(SCRIPT,) = re.findall(r"```bash\n(#!/bin/bash\n#SBATCH.*?)```", DOCUMENTED, re.DOTALL)
COMMAND = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from benchmark.commands.training import told_of_stop
from benchmark.signals import stop_on_warnings
stop_on_warnings()
try:
    open("arguments", "w").write(" ".join(sys.argv[1:]))
    time.sleep(float(open("lasts").read()))
    sys.exit(int(open("ends").read()))
except KeyboardInterrupt as stop:
    time.sleep(0.3)  # the checkpoint
    open("checkpoint", "w").close()
    sys.exit(told_of_stop(stop))
"""
"""Stands in for the training of hours: it hears signals as `run_bench.py run` does."""


@pytest.fixture
def submit(tmp_path):
    """Submits the documented script, whose command lasts so long and ends so; waits for it."""
    (tmp_path / "command.py").write_text(COMMAND)
    jobs = []

    def start(lasts, ends=0):
        (tmp_path / "lasts").write_text(str(lasts))
        (tmp_path / "ends").write_text(str(ends))
        python = f'exec {sys.executable} {tmp_path / "command.py"} "$@"'
        jobs.append(Batch(SCRIPT, tmp_path, {"python": python}))
        deadline = time.monotonic() + 30
        while not (tmp_path / "arguments").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return jobs[0]

    yield start
    for job in jobs:
        job.end()


def test_a_warning_to_the_shell_alone_ends_in_a_checkpoint_and_a_requeue(submit, tmp_path):
    job = submit(lasts=60)
    job.warn_shell()
    assert job.shell.wait(30) == STOPPED
    assert (tmp_path / "checkpoint").exists()
    assert job.requeued.read_text() == "requeue 12_3\n"
    assert job.processes() == []


@pytest.mark.parametrize("ends", [0, 1, 2])
def test_what_ends_by_itself_is_not_requeued(submit, ends):
    job = submit(lasts=0, ends=ends)
    assert job.shell.wait(30) == ends
    assert not job.requeued.exists()


def test_the_time_limit_leaves_a_checkpoint_and_no_process(submit, tmp_path):
    job = submit(lasts=60)
    job.time_out(grace=10)
    assert (tmp_path / "checkpoint").exists()
    assert job.processes() == []
    assert job.shell.wait(5) in (STOPPED, -signal.SIGTERM)


def arguments_of(command, folder, **environment):
    """What a line of shell calls ``python`` with, as the command line reads it."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {folder}/arguments\n")
    python.chmod(0o755)
    settings = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **environment}
    subprocess.run(["sh", "-c", command], env=settings, check=True)
    program, *words = (folder / "arguments").read_text().splitlines()
    assert program == "run_bench.py"
    return make_parser().parse_args(words)


def test_the_tasks_of_an_array_are_all_shards(tmp_path):
    first, last = map(int, re.search(r"--array=(\d+)-(\d+)", SCRIPT).groups())
    (line,) = re.findall(r"^(python .*) &$", SCRIPT, re.MULTILINE)
    shards = [
        arguments_of(line, tmp_path, SLURM_ARRAY_TASK_ID=str(task)).shard
        for task in range(first, last + 1)
    ]
    assert shards == [Shard(i, len(shards)) for i in range(len(shards))]


def test_the_pods_of_a_job_are_all_shards(tmp_path):
    (text,) = re.findall(r"```yaml\n(apiVersion.*?)```", DOCUMENTED, re.DOTALL)
    job = yaml.safe_load(text)["spec"]
    (container,) = job["template"]["spec"]["containers"]
    shell, option, command = container["command"]
    assert (shell, option, command.split()[0]) == ("sh", "-c", "exec")
    shards = [
        arguments_of(command, tmp_path, JOB_COMPLETION_INDEX=str(pod)).shard
        for pod in range(job["completions"])
    ]
    assert shards == [Shard(i, len(shards)) for i in range(len(shards))]
