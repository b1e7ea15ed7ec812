"""A matrix from its teachers to its last record, wherever its cohorts run."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from benchmark.config.matrix import Cell, Matrix
from benchmark.evaluation import views
from benchmark.files import write_atomically
from benchmark.records.record import Record
from benchmark.records.store import NONE
from benchmark.running.journal import Journal
from benchmark.running.outcome import TeacherError
from benchmark.running.workplace import Job, Workplace

POLL = 2.0
"""Seconds between checks of cells that another runner has."""


class Executor(Protocol):
    """Runs every job whose cells no other runner has; called again until all cells have records."""

    @property
    def slots(self) -> Sequence[object]:
        """Where jobs run side by side, one in each."""

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Run the jobs."""


@dataclass(frozen=True)
class Shard:
    """Every n-th cohort from an index on, for batch systems that start several runs."""

    index: int = 0
    shards: int = 1


WHOLE = Shard()


def run_matrix(
    matrix: Matrix,
    workplace: Workplace,
    execute: Executor,
    retry: Collection[str] = (),
    shard: Shard | None = None,
) -> list[Record]:
    """Run what is not yet published, each family's teacher before its students.

    Several runners may do this on one results folder: a cell is trained by one of them.

    Args:
        execute: where jobs run.
        retry: statuses of records whose cells are run again.
        shard: the part of the cohorts that is run.

    Returns:
        The records of the shard: teachers, then cells.

    Raises:
        TeacherError: a teacher did not finish or cannot be loaded.
        Interrupted: the run was asked to stop; the same command resumes from its checkpoints.
    """
    jobs = student_jobs(matrix, workplace, shard or WHOLE)
    cells = [cell for job in jobs for cell in job.cells]
    _forget(cells, workplace, retry)
    teachers = teacher_jobs(matrix, workplace)
    for job in (*teachers, *jobs):
        _enter(job)
    _finish([*teachers, *_meanwhile(teachers, jobs, len(execute.slots))], execute)
    for job in teachers:
        publish_teacher(job.cells[0], workplace)
    _finish(jobs, execute)
    return [workplace.record(cell) for cell in all_cells(matrix, workplace, shard)]


def all_cells(matrix: Matrix, workplace: Workplace, shard: Shard | None = None) -> list[Cell]:
    """The cells of a shard: teachers, then students."""
    jobs = *teacher_jobs(matrix, workplace), *student_jobs(matrix, workplace, shard or WHOLE)
    return [cell for job in jobs for cell in job.cells]


def describe_work(
    matrix: Matrix,
    workplace: Workplace,
    retry: Collection[str] = (),
    shard: Shard | None = None,
) -> str:
    """One line on what :func:`run_matrix` trains and what it takes from records and the cache."""
    cells = [cell for job in student_jobs(matrix, workplace, shard or WHOLE) for cell in job.cells]
    todo = to_train(cells, workplace, retry)
    saved = sum(map(Journal(workplace.results).saved, todo))
    teachers = teacher_jobs(matrix, workplace)
    cached = sum(not job.unfinished() for job in teachers)
    resumed = f" ({saved} of them from a checkpoint)" if saved else ""
    students = f"cells to train: {len(todo)}{resumed}, from their records: {len(cells) - len(todo)}"
    trained = f"teachers to train: {len(teachers) - cached}, from {workplace.cache}: {cached}"
    return f"{workplace.results}: {students}; {trained}"


def to_train(
    cells: Sequence[Cell], workplace: Workplace, retry: Collection[str] = ()
) -> list[Cell]:
    """The cells without a record that stands."""
    return [cell for cell in cells if not _kept(cell, workplace, retry)]


def _meanwhile(teachers: Sequence[Job], jobs: Sequence[Job], slots: int) -> list[Job]:
    """Students alone, who need no teacher, for slots that the teachers leave idle."""
    if not 0 < len([job for job in teachers if job.unfinished()]) < slots:
        return []
    alone = [replace(job, cells=[c for c in job.cells if c.method == NONE]) for job in jobs]
    return [job for job in alone if job.cells]


def teacher_jobs(matrix: Matrix, workplace: Workplace) -> list[Job]:
    """A job for each teacher, in the cache that all results folders share."""
    place = workplace.for_teachers()
    return [
        Job(
            cells=[teacher],
            teacher=None,
            workplace=place,
            checkpoint=matrix.checkpoints.get(teacher.family) if teacher.checkpoint else None,
        )
        for teacher in matrix.teachers()
    ]


def student_jobs(matrix: Matrix, workplace: Workplace, shard: Shard = WHOLE) -> list[Job]:
    """A job for each cohort of a shard."""
    return [
        Job(
            cells=cohort.cells,
            teacher=matrix.teacher_of(cohort.cells[0].student, cohort.cells[0].control),
            workplace=workplace,
        )
        for cohort in matrix.cohorts()[shard.index :: shard.shards]
    ]


def publish_teacher(teacher: Cell, workplace: Workplace) -> None:
    """Copy a teacher's record and views to its students' results folder.

    Raises:
        TeacherError: it did not finish.
    """
    place = workplace.for_teachers()
    record = place.record(teacher)
    if record["status"] != "done":
        raise TeacherError(f"teacher {teacher.student} {record['status']}: {record['reason']}")
    if not workplace.finished(teacher):  # or another runner is doing the same
        views.copy(place.folder, workplace.folder, teacher.identity())
        content = place.record_path(teacher).read_bytes()
        write_atomically(workplace.record_path(teacher), content)


def _finish(jobs: Sequence[Job], execute: Executor) -> None:
    """Run jobs until every cell has a record, waiting for those that other runners have."""
    waiting = False
    while left := [job for job in jobs if job.unfinished()]:
        if any(Journal(job.workplace.results).free(job.unfinished()) for job in left):
            execute(left)
            waiting = False
            continue
        if not waiting:
            cells = sum(len(job.unfinished()) for job in left)
            print(f"waiting for {cells} cells that another run trains", flush=True)
        waiting = True
        time.sleep(POLL)


def _enter(job: Job) -> None:
    """Enter what is to be run in the journal; drop what a kill after publishing left there."""
    journal = Journal(job.workplace.results)
    for cell in job.cells:
        if job.workplace.finished(cell):
            journal.close(cell)
        else:
            journal.request(cell)


def _forget(cells: Sequence[Cell], workplace: Workplace, statuses: Collection[str]) -> None:
    """Remove the records whose cells are run again."""
    for cell in to_train(cells, workplace, statuses):
        if workplace.finished(cell):
            workplace.record_path(cell).unlink()


def _kept(cell: Cell, workplace: Workplace, retry: Collection[str]) -> bool:
    """Whether a cell has a record that stands."""
    return workplace.finished(cell) and workplace.record(cell)["status"] not in retry
