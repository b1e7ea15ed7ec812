"""Kill each process of a run in turn: what is left five seconds later, and does the run go on?

    python tests/perf/kill_each.py [--cache DIR]

A small matrix is run quietly first, then once for each kind of process: SIGKILL while cells train,
a look for what still runs of the session after the command has ended, and the same command again.
Its records must be those of the quiet run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
from tabulate import tabulate

from benchmark.records.store import read_all

ROOT = Path(__file__).parents[2]
PROFILE = """
purpose: a test
synthetic: {train: 6, val: 4, max_range: 15.0, seed: 1}
defaults: {epochs: 4, batch_size: 2, micro_batch_size: 2, learning_rate: 0.0004}
families:
  pointpillars:
    grid:
      point_cloud_range: [0, -7.68, -3, 15.36, 7.68, 1]
      voxel_size: [0.32, 0.32, 4]
      max_voxels: [2000, 2000]
"""
KINDS = ["command", "server", "cohort", "worker", "tracker"]
"""The command, the process server, a cohort's process, one that reads ahead, multiprocessing's."""


def start(folder, results, cache):
    """The command, in a session of its own."""
    words = ["--profile", folder / "tiny.yaml", "--results", results, "--cache", cache]
    words += ["--methods", "none,fitnet", "--seeds", "0,1", "--precision", "fp32"]
    words += ["--jobs", "2", "--workers", "1"]
    command = [sys.executable, ROOT / "run_bench.py", "run", *map(str, words)]
    with (folder / f"{results.name}.txt").open("a") as output:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )


def session(run):
    """Processes of a run that have not ended, by kind."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == run.pid and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(kind(process, run), []).append(process)
    return found


def kind(process, run):
    """What a process of a run is, by its place in the tree."""
    if process.pid == run.pid:
        return "command"
    if "resource_tracker" in " ".join(process.cmdline()):
        return "tracker"
    line = [parent.pid for parent in process.parents()]
    return KINDS[1 + line.index(run.pid)] if run.pid in line else "orphan"


def training(results):
    """Whether a process is in a cell's step."""
    for marker in (results / "work").glob("running-*"):
        with suppress(OSError):
            if len(marker.read_text()[21:].strip()) == 16:
                return True
    return False


def figures(results):
    """What must be equal to the bit, by cell."""
    equal = ("ap", "weights_sha256", "losses_sha256")
    return {record["cell"]: [record[name] for name in equal] for record in read_all(results)}


def kill_one(name, folder, cache, whole):
    """A row of the table."""
    results = folder / name
    run = start(folder, results, cache)
    while not (training(results) and {name, "worker"} <= session(run).keys()):
        assert run.poll() is None, "it ended before it could be disturbed"
        time.sleep(0.02)
    session(run)[name][0].kill()
    code = run.wait()
    time.sleep(5)
    left = sum(map(len, session(run).values()))
    again = start(folder, results, cache).wait()
    return [name, code, left, again, figures(results) == whole]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path(".cache/pointkd"))
    cache = parser.parse_args().cache.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tiny.yaml").write_text(PROFILE)
        assert start(folder, folder / "whole", cache).wait() == 0
        whole = figures(folder / "whole")
        rows = [kill_one(kind, folder, cache, whole) for kind in KINDS]
    heads = ["killed", "exit code", "left after 5 s", "exit code again", "equal"]
    print(tabulate(rows, headers=heads))


if __name__ == "__main__":
    main()
