"""How long a leaderboard of 10,000 records takes, from their files to four formats.

``pytest tests/perf/test_leaderboard.py --benchmark-only -s``. The records are those of 9 students,
22 methods and 51 seeds with the losses of 40 epochs each. Processor seconds are printed; asserted
is that it all takes less than twice what parsing and dumping the files with Python's json takes.
"""

import copy
import json
import random
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmark"))
from made_records import make_record

from benchmark import leaderboard
from benchmark.records import store

FAMILIES = ("pointpillars", "pointrcnn", "second")
STUDENTS = [f"{family}@{ratio}" for family in FAMILIES for ratio in (4, 8, 16)]
METHODS = ["none", *(f"method_{i}" for i in range(21))]
SEEDS = range(51)
LOSSES = [{"loss_cls": 0.123456789, "loss_bbox": 1.23456789, "loss_dir": 0.987654321}] * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A results folder of 10,098 records."""
    results = tmp_path_factory.mktemp("many")
    (results / "records").mkdir()
    rng = random.Random(0)
    for student in STUDENTS:
        for i, method in enumerate(METHODS):
            for seed in SEEDS:
                record = copy.deepcopy(
                    make_record(method, seed, 50 + 0.1 * i + rng.gauss(0, 1), student)
                )
                record["training"]["losses"] = LOSSES
                text = json.dumps(record, indent=1)
                (results / "records" / f"{record['cell']}.json").write_text(text)
    return results


def make(folder):
    """What the command does."""
    found = store.read_all(folder)
    leaderboard.write(folder, found)
    return found


@pytest.mark.benchmark(timer=time.process_time)
def test_from_records_to_pages(folder, benchmark):
    found = benchmark.pedantic(make, (folder,), rounds=3, warmup_rounds=1)
    assert len(found) == len(STUDENTS) * len(METHODS) * len(SEEDS)
    start = time.process_time()
    json.dumps([json.loads(path.read_text()) for path in (folder / "records").iterdir()])
    assert benchmark.stats.stats.min < 2 * (time.process_time() - start)
