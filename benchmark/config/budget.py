"""What a student may cost at most, and who keeps to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

LATENCY, PARAMS, GFLOPS = "latency (ms)", "params (M)", "GFLOPs"
"""The figures that can be limited, as leaderboards name them."""
Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Budget:
    """Limits of what a student costs as deployed.

    Attributes:
        limits: the most that a figure may be, by its name; figures without a limit are absent.
    """

    limits: Mapping[str, float]

    def __bool__(self) -> bool:
        return bool(self.limits)

    def __str__(self) -> str:
        return " and ".join(f"{name} of at most {most:g}" for name, most in self.limits.items())

    def keeps(self, figures: Figures) -> bool:
        """Whether all limits are kept; not where a figure was not measured."""
        return all(_value(figures, name) <= most for name, most in self.limits.items())

    def unanswered(self, students: Mapping[str, Figures]) -> str:
        """In words why no student keeps to the budget.

        Args:
            students: their figures by their names.
        """
        lacking = [
            name for name in self.limits
            if all(math.isnan(_value(figures, name)) for figures in students.values())
        ]  # fmt: skip
        if lacking:
            return f"No {' and no '.join(lacking)} was measured, so nothing here answers {self}."
        least = [f"the lowest {name} is {self._least(name, students)}" for name in self.limits]
        return f"No student here keeps to {self}; {', '.join(least)}."

    def _least(self, name: str, students: Mapping[str, Figures]) -> str:
        figures = {student: _value(known, name) for student, known in students.items()}
        measured = {student: value for student, value in figures.items() if not math.isnan(value)}
        student = min(measured, key=lambda student: measured[student])
        return f"{measured[student]:.3g} ({student})"


def _value(figures: Figures, name: str) -> float:
    value = figures.get(name)
    return math.nan if value is None else value
