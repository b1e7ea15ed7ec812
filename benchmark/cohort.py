"""One cohort from training to published records."""

from __future__ import annotations

import io
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark import records
from benchmark.cost import remembered_cost
from benchmark.data.batches import TrainingFrames
from benchmark.data.kitti import KittiDataset
from benchmark.data.objects import load_objects
from benchmark.evaluation import views
from benchmark.evaluation.detector import Findings, ValidationFrames, detect_all
from benchmark.evaluation.kitti_ap import Result
from benchmark.journal import Journal
from benchmark.matrix import Cell
from benchmark.progress import Curves, TrainingProgress, open_log, summary
from benchmark.training import BEGINNING, DivergedError, Learner, Position, Setup, state_hash, train
from benchmark.weighting import make_learners
from detectors import parse_student
from detectors.checkpoints import CheckpointError, load_weights

REPORT_SECONDS = 10.0
"""Time between two entries in the journal."""


class TeacherError(RuntimeError):
    """A teacher that is not there, or did not stay as it was."""


class Interrupted(RuntimeError):
    """The run was asked to stop, and left a checkpoint."""


@dataclass(frozen=True)
class Workplace:
    """Where cohorts run.

    Attributes:
        data: folder in KITTI's layout.
        results: gets ``records``, ``checkpoints``, ``statistics``, ``views``, ``curves``, ``logs``
            and the journal, ``work``.
        cache: keeps teachers and model costs for other results folders.
        device: that trains and evaluates.
        plugins: files that register methods.
        patience: seconds after which a process that does nothing is ended.
        checkpoint_minutes: time between two checkpoints.
    """

    data: Path
    results: Path
    cache: Path
    device: torch.device
    plugins: Sequence[Path] = ()
    patience: float = 900.0
    checkpoint_minutes: float = 5.0

    def for_teachers(self) -> Workplace:
        """The same with the cache's teachers as its results."""
        return replace(self, results=self.cache / "teachers")

    def record_path(self, cell: Cell) -> Path:
        """Where the record of a cell is or will be."""
        return self.results / "records" / f"{cell.identity()}.json"

    def finished(self, cell: Cell) -> bool:
        """Whether a cell has a record, whatever its status."""
        return self.record_path(cell).exists()

    def record(self, cell: Cell) -> dict[str, Any]:
        """The record of a finished cell."""
        return records.read(self.record_path(cell))


@dataclass(frozen=True)
class Job:
    """Cells of one cohort to run.

    Attributes:
        cells: what to train; those that have a record, or that another process trains, are left.
        teacher: the teacher's cell, None where the cells are teachers.
        workplace: where.
        checkpoint: file whose weights the teacher takes instead of being trained.
        threads: of PyTorch, the same whichever process does it.
    """

    cells: Sequence[Cell]
    teacher: Cell | None
    workplace: Workplace
    checkpoint: Path | None = None
    threads: int = field(default_factory=torch.get_num_threads)

    @property
    def title(self) -> str:
        """What it is called in progress, messages and its log's name."""
        kind = "students" if self.teacher else "teacher"
        return f"{self.cells[0].family} {kind}, seed {self.cells[0].seed}"

    @property
    def log(self) -> Path:
        """The log file."""
        return (
            self.workplace.results
            / "logs"
            / f"{self.title.replace(', ', '-').replace(' ', '-')}.log"
        )

    def unfinished(self) -> list[Cell]:
        """The cells without a record."""
        return [cell for cell in self.cells if not self.workplace.finished(cell)]


