"""A cohort that is interrupted goes on to the same records, to the bit."""

import errno
import itertools
import os
import time
from dataclasses import replace

import pytest
import torch
from in_process import publish_teachers, run_matrix

from benchmark.files import DiskFullError
from benchmark.records.store import read_all
from benchmark.running.cohort import Interrupted, run_cohort
from benchmark.running.journal import Journal
from benchmark.running.outcome import TeacherError, load_teacher
from benchmark.running.status import describe_cells
from benchmark.running.workplace import Job
from kd_methods import KDMethod, register

METHODS = ["none", "se_ssd", "fitnet", "point_distiller", "noisy"]


@register("noisy", paper="a test", year=2026)
class Noisy(KDMethod):
    """Draws random numbers, has parameters, and sets a plain attribute per epoch."""

    def needs(self):
        return {"neck"}

    def build(self, teacher, student):
        self.layer = torch.nn.Conv2d(student.neck.channels, teacher.neck.channels, 1)

    def on_epoch(self, epoch, epochs):
        self.factor = 1 + epoch

    def loss(self, teacher, student, batch):
        mapped = self.layer(student.neck.values)
        noise = torch.rand_like(mapped)
        return {"noisy": self.factor * ((mapped - teacher.neck.values) * noise).square().mean()}


@register("boastful", paper="a test", year=2026)
class Boastful(KDMethod):
    """Says of itself what no record can hold."""

    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        return {"none": 0 * student.neck.values.sum()}

    def extrapolated(self):
        return {"a set"}


def results(workplace):
    return {
        r["method"]: {key: r[key] for key in ("ap", "weights_sha256", "losses_sha256", "status")}
        for r in read_all(workplace.results)
        if "@" in r["student"]
    }


def run_in_pieces(job, batches):
    """Stop after every so many batches; the number of runs it took."""
    runs = 0
    while job.unfinished():
        seen = iter(range(batches))
        runs += 1
        try:
            run_cohort(job, stop=lambda seen=seen: next(seen, None) is None)
        except Interrupted:
            continue
    return runs


@pytest.fixture(scope="module")
def uninterrupted(matrix, cache, synthetic_root, tmp_path_factory, make_workplace):
    """Records of a matrix that nobody stopped."""
    workplace = make_workplace(tmp_path_factory.mktemp("whole"))
    run_matrix(matrix(METHODS), workplace)
    found = results(workplace)
    assert {record["status"] for record in found.values()} == {"done"}
    return found


def job_of(matrix, workplace, methods=METHODS, **changes):
    request = matrix(methods, **changes)
    publish_teachers(request, workplace)
    return Job(
        cells=request.cohorts()[0].cells,
        teacher=request.teacher("pointpillars"),
        workplace=workplace,
    )


def test_what_fits_into_no_record_costs_its_own_cell(matrix, workplace):
    run_cohort(job_of(matrix, workplace, ["boastful", "none"], epochs=1))
    found = results(workplace)
    assert found["none"]["status"] == "done"
    assert found["boastful"]["status"] == "failed"
    (reason,) = [r["reason"] for r in read_all(workplace.results) if r["method"] == "boastful"]
    assert "TypeError: Object of type set is not JSON serializable" in reason


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_run_in_pieces_equals_an_uninterrupted_one(matrix, workplace, uninterrupted, batches):
    job = job_of(matrix, workplace)
    assert run_in_pieces(job, batches) >= 6 // (batches + 1)
    assert results(workplace) == uninterrupted
    assert not list(Journal(workplace.results).folder.glob("*.pt"))


def test_pieces_end_where_the_gradients_of_an_update_are_complete(matrix, workplace, tmp_path):
    settings = {"batch_size": 4, "micro_batch_size": 2}
    whole = job_of(matrix, workplace, ["none", "fitnet"], **settings)
    run_cohort(whole)
    pieces = replace(whole, workplace=replace(workplace, results=tmp_path / "pieces"))
    run_in_pieces(pieces, 0)
    assert results(pieces.workplace) == results(workplace)


