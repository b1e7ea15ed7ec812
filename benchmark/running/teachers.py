"""Teachers made elsewhere: an mmdet3d checkpoint in place of a trained teacher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from benchmark.data.batches import evaluation_batch
from benchmark.data.dataset import Dataset
from benchmark.data.opening import open_dataset
from benchmark.evaluation.detector import detect_all
from benchmark.running.outcome import TeacherError, publish, save_outcome
from benchmark.running.setups import make_setup, make_validation
from benchmark.running.workplace import Job
from benchmark.training.setup import Setup
from detectors import Grid
from detectors.core.checkpoints import load_network
from kd_methods import Batch
from kd_methods.core.interface import Detections

LOOKS = 32
"""Training frames that a teacher is tried on."""
REACH = 1.0
"""Metres between the centres of an object and of the detection matched to it."""
FEW = 5
"""Objects of a class below which nothing is concluded about it."""


def adopt(job: Job) -> None:
    """Check a checkpoint, evaluate it and publish it as the job's teacher.

    Raises:
        CheckpointError: it does not fit the family's network, key by key.
        TeacherError: it confuses one class with another, or detects nothing at all.
    """
    (cell,), workplace = job.cells, job.workplace
    assert job.checkpoint is not None
    setup, validation = make_setup(cell, workplace), make_validation(cell, workplace)
    model = load_network(cell.student, setup.grid, job.checkpoint)
    setup.family.place(model, workplace.device)
    try:
        pairs = _pairs(model, setup, open_dataset(workplace.data, "train"))
        check_classes(pairs, setup.grid.class_names)
    except TeacherError as error:
        raise TeacherError(f"checkpoint {job.checkpoint}: {error}") from None
    findings = detect_all({"teacher": model}, setup, validation)["teacher"]
    if isinstance(findings, Exception):
        raise TeacherError(f"checkpoint {job.checkpoint} cannot be evaluated: {findings}")
    known = save_outcome(cell, model, findings, setup, validation, workplace)
    publish(cell, workplace, "done", f"weights of {job.checkpoint.name}", **known)


def check_classes(pairs: Iterable[tuple[int, int | None]], names: Sequence[str]) -> None:
    """Raise :class:`TeacherError` if detections name the classes in another order, or find nothing.

    A class that is mixed up with one that is found under its own name is a weakness, no other
    order: a teacher may be poor at cyclists.

    Args:
        pairs: for each object its class index and that of the detection at its place, if any.
        names: of the classes, in the order of their indices.
    """
    counts = Counter(pairs)
    found = {(truth, guess): n for (truth, guess), n in counts.items() if guess is not None}
    total = sum(counts.values())
    if total >= FEW and not found:
        raise TeacherError(
            f"it detects none of {total} objects in training frames; was it trained with mmdet3d "
            "below 1.0, whose coordinate system differs, or on other classes?"
        )
    called = {}
    for true in range(len(names)):
        votes = {guess: n for (truth, guess), n in found.items() if truth == true}
        if sum(votes.values()) >= FEW:
            called[true] = max(votes, key=lambda guess: votes[guess])
    taken = {true: name for true, name in called.items() if called.get(name) != name}
    if taken:
        listed = ", ".join(f"{names[true]} for {names[name]}" for true, name in taken.items())
        raise TeacherError(
            f"its classes are not in the order {', '.join(names)}: it predicts {listed}; "
            "use a checkpoint trained in this order"
        )


@torch.no_grad()
def _pairs(model: nn.Module, setup: Setup, dataset: Dataset) -> Iterable[tuple[int, int | None]]:
    voxelize = setup.family.voxelizer(setup.grid, training=False)
    for frame_id in dataset.ids[:LOOKS]:
        frame = dataset.frame(frame_id)
        batch = evaluation_batch(frame, setup.grid, setup.device)
        (found,) = setup.family.predict(model, voxelize(batch))
        yield from match(batch, found, setup.grid)


def match(batch: Batch, found: Detections, grid: Grid) -> Iterable[tuple[int, int | None]]:
    """For each object of a frame its class and that of the highest-scoring detection in reach."""
    (boxes,), (labels,) = batch.boxes, batch.labels
    for box, label in zip(boxes, labels.tolist(), strict=True):
        if not grid.inside(box[None]).item():
            continue
        distance = torch.linalg.vector_norm(found.boxes[:, :2] - box[:2], dim=1)
        near = (distance <= REACH).nonzero()[:, 0]
        best = max(near.tolist(), key=found.scores.__getitem__, default=None)
        yield label, None if best is None else int(found.labels[best])
