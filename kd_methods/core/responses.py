"""Class logits and boxes of two heads compared prior by prior."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.geometry import iou_3d
from kd_methods.core.interface import HeadOutputs
from kd_methods.core.regions import take


def focal_entropy(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropies of sigmoids, each times the probabilities' gap, and these gaps.

    Args:
        student, teacher: logits of one shape.
    """
    target = teacher.sigmoid()
    gap = (target - student.sigmoid()).abs()
    return F.binary_cross_entropy_with_logits(student, target, reduction="none") * gap, gap


def misplaced(student: HeadOutputs, teacher: HeadOutputs, weight: Tensor, most: int) -> Tensor:
    """Sum over priors of 1 - IoU of both heads' boxes, in volume, times weights (B, A).

    Args:
        most: priors per frame that take part, those with the largest weight.
    """
    weight, priors = weight.topk(min(most, weight.shape[1]), dim=1)
    ours, theirs = (take(head.boxes, priors).flatten(0, 1) for head in (student, teacher))
    return (weight.flatten() * (1 - iou_3d(ours, theirs))).sum()
