"""One cohort from training to published records."""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import nn

from benchmark.config.matrix import Cell
from benchmark.data.batches import TrainingFrames
from benchmark.data.kitti import KittiDataset
from benchmark.data.objects import load_objects
from benchmark.evaluation.detector import Findings, ValidationFrames, detect_all
from benchmark.records import store
from benchmark.running.journal import Journal
from benchmark.running.outcome import (
    TeacherError,
    _training,
    common_fields,
    load_teacher,
    save_outcome,
)
from benchmark.running.workplace import Job, Workplace
from benchmark.training.learner import DivergedError, Learner
from benchmark.training.lockstep import train
from benchmark.training.progress import Curves, TrainingProgress, open_log, summary
from benchmark.training.setup import BEGINNING, Position, Setup
from benchmark.training.weighting import make_learners
from detectors import parse_student
from detectors.core.checkpoints import state_hash
from kd_methods.core.errors import PointKDError

REPORT_SECONDS = 10.0
"""Time between two entries in the journal."""


class Interrupted(PointKDError):
    """The run was asked to stop, and left a checkpoint."""


def run_cohort(
    job: Job,
    mark: Callable[[str], None] = lambda name: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train cells in lockstep, evaluate those that finish, publish a record for each.

    Cells that another process trains are left to it. Cells with a checkpoint go on from there,
    together where they stand at the same place; a cell's result does not depend on its companions.

    Args:
        mark: told what is done next, see :class:`~benchmark.training.setup.Setup`.
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
            store.publish(results / "records", record)
            self.journal.close(learner.cell)
            self.log.info("%s %s", summary(learner, Position(self.setup.epochs)), learner.reason)


def publish_failure(cell: Cell, job: Job, reason: str) -> None:
    """A record for a cell that ended its process."""
    setup = make_setup(cell, None, job.workplace)
    record = common_fields(cell, setup, make_validation(cell, job.workplace)) | {
        "status": "failed",
        "reason": reason,
    }
    store.publish(job.workplace.results / "records", record)
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
