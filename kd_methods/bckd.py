"""BCKD: class and box distillation bridged for dense detectors (Yang et al., ICCV 2023)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.geometry import iou_3d
from kd_methods.core.interface import Batch, HeadOutputs, KDMethod, Outputs
from kd_methods.core.regions import take
from kd_methods.core.registry import register


@register("bckd", paper="Yang et al., ICCV 2023", year=2023)
class BCKD(KDMethod):
    """The student's class probabilities match the teacher's, and its boxes where these differ.

        L_class = classification / n+ sum_i sum_k BCE(s_ik, sigmoid(t_ik)) w_ik
        L_box   = regression / n+ sum_i max_k w_ik (1 - IoU(box^S_i, box^T_i))
        w_ik = |sigmoid(t_ik) - sigmoid(s_ik)|

    i runs over the priors that training does not ignore, n+ is the number of positive ones in the
    batch, at least 1; s and t are class logits. IoU is that of the rotated boxes' volumes. The
    gradient passes through w in L_class and not in L_box.

    Attributes:
        classification: weight of L_class.
        regression: weight of L_box.
        boxes: priors per frame that take part in L_box, those with the largest weight.

    Source: Yang et al., arXiv 2308.14286, and the configs for GFL of its code.
    The source has GIoU, which rotated boxes have no simple form of; ``boxes`` is ours.
    """

    classification: float = 1.0
    regression: float = 4.0
    boxes: int = 1000

    def needs(self) -> set[str]:
        return {"head"}

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        ours, theirs = student.head, teacher.head
        used = (ours.assigned != -2).to(ours.class_logits)
        positive = ours.positive.sum().clamp(min=1)
        target = theirs.class_logits.sigmoid()
        gap = (target - ours.class_logits.sigmoid()).abs() * used[..., None]
        entropy = F.binary_cross_entropy_with_logits(ours.class_logits, target, reduction="none")
        return {
            "class": self.classification * (entropy * gap).sum() / positive,
            "box": self.regression * self._boxes(ours, theirs, gap.detach().amax(2)) / positive,
        }

    def _boxes(self, student: HeadOutputs, teacher: HeadOutputs, weight: Tensor) -> Tensor:
        """Sum of weights (B, A) times the share of the boxes that does not overlap."""
        weight, priors = weight.topk(min(self.boxes, weight.shape[1]), dim=1)
        ours, theirs = (take(head.boxes, priors).flatten(0, 1) for head in (student, teacher))
        return (weight.flatten() * (1 - iou_3d(ours, theirs))).sum()
