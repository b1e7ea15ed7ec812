"""SparseKD's logit distillation at pivotal positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.interface import Batch, KDMethod, Outputs
from kd_methods.core.registry import register


@register("sparsekd_logit", paper="Yang et al., NeurIPS 2022", year=2022)
class SparseKDLogit(KDMethod):
    """At priors assigned to an object, the student predicts the teacher's classes and box.

    Source: Yang et al., arXiv 2205.15156, pivotal-position logit KD. For anchor heads the first
    author gives it in issue 11 of CVMI-Lab/SparseKD (SECOND, KITTI): pivotal positions are the
    positive anchors, squared difference of class probabilities with weight 15, smooth L1 of box
    codes with weight 0.2. Normalisation and the sine of the yaw difference are those of the
    repository's (unfinished) anchor_logit_kd_head.py: squares summed over classes and divided by
    the number of pivotal positions of the batch; box losses divided by each frame's own number
    and averaged over frames.

    What differs: that file clips probabilities to [1e-4, 1 - 1e-4], which changes a square by
    less than 1e-7 and is left out; its optional soft mask by the teacher's score belongs to the
    heatmaps of centre heads and is not in the author's recipe for anchors.
    """

    classification: float = 15.0
    regression: float = 0.2
    beta: float = 1 / 9
    lidar_source = ("second",)

    def needs(self) -> set[str]:
        return {"head"}

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        positive = student.head.positive
        pivotal = torch.nonzero(positive.flatten()).flatten()

        def at_pivotal(values: Tensor) -> Tensor:
            return values.flatten(0, 1).index_select(0, pivotal)

        ours, theirs = (at_pivotal(o.head.class_logits).sigmoid() for o in (student, teacher))
        squares = (ours - theirs).square().sum()
        difference = at_pivotal(student.head.deltas) - at_pivotal(teacher.head.deltas)
        residual = torch.cat([difference[:, :6], difference[:, 6:].sin()], dim=1)
        zero = torch.zeros_like(residual)
        distance = F.smooth_l1_loss(residual, zero, beta=self.beta, reduction="none").sum(1)
        per_frame = positive.sum(1).repeat_interleave(positive.sum(1))
        return {
            "class": self.classification * squares / max(len(pivotal), 1),
            "box": self.regression * (distance / per_frame).sum() / len(positive),
        }
