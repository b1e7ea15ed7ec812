"""A run that is killed again and again ends with the records of one that nobody killed."""

import random
import time
from dataclasses import replace

import pytest
from in_process import run_matrix
from runners import await_work, kill, results, start

from benchmark.running.journal import Journal

MOMENTS = {
    "in a step": lambda word: len(word) == 16,
    "in a checkpoint": lambda word: word == "checkpoint",
    "in the evaluation": lambda word: word == "validation data",
}


@pytest.fixture(scope="module")
def request_(matrix):
    return matrix(["none", "fitnet", "se_ssd"])


@pytest.fixture(scope="module")
def uninterrupted(request_, make_workplace, tmp_path_factory):
    """Results of the matrix that nobody killed."""
    workplace = make_workplace(tmp_path_factory.mktemp("whole"))
    run_matrix(request_, workplace)
    return results(workplace)


def test_kills_at_random_instants_change_nothing(request_, workplace, uninterrupted):
    draw = random.Random(0)
    workplace = replace(workplace, checkpoint_minutes=0.0)
    folder, published, kills = workplace.results / "records", {}, 0
    for moment in MOMENTS.values():
        runner = start(request_, workplace)
        reached = await_work(runner, workplace, moment)
        time.sleep(draw.uniform(0, 0.2))
        kill(runner)
        kills += reached
        for path, content in published.items():
            assert path.read_bytes() == content, "a record was written twice"
        published = {path: path.read_bytes() for path in folder.glob("*.json")}
    assert kills == len(MOMENTS)
    last = start(request_, workplace)
    last.join()
    assert last.exitcode == 0
    assert results(workplace) == uninterrupted
    left = [path for path in Journal(workplace.results).folder.iterdir() if path.suffix != ".lock"]
    assert all(path.name.startswith("running-") for path in left), [path.name for path in left]
