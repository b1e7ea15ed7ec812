"""FitNets: hints from intermediate layers (Romero et al., ICLR 2015)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.core.features import adapter
from kd_methods.core.interface import Batch, KDMethod, Outputs, Spec
from kd_methods.core.registry import register

EPS = 1e-3
"""Added to the variance by the regressors' batch norm (LGSD, all four students)."""


@register("fitnet", paper="Romero et al., ICLR 2015", year=2015)
class FitNet(KDMethod):
    """The student's backbone features, passed through a regressor, match the teacher's.

        L = sum_l 1/2 mean_{b,i,c} (T_l - r_l(S_l))^2,    r_l = ReLU(BN(W_l S_l))

    T_l and S_l are the features of backbone stage l, b a frame, i a BEV cell (or point), c a
    channel of the teacher. W_l is a 1x1 convolution to the teacher's width (a linear layer for
    points); the batch norm adds 1e-3 to the variance, as LGSD's does. There are no hyper-parameters
    besides ``weight``.

    Source: Romero et al., arXiv 1412.6550, equation 3, applied to all stages while the detector
    trains, with the mean of the squares: the LiDAR recipe of LGSD (PointPillars and SECOND, KITTI).
    """

    lidar_source = ("pointpillars", "second")

    def needs(self) -> set[str]:
        return {"stages"}

    def build(self, teacher: Spec, student: Spec) -> None:
        pairs = zip(student.stages, teacher.stages, strict=True)
        self.regressors = nn.ModuleList(adapter(guided, hint, EPS) for guided, hint in pairs)

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        stages = zip(self.regressors, student.stages, teacher.stages, strict=True)
        return {
            f"stage{i}": 0.5 * F.mse_loss(regressor(guided.values), hint.values)
            for i, (regressor, guided, hint) in enumerate(stages)
        }
