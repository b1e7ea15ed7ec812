"""Jobs cut so that processes side by side end together."""

import json
from dataclasses import replace

import pytest
from made_records import make_record

from benchmark.config.profile import load_profile
from benchmark.running.matrix_run import student_jobs
from benchmark.running.sharing import makespan, share_out


def jobs_of(matrix, workplace, methods, seeds):
    return student_jobs(matrix(methods, seeds=seeds), workplace)


METHODS = ["none", "fitnet", "logit_kd", "crd", "rdd"]


@pytest.mark.parametrize(
    ("methods", "seeds", "slots", "sizes"),
    [
        (METHODS, (0,), 1, [5]),
        (METHODS, (0,), 2, [3, 2]),
        (METHODS, (0, 1), 2, [5, 5]),
        (METHODS, (0, 1, 2), 2, [5, 5, 3, 2]),
        (METHODS, (0,), 8, [1, 1, 1, 1, 1]),
        (["none"], (0,), 4, [1]),
    ],
)
def test_jobs_are_cut_where_that_ends_sooner(matrix, workplace, methods, seeds, slots, sizes):
    pieces = share_out(jobs_of(matrix, workplace, methods, seeds), slots)
    assert [len(piece.cells) for piece in pieces] == sizes
    assert {cell.identity() for piece in pieces for cell in piece.cells} == {
        cell.identity() for job in jobs_of(matrix, workplace, methods, seeds) for cell in job.cells
    }


def test_the_makespan_is_that_of_the_next_free_slot():
    assert makespan([3, 3, 2], 2) == 5
    assert makespan([3, 3, 2], 1) == 8
    assert makespan([], 3) == 0


def test_the_family_whose_teacher_took_long_is_cut(matrix, workplace, tmp_path):
    workplace = replace(workplace, cache=tmp_path / "cache")
    students = ("pointpillars@4", "second@4")
    request = replace(matrix(["none", "fitnet"], students=students), profile=load_profile("smoke"))
    jobs = student_jobs(request, workplace)

    def pieces():
        return [(job.cells[0].family, len(job.cells)) for job in share_out(jobs, 2)]

    assert pieces() == [("pointpillars", 2), ("second", 2)]  # while neither is timed
    for job, seconds in zip(jobs, (10.0, 90.0), strict=True):
        made = make_record(student=job.cells[0].family, cell=job.teacher.identity())
        made["training"]["seconds_alone"] = seconds
        path = workplace.for_teachers().record_path(job.teacher)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made))
    assert pieces() == [("second", 1), ("second", 1), ("pointpillars", 2)]
