"""PKD: detectors distilled through Pearson correlation (Cao et al., NeurIPS 2022)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kd_methods.core.features import root, wideners
from kd_methods.core.interface import Batch, KDMethod, Outputs, Spec
from kd_methods.core.registry import register

EPS = 1e-6
"""Added to a standard deviation; a channel of the teacher that varies less is left out."""


@register("pkd", paper="Cao et al., NeurIPS 2022", year=2022)
class PKD(KDMethod):
    """Each channel of the student's features correlates with the teacher's.

        L = sum_l 1/2 mean_{b,c,i} (S^ - T^)^2,    x^ = (x - mean_c) / (std_c + 1e-6)

    T and S are the neck's features (or those of every backbone stage l), S after a 1x1
    convolution where it is narrower (points: a linear layer). mean_c and std_c (with n - 1) run
    over all n cells or points of the batch, and the gradient passes through them. Per channel this
    is (1 - Pearson's r) (n - 1) / n. Channels that are constant in the teacher are left out of the
    mean.

    Attributes:
        weight: 10 in the source for one-stage detectors.
        tap: which features are compared.

    Source: Cao et al., arXiv 2207.02039; mmrazor's PKDLoss and its configs for
    RetinaNet and FCOS3D. The adapter and leaving out constant channels are ours.
    """

    weight: float = 10.0
    tap: Literal["neck", "stages"] = "neck"

    def needs(self) -> set[str]:
        return {"neck"} if self.tap == "neck" else {"stages"}

    def build(self, teacher: Spec, student: Spec) -> None:
        self.adapters = wideners(student.taps(self.tap), teacher.taps(self.tap))

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        levels = zip(self.adapters, student.taps(self.tap), teacher.taps(self.tap), strict=True)
        return {
            f"level{i}": decorrelation(adapt(ours.values), theirs.values)
            for i, (adapt, ours, theirs) in enumerate(levels)
        }


def decorrelation(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of standardised channels of (B, C, ...) or (N, C)."""
    over = [0, *range(2, teacher.dim())]
    rows = teacher.numel() // teacher.shape[1]
    variance_t, mean_t = torch.var_mean(teacher, over, keepdim=True)
    variance_s = student.var(over)
    scale_t, scale_s = variance_t.flatten().sqrt() + EPS, root(variance_s) + EPS
    product = (student * (teacher - mean_t)).mean(over) / (scale_s * scale_t)
    squares = variance_s / scale_s**2 + variance_t.flatten() / scale_t**2
    each = squares / 2 * (rows - 1) / rows - product
    varied = (scale_t > 2 * EPS).nonzero().flatten()
    return each.index_select(0, varied).sum() / max(len(varied), 1)
