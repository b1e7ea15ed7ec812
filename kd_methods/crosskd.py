"""CrossKD: cross-head knowledge distillation (Wang et al., CVPR 2024)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.core.features import root, widener
from kd_methods.core.interface import Batch, HeadOutputs, KDMethod, MethodError, Outputs, Spec
from kd_methods.core.registry import register
from kd_methods.core.responses import focal_entropy, misplaced

EPS = 1e-6
"""Added to the standard deviation of the student's channels."""


@register("crosskd", paper="Wang et al., CVPR 2024", year=2024)
class CrossKD(KDMethod):
    """The teacher's head reads the student's features and is to predict what it predicts itself.

        L_class = classification / n+ sum_i sum_k BCE(r_ik, p_ik) |p_ik - sigmoid(r_ik)|
        L_box   = regression / n+ sum_i max_k p_ik (1 - IoU(box^r_i, box^T_i))
        r, box^r = teacher's head of S',   S' = (a(S) - mean_S) / (std_S + 1e-6) std_T + mean_T

    p are the teacher's class probabilities, S is the student's neck, a a 1x1 convolution where it
    is narrower than the teacher's; mean and std (with n - 1) of a channel run over all cells of the
    batch, and the gradient passes through those of a(S). The head's weights are the teacher's and
    stay as they are. i runs over the priors that training does not ignore, n+ is the number of
    positive ones in the batch, at least 1. IoU is that of the rotated boxes' volumes.

    Attributes:
        classification: weight of L_class.
        regression: weight of L_box.
        boxes: priors per frame that take part in L_box, those with the largest weight.

    Source: Wang et al., arXiv 2306.11369, and jbwang1997/CrossKD. It feeds the teacher's
    last head layers with the student's third; heads of one layer leave the neck. The source has
    GIoU, which rotated boxes have no simple form of; the adapter and ``boxes`` are ours.
    """

    classification: float = 1.0
    regression: float = 1.0
    boxes: int = 1000

    head_weight: Tensor
    head_bias: Tensor

    def needs(self) -> set[str]:
        return {"neck", "head"}

    def build(self, teacher: Spec, student: Spec) -> None:
        if not (teacher.neck.dense and student.neck.dense):
            raise MethodError(
                "crosskd: the head must be one 1x1 convolution of the neck's map; that of points "
                "has hidden layers, whose inputs no detector gives out"
            )
        self.adapter = widener(student.neck, teacher.neck)
        self.channels = teacher.neck.channels

    @torch.no_grad()
    def initialise(self, student: nn.Module, teacher: nn.Module) -> None:
        """Copy the teacher's head."""
        layers = {name.rpartition(".")[2]: module for name, module in teacher.named_modules()}
        found: list[Any] = [layers.get(name) for name in ("conv_cls", "conv_reg")]
        for layer in found:
            if not isinstance(layer, nn.Conv2d) or layer.weight.shape[1:] != (self.channels, 1, 1):
                raise MethodError(
                    "crosskd: the teacher's head has no 1x1 convolutions conv_cls and conv_reg "
                    "that read the neck"
                )
        self.register_buffer("head_weight", torch.cat([layer.weight for layer in found]))
        self.register_buffer("head_bias", torch.cat([layer.bias for layer in found]))

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        theirs, training = teacher.head, student.head
        crossed = self._predict(self.adapter(student.neck.values), teacher)
        used = (training.assigned != -2).to(theirs.class_logits)
        positive = training.positive.sum().clamp(min=1)
        entropy, _ = focal_entropy(crossed.class_logits, theirs.class_logits)
        weight = theirs.class_logits.sigmoid().amax(2) * used
        return {
            "class": self.classification * (entropy.sum(2) * used).sum() / positive,
            "box": self.regression * misplaced(crossed, theirs, weight, self.boxes) / positive,
        }

    def _predict(self, features: Tensor, teacher: Outputs) -> HeadOutputs:
        """What the teacher's head predicts from features of the student.

        It is linear, and so is :func:`style`, which is therefore applied to its weights.
        """
        scale, shift = style(features, teacher.neck.values)
        bias = self.head_bias + self.head_weight.flatten(1) @ shift
        predicted = F.conv2d(features, self.head_weight * scale[:, None, None], bias)
        theirs = teacher.head.class_logits, teacher.head.deltas
        widths = [rows[0].numel() // predicted[0, 0].numel() for rows in theirs]
        logits, deltas = (
            maps.permute(0, 2, 3, 1).reshape(rows.shape)
            for maps, rows in zip(predicted.split(widths, dim=1), theirs, strict=True)
        )
        return replace(teacher.head, class_logits=logits, deltas=deltas)


def style(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Factor and summand (C,) that give maps (B, C, H, W) the teacher's mean and deviation."""
    over = (0, 2, 3)
    variance, mean = torch.var_mean(student, over)
    variance_t, mean_t = torch.var_mean(teacher, over)
    scale = variance_t.sqrt() / (root(variance) + EPS)
    return scale, mean_t - scale * mean
