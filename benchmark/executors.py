"""Where cohorts run: in this process, one after the other."""

from __future__ import annotations

from typing import Any

from torch import nn

from benchmark import records
from benchmark.cohort import TeacherError, Workplace, load_model, run_cohort
from benchmark.matrix import Cell, Matrix
from benchmark.training import make_deterministic


def run_matrix(matrix: Matrix, workplace: Workplace, retry: bool = False) -> list[dict[str, Any]]:
    """Run what is not yet published, cohort by cohort, each after its teacher.

    Args:
        retry: run cells again whose record says that they did not finish.

    Returns:
        The records of the matrix: teachers, then cells.

    Raises:
        TeacherError: a teacher did not finish or cannot be loaded.
    """
    make_deterministic(workplace.device)
    cells = [cell for cohort in matrix.cohorts() for cell in cohort.cells]
    teachers = [matrix.teacher(family) for family in dict.fromkeys(c.family for c in cells)]
    for teacher in teachers:
        publish_teacher(teacher, workplace)
    for cohort in matrix.cohorts():
        todo = [cell for cell in cohort.cells if not _finished(cell, workplace, retry)]
        if todo:
            model = load_teacher(matrix.teacher(todo[0].family), workplace)
            run_cohort(todo, model, workplace, f"{todo[0].family} students, seed {todo[0].seed}")
    return [_published(cell, workplace) for cell in (*teachers, *cells)]


def publish_teacher(teacher: Cell, workplace: Workplace) -> None:
    """Train a teacher unless the cache has it, and put its record beside its students'."""
    cache = Workplace(
        workplace.data, workplace.cache / "teachers", workplace.cache, workplace.device
    )
    if not _finished(teacher, cache, retry=True):
        run_cohort([teacher], None, cache, f"{teacher.student} teacher")
    record = _published(teacher, cache)
    if record["status"] != "done":
        raise TeacherError(f"teacher {teacher.student} {record['status']}: {record['reason']}")
    if not _finished(teacher, workplace, retry=False):
        records.publish(workplace.results / "records", record)


def load_teacher(teacher: Cell, workplace: Workplace) -> nn.Module:
    """The frozen teacher from the cache."""
    return load_model(teacher, workplace.cache / "teachers", workplace.device)


def _finished(cell: Cell, workplace: Workplace, retry: bool) -> bool:
    if not (workplace.results / "records" / f"{cell.identity()}.json").exists():
        return False
    return not retry or _published(cell, workplace)["status"] == "done"


def _published(cell: Cell, workplace: Workplace) -> dict[str, Any]:
    return records.read(workplace.results / "records" / f"{cell.identity()}.json")
