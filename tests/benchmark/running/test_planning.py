"""A plan says what a run would do, and leaves the results folder as it is."""

import re
from dataclasses import replace

import pytest
import torch
from in_process import publish_teachers, run_matrix

from benchmark.running.cohort import Interrupted, run_cohort
from benchmark.running.matrix_run import Shard
from benchmark.running.planning import describe_plan
from benchmark.running.workplace import Job
from detectors.core.checkpoints import CheckpointError
from kd_methods import KDMethod, MethodError, register


@register("too_wide", paper="a test", year=2026)
class TooWide(KDMethod):
    """Suits no student."""

    def needs(self):
        return {"neck"}

    def build(self, teacher, student):
        raise MethodError("too_wide: it asks for 1000 channels")

    def loss(self, teacher, student, batch):
        return {}


def table(plan):
    """Rows by job: cells, done, not done, from a checkpoint, from the start; its time."""
    rows = re.findall(r"^(pointpillars \w+, seed \d) +(\d.*)$", plan, re.MULTILINE)
    found = [(job, rest.split()) for job, rest in rows]
    return [(job, [int(n) for n in rest[:5]], " ".join(rest[5:])) for job, rest in found]


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_plan_of_nothing_done(matrix, make_workplace, tmp_path):
    workplace = replace(make_workplace(tmp_path / "results"), cache=tmp_path / "cache")
    request = replace(matrix(["none", "fitnet", "logit_kd"], seeds=(0, 1)), cohort_size=2)
    plan = describe_plan(request, workplace)
    assert not workplace.results.exists()
    jobs = table(plan)
    assert [(job, counts) for job, counts, _ in jobs] == [
        ("pointpillars teacher, seed 0", [1, 0, 0, 0, 1]),
        ("pointpillars students, seed 0", [2, 0, 0, 0, 2]),
        ("pointpillars students, seed 0", [1, 0, 0, 0, 1]),
        ("pointpillars students, seed 1", [2, 0, 0, 0, 2]),
        ("pointpillars students, seed 1", [1, 0, 0, 0, 1]),
    ]
    assert all(re.fullmatch(r"\d+(\.\d)? (s|min|h)", time) for *_, time in jobs)
    assert re.search(r"time: about \d.*one job after another on this cpu", plan)
    assert re.search(r"disk: about \d+ MB, at times \d+ MB more for checkpoints", plan)
    assert len(table(describe_plan(request, workplace, Shard(1, 2)))) == 3


def test_a_plan_of_what_is_left(matrix, workplace):
    request = matrix(["none", "fitnet", "logit_kd"], seeds=(0, 1))
    publish_teachers(request, workplace)
    cells = request.cohorts()[0].cells
    job = Job(cells=cells, teacher=request.teacher("pointpillars"), workplace=workplace)
    run_cohort(replace(job, cells=cells[:1]))
    with pytest.raises(Interrupted):
        run_cohort(replace(job, cells=cells[1:2]), stop=lambda: True)
    before = files(workplace.results)
    jobs = table(describe_plan(request, workplace))
    assert files(workplace.results) == before
    assert jobs[0] == ("pointpillars teacher, seed 0", [1, 1, 0, 0, 0], "cached")
    assert jobs[1][:2] == ("pointpillars students, seed 0", [3, 1, 0, 1, 1])
    assert jobs[2][:2] == ("pointpillars students, seed 1", [3, 0, 0, 0, 3])


def test_a_plan_of_nothing_left_measures_nothing(matrix, workplace, monkeypatch):
    request = matrix(["none"])
    run_matrix(request, workplace)
    monkeypatch.setattr("benchmark.running.planning.train", lambda *_: pytest.fail("trained"))
    plan = describe_plan(request, workplace, slots=2)
    assert table(plan)[1][:2] == ("pointpillars students, seed 0", [1, 1, 0, 0, 0])
    assert "time: about 0 s, 2 processes side by side" in plan


def test_the_disk_that_is_planned_is_the_disk_that_is_used(matrix, workplace):
    request = matrix(["none", "fitnet"])
    publish_teachers(request, workplace)
    plan = describe_plan(request, workplace)
    (kept, passing) = re.search(r"about (\d+) MB, at times (\d+) MB", plan).groups()
    job = Job(
        cells=request.cohorts()[0].cells,
        teacher=request.teacher("pointpillars"),
        workplace=workplace,
    )
    with pytest.raises(Interrupted):
        run_cohort(job, stop=lambda: True)
    used = [sum(map(len, files(workplace.results / "work").values()))]
    run_cohort(job)
    used.append(sum(map(len, files(workplace.results).values())))
    assert int(passing) == pytest.approx(used[0] / 1e6, rel=0.1, abs=1)
    assert int(kept) == pytest.approx(used[1] / 1e6, rel=0.1, abs=1)


def test_a_cell_that_cannot_be_trained_is_named_with_the_reason(matrix, workplace):
    plan = describe_plan(matrix(["none", "too_wide"]), workplace)
    assert "pointpillars@4 too_wide will not be trained: too_wide: it asks for 1000" in plan
    ((_, _, teacher), (_, _, students)) = table(plan)
    assert teacher
    assert students


def test_a_plan_looks_into_a_teachers_checkpoint(matrix, workplace, tmp_path):
    torch.save({"bbox_head.conv_cls.bias": torch.zeros(2)}, tmp_path / "other.pth")
    request = replace(matrix(["none"]), checkpoints={"pointpillars": tmp_path / "other.pth"})
    with pytest.raises(CheckpointError, match="other.pth does not fit pointpillars: "):
        describe_plan(request, workplace)
