"""Rows that are no method but say what a gain is worth."""

from __future__ import annotations

from dataclasses import dataclass

ELSEWHERE = 1000
"""Seed of a control's teacher, which no student should have."""


@dataclass(frozen=True)
class Control:
    """What a control changes of a cell, or of its teacher.

    Attributes:
        told: what it is, as tables have it.
        epochs: factor of the schedule of the student alone.
        teacher_epochs: factor of the teacher's schedule.
        teacher_seed: of the teacher.
        narrow: whether the teacher is as narrow as the student.
    """

    told: str
    epochs: float = 1.0
    teacher_epochs: float = 1.0
    teacher_seed: int = 0
    narrow: bool = False

    @property
    def distils(self) -> bool:
        """Whether it is a matter of the teacher, so of methods, not of the student alone."""
        return self.epochs == 1.0


CONTROLS = {
    "none_twice": Control("twice the epochs", epochs=2.0),
    "teacher_half": Control("teacher of half the epochs", teacher_epochs=0.5),
    "teacher_narrow": Control(
        "teacher of the student's width", teacher_seed=ELSEWHERE, narrow=True
    ),
    "teacher_seed": Control("teacher of another seed", teacher_seed=ELSEWHERE),
}
"""By name."""
