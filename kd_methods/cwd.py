"""CWD: channel-wise distillation of dense features (Shu et al., ICCV 2021)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.features import adapted, tables, wideners
from kd_methods.core.interface import Batch, BEVMap, KDMethod, Outputs, Points, Spec
from kd_methods.core.registry import register


@register("cwd", paper="Shu et al., ICCV 2021", year=2021)
class CWD(KDMethod):
    """Each channel of the student lies where the teacher's does, as distributions over cells.

        L = sum_l tau^2 / (B C) sum_{b,c} KL(P^T || P^S),    P_i = softmax_i(x_i / tau)

    T and S are the neck's features (or those of every backbone stage l), S after a 1x1
    convolution where it is narrower (points: a linear layer); i runs over the cells of a frame (or
    its points), c over the C channels of the teacher.

    Attributes:
        weight: 10 in the source for the features of detectors.
        temperature: tau, above 0; smaller values look at the largest cells alone.
        tap: which features are compared.

    Source: Shu et al., arXiv 2011.13256; values of mmrazor's feature configs for
    Faster R-CNN and RetinaNet.
    """

    weight: float = 10.0
    temperature: float = 1.0
    tap: Literal["neck", "stages"] = "neck"

    def needs(self) -> set[str]:
        return {"neck"} if self.tap == "neck" else {"stages"}

    def build(self, teacher: Spec, student: Spec) -> None:
        self.adapters = wideners(student.taps(self.tap), teacher.taps(self.tap))

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        levels = zip(self.adapters, student.taps(self.tap), teacher.taps(self.tap), strict=True)
        return {
            f"level{i}": self._divergence(adapted(adapt, ours), theirs)
            for i, (adapt, ours, theirs) in enumerate(levels)
        }

    def _divergence(self, student: BEVMap | Points, teacher: BEVMap | Points) -> Tensor:
        """Mean over frames and channels of the divergence, times tau^2."""
        means = []
        for ours, theirs in zip(tables(student), tables(teacher), strict=True):
            s, t = ((table.T / self.temperature).log_softmax(1) for table in (ours, theirs))
            means.append(F.kl_div(s, t, reduction="batchmean", log_target=True))
        return self.temperature**2 * torch.stack(means).mean()