def run_cohort(
    job: Job,
    mark: Callable[[str], None] = lambda name: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train cells in lockstep, evaluate those that finish, publish a record for each.

    Cells that another process trains are left to it. Cells with a checkpoint go on from there,
    together where they stand at the same place; a cell's result does not depend on its companions.

    Args:
        mark: told what is done next, see :class:`~benchmark.training.Setup`.
        stop: whether to leave a checkpoint and raise.

    Raises:
        Interrupted: ``stop`` said so.
        TeacherError: a method changed the teacher's weights; nothing is published.
    """
    journal = Journal(job.workplace.results)
    locks = {cell.identity(): lock for cell in job.cells if (lock := journal.lock(cell))}
    try:
        mine = [cell for cell in job.unfinished() if cell.identity() in locks]
        for start, cells in _by_position(mine, journal):
            _Cohort(replace(job, cells=cells), start, mark, stop).run()
    finally:
        for lock in locks.values():
            lock.release()


def _by_position(cells: Sequence[Cell], journal: Journal) -> list[tuple[Position, list[Cell]]]:
    """Cells by the place where their checkpoints stand, the furthest first."""
    places: dict[Position, list[Cell]] = defaultdict(list)
    for cell in cells:
        state = journal.load(cell)
        places[Position(*state["position"]) if state else BEGINNING].append(cell)
    return sorted(places.items(), reverse=True)


class _Cohort:
    """Cells that train together from one position to their records."""

    def __init__(
        self,
        job: Job,
        start: Position,
        mark: Callable[[str], None],
        stop: Callable[[], bool],
    ) -> None:
        self.job, self.workplace, self.start, self.stop = job, job.workplace, start, stop
        self.journal = Journal(job.workplace.results)
        self.teacher = load_teacher(job.teacher, job.workplace) if job.teacher else None
        self.setup = make_setup(job.cells[0], self.teacher, job.workplace, mark)
        self.validation = make_validation(job.cells[0], job.workplace)
        self.log = open_log(job.log)

    def run(self) -> None:
        """Train, evaluate, publish."""
        before = state_hash(self.teacher) if self.teacher is not None else ""
        self.log.info("%d cells from epoch %d, step %d", len(self.job.cells), *self.start)
        learners = self._learners()
        self.progress = TrainingProgress(self.job.title, self.setup, self.start)
        self.curves = Curves(self.workplace.results / "curves", self.start.epoch)
        self.saved = self.reported = time.monotonic()
        train(learners, self.setup, self._watch, self.start)
        self.progress.close()
        self.setup.mark("records")
        if self.teacher is not None and state_hash(self.teacher) != before:
            raise TeacherError("a method changed the teacher's weights; nothing is published")
        self._publish(learners, self._findings(learners))

    def _learners(self) -> list[Learner]:
        if self.start == BEGINNING:
            return make_learners(self.job.cells, self.setup)
        learners = []
        for cell in self.job.cells:
            state = self.journal.load(cell)
            assert state is not None
            learner = Learner(cell, self.setup, state["fields"]["balance"])
            learner.restore(state)
            learners.append(learner)
        return learners

    def _watch(self, position: Position, learners: list[Learner]) -> None:
        """Show and write down how far it is; stop if asked to."""
        self.progress(position, learners)
        if not position.step:
            self.curves.write(learners)
            for learner in learners:
                self.log.info("%s", summary(learner, position))
        if position.step % self.setup.recipe.passes:
            return  # between two optimisation steps there is a gradient that no checkpoint holds
        if self.stop():
            self._save(position, learners)
            raise Interrupted(f"{self.job.title}: asked to stop, checkpoint written")
        if self._due(position):
            self._save(position, learners)
        elif time.monotonic() - self.reported > REPORT_SECONDS:
            self._report(position, learners)

    def _due(self, position: Position) -> bool:
        """Whether it is time for a checkpoint: sooner after an epoch, always after the last."""
        waited, limit = time.monotonic() - self.saved, 60 * self.workplace.checkpoint_minutes
        if position.epoch == self.setup.epochs:
            return True
        return waited >= (limit if position.step else limit / 5)

    def _save(self, position: Position, learners: list[Learner]) -> None:
        self.setup.mark("checkpoint")
        for learner in learners:
            self.journal.save(learner.cell, learner.state(position))
        self._report(position, learners)
        self.saved = time.monotonic()
        self.log.info("checkpoint at epoch %d, step %d", *position)

    def _report(self, position: Position, learners: list[Learner]) -> None:
        for learner in learners:
            self.journal.report(
                learner.cell,
                status=learner.status,
                reason=learner.reason,
                epoch=position.epoch,
                epochs=self.setup.epochs,
                seconds=learner.clock.seconds["own"] + learner.clock.seconds["share"],
                where=platform.node(),
            )
        self.reported = time.monotonic()

    def _findings(self, learners: Sequence[Learner]) -> dict[str, Findings]:
        """What the learners that finished detect; ends those that fail now."""
        finished = {learner.identity: learner for learner in learners if learner.status == "done"}
        models = {name: learner.model for name, learner in finished.items()}
        found = {}
        for name, findings in detect_all(models, self.setup, self.validation).items():
            if isinstance(findings, DivergedError):
                finished[name].end("diverged", str(findings))
            elif isinstance(findings, Exception):
                finished[name].end("failed", f"{type(findings).__name__}: {findings}")
            else:
                found[name] = findings
        return found

    def _publish(self, learners: Sequence[Learner], found: Mapping[str, Findings]) -> None:
        results = self.workplace.results
        for learner in learners:
            self.setup.mark(learner.identity)
            record = common_fields(learner.cell, self.setup, self.validation) | {
                "status": learner.status,
                "reason": learner.reason,
                "training": _training(learner),
            }
            if learner.status == "done":
                findings = found[learner.identity]
                record |= save_outcome(
                    learner.cell,
                    learner.model,
                    findings,
                    self.setup,
                    self.validation,
                    self.workplace,
                )
                record["losses_sha256"] = learner.losses_hash()
            records.publish(results / "records", record)
            self.journal.close(learner.cell)
            self.log.info("%s %s", summary(learner, Position(self.setup.epochs)), learner.reason)


def publish_failure(cell: Cell, job: Job, reason: str) -> None:
    """A record for a cell that ended its process."""
    setup = make_setup(cell, None, job.workplace)
    record = common_fields(cell, setup, make_validation(cell, job.workplace)) | {
        "status": "failed",
        "reason": reason,
    }
    records.publish(job.workplace.results / "records", record)
    Journal(job.workplace.results).close(cell)


def make_setup(
    cell: Cell,
    teacher: nn.Module | None,
    workplace: Workplace,
    mark: Callable[[str], None] = lambda name: None,
) -> Setup:
    """What a cell and its companions share while they train."""
    family, profile = parse_student(cell.student)[0], cell.profile
    recipe, grid = profile.recipe(family.name), profile.grid(family)
    dataset, limit = KittiDataset(workplace.data, "train"), profile.max_frames.get("train")
    objects = None
    if recipe.pastes_objects:
        objects = load_objects(dataset, workplace.cache / "objects").of_frames(limit)
    frames = TrainingFrames(
        dataset=dataset,
        limit=limit,
        grid=grid,
        augmentation=recipe.augmentation,
        objects=objects,
        batch_size=recipe.batch_norm_batch,
        batches_per_update=recipe.passes,
        seed=cell.seed,
        device=workplace.device,
    )
    return Setup(family, grid, frames, teacher, recipe, cell.precision, mark)


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
    except (CheckpointError, records.RecordError) as error:
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
        "provenance": records.provenance(setup.device),
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
