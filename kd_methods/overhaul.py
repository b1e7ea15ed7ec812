"""Overhaul of feature distillation: pre-activations with a margin (Heo et al., ICCV 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kd_methods.core.interface import Batch, BEVMap, KDMethod, Layer, MethodError, Outputs, Spec
from kd_methods.core.registry import register

RARE = 1e-3
"""Below this probability of a negative pre-activation the margin is -3 standard deviations."""


@register("overhaul", paper="Heo et al., ICCV 2019", year=2019)
class Overhaul(KDMethod):
    """The student's pre-ReLU features match the teacher's, with a margin for negative ones.

        L = weight * sum_l 2^-(last - l) / B * sum_{b,i,c} d(max(T_l, m), r_l(S_l))
        d(t, s) = 0 if s <= t <= 0, else (t - s)^2
        m_c = E[x | x < 0],  x ~ N(beta_c, gamma_c^2);    r_l = BN(W_l S_l), W_l a 1x1 convolution

    T_l and S_l are the pre-activations at the end of backbone stage l (last: index of the last
    stage), b one of B frames, i a BEV cell, c a channel of the teacher; gamma and beta are the
    weight and bias of the teacher's batch norm before the ReLU. All cells count. Where the teacher
    is negative, a student below it costs nothing. Points are refused: their features are maxima
    over neighbours, whose distribution before the ReLU is not the batch norm's, so m is undefined.

    Attributes:
        weight: factor of the loss, a sum over the map that grows with its area; 1e-5 is the
            authors' value for segmentation, the closest case.

    Source: Heo et al., arXiv 1904.01866, section 3, and the authors' code. No LiDAR recipe is
    published.
    """

    weight: float = 1e-5

    def needs(self) -> set[str]:
        return {"stages:pre_relu"}

    def build(self, teacher: Spec, student: Spec) -> None:
        pairs = zip(student.stages, teacher.stages, strict=True)
        self.connectors = nn.ModuleList(Connector(guided, hint) for guided, hint in pairs)

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        stages = zip(self.connectors, teacher.stages, student.stages, strict=True)
        last = len(self.connectors) - 1
        return {
            f"stage{i}": connector(t, s) / 2 ** (last - i)
            for i, (connector, t, s) in enumerate(stages)
        }


class Connector(nn.Module):
    """The student's regressor and the teacher's margins of one stage."""

    margin: Tensor

    def __init__(self, student: Layer, teacher: Layer) -> None:
        super().__init__()
        if not teacher.dense or teacher.batch_norm is None:
            raise MethodError(
                "overhaul compares pre-activations of BEV feature maps after a batch norm; "
                "this family's stages are not such maps"
            )
        convolution = nn.Conv2d(student.channels, teacher.channels, 1, bias=False)
        nn.init.normal_(convolution.weight, std=math.sqrt(2 / teacher.channels))
        self.regressor = nn.Sequential(convolution, nn.BatchNorm2d(teacher.channels))
        self.register_buffer("margin", margins(*teacher.batch_norm)[:, None, None])

    def forward(self, teacher: BEVMap, student: BEVMap) -> Tensor:
        """Partial squared distance, summed over channels and cells, averaged over frames."""
        assert teacher.pre_relu is not None
        assert student.pre_relu is not None
        target = torch.maximum(teacher.pre_relu, self.margin)
        output = self.regressor(student.pre_relu)
        counts = (target > 0) | (output > target)
        return ((target - output).square() * counts).sum() / len(target)


def margins(weight: Tensor, bias: Tensor) -> Tensor:
    """(C,) expected value of a negative pre-activation of N(bias, weight^2), per channel."""
    deviation = weight.detach().double().abs()
    mean = bias.detach().double()
    ratio = mean / deviation.clamp(min=torch.finfo(weight.dtype).tiny)
    negative = torch.special.ndtr(-ratio)
    density = (-ratio.square() / 2).exp() / math.sqrt(2 * math.pi)
    expected = mean - deviation * density / negative.clamp(min=RARE)
    return torch.where(negative > RARE, expected, -3 * deviation).to(weight.dtype)
