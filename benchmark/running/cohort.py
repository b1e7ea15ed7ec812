"""One cohort from training to published records."""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from textwrap import indent
from typing import Any

from benchmark.config.matrix import Cell
from benchmark.evaluation.detector import Findings, detect_all
from benchmark.records.folder import MARGIN
from benchmark.running.journal import Journal
from benchmark.running.outcome import (
    TeacherError,
    describe_training,
    load_teacher,
    publish,
    save_outcome,
)
from benchmark.running.setups import make_training_setup, make_validation
from benchmark.running.workplace import Job
from benchmark.training.learner import DivergedError, Learner
from benchmark.training.lockstep import train
from benchmark.training.progress import Curves, open_log, summary
from benchmark.training.setup import BEGINNING, Position, unasked, unmarked
from benchmark.training.weighting import make_learners
from detectors.core.checkpoints import state_hash
from kd_methods.core.errors import PointKDError

REPORT_SECONDS = 10.0
"""Time between two entries in the journal."""

States = Mapping[str, Mapping[str, Any]]
"""Checkpoints by the identity of their cells."""


class Interrupted(PointKDError):
    """The run was asked to stop, and wrote a checkpoint."""


def run_cohort(
    job: Job,
    mark: Callable[[str], None] = unmarked,
    stop: Callable[[], bool] = unasked,
) -> None:
    """Train cells in lockstep, evaluate those that finish, publish a record for each.

    Cells that another process trains are left to it. Cells with a checkpoint resume from it,
    together if they are at the same position; a cell's result does not depend on the others.

    Args:
        mark: called with what is done next, see :class:`~benchmark.training.setup.Setup`.
        stop: whether to leave a checkpoint and raise.

    Raises:
        Interrupted: ``stop`` said so.
        TeacherError: a method changed the teacher's weights, so no cell was published.
    """
    journal = Journal(job.workplace.results)
    locks = {cell.identity(): lock for cell in job.cells if (lock := journal.lock(cell))}
    try:
        mine = [cell for cell in job.unfinished() if cell.identity() in locks]
        states = {cell.identity(): state for cell in mine if (state := journal.load(cell))}
        for start, cells in _by_position(mine, states):
            _Cohort(replace(job, cells=cells), start, states, mark, stop).run()
    finally:
        for lock in locks.values():
            lock.release()


def _by_position(cells: Sequence[Cell], states: States) -> list[tuple[Position, list[Cell]]]:
    """Cells by the position of their checkpoints, the furthest first."""
    places: dict[Position, list[Cell]] = defaultdict(list)
    for cell in cells:
        state = states.get(cell.identity())
        places[Position(*state["position"]) if state else BEGINNING].append(cell)
    return sorted(places.items(), reverse=True)


class _Cohort:
    """Cells that train together from one position to their records."""

    def __init__(
        self,
        job: Job,
        start: Position,
        states: States,
        mark: Callable[[str], None],
        stop: Callable[[], bool],
    ) -> None:
        self.job, self.workplace, self.start, self.stop = job, job.workplace, start, stop
        self.journal = Journal(job.workplace.results)
        teacher = job.teacher if job.distils else None
        self.teacher = load_teacher(teacher, job.workplace) if teacher else None
        self.setup = make_training_setup(job.cells[0], self.teacher, job.workplace, mark)
        self.validation = make_validation(job.cells[0], job.workplace)
        self.log = open_log(job.log)
        self.learners = self._make_learners(states)

    def run(self) -> None:
        """Train, evaluate, publish."""
        before = state_hash(self.teacher) if self.teacher is not None else ""
        self.log.info("%d cells from epoch %d, step %d", len(self.job.cells), *self.start)
        self.curves = Curves(self.workplace.folder.curves, self.start.epoch)
        self.saved = self.reported = time.monotonic()
        train(self.learners, self.setup, self._watch, self.start)
        self.setup.mark("records")
        if self.teacher is not None and state_hash(self.teacher) != before:
            raise TeacherError("a method changed the teacher's weights, so no cell was published")
        self._publish(self._findings())

    def _make_learners(self, states: States) -> list[Learner]:
        if self.start == BEGINNING:
            return make_learners(self.job.cells, self.setup)
        learners = []
        for cell in self.job.cells:
            state = states[cell.identity()]
            learner = Learner(cell, self.setup, state["fields"]["balance"])
            learner.restore(state)
            learners.append(learner)
        return learners

    def _watch(self, position: Position, learners: list[Learner]) -> None:
        """Record the progress; stop if asked to."""
        if not position.step:
            self.curves.write(learners)
            for learner in learners:
                self.log.info("%s", summary(learner, position))
        if position.step % self.setup.recipe.accumulation_steps:
            return  # between two optimization steps there is a gradient that no checkpoint holds
        if self.stop():
            self._save(position)
            raise Interrupted(f"{self.job.title}: asked to stop, checkpoint written")
        if self._due(position):
            self._save(position)
        elif time.monotonic() - self.reported > REPORT_SECONDS:
            self._report(position)

    def _due(self, position: Position) -> bool:
        """Whether it is time for a checkpoint: sooner after an epoch, always after the last."""
        waited, limit = time.monotonic() - self.saved, 60 * self.workplace.checkpoint_minutes
        if position.epoch == self.setup.epochs:
            return True
        return waited >= (limit if position.step else limit / 5)

    def _save(self, position: Position) -> None:
        self.setup.mark("checkpoint")
        for learner in self.learners:
            self.journal.save(learner.cell, learner.state(position))
        self._report(position)
        self.saved = time.monotonic()
        self.log.info("checkpoint at epoch %d, step %d", *position)

    def _report(self, position: Position) -> None:
        for learner in self.learners:
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

    def _findings(self) -> dict[str, Findings]:
        """The detections of the learners that finished; ends those that fail now."""
        finished = {lr.identity: lr for lr in self.learners if lr.status == "done"}
        models = {name: learner.model for name, learner in finished.items()}
        found = {}
        for name, findings in detect_all(models, self.setup, self.validation).items():
            if isinstance(findings, DivergedError):
                finished[name].end("diverged", str(findings))
            elif isinstance(findings, Exception):
                finished[name].fail(findings)
            else:
                found[name] = findings
        return found

    def _publish(self, found: Mapping[str, Findings]) -> None:
        for learner in self.learners:
            self.setup.mark(learner.identity)
            try:
                self._publish_one(learner, found)
            except (TypeError, ValueError) as error:  # what its method says fits into no record
                learner.fail(error)
                publish(learner.cell, self.workplace, "failed", learner.reason)
            self.log.info("%s %s", summary(learner, Position(self.setup.epochs)), learner.reason)
            if learner.trace:
                trace = indent(learner.trace, MARGIN, lambda line: True)
                self.log.error("traceback of %s\n%s", learner.identity, trace)

    def _publish_one(self, learner: Learner, found: Mapping[str, Findings]) -> None:
        known: dict[str, Any] = {"training": describe_training(learner)}
        if learner.status == "done":
            known["losses_sha256"] = learner.losses_hash()
            known |= save_outcome(
                learner.cell,
                learner.model,
                found[learner.identity],
                self.setup,
                self.validation,
                self.workplace,
            )
        assert learner.status != "running"
        publish(learner.cell, self.workplace, learner.status, learner.reason, **known)
