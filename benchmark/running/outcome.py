"""What a finished cell leaves: its record, weights, statistics and views."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark.config.matrix import Cell
from benchmark.costs.measure import remembered_cost
from benchmark.evaluation import views
from benchmark.evaluation.detector import Findings, ValidationFrames
from benchmark.evaluation.kitti_ap import Result
from benchmark.files import write_atomically
from benchmark.records import store
from benchmark.records.provenance import provenance
from benchmark.running.workplace import Workplace
from benchmark.training.learner import Learner
from benchmark.training.setup import Setup
from detectors import parse_student
from detectors.core.checkpoints import CheckpointError, load_weights, state_hash
from kd_methods.core.errors import PointKDError


class TeacherError(PointKDError):
    """A teacher that is not there, or did not stay as it was."""


def save_checkpoint(folder: Path, cell: str, model: nn.Module) -> None:
    """Write a model's weights under the identity of its cell."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    write_atomically(_checkpoint(folder, cell), buffer.getvalue())


def save_statistics(folder: Path, cell: str, result: Result) -> None:
    """Write what the resampling of frames needs under the identity of its cell."""
    (folder / "statistics").mkdir(parents=True, exist_ok=True)
    result.statistics.save(folder / "statistics" / f"{cell}.npz")


def load_teacher(teacher: Cell, workplace: Workplace) -> nn.Module:
    """The frozen teacher from the cache, checked against its record's hash."""
    return load_model(teacher, workplace.for_teachers())


def load_model(cell: Cell, workplace: Workplace) -> nn.Module:
    """The network of a finished cell, frozen and in evaluation mode.

    Raises:
        TeacherError: the checkpoint is missing, does not fit, or is not the one of the record.
    """
    family, ratio = parse_student(cell.student)
    model = family.build(ratio, cell.profile.grid(family))
    path = _checkpoint(workplace.results, cell.identity())
    try:
        load_weights(model, path, cell.student)
        found, published = state_hash(model), workplace.record(cell)["weights_sha256"]
        if found != published:
            raise CheckpointError(f"checkpoint {path} has hash {found}, its record {published}")
    except (CheckpointError, store.RecordError) as error:
        raise TeacherError(
            f"{error}; remove it and {workplace.record_path(cell)} to train it again"
        ) from None
    return family.place(model, workplace.device).eval().requires_grad_(False)


def _checkpoint(folder: Path, cell: str) -> Path:
    return folder / "checkpoints" / f"{cell}.pth"


def common_fields(cell: Cell, setup: Setup, validation: ValidationFrames) -> dict[str, Any]:
    """The fields of a record that are known before anything trains; the others are None."""
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
        "provenance": provenance(setup.device),
        **dict.fromkeys(("ap", "weights_sha256", "losses_sha256", "cost", "training")),
    }


def save_outcome(
    cell: Cell,
    model: nn.Module,
    findings: Findings,
    setup: Setup,
    validation: ValidationFrames,
    workplace: Workplace,
) -> dict[str, Any]:
    """Write a trained model's weights, statistics and views; the fields of a record it fills."""
    results, name, result = workplace.results, cell.identity(), findings.evaluate()
    save_checkpoint(results, name, model)
    save_statistics(results, name, result)
    views.save(results, name, findings, validation.dataset, cell.data.fingerprint, setup.grid)
    costs = workplace.cache / "costs"
    return {
        "ap": result.as_json(),
        "weights_sha256": state_hash(model),
        "cost": remembered_cost(costs, cell.student, model, setup, validation),
    }


def _training(learner: Learner) -> dict[str, Any]:
    seconds, method = learner.clock.seconds, learner.method
    alone = seconds["own"] + seconds["data"] + (seconds["teacher"] if learner.needs else 0)
    return {
        "seconds_alone": alone,
        "seconds_as_run": seconds["own"] + seconds["share"],
        "seconds_method": seconds["method"],
        "balance": learner.balance,
        "extra_params": sum(p.numel() for p in method.parameters()) if method else 0,
        "extrapolated": method.extrapolated() if method else False,
        "losses": learner.losses,
    }
