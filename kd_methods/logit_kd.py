"""Logit distillation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.interface import Batch, KDMethod, Outputs
from kd_methods.core.registry import register


@register("logit_kd", paper="Hinton et al., NIPS-W 2014", year=2014)
class LogitKD(KDMethod):
    """The student's class probabilities follow the teacher's, softened by a temperature.

    Source: Hinton et al., arXiv 1503.02531, section 2. There the classes exclude each other and
    the loss is a cross-entropy of softmaxes times T^2; the heads here end in one sigmoid per
    class, so it is the Kullback-Leibler divergence of each class's Bernoulli distribution, times
    T^2. It is summed over all anchors and divided by the number of positive ones, as the
    detector's own classification loss is.
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
