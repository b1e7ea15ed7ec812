"""PointPillars (Lang et al., CVPR 2019) as in mmdet3d's KITTI config."""

from __future__ import annotations

from typing import Any

from mmdet3d.models.voxel_encoders import PillarFeatureNet
from mmdet3d.models.voxel_encoders.utils import PFNLayer
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from detectors.core.family import Inputs, Model, scaled
from detectors.core.grid import Grid
from detectors.core.voxelnet import VoxelNet, count_points
from kd_methods.core.interface import Points


class PointPillars(VoxelNet):
    """Pillars, a 2D backbone of three stages, a fusing neck and an anchor head."""

    name = "pointpillars"
    config_file = "pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"
    multiple = 8

    def scale_encoder(self, config: dict[str, Any], ratio: float, grid: Grid) -> int:
        width = scaled(config["middle_encoder"]["in_channels"], ratio)
        config["voxel_encoder"].update(
            feat_channels=[width],
            point_cloud_range=list(grid.point_cloud_range),
            voxel_size=list(grid.voxel_size),
        )
        nx, ny, _ = grid.cells
        config["middle_encoder"].update(in_channels=width, output_shape=[ny, nx])
        return width

    def buildable(self, config: dict[str, Any]) -> dict[str, Any]:
        config["voxel_encoder"]["type"] = PillarEncoder.__name__
        return super().buildable(config)

    def encoder(self, model: Model) -> nn.Module:
        return model.voxel_encoder

    def encoder_channels(self, model: Model) -> int:
        return model.voxel_encoder.pfn_layers[-1].units

    def read_local(self, raw: Tensor, inputs: Inputs, grid: Grid) -> Points:
        coordinates = inputs.voxels["coors"].long()
        return Points(
            values=raw.float(),
            batch=coordinates[:, 0],
            xyz=inputs.voxels["voxel_centers"],
            count=count_points(inputs, coordinates, grid.voxel_size, grid),
            capped_count=inputs.voxels["num_points"],
        )


@MODELS.register_module()
class PillarEncoder(PillarFeatureNet):
    """mmdet3d's encoder, whose only layer skips copies and a slow kernel."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        (layer,) = self.pfn_layers
        layer.__class__ = PillarLayer


class PillarLayer(PFNLayer):
    """mmdet3d's layer with its batch norm over rows instead of transposed pillars.

    On the transposed gradient, PyTorch's CPU kernel goes element by element, in bfloat16 with a
    percent of error. ReLU and maximum commute.
    """

    def forward(self, inputs: Tensor, *unused: Any) -> Tensor:
        """(pillars, points, channels) to (pillars, 1, width)."""
        rows = self.linear(inputs)
        rows = self.norm(rows.flatten(0, 1)).view_as(rows)
        return rows.max(dim=1, keepdim=True).values.relu()


FAMILY = PointPillars()
