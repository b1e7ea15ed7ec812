"""From a cell to what runs, trains and evaluates its network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from torch import nn

from benchmark.config.matrix import Cell
from benchmark.data.batches import TrainingFrames
from benchmark.data.objects import load_objects
from benchmark.data.opening import open_dataset
from benchmark.evaluation.detector import ValidationFrames
from benchmark.running.workplace import Workplace
from benchmark.training.setup import Setup, TrainingSetup, unmarked
from detectors import parse_student


def make_setup(cell: Cell, workplace: Workplace, mark: Callable[[str], None] = unmarked) -> Setup:
    """What runs the network of a cell."""
    return Setup(
        family=parse_student(cell.student).family,
        grid=cell.grid,
        device=workplace.device,
        precision=cell.precision,
        mark=mark,
    )


def make_training_setup(
    cell: Cell,
    teacher: nn.Module | None,
    workplace: Workplace,
    mark: Callable[[str], None] = unmarked,
    teachers: Cell | None = None,
) -> TrainingSetup:
    """What a cell and its companions share while they train.

    Args:
        teachers: the teacher's cell; None if it is of their own family and grid.
    """
    setup, profile = make_setup(cell, workplace, mark), cell.profile
    recipe = cell.recipe
    dataset, limit = open_dataset(workplace.data, "train"), profile.max_frames.get("train")
    objects = None
    if recipe.samples_objects:
        objects = load_objects(dataset, workplace.cache / "objects").of_frames(limit)
    frames = TrainingFrames(
        dataset=dataset,
        limit=limit,
        grid=setup.grid,
        augmentation=recipe.augmentation,
        objects=objects,
        batch_size=recipe.micro_batch_size,
        batches_per_update=recipe.accumulation_steps,
        seed=cell.seed,
        device=workplace.device,
        workers=workplace.workers,
    )
    shared = {field.name: getattr(setup, field.name) for field in fields(setup)}
    return TrainingSetup(
        **shared,
        frames=frames,
        teacher=teacher,
        recipe=recipe,
        guide=_guide(teachers, setup, workplace),
    )


def _guide(teacher: Cell | None, own: Setup, workplace: Workplace) -> Setup | None:
    """What runs a teacher whose family or maps are not the students'."""
    if teacher is None:
        return None
    guide = make_setup(teacher, workplace)
    alike = guide.family.name == own.family.name and guide.grid == own.grid
    return None if alike and guide.family.maps(guide.grid) == own.family.maps(own.grid) else guide


def make_validation(cell: Cell, workplace: Workplace) -> ValidationFrames:
    """The validation frames of a cell's profile."""
    family, profile = parse_student(cell.student).family, cell.profile
    dataset = open_dataset(workplace.data, "val")
    return ValidationFrames(dataset, profile.max_frames.get("val"), profile.reduced(family))
