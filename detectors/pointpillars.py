"""PointPillars (Lang et al., CVPR 2019) as in mmdet3d's KITTI config."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from detectors.family import Grid, Inputs, Model, scaled
from detectors.voxelnet import VoxelNet, count_points
from kd_methods.core.interface import Points


class PointPillars(VoxelNet):
    """Pillars, a 2D backbone of three stages, a fusing neck and an anchor head."""

    name = "pointpillars"
    config_file = "pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"
    ratios = (4, 16)
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


FAMILY = PointPillars()
