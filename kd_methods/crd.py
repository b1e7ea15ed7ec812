"""Contrastive representation distillation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.core.features import occupied, sample, tables, unit
from kd_methods.core.interface import Batch, Dense, KDMethod, Outputs, Points, Spec
from kd_methods.core.registry import register


@register("crd", paper="Tian et al., ICLR 2020", year=2020)
class CRD(KDMethod):
    """Student and teacher embeddings of the same cell agree, those of different cells do not.

    Source: Tian et al., arXiv 1910.10699, equations 17 and 18, and the authors' code: embeddings
    are linear and of length 1, h is the probability that a pair is of the same input, and the loss
    is -log h of the pair minus the sum of log(1 - h) over its N negatives,

        h = exp(e_T . e_S / tau) / (exp(e_T . e_S / tau) + N Z),

    where the code's constant Z is the mean exponential in the first batch. There an input is an
    image, and negatives come from a memory of all training images; a detector's frames have no
    such identities that last. Here an input is a cell of the neck's map (or a point), the last
    feature before the head, and its negatives are the other sampled cells of the batch: ``cells``
    in all, drawn from those that hold a point, because empty cells look alike and would contrast
    the same with the same. The paper's two terms (teacher or student as anchor, the other side
    held fixed) run over the same pairs here; their gradients add up to that of the one term used.
    Embedding width, tau and weight are the paper's; there is no published LiDAR recipe.
    """

    weight: float = 0.8
    temperature: float = 0.07
    channels: int = 128
    cells: int = 1024

    normaliser: Tensor

    def needs(self) -> set[str]:
        return {"neck"}

    def build(self, teacher: Spec, student: Spec) -> None:
        self.embed_teacher = nn.Linear(teacher.neck.channels, self.channels)
        self.embed_student = nn.Linear(student.neck.channels, self.channels)
        self.register_buffer("normaliser", torch.zeros(()))

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        chosen = self._choose(teacher.neck, batch)
        count = sum(len(rows) for rows in chosen)
        if count < 2:
            return {"contrast": 0 * student.neck.values.sum()}
        target = unit(self.embed_teacher(_take(teacher.neck, chosen)), dim=1)
        output = unit(self.embed_student(_take(student.neck, chosen)), dim=1)
        similarity = output @ target.T / self.temperature
        if self.normaliser == 0:
            self.normaliser.copy_(similarity.detach().exp().mean())
        logits = similarity - ((count - 1) * self.normaliser).log()
        pairs = F.logsigmoid(logits.diagonal()).sum()
        every = F.logsigmoid(-logits).sum() - F.logsigmoid(-logits.diagonal()).sum()
        return {"contrast": -(pairs + every) / count}

    def _choose(self, features: Dense | Points, batch: Batch) -> list[Tensor]:
        """For each frame, the rows to contrast."""
        if isinstance(features, Points):
            device = features.values.device
            candidates = [torch.arange(len(t), device=device) for t in tables(features)]
        else:
            candidates = occupied(features, batch.points)
        share = math.ceil(self.cells / len(candidates))
        return [rows[sample(len(rows), share, rows.device)] for rows in candidates]


def _take(features: Dense | Points, chosen: list[Tensor]) -> Tensor:
    """(N, C) the chosen rows of each frame."""
    pairs = zip(tables(features), chosen, strict=True)
    return torch.cat([table.index_select(0, rows) for table, rows in pairs])
