"""SparseKD's logit distillation at pivotal positions (Yang et al., NeurIPS 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.interface import Batch, KDMethod, Outputs
from kd_methods.core.registry import register


@register("sparsekd_logit", paper="Yang et al., NeurIPS 2022", year=2022)
class SparseKDLogit(KDMethod):
    """At positive priors, the student's class probabilities and box codes match the teacher's.

        L_class = classification / |P| * sum_{i in P} sum_k (sigmoid(s_ik) - sigmoid(t_ik))^2
        L_box   = regression / B * sum_b 1/|P_b| * sum_{i in P_b} sum_e h(code^S_ie - code^T_ie)

    P are the positive priors of the batch (anchors assigned to ground truth, or points inside an
    object), P_b those of frame b; s and t are class logits, e runs over the 7 values of the box
    code, the yaw difference by its sine; h is smooth L1. Without positive priors the losses are 0.

    Attributes:
        classification: weight of L_class.
        regression: weight of L_box.
        beta: value at which h turns from quadratic to linear.

    Source: Yang et al., arXiv 2205.15156, pivotal-position logit KD, in the form for anchor heads
    that the first author gives in issue 11 of CVMI-Lab/SparseKD (SECOND, KITTI); normalisation and
    ``beta`` are those of the repository's anchor_logit_kd_head.py.
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
