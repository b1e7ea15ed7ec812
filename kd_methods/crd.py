"""Contrastive representation distillation (Tian et al., ICLR 2020)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.core.features import occupied, sample, tables, unit
from kd_methods.core.interface import Batch, BEVMap, KDMethod, Outputs, Points, Spec
from kd_methods.core.registry import register


@register("crd", paper="Tian et al., ICLR 2020", year=2020)
class CRD(KDMethod):
    """The student's embedding of a cell matches the teacher's for that cell and no other.

        L = -weight / (N + 1) * sum_i [ log h_ii + sum_{j != i} log(1 - h_ij) ]
        h_ij = exp(e^S_i . e^T_j / tau) / ( exp(e^S_i . e^T_j / tau) + N Z )
        e = (W x + a) / ||W x + a||_2

    x are the features of N + 1 cells sampled from the neck maps of the batch, out of the cells that
    hold a raw point (from a neck of points: any of its points). Each network has its own trained
    embedding W, a. Z is the mean of exp(e^S_i . e^T_j / tau) in the first batch, then constant.

    Attributes:
        weight: factor of the loss; 0.8 in the paper.
        temperature: tau, above 0.
        channels: width of the embeddings.
        cells: number of cells sampled per batch, in equal shares per frame (rounded up); frames
            with fewer candidates give all they have.

    Source: Tian et al., arXiv 1910.10699, equations 17 and 18, and the authors' code, with the
    other cells of the batch as negatives in place of a memory bank of images. No LiDAR recipe is
    published.
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

    def _choose(self, features: BEVMap | Points, batch: Batch) -> list[Tensor]:
        """Rows to contrast, for each frame: a sample of the occupied cells or of the points."""
        if isinstance(features, Points):
            device = features.values.device
            candidates = [torch.arange(len(t), device=device) for t in tables(features)]
        else:
            candidates = occupied(features, batch.points)
        share = math.ceil(self.cells / len(candidates))
        return [rows[sample(len(rows), share, rows.device)] for rows in candidates]


def _take(features: BEVMap | Points, chosen: list[Tensor]) -> Tensor:
    """(N, C) chosen rows of all frames, one frame after the other."""
    pairs = zip(tables(features), chosen, strict=True)
    return torch.cat([table.index_select(0, rows) for table, rows in pairs])
