"""What to run: students, methods and seeds as cells, and cells as cohorts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.data.kitti import KittiDataset
from benchmark.profiles import Profile
from detectors import DetectorError, grid_settings, parse_student, student_name
from kd_methods import KDMethod, MethodError, create, method_names, written_forms

NONE = "none"
"""The student trained alone."""


@dataclass(frozen=True)
class Data:
    """A data set as far as it determines results.

    Attributes:
        name: ``KITTI`` layout folder's name or ``synthetic``.
        synthetic: whether it is generated.
        fingerprint: of the training and the validation split.
    """

    name: str
    synthetic: bool
    fingerprint: str


@dataclass(frozen=True)
class Cell:
    """One training run; two cells with equal settings have equal identity.

    Attributes:
        student: e.g. ``pointpillars@4``; a teacher is a student without ratio.
        method: written form, ``none`` for the student alone.
        seed: of initial weights, order and augmentation.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        teacher: identity of the teacher's cell, empty where there is none.
    """

    data: Data
    profile: Profile
    student: str
    method: str
    seed: int
    precision: str
    teacher: str = ""
    weighting: str = "source"

    @property
    def family(self) -> str:
        return self.student.partition("@")[0]

    def new_method(self) -> KDMethod | None:
        """The method, not yet built; None for the student alone."""
        return None if self.method == NONE else create(self.method, self.student)

    def hyperparameters(self) -> dict[str, Any]:
        """The method's, resolved; empty where the method cannot be made."""
        try:
            method = self.new_method()
        except MethodError:
            return {}
        return method.hyperparameters() if method else {}

    def settings(self) -> dict[str, Any]:
        """Everything that determines the result, as plain values."""
        family, ratio = parse_student(self.student)
        profile = self.profile
        return {
            "data": self.data.fingerprint,
            "epochs": profile.epochs,
            "batch_size": profile.batch_size,
            "learning_rate": profile.learning_rate,
            "max_frames": dict(profile.max_frames),
            "grid": grid_settings(profile.grid(family)),
            "student": student_name(family.name, ratio),
            "method": self.method,
            "hyperparameters": self.hyperparameters(),
            "weighting": self.weighting,
            "precision": self.precision,
            "seed": self.seed,
            "teacher": self.teacher,
        }

    def identity(self) -> str:
        """16 hex digits that change with every setting that determines the result."""
        text = json.dumps(self.settings(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Cohort:
    """Cells that share data, profile, family, teacher and seed, and train in lockstep."""

    cells: Sequence[Cell]

    def __post_init__(self) -> None:
        shared = {
            (c.data, c.profile.name, c.family, c.teacher, c.seed, c.precision) for c in self.cells
        }
        if len(shared) != 1:
            raise ValueError("the cells of a cohort must share data, profile, family and seed")


@dataclass(frozen=True)
class Matrix:
    """The request of a user: every student with every method and seed."""

    data: Data
    profile: Profile
    students: Sequence[str]
    methods: Sequence[str]
    seeds: Sequence[int]
    precision: str
    weighting: str = "source"

    def teacher(self, family: str) -> Cell:
        """The teacher's cell of a family; its seed is always 0."""
        return Cell(self.data, self.profile, family, NONE, 0, self.precision)

    def cohorts(self) -> list[Cohort]:
        """One cohort per family and seed."""
        families = dict.fromkeys(student.partition("@")[0] for student in self.students)
        return [
            Cohort(
                [
                    Cell(
                        self.data,
                        self.profile,
                        student,
                        method,
                        seed,
                        self.precision,
                        teacher=self.teacher(family).identity(),
                        weighting="source" if method == NONE else self.weighting,
                    )
                    for student in self.students
                    if student.partition("@")[0] == family
                    for method in self.methods
                ]
            )
            for family in families
            for seed in self.seeds
        ]


class MatrixError(ValueError):
    """A request that cannot be run; names every wrong student, method and seed."""


def describe_data(root: Path, synthetic: bool) -> Data:
    """The data set in a folder in KITTI's layout."""
    prints = [KittiDataset(root, split).fingerprint() for split in ("train", "val")]
    name = "the embedded set" if synthetic else root.resolve().name
    digest = hashlib.sha256("".join(prints).encode()).hexdigest()[:16]
    return Data(name, synthetic, digest)


def parse_students(text: str) -> list[str]:
    """Students of a comma-separated list, in one spelling.

    Raises:
        MatrixError: unknown detectors or ratios, or a teacher without ratio.
    """
    students, problems = [], []
    for word in _words(text):
        try:
            family, ratio = parse_student(word)
        except DetectorError as error:
            problems.append(str(error))
            continue
        students.append(student_name(family.name, ratio))
        if ratio == 1:
            problems.append(f"student {word!r} has no ratio; write e.g. {word}@4")
    return _checked("--students", students, problems)


def parse_methods(text: str) -> list[str]:
    """Methods of a comma-separated list; ``all`` stands for every method, ``none`` included.

    Raises:
        MatrixError: unknown methods or settings.
    """
    methods = [m for word in _words(text) for m in (_all() if word == "all" else [word])]
    problems = []
    for method in methods:
        if method != NONE:
            try:
                create(method, "pointpillars@4")
            except MethodError as error:
                problems.append(str(error))
    return _checked("--methods", methods, problems)


def parse_seeds(text: str) -> list[int]:
    """Seeds of a comma-separated list.

    Raises:
        MatrixError: not a whole number of at least 0.
    """
    words = _words(text)
    problems = [f"seed {word!r} is no whole number >= 0" for word in words if not word.isdigit()]
    return _checked("--seeds", [int(word) for word in words if word.isdigit()], problems)


def _all() -> list[str]:
    """``none`` and every method, each of its variants by itself."""
    return [NONE, *(form for name in method_names() for form in written_forms(name))]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _checked(option: str, values: list[Any], problems: list[str]) -> list[Any]:
    if not values and not problems:
        problems = ["the list is empty"]
    if problems:
        raise MatrixError(f"{option}: " + "; ".join(problems))
    return list(dict.fromkeys(values))
