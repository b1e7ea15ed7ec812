"""FitNets: hints from intermediate layers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.core.features import adapter
from kd_methods.core.interface import Batch, KDMethod, Outputs, Spec
from kd_methods.core.registry import register


@register("fitnet", paper="Romero et al., ICLR 2015", year=2015)
class FitNet(KDMethod):
    """A regressor on each of the student's stages predicts the teacher's features.

    Source: Romero et al., arXiv 1412.6550, equation 3: half the squared distance of the guided
    layer, through a regressor, to the hint layer. There one layer is guided in a stage of
    training of its own; here every stage of the backbone is guided while the detector trains,
    with a 1x1 regressor (convolution, batch norm, ReLU) and the squares averaged, the published
    LiDAR recipe (LGSD, PointPillars and SECOND on KITTI).
    """

    lidar_source = ("pointpillars", "second")

    def needs(self) -> set[str]:
        return {"stages"}

    def build(self, teacher: Spec, student: Spec) -> None:
        pairs = zip(student.stages, teacher.stages, strict=True)
        self.regressors = nn.ModuleList(adapter(guided, hint) for guided, hint in pairs)

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        stages = zip(self.regressors, student.stages, teacher.stages, strict=True)
        return {
            f"stage{i}": 0.5 * F.mse_loss(regressor(guided.values), hint.values)
            for i, (regressor, guided, hint) in enumerate(stages)
        }
