"""Time of ten cells in lockstep against one by one, on the smoke grid with a full-width teacher.

Only ratios are asserted; `pytest tests/perf/test_lockstep.py -s` prints the seconds. That the
results are the same either way is tested in tests/benchmark/test_training.py.
"""

import time
from contextlib import suppress

import pytest
import torch

from benchmark.cohort import Workplace, make_setup
from benchmark.data import synthetic
from benchmark.matrix import Matrix, describe_data
from benchmark.profiles import load_profile
from benchmark.training import Learner, make_deterministic, train

METHODS = [
    "none", "logit_kd", "fitnet", "attention_transfer", "similarity_preserving", "crd",
    "overhaul", "se_ssd", "fbkd", "point_distiller",
]  # fmt: skip
STEPS = 5
"""Steps that are timed, after one to warm up."""


class Enough(Exception):
    """All steps are timed."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The matrix at any ratio and the setup of its cells, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    make_deterministic(cpu)
    profile, folder = load_profile("smoke"), tmp_path_factory.mktemp("lockstep")
    root = synthetic.ensure(folder, **{**profile.synthetic, "train": 24, "val": 1})
    data = describe_data(root, synthetic=True)
    place = Workplace(root, folder / "results", folder / "cache", cpu)

    def make(student):
        matrix = Matrix(data, profile, [student], METHODS, [0], "fp32")
        (cohort,) = matrix.cohorts()
        bare = make_setup(matrix.teacher("pointpillars"), None, place)
        torch.manual_seed(0)
        teacher = bare.family.build(1, bare.grid).eval().requires_grad_(False)
        return cohort.cells, make_setup(cohort.cells[0], teacher, place)

    yield make
    torch.set_num_threads(threads)


def timed(cells, setup):
    """Least seconds of a step, and mean ones of the methods' losses in it."""
    learners = [Learner(cell, setup) for cell in cells]
    marks = []

    def watch(position, learners):
        marks.append(time.perf_counter())
        if len(marks) == 1:
            for learner in learners:
                learner.clock.seconds.clear()
        if len(marks) > STEPS:
            raise Enough

    with suppress(Enough):
        train(learners, setup, watch)
    assert all(learner.running for learner in learners)
    spent = [after - before for before, after in zip(marks, marks[1:], strict=False)]
    methods = sum(learner.clock.seconds["method"] for learner in learners) / STEPS
    return min(spent), methods


@pytest.mark.parametrize(("student", "goal"), [("pointpillars@4", 1.5), ("pointpillars@16", 1.9)])
def test_ten_cells_in_lockstep_against_one_by_one(student, goal, prepared):
    cells, setup = prepared(student)
    together, methods = timed(cells, setup)
    each = [timed([cell], setup) for cell in cells]
    alone = sum(seconds for seconds, _ in each)
    print(
        f"\n{student}, {len(cells)} cells, seconds per step: {alone:.2f} one by one, "
        f"{together:.2f} in lockstep, ratio {alone / together:.2f}; of it in methods' losses "
        f"{sum(m for _, m in each):.2f} and {methods:.2f}"
    )
    assert alone / together > goal
