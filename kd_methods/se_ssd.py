"""SE-SSD's consistency loss on boxes and scores (Zheng et al., CVPR 2021)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.geometry import FOOTPRINT, close_pairs, rotated_iou
from kd_methods.core.interface import Batch, HeadOutputs, KDMethod, Outputs, Spec
from kd_methods.core.registry import register


@register("se_ssd", paper="Zheng et al., CVPR 2021", year=2021)
class SESSD(KDMethod):
    """Each confident student box matches the box and score of the best-overlapping teacher box.

        L_box   = r/B sum_b 1/|P_b| sum_{(i,j) in P_b} 1/7 sum_e h(e_i - e_j)
        L_score = r/B sum_b 1/|P_b| sum_{(i,j) in P_b} h(score_i - score_j)
        r = exp(-5 (1 - epoch / E)^2) up to epoch E = floor(ramp * epochs), then 1

    P_b pairs student boxes i and teacher boxes j of frame b, both with a score of at least
    ``score``: j is the box of the same class with the largest BEV IoU with i, which must exceed
    ``overlap``. A box has the score and class of its best class. e runs over the decoded box (x, y,
    z, l, w, h and the sine of the yaw difference); h is smooth L1. A frame without pairs adds 0.

    Attributes:
        score: smallest class score of a box that takes part, in [0, 1]; 0 takes all.
        overlap: rotated BEV IoU, in [0, 1], that a matched pair must exceed.
        beta: value at which h turns from quadratic to linear; 1/9 is the source's sigma of 3.
        ramp: share of the schedule over which the loss is ramped up, in whole epochs; 0 for no
            ramp.
        limit: most boxes per frame and network that take part, the highest-scoring ones.

    Source: Zheng et al., arXiv 2104.09804, consistency loss, as computed by Vegeta2020/SE-SSD
    (mg_head_sessd.py, trainer_sessd.py); the teacher is frozen, not a moving average of the
    student.
    """

    score: float = 0.3
    overlap: float = 0.7
    beta: float = 1 / 9
    ramp: float = 0.25
    limit: int = 200

    by_place = True

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

    def _confident(self, head: HeadOutputs, frame: int) -> Candidates:
        """A frame's boxes whose best class reaches ``score``, at most ``limit``."""
        scores, labels = head.class_logits[frame].sigmoid().max(1)
        rows = torch.nonzero(scores >= self.score).flatten()
        if len(rows) > self.limit:
            rows = rows[scores.detach()[rows].topk(self.limit).indices]
        parts = (head.boxes[frame], scores, labels)
        return Candidates(*(part.index_select(0, rows) for part in parts))

    @torch.no_grad()
    def _partners(self, student: Candidates, teacher: Candidates) -> tuple[Tensor, Tensor]:
        """Rows of the matched student boxes and of the teacher boxes they are matched to."""
        ours, theirs = student.boxes[:, FOOTPRINT], teacher.boxes[:, FOOTPRINT]
        rows, columns = close_pairs(ours, theirs)
        alike = torch.nonzero(student.labels[rows] == teacher.labels[columns]).flatten()
        rows, columns = rows[alike], columns[alike]
        overlap = ours.new_zeros(len(ours), len(theirs))
        overlap[rows, columns] = rotated_iou(ours[rows], theirs[columns])
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
        """(C,) smooth L1 of residuals (M, C), averaged over rows; 0 where there are none."""
        zero = torch.zeros_like(residual)
        losses = F.smooth_l1_loss(residual, zero, beta=self.beta, reduction="none")
        return losses.sum(0) / max(len(residual), 1)


class Candidates(NamedTuple):
    """Boxes (n, 7) of one frame with the score (n,) and index (n,) of their best class."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def _residual(student: Tensor, teacher: Tensor) -> Tensor:
    """(M, 7) differences of boxes (M, 7), the yaw by its sine."""
    difference = student - teacher
    return torch.cat([difference[:, :6], difference[:, 6:].sin()], dim=1)
