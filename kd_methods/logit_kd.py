"""Logit distillation (Hinton et al., NIPS workshop 2014)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.interface import Batch, KDMethod, Outputs
from kd_methods.core.registry import register


@register("logit_kd", paper="Hinton et al., NIPS-W 2014", year=2014)
class LogitKD(KDMethod):
    """The student's class probabilities match the teacher's, softened by a temperature.

        L = tau^2 / P * sum_{b,a,k} KL( Bernoulli(sigmoid(t / tau)) || Bernoulli(sigmoid(s / tau)) )

    t and s are the class logits (B, A, K) of teacher and student, summed over frames b, anchors (or
    points) a and classes k; P is the number of positive anchors in the batch, at least 1, the
    normaliser of the detector's own classification loss.

    Attributes:
        temperature: tau, above 0; larger values soften both distributions.

    Source: Hinton et al., arXiv 1503.02531, section 2, with one Bernoulli distribution per class in
    place of the softmax, because the heads here end in one sigmoid per class.
    """

    temperature: float = 1.0

    def needs(self) -> set[str]:
        return {"head"}

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        target = teacher.head.class_logits / self.temperature
        logits = student.head.class_logits / self.temperature
        probability = target.sigmoid()
        divergence = F.binary_cross_entropy_with_logits(logits, probability, reduction="sum")
        entropy = F.binary_cross_entropy_with_logits(target, probability, reduction="sum")
        positives = student.head.positive.sum().clamp(min=1)
        return {"logit": self.temperature**2 * (divergence - entropy) / positives}
