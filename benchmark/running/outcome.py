"""What a finished cell leaves: its record, weights, statistics and views."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import nn

from benchmark.config.matrix import Cell
from benchmark.costs.measure import remembered_cost
from benchmark.evaluation import views
from benchmark.evaluation.detector import Findings, ValidationFrames
from benchmark.files import write_atomically
from benchmark.records import store
from benchmark.records.provenance import provenance
from benchmark.records.record import Record, Status, Training
from benchmark.running.journal import Journal
from benchmark.running.workplace import Workplace
from benchmark.training.learner import Learner
from benchmark.training.setup import Setup
from detectors import parse_student
from detectors.core.checkpoints import CheckpointError, load_network, state_hash
from kd_methods.core.errors import PointKDError


class TeacherError(PointKDError):
    """A teacher that is missing or was changed."""


def publish(cell: Cell, workplace: Workplace, status: Status, reason: str, **known: Any) -> None:
    """Write the record of a cell that has ended, and drop what its training kept.

    Args:
        known: fields of the record that are not None.
    """
    record = _describe(cell, workplace, status, reason)
    record.update(known)  # type: ignore[typeddict-item]
    store.publish(workplace.results, record)
    Journal(workplace.results).close(cell)


def save_outcome(
    cell: Cell,
    model: nn.Module,
    findings: Findings,
    setup: Setup,
    validation: ValidationFrames,
    workplace: Workplace,
) -> dict[str, Any]:
    """Write a trained model's weights as deployed, its statistics and views; the fields of a record
    it fills."""
    model = setup.family.deployed(model)
    folder, name, result = workplace.folder, cell.identity(), findings.evaluate()
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    write_atomically(folder.checkpoint(name), buffer.getvalue())
    folder.statistics(name).parent.mkdir(parents=True, exist_ok=True)
    result.statistics.save(folder.statistics(name))
    fingerprint = cell.data.fingerprint
    views.save(folder, name, findings, validation.dataset, fingerprint, setup.grid)
    costs = workplace.cache / "costs"
    return {
        "ap": result.as_json(),
        "weights_sha256": state_hash(model),
        "cost": remembered_cost(costs, cell.student, model, setup, validation),
    }


def describe_training(learner: Learner) -> Training:
    """What the training of a cell took."""
    seconds, method = learner.clock.seconds, learner.method
    alone = seconds["own"] + seconds["data"] + (seconds["teacher"] if learner.needs else 0)
    return {
        "seconds_alone": alone,
        "seconds_as_run": seconds["own"] + seconds["share"],
        "seconds_method": seconds["method"],
        "balance": learner.balance,
        "extra_params": sum(p.numel() for p in method.parameters()) if method else 0,
        "extrapolated": method is not None
        and (method.extrapolated() or learner.setup.alignment is not None),
        "losses": learner.losses,
    }


def load_teacher(teacher: Cell, workplace: Workplace) -> nn.Module:
    """The frozen teacher from the cache, checked against its record's hash."""
    return load_model(teacher, workplace.for_teachers())


def load_model(cell: Cell, workplace: Workplace) -> nn.Module:
    """The network of a finished cell, frozen and in evaluation mode.

    Raises:
        TeacherError: the checkpoint is missing, does not fit, or is not the one of the record.
    """
    family = parse_student(cell.student).family
    path = workplace.folder.checkpoint(cell.identity())
    try:
        published = workplace.record(cell)["weights_sha256"]
        model = load_network(cell.student, cell.grid, path, published)
    except (CheckpointError, store.RecordError) as error:
        raise TeacherError(
            f"{error}; remove it and {workplace.record_path(cell)} to train it again"
        ) from None
    return family.place(model, workplace.device)


def _describe(cell: Cell, workplace: Workplace, status: Status, reason: str) -> Record:
    """A record without figures."""
    data, profile = cell.data, cell.profile
    limits = profile.max_frames
    return {
        "cell": cell.identity(),
        "status": status,
        "reason": reason,
        "dataset": {
            "name": data.name,
            "synthetic": data.synthetic,
            "fingerprint": data.fingerprint,
            "train_frames": min(limits.get("train", data.train_frames), data.train_frames),
            "val_frames": min(limits.get("val", data.val_frames), data.val_frames),
            "shared_frames": data.shared_frames,
            "genuine": data.genuine,
            "description": data.description.settings(),
        },
        "profile": {
            "name": profile.name,
            "purpose": profile.purpose,
            "reduced": profile.reduced(parse_student(cell.student).family),
            "recipe": cell.recipe.as_json(),
        },
        "student": cell.student,
        "method": cell.method,
        "weighting": cell.weighting,
        "precision": cell.precision,
        "seed": cell.seed,
        "settings": cell.settings(),
        "hyperparameters": cell.hyperparameters(),
        "ap": None,
        "weights_sha256": None,
        "losses_sha256": None,
        "cost": None,
        "training": None,
        "provenance": provenance(workplace.device),
    }
