"""DIST: distillation from a stronger teacher through correlations (Huang et al., NeurIPS 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_methods.core.interface import Batch, HeadOutputs, KDMethod, Outputs
from kd_methods.core.registry import register

EPS = 1e-8
"""Added to the product of two lengths."""


@register("dist", paper="Huang et al., NeurIPS 2022", year=2022)
class DIST(KDMethod):
    """Class probabilities correlate with the teacher's, within each cell and across all cells.

        L_rows    = within * (1 - mean over rows of r(y^S, y^T))
        L_columns = across * (1 - mean over columns of r(y^S, y^T))

    y are the sigmoids of the class logits as a matrix: a row for each cell of each frame, a column
    for each class of each prior of a cell; priors with the same centre are those of one cell. Where
    priors are points, a row is a point. r is Pearson's correlation.

    Attributes:
        within: weight of L_rows (beta in the paper).
        across: weight of L_columns (gamma).

    Source: Huang et al., arXiv 2205.10536, in its form with sigmoids, of the RetinaNet config of
    hunto/MasKD.
    """

    within: float = 1.0
    across: float = 1.0

    def needs(self) -> set[str]:
        return {"head"}

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        ours, theirs = (by_cell(network.head) for network in (student, teacher))
        return {
            "rows": self.within * (1 - correlations(ours, theirs, 1).mean()),
            "columns": self.across * (1 - correlations(ours, theirs, 0).mean()),
        }


def by_cell(head: HeadOutputs) -> Tensor:
    """(B * cells, priors of a cell * K) class probabilities."""
    centres = head.priors[0, :, :2]
    size = int((centres == centres[0]).all(1).sum())
    if len(centres) % size or not torch.equal(centres[::size], centres[size - 1 :: size]):
        size = 1
    return head.class_logits.sigmoid().unflatten(1, (-1, size)).flatten(2).flatten(0, 1)


def correlations(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Pearson's correlation along ``dim`` of two matrices."""
    a, b = (x - x.mean(dim, keepdim=True) for x in (a, b))
    lengths = [torch.linalg.vector_norm(x, dim=dim) for x in (a, b)]
    return (a * b).sum(dim) / (lengths[0] * lengths[1] + EPS)
