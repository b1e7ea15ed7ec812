"""DKD: decoupled knowledge distillation (Zhao et al., CVPR 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.interface import Batch, HeadOutputs, KDMethod, Outputs
from kd_methods.core.registry import register


@register("dkd", paper="Zhao et al., CVPR 2022", year=2022)
class DKD(KDMethod):
    """Whether it is the target and which of the other classes it would be are taught apart.

        L_target = target tau^2 / N sum_i KL( (p^T_iy, 1 - p^T_iy) || (p^S_iy, 1 - p^S_iy) )
        L_others = others tau^2 / N sum_i KL( q^T_i || q^S_i )
        p = softmax over classes and background (x / tau),   q = softmax without column y

    x are the class logits of a prior and 0 for background; with one class that is its sigmoid. y
    is the class that training assigns, or background. The N priors are, of the batch, the positive
    ones and for each of them the ``background`` others that the teacher takes most for an object.

    Attributes:
        target: weight of L_target (alpha in the paper).
        others: weight of L_others (beta).
        temperature: tau, above 0.
        background: background priors for each positive one, of which there is at least one.

    Source: Zhao et al., arXiv 2203.08679, and mdistiller's values for detection, where
    the rows are the proposals of a second stage, a quarter of them positive. The logit of the
    background, which one sigmoid per class does not have, and the choice of priors are ours.
    """

    target: float = 1.0
    others: float = 0.25
    temperature: float = 1.0
    background: int = 3

    def needs(self) -> set[str]:
        return {"head"}

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        assigned = student.head.assigned.flatten()
        rows = self._rows(assigned, teacher.head)
        theirs, ours = (with_background(n.head).index_select(0, rows) for n in (teacher, student))
        labels = assigned[rows]
        labels = labels.masked_fill(labels < 0, theirs.shape[1] - 1)
        target, others = decoupled(ours / self.temperature, theirs / self.temperature, labels)
        scale = self.temperature**2 / max(len(rows), 1)
        return {
            "target": self.target * scale * target.sum(),
            "others": self.others * scale * others.sum(),
        }

    def _rows(self, assigned: Tensor, teacher: HeadOutputs) -> Tensor:
        """(N,) the priors of all frames that take part."""
        positive = (assigned >= 0).nonzero().flatten()
        rest = (assigned == -1).nonzero().flatten()
        likely = teacher.class_logits.flatten(0, 1).amax(1).index_select(0, rest)
        most = min(self.background * max(len(positive), 1), len(rest))
        return torch.cat([positive, rest[likely.topk(most).indices]])


def with_background(head: HeadOutputs) -> Tensor:
    """(B * A, K + 1) class logits, then that of background."""
    return F.pad(head.class_logits.flatten(0, 1), (0, 1))


def decoupled(student: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Divergences (N,) of the target's probability and of the softmax over the other columns.

    Args:
        student, teacher: (N, columns) logits.
        labels: (N,) the target's column.
    """
    parts = [_split(logits, labels) for logits in (student, teacher)]
    target, others = (
        F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1)
        for ours, theirs in zip(*parts, strict=True)
    )
    return target, others


def _split(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of (p, 1 - p) of the target, (N, 2), and of the others' softmax."""
    columns = torch.arange(logits.shape[1] - 1, device=logits.device)
    others = logits.gather(1, columns + (columns >= labels[:, None]))
    both = torch.cat([logits.gather(1, labels[:, None]), others.logsumexp(1, keepdim=True)], 1)
    return both.log_softmax(1), others.log_softmax(1)
