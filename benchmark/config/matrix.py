"""What to run: students, methods and seeds as cells, and cells as cohorts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.config.controls import CONTROLS
from benchmark.config.profile import Profile
from benchmark.config.recipe import Recipe
from benchmark.config.tuned import Budget, Choice, Tuned
from benchmark.data.dataset import Contents, generated_by
from benchmark.data.description import KITTI, Description
from benchmark.data.genuine import has_genuine_size, is_genuine
from benchmark.data.opening import open_dataset
from benchmark.files.settings import changed_settings
from benchmark.records import store
from benchmark.records.record import GENERATED, has_own_config
from benchmark.records.store import NONE
from detectors import DetectorError, Grid, get_family, parse_student
from kd_methods import KDMethod, MethodError, create
from kd_methods.core.errors import visible
from kd_methods.core.registry import source_hash

WEIGHTINGS = ("source", "balanced")
DEFAULTS: dict[str, Any] = {
    "max_frames": {},
    "hyperparameters": {},
    "weighting": WEIGHTINGS[0],
    "teacher": "",
    "checkpoint": "",
    "source": "",
    "detector": "",
    "control": "",
    "beside": "",
    "rate": 1.0,
    "tuned": None,
}
"""Settings of a cell that are left out of its identity at these values."""


@dataclass(frozen=True)
class Data:
    """The properties of a data set that determine results.

    Attributes:
        name: ``KITTI`` layout folder's name or ``synthetic``.
        synthetic: whether it is generated, here or by ``data synthesize``.
        fingerprint: of the training and the validation split.
        train_frames, val_frames: frames of the splits.
        shared_frames: validation frames that are training frames too, by name or by contents.
        genuine: whether all are KITTI's: labels and calibrations to the bit, scans by their size.
        description: what the folder means.
    """

    name: str
    synthetic: bool
    fingerprint: str
    train_frames: int
    val_frames: int
    shared_frames: int = 0
    genuine: bool = False
    description: Description = field(default=KITTI, hash=False)


@dataclass(frozen=True)
class Cell:
    """One training run; two cells with equal settings have equal identity.

    Attributes:
        student: e.g. ``pointpillars@4``; a teacher is a student without ratio.
        method: written form, ``none`` for the student alone.
        seed: of initial weights, order and augmentation.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        teacher: identity of the teacher's cell, empty if there is none.
        checkpoint: hash of the file whose weights it uses, empty if it is trained.
        source: hash of the method's plugin, empty for built-in methods.
        detector: hash of the detector's config and code, empty for built-in ones.
        control: what it or its teacher is a control for, of
            :data:`~benchmark.config.controls.CONTROLS`; empty for the cells proper.
        beside: of a control, the identity of the teacher of the cells that it stands beside.
        rate: factor of the recipe's learning rate.
        tuned: what its settings were chosen by; None for the source's or the user's.
    """

    data: Data
    profile: Profile
    student: str
    method: str
    seed: int
    precision: str
    teacher: str = ""
    weighting: str = "source"
    checkpoint: str = ""
    source: str = ""
    detector: str = ""
    control: str = ""
    beside: str = ""
    rate: float = 1.0
    tuned: Budget | None = None

    @property
    def recipe(self) -> Recipe:
        """How its network is trained."""
        recipe = self.profile.recipe(self.family)
        if not self.control:
            return recipe
        control = CONTROLS[self.control]
        factor = control.epochs if self.beside else control.teacher_epochs
        return replace(recipe, epochs=max(1, round(factor * recipe.epochs)))

    @property
    def family(self) -> str:
        return self.student.partition("@")[0]

    @property
    def grid(self) -> Grid:
        """What its network sees and looks for."""
        return self.profile.grid(parse_student(self.student).family, self.data.description)

    @property
    def title(self) -> str:
        """What it is called in messages."""
        told = f" ({self.control})" if self.control else ""
        return f"{self.student} {self.method} seed {self.seed}{told}"

    def new_method(self) -> KDMethod | None:
        """The method, not yet built; None for the student alone."""
        return None if self.method == NONE else create(self.method, self.student)

    def hyperparameters(self) -> dict[str, Any]:
        """The method's, resolved; empty if the method cannot be created."""
        method = self._try_method()
        return method.hyperparameters() if method else {}

    def settings(self) -> dict[str, Any]:
        """Everything that determines the result, as plain values, without what is at its default.

        A setting added later, with a default that stands for the earlier behaviour, leaves the
        identities of older cells unchanged.
        """
        student = parse_student(self.student)
        method = self._try_method()
        everything = {
            "data": self.data.fingerprint,
            "recipe": self.profile.recipe(student.family.name).settings(),
            "max_frames": dict(self.profile.max_frames),
            "grid": changed_settings(self.grid),
            "student": student.name,
            "method": self.method,
            "hyperparameters": method.identifying() if method else {},
            "weighting": self.weighting,
            "precision": self.precision,
            "seed": self.seed,
            "teacher": self.teacher,
            "checkpoint": self.checkpoint,
            "source": self.source,
            "detector": self.detector,
            "control": self.control,
            "beside": self.beside,
            "rate": self.rate,
            "tuned": self.tuned.settings() if self.tuned else None,
        }
        return {name: v for name, v in everything.items() if v != DEFAULTS.get(name)}

    def identity(self) -> str:
        """16 hex digits that change with every setting that determines the result."""
        return store.identity(self.settings())

    def _try_method(self) -> KDMethod | None:
        try:
            return self.new_method()
        except MethodError:
            return None


