"""Pillars: mmdet3d's PillarFeatureNet and PointPillarsScatter (Lang et al., CVPR 2019)."""

from __future__ import annotations

from typing import Any

import torch
from mmdet3d.models.voxel_encoders import PillarFeatureNet
from mmdet3d.models.voxel_encoders.utils import PFNLayer
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from detectors.core.family import Inputs, Model, scale_widths
from detectors.core.grid import DetectorError, Grid
from detectors.operators.per_batch import once
from detectors.parts.part import VALUES, Config, Encoder, count_points, require_type
from kd_methods.core.interface import Points


class Pillars(Encoder):
    """Features of pillars, which are the map's cells."""

    stride, like = 1, "pointpillars"

    def layers(self, deep: float, height: float) -> tuple[float, float]:
        """A pillar is as high as the region."""
        return deep, deep

    def resize(self, config: Config, ratio: float, grid: Grid) -> int:
        require_type(config, "voxel_encoder", "PillarFeatureNet")
        widths = scale_widths(config["voxel_encoder"]["feat_channels"], ratio)
        config["voxel_encoder"].update(
            in_channels=VALUES,
            feat_channels=widths,
            point_cloud_range=list(grid.point_cloud_range),
            voxel_size=list(grid.voxel_size),
        )
        nx, ny, layers = grid.cells
        if layers != 1:
            raise DetectorError(
                f"point_cloud_range and voxel_size give {layers} cells along z; a pillar is as "
                "high as the region, so make the voxels so"
            )
        config["middle_encoder"].update(in_channels=widths[-1], output_shape=[ny, nx])
        return widths[-1]

    def buildable(self, config: Config) -> None:
        if _plain(config["voxel_encoder"]):
            config["voxel_encoder"]["type"] = PillarEncoder.__name__

    def local(self, model: Model) -> nn.Module:
        return model.voxel_encoder

    def channels(self, model: Model) -> int:
        return model.voxel_encoder.pfn_layers[-1].units

    def read(self, raw: Tensor, inputs: Inputs, grid: Grid) -> Points:
        coordinates = inputs.voxels["coors"].long()
        return Points(
            values=raw.float(),
            batch=coordinates[:, 0],
            xyz=inputs.voxels["voxel_centers"],
            count=count_points(inputs, coordinates, grid.voxel_size, grid),
            capped_count=inputs.voxels["num_points"],
        )


def _plain(encoder: Config) -> bool:
    """Whether it is as in mmdet3d's KITTI config but for its width: one layer, every offset."""
    others = encoder.keys() - {"type", "in_channels", "feat_channels", "voxel_size"}
    others -= {"point_cloud_range", "norm_cfg", "with_distance"}
    return len(encoder["feat_channels"]) == 1 and not encoder.get("with_distance") and not others


@MODELS.register_module()
class PillarEncoder(PillarFeatureNet):
    """mmdet3d's encoder, which computes on the points that pillars hold and not on their padding.

    A pillar has room for 32 points and mostly holds a few: the rest are rows of zeros, which only
    count in the statistics of the batch norm.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        (layer,) = self.pfn_layers
        layer.__class__ = PillarLayer

    def forward(self, features: Tensor, num_points: Tensor, coors: Tensor, *unused: Any) -> Tensor:
        """(pillars, points, channels) to (pillars, width)."""
        grid = (self.vx, self.vy, self.vz, self.x_offset, self.y_offset, self.z_offset)
        among = (features, num_points, coors)
        rows = once(("points of pillars", grid), among, lambda: self._decorated(*among))
        (layer,) = self.pfn_layers
        return layer(rows, num_points, features.shape[1])

    def _decorated(self, features: Tensor, counts: Tensor, cells: Tensor) -> Tensor:
        """(points, 10) each point's offset from its pillar's centre, intensity, offset from the
        mean of the pillar's points, and the first again, as mmdet3d's legacy encoder has them."""
        held = torch.arange(features.shape[1], device=features.device) < counts[:, None]
        points, pillar = features[held], held.nonzero()[:, 0]
        means = features[:, :, :3].sum(dim=1) / counts.to(features)[:, None]
        size = features.new_tensor([self.vx, self.vy, self.vz])
        first = features.new_tensor([self.x_offset, self.y_offset, self.z_offset])
        centres = cells[:, 1:].flip(1).to(features) * size + first
        offset = points[:, :3] - centres[pillar]
        return torch.cat([offset, points[:, 3:], points[:, :3] - means[pillar], offset], dim=1)


class PillarLayer(PFNLayer):
    """mmdet3d's layer on rows of points. ReLU and maximum commute."""

    def forward(self, rows: Tensor, counts: Tensor, room: int) -> Tensor:
        """The maximum of each pillar's points.

        Args:
            rows: (points, channels), pillar after pillar.
            counts: (pillars,) points of each.
            room: points that a pillar can hold; the others are zeros.

        Returns:
            (pillars, width).
        """
        padding = len(counts) * room - len(rows)
        rows, empty = _batch_norm(self.norm, self.linear(rows).to(rows), padding)
        highest = torch.segment_reduce(rows, "max", lengths=counts.long(), axis=0)
        full = (counts == room)[:, None]
        return torch.where(full, highest, torch.maximum(highest, empty)).relu()


def _batch_norm(norm: nn.BatchNorm1d, rows: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """A batch norm over rows (N, C) and rows of zeros beside them; what it makes of a zero row."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    assert norm.momentum is not None
    if norm.training:
        total = len(rows) + padding
        batch_mean = rows.sum(dim=0) / total
        centred = rows - batch_mean
        batch_variance = (centred.square().sum(dim=0) + padding * batch_mean.square()) / total
        with torch.no_grad():
            mean.lerp_(batch_mean, norm.momentum)
            variance.lerp_(batch_variance * (total / (total - 1)), norm.momentum)
            norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        mean, variance = batch_mean, batch_variance
    scale = norm.weight * (variance + norm.eps).rsqrt()
    shift = norm.bias - mean * scale
    return torch.addcmul(shift, rows, scale), shift
