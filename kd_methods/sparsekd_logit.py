"""SparseKD's logit distillation at pivotal positions (Yang et al., NeurIPS 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.interface import Batch, HeadOutputs, KDMethod, Outputs
from kd_methods.core.registry import register


@register("sparsekd_logit", paper="Yang et al., NeurIPS 2022", year=2022)
class SparseKDLogit(KDMethod):
    """At positive priors, the student's class probabilities and box codes match the teacher's.

        L_class = classification / |P| * sum_{i in P} sum_k (sigmoid(s_ik) - sigmoid(t_ik))^2
        L_box   = regression / B * sum_b 1/|P_b| * sum_{i in P_b} sum_e h(code^S_ie - code^T_ie)

    P are the positive priors of the batch (anchors assigned to ground truth, or points inside an
    object), P_b those of frame b; s and t are class logits, e runs over the 7 values of the box
    code, the yaw difference by its sine; h is smooth L1. Without positive priors the losses are 0.

    In a head of heat maps, whose targets g_ik are heat that falls off around objects' centres,

        L_class = classification / sum_i w_i * sum_i w_i sum_k (sigmoid(s_ik) - sigmoid(t_ik))^2
        L_box   = regression / |P| * sum_{i in P} sum_e |code^S_ie - code^T_ie|
        w_i = max_k g_ik * max_k sigmoid(t_ik)

    over all cells i; P are the cells of objects' centres.

    Attributes:
        classification: weight of L_class.
        regression: weight of L_box.
        beta: value at which h turns from quadratic to linear.

    Source: Yang et al., arXiv 2205.15156, pivotal-position logit KD, in the form for anchor heads
    that the first author gives in issue 11 of CVMI-Lab/SparseKD (SECOND, KITTI); normalisation and
    ``beta`` are those of the repository's anchor_logit_kd_head.py. Heat maps: its
    center_logit_kd_head.py, and its configs for CenterPoint on Waymo.
    """

    classification: float = 15.0
    regression: float = 0.2
    beta: float = 1 / 9
    table = {"centerpoint_pillar": {"classification": 7.0}}
    lidar_source = ("second", "centerpoint_pillar", "centerpoint_voxel")

    def needs(self) -> set[str]:
        return {"head"}

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        ours, theirs = student.head, teacher.head
        pivotal = torch.nonzero(ours.positive.flatten()).flatten()
        compare = self._on_heat if ours.soften is not None else self._on_priors
        squares, distance = compare(ours, theirs, pivotal)
        return {"class": self.classification * squares, "box": self.regression * distance}

    def _on_priors(
        self, ours: HeadOutputs, theirs: HeadOutputs, pivotal: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean squares of probabilities and mean distance of codes at positive priors."""
        logits = [_at(head.class_logits, pivotal).sigmoid() for head in (ours, theirs)]
        squares = (logits[0] - logits[1]).square().sum() / max(len(pivotal), 1)
        residual = _residual(ours, theirs, pivotal)
        zero = torch.zeros_like(residual)
        distance = F.smooth_l1_loss(residual, zero, beta=self.beta, reduction="none").sum(1)
        counts = ours.positive.sum(1)
        return squares, (distance / counts.repeat_interleave(counts)).sum() / len(counts)

    def _on_heat(
        self, ours: HeadOutputs, theirs: HeadOutputs, pivotal: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean squares of probabilities where heat and teacher are high, and mean distance of
        codes at objects' centres."""
        sure = theirs.class_logits.sigmoid()
        weight = ours.class_targets.amax(2) * sure.amax(2)
        squares = (ours.class_logits.sigmoid() - sure).square().sum(2)
        least = torch.finfo(weight.dtype).eps
        distance = _residual(ours, theirs, pivotal).abs().sum() / max(len(pivotal), 1)
        return (weight * squares).sum() / weight.sum().clamp(min=least), distance


def _at(values: Tensor, rows: Tensor) -> Tensor:
    """Rows of (B, A, n), frames one after the other."""
    return values.flatten(0, 1).index_select(0, rows)


def _residual(ours: HeadOutputs, theirs: HeadOutputs, rows: Tensor) -> Tensor:
    """(P, 7) differences of box codes, that of the yaw by its sine."""
    difference = _at(ours.deltas, rows) - _at(theirs.deltas, rows)
    return torch.cat([difference[:, :6], difference[:, 6:].sin()], dim=1)