def test_cells_that_stand_elsewhere_are_brought_up_apart(matrix, workplace, uninterrupted):
    """As after a kill between the checkpoints of two cells."""
    job = job_of(matrix, workplace)
    with pytest.raises(Interrupted):
        run_cohort(replace(job, cells=job.cells[:2]), stop=lambda: True)
    run_cohort(job)
    assert results(workplace) == uninterrupted


def test_a_killed_evaluation_needs_no_training_again(matrix, workplace, uninterrupted, monkeypatch):
    job = job_of(matrix, workplace, ["none", "fitnet"])
    with monkeypatch.context() as context:
        context.setattr("benchmark.running.cohort.detect_all", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_cohort(job)
    monkeypatch.setattr(
        "benchmark.training.lockstep.train_epoch", lambda *_: pytest.fail("trained again")
    )
    run_cohort(job)
    assert results(workplace) == {m: uninterrupted[m] for m in ("none", "fitnet")}


def test_a_full_disk_costs_what_came_after_the_latest_checkpoint(
    matrix, workplace, uninterrupted, monkeypatch
):
    job = job_of(matrix, workplace)
    job = replace(job, workplace=replace(workplace, checkpoint_minutes=0.0))
    room, sync = iter(range(23)), os.fsync

    def fsync(file):
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", fsync)
        with pytest.raises(DiskFullError, match=r"write .*work.*; finished cells and the latest"):
            run_cohort(job)
    journal = Journal(workplace.results)
    positions = {tuple(journal.load(cell)["position"]) for cell in job.cells}
    assert positions == {(0, 2), (1, 0)}
    run_cohort(job)
    assert results(workplace) == uninterrupted


def test_a_clock_that_is_set_back_again_and_again_changes_nothing(
    matrix, workplace, uninterrupted, monkeypatch
):
    job = job_of(matrix, workplace, ["none"])
    hours = itertools.count(2_000_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(hours)))
    with pytest.raises(Interrupted):
        run_cohort(job, stop=lambda: True)
    assert "pending" in describe_cells(workplace.results)
    run_in_pieces(job, 3)
    assert results(workplace) == {"none": uninterrupted["none"]}


def test_what_another_process_trains_is_left_to_it(matrix, workplace, uninterrupted):
    job = job_of(matrix, workplace)
    lock = Journal(workplace.results).lock(job.cells[1])
    run_cohort(job)
    assert results(workplace).keys() == set(METHODS) - {job.cells[1].method}
    lock.release()
    run_cohort(job)
    assert results(workplace) == uninterrupted


def test_a_teacher_whose_weights_are_not_those_of_its_record_is_refused(
    matrix, tmp_path, make_workplace
):
    workplace = replace(make_workplace(tmp_path / "results"), cache=tmp_path / "cache")
    request = matrix(["none"], epochs=1)
    publish_teachers(request, workplace)
    teacher = request.teacher("pointpillars")
    (path,) = (workplace.cache / "teachers" / "checkpoints").glob("*.pth")
    weights = torch.load(path, weights_only=True)
    weights["bbox_head.conv_cls.bias"] += 1
    torch.save(weights, path)
    with pytest.raises(
        TeacherError, match="has hash .*, but its record says .*remove it and .*json"
    ):
        load_teacher(teacher, workplace)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TeacherError, match="must be complete"):
        load_teacher(teacher, workplace)


def test_what_a_run_leaves_for_those_who_watch(matrix, workplace):
    job = job_of(matrix, workplace, ["none", "fitnet"])
    run_cohort(job)
    assert "epoch 2" in job.log.read_text()
    folders = [path.name for path in (workplace.results / "curves").iterdir()]
    assert any(name.startswith("pointpillars@4 fitnet seed 0") for name in folders)
