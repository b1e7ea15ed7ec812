"""BCKD: class and box distillation bridged for dense detectors (Yang et al., ICCV 2023)."""

from __future__ import annotations

from torch import Tensor

from kd_methods.core.interface import Batch, KDMethod, Outputs
from kd_methods.core.registry import register
from kd_methods.core.responses import focal_entropy, misplaced


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
        entropy, gap = focal_entropy(ours.class_logits, theirs.class_logits)
        weight = gap.detach().amax(2) * used
        return {
            "class": self.classification * (entropy.sum(2) * used).sum() / positive,
            "box": self.regression * misplaced(ours, theirs, weight, self.boxes) / positive,
        }
