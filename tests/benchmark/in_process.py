"""Runs a matrix in the test's own process, so that methods of the test are known."""

from benchmark.running.cohort import run_cohort
from benchmark.running.matrix_run import (
    publish_teacher as _publish,
    run_matrix as _run,
    teacher_jobs,
)
from benchmark.running.teachers import adopt


def execute(jobs):
    for job in jobs:
        adopt(job) if job.checkpoint else run_cohort(job)


execute.slots = (None,)


def run_matrix(matrix, workplace, **options):
    """`matrix_run.run_matrix` without a process of its own for each cohort."""
    return _run(matrix, workplace, execute=execute, **options)


def publish_teachers(matrix, workplace):
    """Train the teachers of a matrix and publish them."""
    jobs = teacher_jobs(matrix, workplace)
    execute([job for job in jobs if job.unfinished()])
    for job in jobs:
        _publish(job.cells[0], workplace)