@dataclass(frozen=True)
class Cohort:
    """Cells that share data, profile, family, teacher and seed, and train in lockstep."""

    cells: Sequence[Cell]

    def __post_init__(self) -> None:
        shared = {
            (c.data, c.profile.name, c.family, c.detector, c.teacher, c.seed, c.precision,
             c.recipe.epochs)
            for c in self.cells
        }  # fmt: skip
        if len(shared) != 1:
            raise ValueError("the cells of a cohort must share data, profile, family and seed")


@dataclass(frozen=True)
class Matrix:
    """Every student with every method and seed.

    Attributes:
        checkpoints: teachers made elsewhere, by family.
        taught_by: families of teachers, by the students' families; where missing, the same.
        cohort_size: most cells of a cohort; 0 sets no limit.
        controls: names of controls beside the students alone and the methods.
        tuned: settings to train with instead of the source's.
        trials: what is tried, by student, instead of the methods.
    """

    data: Data
    profile: Profile
    students: Sequence[str]
    methods: Sequence[str]
    seeds: Sequence[int]
    precision: str
    weighting: str = "source"
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    taught_by: Mapping[str, str] = field(default_factory=dict)
    cohort_size: int = 0
    controls: Sequence[str] = ()
    tuned: Tuned | None = None
    trials: Mapping[str, Sequence[Choice]] = field(default_factory=dict)

    def teacher(self, family: str) -> Cell:
        """The teacher's cell of a family's students; its seed is always 0."""
        family = self.taught_by.get(family, family)
        file = self.checkpoints.get(family)
        made = hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file else ""
        return Cell(
            self.data,
            self.profile,
            family,
            NONE,
            0,
            self.precision,
            checkpoint=made,
            detector=get_family(family).source,
        )

    def families(self) -> list[str]:
        """The students' families."""
        return list(dict.fromkeys(student.partition("@")[0] for student in self.students))

    def teachers(self) -> list[Cell]:
        """Every teacher that cells need, those of controls last."""
        cells = [
            *map(self.teacher, self.families()),
            *(self.teacher_of(s, control) for control in self.controls for s in self.students),
        ]
        return list({cell.identity(): cell for cell in cells}.values())

    def teacher_of(self, student: str, control: str) -> Cell:
        """The teacher that a control gives to a student; its family's where it is no other."""
        family, made = student.partition("@")[0], CONTROLS.get(control)
        if made is None or not made.distils:
            return self.teacher(family)
        taught = self.taught_by.get(family, family)
        if made.narrow and taught != family and has_own_config(student):
            raise DetectorError(
                f"control {control}: {student} has a config of its own, and {taught} none as "
                "narrow; leave one of the two out"
            )
        name = taught + student[student.index("@") :] if made.narrow else taught
        return Cell(
            self.data,
            self.profile,
            name,
            NONE,
            made.teacher_seed,
            self.precision,
            detector=parse_student(name).family.source,
            control=control,
        )

    def cohorts(self) -> list[Cohort]:
        """The cells of each network and seed, in one cohort or in several of at most its size;
        controls in cohorts of their own."""
        return [
            Cohort(cells[i : i + (self.cohort_size or len(cells))])
            for students in self._networks()
            for seed in self.seeds
            for cells in self._companies(students, seed)
            for i in range(0, len(cells), self.cohort_size or len(cells))
        ]

    def _networks(self) -> list[list[str]]:
        """The students of each family; one with a config of its own apart, as its voxels may be."""
        together: dict[tuple[str, str], list[str]] = {}
        for student in self.students:
            family = parse_student(student).family
            together.setdefault((family.name, family.source), []).append(student)
        return list(together.values())

    def _companies(self, students: Sequence[str], seed: int) -> Iterator[list[Cell]]:
        """Cells of a network and seed that can train together."""
        cells = self._cells(students, seed)
        yield cells
        for control in self.controls:
            together: dict[str, list[Cell]] = {}
            for cell in cells:
                if (cell.method != NONE) == CONTROLS[control].distils:
                    teacher = self.teacher_of(cell.student, control).identity()
                    together.setdefault(teacher, []).append(
                        replace(cell, control=control, teacher=teacher, beside=cell.teacher)
                    )
            yield from together.values()

    def _cells(self, students: Sequence[str], seed: int) -> list[Cell]:
        """Those proper."""
        family = parse_student(students[0]).family
        teacher = self.teacher(family.name).identity()
        return [
            Cell(
                self.data,
                self.profile,
                student,
                choice.method,
                seed,
                self.precision,
                teacher=teacher,
                weighting="source" if choice.method == NONE else self.weighting,
                source="" if choice.method == NONE else source_hash(choice.method),
                detector=family.source,
                rate=choice.rate,
                tuned=self.tuned.budget if self.tuned else None,
            )
            for student in students
            for choice in self._choices(student)
        ]

    def _choices(self, student: str) -> Sequence[Choice]:
        """What a student is trained with."""
        if self.trials:
            return self.trials[student]
        if self.tuned:
            return [self.tuned.choices[student][method] for method in self.methods]
        return [Choice(method) for method in self.methods]


def describe_data(source: Path, synthetic: bool) -> Data:
    """The data set of a folder, or of a description."""
    splits = [open_dataset(source, split) for split in ("train", "val")]
    root = splits[0].root
    name = GENERATED if synthetic else visible(root.resolve().name)
    prints = "".join(split.fingerprint() for split in splits)
    digest = hashlib.sha256(prints.encode()).hexdigest()[:16]
    train, val = (split.all_contents for split in splits)
    held = set(train.values())
    return Data(
        name,
        synthetic or generated_by(root) > 0,
        digest,
        len(train),
        len(val),
        shared_frames=sum(frame in train or own in held for frame, own in val.items()),
        genuine=all(_is_kittis(frame, own) for frame, own in (train | val).items()),
        description=splits[0].description,
    )


def _is_kittis(frame: str, held: Contents) -> bool:
    return (
        is_genuine("label_2", frame, held.label)
        and is_genuine("calib", frame, held.calibration)
        and has_genuine_size(held.folder, frame, held.size)
    )
