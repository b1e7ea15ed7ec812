"""Kill runs of a matrix at many instants: does every one end with the records of a quiet run?

    python tests/perf/kills.py [--kills 50] [--runners 1] [--jobs 0] [--workers 0]
        [--parts 0.5] [--seed 0]

Each round runs a small matrix in a fresh folder, with so many runners at once, each with so many
processes side by side (0: one after another; of several numbers, 0,1,2, one is drawn at every
start) and workers that read ahead. Half of the kills fall anywhere in a runner's work, the others
shortly after a checkpoint, the evaluation or the publishing of records begins. Such a kill is
SIGKILL to a runner and all its processes, after which it is started again, or in the given part of
cases to one of its processes alone (the process server, a cohort, a reader), after which it must go
on by itself. After each round all records must be there and equal.
"""

import argparse
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import torch
from tabulate import tabulate

sys.path.append(str(Path(__file__).parents[1] / "benchmark"))

from conftest import PROFILE  # noqa: E402
from runners import await_work, doing, kill, results, start  # noqa: E402

from benchmark.config.matrix import Matrix, describe_data
from benchmark.data import synthetic
from benchmark.device import make_deterministic
from benchmark.running.workplace import Workplace

METHODS = ["none", "fitnet", "point_distiller"]
MOMENTS = ["checkpoint", "validation data"]
STRETCH = 0.3
"""Part of the quiet run's working time within which a runner is killed anywhere."""
DELAY = 0.1
"""Most seconds between the beginning of one of these and the kill."""


def quiet_run(matrix, workplace, jobs):
    """Results of a matrix that nobody disturbs and the seconds that its work takes."""
    runner = start(matrix, workplace, jobs)
    await_work(runner, workplace)
    begun = time.monotonic()
    runner.join()
    assert runner.exitcode == 0
    return results(workplace), time.monotonic() - begun


class Parts:
    """The processes of runners that are killed alone.

    A cohort's, or its server's, is killed once a round: a cell in whose step a process died twice
    has failed, and a cohort that dies again and again ends its run.
    """

    def __init__(self, share, draw):
        self.share, self.draw = share, draw
        self.cohort_died = False

    def victim(self, runner):
        """A process to be killed alone and what it is; None where the whole runner is to die."""
        if self.draw.random() >= self.share:
            return None
        found = [part for part in _parts(runner) if part[1] == "reader" or not self.cohort_died]
        if not found:
            return None
        chosen = self.draw.choice(found)
        self.cohort_died |= chosen[1] != "reader"  # with its server a cohort ends as well
        return chosen


def _parts(runner):
    """The processes of a runner and what each is; a fork of the server is a cohort, or one that
    reads for the cohort that forked it."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(runner.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                parents = [p.pid for p in child.parents()]
                found.append((child, parents.index(runner.pid), " ".join(child.cmdline())))
    names = ("server", "cohort", "reader") if runner.served else ("cohort", "reader")
    return [
        (child, names[depth])
        for child, depth, told in found
        if depth < len(names) and "resource_tracker" not in told
    ]


def disturb(runner, workplace, draw, seconds, parts):
    """Kill a runner, or one of its processes, at a drawn instant.

    Returns:
        What was killed and what it did then, and whether the runner goes on by itself; None where
        it had ended.
    """
    await_work(runner, workplace)
    if draw.random() < 0.5:
        runner.join(draw.uniform(0, STRETCH * seconds))
    else:
        moment = draw.choice(MOMENTS)
        await_work(runner, workplace, lambda word: word == moment, seconds)
        runner.join(draw.uniform(0, DELAY))
    if not runner.is_alive():
        return None
    word = doing(runner, workplace)
    when = "a cell" if len(word) == 16 else word or "between two jobs"
    if victim := parts.victim(runner):
        process, name = victim
        with suppress(psutil.NoSuchProcess):
            process.kill()
        return (name, when), True
    kill(runner)
    return ("runner", when), False


def run_round(matrix, workplace, draw, seconds, options, most):
    """Kills of one round by what was killed; runs until all runners end by themselves."""
    kills, published, parts = Counter(), {}, Parts(options.parts, draw)

    def begin():
        jobs = draw.choice(options.jobs)
        runner = start(matrix, workplace, jobs)
        runner.served = bool(jobs)
        return runner

    alive = [begin() for _ in range(options.runners)]
    while alive:
        runner = alive.pop(draw.randrange(len(alive)))
        if kills.total() < most and (what := disturb(runner, workplace, draw, seconds, parts)):
            killed, goes_on = what
            kills[killed] += 1
            alive.append(runner if goes_on else begin())
        else:
            runner.join()
            assert runner.exitcode == 0
        for path, content in published.items():
            assert path.read_bytes() == content, f"{path} was written twice"
        folder = workplace.results / "records"
        published = {path: path.read_bytes() for path in folder.glob("*.json")}
    return kills


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--runners", type=int, default=1)
    parser.add_argument("--jobs", type=lambda t: [int(n) for n in t.split(",")], default=[0])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--parts", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make_deterministic(torch.device("cpu"))
    draw, begun = random.Random(options.seed), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = synthetic.ensure(folder / "data", **PROFILE.synthetic)
        data = describe_data(root, synthetic=True)
        matrix = Matrix(data, PROFILE, ["pointpillars@4"], METHODS, [0, 1], "fp32")
        matrix = replace(matrix, cohort_size=0 if options.runners == 1 else 1)
        place = Workplace(
            data=root, results=folder / "quiet", cache=folder / "cache", device=torch.device("cpu")
        )
        place = replace(place, checkpoint_minutes=0.0)
        expected, seconds = quiet_run(matrix, place, 0)
        place = replace(place, workers=options.workers)
        kills, rounds = Counter(), 0
        while kills.total() < options.kills:
            rounds += 1
            fresh = replace(place, results=folder / f"round-{rounds}")
            left = options.kills - kills.total()
            kills += run_round(matrix, fresh, draw, seconds, options, left)
            assert results(fresh) == expected, f"round {rounds} differs"
            print(f"round {rounds}: {kills.total()} kills, all {len(expected)} records equal",
                  flush=True)  # fmt: skip
    rows = [(*killed, number) for killed, number in sorted(kills.items())]
    print(tabulate(rows, headers=["killed", "during", "kills"]))
    print(
        f"{kills.total()} kills in {rounds} rounds of {len(expected)} records, "
        f"{options.runners} runner(s), {' or '.join(map(str, options.jobs))} job(s), "
        f"{options.workers} worker(s), {time.monotonic() - begun:.0f} s, "
        f"{platform.machine()}, {torch.get_num_threads()} thread(s): none missing, none twice, "
        "all equal"
    )


if __name__ == "__main__":
    main()
