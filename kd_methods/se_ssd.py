"""SE-SSD: the student's boxes and scores agree with the teacher's."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.geometry import close_pairs, rotated_iou
from kd_methods.core.interface import Batch, Boxes, KDMethod, Outputs, Spec
from kd_methods.core.registry import register

FOOTPRINT = [0, 1, 3, 4, 6]
"""Columns of a box that give its rectangle in the bird's-eye view."""


@register("se_ssd", paper="Zheng et al., CVPR 2021", year=2021)
class SESSD(KDMethod):
    """Each confident box of the student agrees with the teacher's box that overlaps it most.

    Source: Zheng et al., arXiv 2104.09804, consistency loss, as the code at Vegeta2020/SE-SSD
    (mg_head_sessd.py, trainer_sessd.py) computes it: boxes with a score of at least 0.3 in both
    networks; a student box is matched where its best overlap in the bird's-eye view exceeds 0.7;
    smooth L1 (sigma 3, so beta 1/9) of the decoded boxes, yaw by the sine of the difference, over
    7, and of the scores; means over a frame's matched boxes, then over frames. The weight rises
    as exp(-5 (1 - epoch/15)^2) in the first 15 of the source's 60 epochs.

    What differs: the teacher is frozen and sees the same points, so there is no moving average
    and nothing to transform; the source detects cars alone, here a box counts for its highest
    class and matches boxes of the same class; heads without an IoU branch have no IoU term; the
    ODIoU loss and the shape-aware augmentation are no distillation and left out, and so is the
    filter by the detector's range, as priors lie within it. The ramp is a share of the schedule,
    a quarter as in the source, in whole epochs; below one epoch there is none. At most ``limit``
    boxes of a frame, the most confident ones, are matched, twice what mmdet3d's heads pass on to
    suppression: the source has no bound, but a network that fires everywhere would make a matrix
    of all pairs of priors.
    """

    score: float = 0.3
    overlap: float = 0.7
    beta: float = 1 / 9
    ramp: float = 0.25
    limit: int = 200

    ramp_factor: Tensor

    def needs(self) -> set[str]:
        return {"head"}

    def build(self, teacher: Spec, student: Spec) -> None:
        self.register_buffer("ramp_factor", torch.ones(()))

    def on_epoch(self, epoch: int, epochs: int) -> None:
        length = math.floor(self.ramp * epochs)
        phase = max(0.0, 1 - epoch / length) if length else 0.0
        self.ramp_factor.fill_(math.exp(-5 * phase**2))

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        frames = range(len(student.head.class_logits))
        pairs = [
            self._matched(self._confident(student.head, i), self._confident(teacher.head, i))
            for i in frames
        ]
        parts = {
            "box": [self._mean(_residual(s.boxes, t.boxes)).sum() / 7 for s, t in pairs],
            "score": [self._mean((s.scores - t.scores)[:, None]).sum() for s, t in pairs],
        }
        return {name: self.ramp_factor * torch.stack(part).mean() for name, part in parts.items()}

    def _confident(self, head: Boxes, frame: int) -> Candidates:
        """A frame's boxes whose best class reaches the score."""
        scores, labels = head.class_logits[frame].sigmoid().max(1)
        rows = torch.nonzero(scores >= self.score).flatten()
        if len(rows) > self.limit:
            rows = rows[scores.detach()[rows].topk(self.limit).indices]
        parts = (head.boxes[frame], scores, labels)
        return Candidates(*(part.index_select(0, rows) for part in parts))

    @torch.no_grad()
    def _partners(self, student: Candidates, teacher: Candidates) -> tuple[Tensor, Tensor]:
        """Rows of matched student boxes and of the teacher's boxes that they match."""
        ours, theirs = student.boxes[:, FOOTPRINT], teacher.boxes[:, FOOTPRINT]
        rows, columns = close_pairs(ours, theirs)
        alike = torch.nonzero(student.labels[rows] == teacher.labels[columns]).flatten()
        rows, columns = rows[alike], columns[alike]
        overlap = ours.new_zeros(len(ours), len(theirs))
        overlap[rows, columns] = rotated_iou(ours[rows], theirs[columns]).nan_to_num()
        matched = torch.nonzero((overlap > self.overlap).any(1)).flatten()
        if not len(matched):
            return matched, matched
        return matched, overlap[matched].argmax(1)

    def _matched(self, student: Candidates, teacher: Candidates) -> tuple[Candidates, Candidates]:
        """The matched boxes of both networks, row by row."""
        ours, theirs = self._partners(student, teacher)
        return (
            Candidates(*(part.index_select(0, ours) for part in student)),
            Candidates(*(part.index_select(0, theirs) for part in teacher)),
        )

    def _mean(self, residual: Tensor) -> Tensor:
        """(C,) smooth L1 of residuals (M, C), averaged over rows; 0 without rows."""
        zero = torch.zeros_like(residual)
        losses = F.smooth_l1_loss(residual, zero, beta=self.beta, reduction="none")
        return losses.sum(0) / max(len(residual), 1)


class Candidates(NamedTuple):
    """Boxes (n, 7) of one frame with the score and index of their best class."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def _residual(student: Tensor, teacher: Tensor) -> Tensor:
    """Differences of boxes (M, 7), yaw by its sine."""
    difference = student - teacher
    return torch.cat([difference[:, :6], difference[:, 6:].sin()], dim=1)
