"""Sigmoid focal loss (Lin et al., ICCV 2017, equation 5), called by mmdet on CUDA."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output`` (N, C) with the loss of logits ``input`` (N, C).

    Args:
        target: (N,) class index; C or more means background.
        weight: (C,) factor by target class, or empty.
    """
    positive = _one_hot(input, target)
    probability = input.sigmoid()
    gain = alpha * (1 - probability).pow(gamma) * F.logsigmoid(input)
    loss = (1 - alpha) * probability.pow(gamma) * F.logsigmoid(-input)
    output.copy_(-torch.where(positive, gain, loss) * _class_weight(weight, target))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``grad_input`` (N, C) with the derivative of the loss by the logits."""
    positive = _one_hot(input, target)
    p = input.sigmoid()
    gain = alpha * (1 - p).pow(gamma) * (1 - p - gamma * p * F.logsigmoid(input))
    loss = (1 - alpha) * p.pow(gamma) * (gamma * (1 - p) * F.logsigmoid(-input) - p)
    grad_input.copy_(-torch.where(positive, gain, loss) * _class_weight(weight, target))


def _one_hot(input: Tensor, target: Tensor) -> Tensor:
    return target[:, None] == torch.arange(input.shape[1], device=input.device)


def _class_weight(weight: Tensor, target: Tensor) -> Tensor | float:
    if not weight.numel():
        return 1.0
    return weight[target.clamp(max=len(weight) - 1)][:, None]
