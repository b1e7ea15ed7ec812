"""ReviewKD: distilling knowledge via knowledge review (Chen et al., CVPR 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.core.interface import Batch, KDMethod, MethodError, Outputs, Spec
from kd_methods.core.registry import register

POOLS = (4, 2, 1)
"""Sides, in cells, of the maps that features are averaged to, the first of weight 1/2."""


@register("reviewkd", paper="Chen et al., CVPR 2021", year=2021)
class ReviewKD(KDMethod):
    """Each stage of the teacher is imitated by the student's same and later stages together.

        x_l = BN(1x1 conv(S_l)),   z = sigmoid(1x1 conv([x_l, y])),   y_l = z_0 x_l + z_1 y
        L   = sum_l h( BN(3x3 conv(y_l)), T_l )
        h(A, B) = (mse(A, B) + sum_p w_p mse(pool_p A, pool_p B)) / (1 + sum_p w_p)

    l runs from the backbone's last stage, where y_l is x_l, to its first; y is y_{l+1}, scaled up
    to the cells of stage l. pool_p averages to p x p cells, p is 4, 2, 1 as far as the map is
    higher than that, and w is 1/2 at first, then half the one before.

    Attributes:
        width: most channels of x; it has as many as the student's last stage, but no more.

    Source: Chen et al., arXiv 2104.09044, and dvlab-research/ReviewKD: weight 1, which
    detectors have for a ResNet-50 student, and the width of its classifiers.
    """

    width: int = 512

    def needs(self) -> set[str]:
        return {"stages"}

    def build(self, teacher: Spec, student: Spec) -> None:
        if not all(layer.dense for layer in (*student.stages, *teacher.stages)):
            raise MethodError("reviewkd: points have no cells to scale up or to average over")
        width = min(self.width, student.stages[-1].channels)
        pairs = zip(student.stages, teacher.stages, strict=True)
        last = len(student.stages) - 1
        self.levels = nn.ModuleList(
            Level(ours.channels, width, theirs.channels, i < last)
            for i, (ours, theirs) in enumerate(pairs)
        )

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        later = None
        for i in reversed(range(len(self.levels))):
            ours, later = self.levels[i](student.stages[i].values, later)
            losses[f"stage{i}"] = hierarchical(ours, teacher.stages[i].values)
        return losses


class Level(nn.Module):
    """The layers of one stage."""

    def __init__(self, student: int, width: int, teacher: int, fuses: bool) -> None:
        super().__init__()
        self.enter = _convolution(student, width, 1)
        self.leave = _convolution(width, teacher, 3)
        self.attend = nn.Conv2d(2 * width, 2, 1) if fuses else None

    def forward(self, values: Tensor, later: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is compared with the teacher's map, and y for the stage before.

        Args:
            values: the stage's map.
            later: y of the stage after it.
        """
        fused = self.enter(values)
        if later is not None and self.attend is not None:
            raised = F.interpolate(later, fused.shape[2:], mode="nearest")
            share = self.attend(torch.cat([fused, raised], dim=1)).sigmoid()
            fused = share[:, :1] * fused + share[:, 1:] * raised
        return self.leave(fused), fused


def hierarchical(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared differences of maps (B, C, H, W) and of their averages over regions."""
    losses, weights = [F.mse_loss(student, teacher)], [1.0]
    for side in [side for side in POOLS if side < student.shape[2]]:
        ours, theirs = (F.adaptive_avg_pool2d(values, side) for values in (student, teacher))
        losses.append(F.mse_loss(ours, theirs))
        weights.append(weights[-1] / 2)
    each = torch.stack(losses)
    return (each * each.new_tensor(weights)).sum() / sum(weights)


def _convolution(inputs: int, outputs: int, size: int) -> nn.Sequential:
    """Convolution and batch norm."""
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    nn.init.kaiming_uniform_(layer.weight, a=1)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))
