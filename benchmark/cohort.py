"""One cohort from training to published records."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark import records
from benchmark.cost import remembered_cost
from benchmark.data.batches import TrainingFrames
from benchmark.data.kitti import KittiDataset
from benchmark.evaluation.detector import ValidationFrames, evaluate_models
from benchmark.evaluation.kitti_ap import Result
from benchmark.matrix import Cell
from benchmark.progress import TrainingProgress
from benchmark.training import DivergedError, Learner, Setup, state_hash, train
from benchmark.weighting import make_learners
from detectors import parse_student


class TeacherError(RuntimeError):
    """A teacher that is not there, or did not stay as it was."""


@dataclass(frozen=True)
class Workplace:
    """Where cohorts run.

    Attributes:
        data: folder in KITTI's layout.
        results: gets ``records`` and ``checkpoints``.
        cache: keeps teachers and model costs for other results folders.
        device: that trains and evaluates.
    """

    data: Path
    results: Path
    cache: Path
    device: torch.device


def run_cohort(
    cells: Sequence[Cell], teacher: nn.Module | None, workplace: Workplace, title: str
) -> None:
    """Train cells in lockstep, evaluate those that finish, publish a record for each.

    Raises:
        TeacherError: a method changed the teacher's weights; nothing is published.
    """
    setup = make_setup(cells[0], teacher, workplace)
    validation = make_validation(cells[0], workplace)
    before = state_hash(teacher) if teacher is not None else ""
    progress = TrainingProgress(title, setup)
    learners = make_learners(cells, setup)
    shared = train(learners, setup, progress)
    progress.close()
    if teacher is not None and state_hash(teacher) != before:
        raise TeacherError("a method changed the teacher's weights; nothing is published")
    finished = [learner for learner in learners if learner.status == "done"]
    results = evaluate_models([learner.model for learner in finished], setup, validation)
    scores: dict[int, Result] = {}
    for learner, result in zip(finished, results, strict=True):
        if isinstance(result, DivergedError):
            learner.end("diverged", str(result))
        else:
            scores[id(learner)] = result
    for learner in learners:
        record = _common(learner.cell, setup, validation) | {
            "status": learner.status,
            "reason": learner.reason,
            "training": _training(learner, shared, len(learners)),
        }
        if learner.status == "done":
            record |= _outcome(learner, scores[id(learner)], setup, validation, workplace)
            save_checkpoint(workplace.results, record["cell"], learner.model)
            save_statistics(workplace.results, record["cell"], scores[id(learner)])
        records.publish(workplace.results / "records", record)


def make_setup(cell: Cell, teacher: nn.Module | None, workplace: Workplace) -> Setup:
    """What a cell and its companions share while they train."""
    family, profile = parse_student(cell.student)[0], cell.profile
    grid = profile.grid(family)
    frames = TrainingFrames(
        dataset=KittiDataset(workplace.data, "train"),
        limit=profile.max_frames.get("train"),
        grid=grid,
        batch_size=profile.batch_size,
        seed=cell.seed,
        device=workplace.device,
    )
    return Setup(
        family, grid, frames, teacher, profile.epochs, profile.learning_rate, cell.precision
    )


def make_validation(cell: Cell, workplace: Workplace) -> ValidationFrames:
    """The validation frames of a cell's profile."""
    family, profile = parse_student(cell.student)[0], cell.profile
    dataset = KittiDataset(workplace.data, "val")
    return ValidationFrames(dataset, profile.max_frames.get("val"), profile.reduced(family))


def save_checkpoint(folder: Path, cell: str, model: nn.Module) -> None:
    """Write a model's weights under the identity of its cell."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    records.write_atomically(_checkpoint(folder, cell), buffer.getvalue())


def save_statistics(folder: Path, cell: str, result: Result) -> None:
    """Write what the resampling of frames needs under the identity of its cell."""
    (folder / "statistics").mkdir(parents=True, exist_ok=True)
    result.statistics.save(folder / "statistics" / f"{cell}.npz")


def load_model(cell: Cell, folder: Path, device: torch.device) -> nn.Module:
    """The network of a finished cell, frozen and in evaluation mode.

    Raises:
        TeacherError: the checkpoint is missing or does not fit.
    """
    family, ratio = parse_student(cell.student)
    model = family.build(ratio, cell.profile.grid(family))
    path = _checkpoint(folder, cell.identity())
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise TeacherError(
            f"checkpoint {path} of {cell.student} cannot be used ({error}); remove it and "
            f"{folder / 'records' / path.stem}.json to train it again"
        ) from None
    model.to(device, memory_format=torch.channels_last)
    return model.eval().requires_grad_(False)


def _checkpoint(folder: Path, cell: str) -> Path:
    return folder / "checkpoints" / f"{cell}.pth"


def _common(cell: Cell, setup: Setup, validation: ValidationFrames) -> dict[str, Any]:
    return {
        "cell": cell.identity(),
        "dataset": {
            "name": cell.data.name,
            "synthetic": cell.data.synthetic,
            "fingerprint": cell.data.fingerprint,
            "train_frames": len(setup.frames.ids),
            "val_frames": len(validation.ids),
        },
        "profile": {
            "name": cell.profile.name,
            "purpose": cell.profile.purpose,
            "reduced": validation.reduced,
        },
        "student": cell.student,
        "method": cell.method,
        "weighting": cell.weighting,
        "precision": cell.precision,
        "seed": cell.seed,
        "settings": cell.settings(),
        "hyperparameters": cell.hyperparameters(),
        "provenance": records.provenance(setup.device),
        **dict.fromkeys(("ap", "weights_sha256", "losses_sha256", "cost")),
    }


def _outcome(
    learner: Learner,
    result: Result,
    setup: Setup,
    validation: ValidationFrames,
    workplace: Workplace,
) -> dict[str, Any]:
    return {
        "ap": result.as_json(),
        "weights_sha256": state_hash(learner.model),
        "losses_sha256": learner.losses_hash(),
        "cost": remembered_cost(
            workplace.cache / "costs", learner.cell.student, learner.model, setup, validation
        ),
    }


def _training(learner: Learner, shared: Mapping[str, float], companions: int) -> dict[str, Any]:
    own, method = learner.clock.seconds["own"], learner.method
    alone = own + shared.get("data", 0) + (shared.get("teacher", 0) if learner.needs else 0)
    return {
        "seconds_alone": alone,
        "seconds_as_run": own + sum(shared.values()) / companions,
        "seconds_method": learner.clock.seconds["method"],
        "balance": learner.balance,
        "extra_params": sum(p.numel() for p in method.parameters()) if method else 0,
        "extrapolated": method.extrapolated() if method else False,
        "losses": learner.losses,
    }
