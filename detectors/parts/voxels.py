"""Voxels: mmdet3d's HardSimpleVFE and sparse 3D encoder (Yan et al., SECOND, Sensors 2018)."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from mmdet3d.models.middle_encoders import SparseEncoder
from torch import Tensor, nn

from detectors.core.family import Inputs, Model, scale_widths, scaled
from detectors.core.grid import DetectorError, Grid
from detectors.operators import sparse
from detectors.parts.part import SLACK, VALUES, Config, Encoder, count_points, require_type
from kd_methods.core.interface import Points

STRIDE = 8
"""Voxels per cell of the last encoder stage, along x, y and z."""
NO_SPCONV = (
    "sparse convolutions need spconv, which is not installed; it has wheels for Linux and Windows "
    "on x86-64 (pip install spconv); pointpillars, centerpoint_pillar and pointrcnn do without"
)


class Voxels(Encoder):
    """Means of voxels and a sparse 3D encoder."""

    stride, like = STRIDE, "second"

    def lacking(self) -> str:
        return "" if sparse.available() else NO_SPCONV

    def layers(self, deep: float, height: float) -> tuple[float, float]:
        count = max(3, math.ceil(deep / height / STRIDE - SLACK)) * STRIDE
        return count * height, height

    def resize(self, config: Config, ratio: float, grid: Grid) -> int:
        nx, ny, nz = grid.cells
        if nz % STRIDE or nz < 3 * STRIDE:
            raise DetectorError(
                f"point_cloud_range and voxel_size give {nz} cells along z; make the height a "
                f"multiple of {STRIDE * grid.voxel_size[2]:g} m, at least three times that"
            )
        require_type(config, "voxel_encoder", "HardSimpleVFE")
        config["voxel_encoder"]["num_features"] = VALUES
        encoder = config["middle_encoder"]
        width = scaled(_setting(encoder, "output_channels"), ratio)
        stages = _setting(encoder, "encoder_channels")
        encoder.update(
            in_channels=VALUES,
            sparse_shape=[nz + 1, ny, nx],
            base_channels=scaled(_setting(encoder, "base_channels"), ratio),
            encoder_channels=tuple(tuple(scale_widths(stage, ratio)) for stage in stages),
            output_channels=width,
        )
        return width * ((nz // STRIDE - 1) // 2)

    def buildable(self, config: Config) -> None:
        """mmdet3d's serve."""

    def local(self, model: Model) -> nn.Module:
        return list(model.middle_encoder.encoder_layers.children())[-1]

    def channels(self, model: Model) -> int:
        return model.middle_encoder.encoder_channels[-1][-1]

    def read(self, raw: Any, inputs: Inputs, grid: Grid) -> Points:
        """Rows in the order of frame, z, y, x: the order of spconv's rows is undefined on CUDA."""
        order = _ranks(raw.indices.long(), raw.spatial_shape).argsort()
        cells = raw.indices.long()[order]
        size = tuple(STRIDE * side for side in grid.voxel_size)
        low = cells.new_tensor(grid.point_cloud_range[:3], dtype=torch.float32)
        centre = cells[:, [3, 2, 1]] + 0.5
        return Points(
            values=raw.features.float().index_select(0, order),
            batch=cells[:, 0],
            xyz=low + centre * low.new_tensor(size),
            count=count_points(inputs, cells, size, grid),
            capped_count=_read_points(inputs, cells, raw.spatial_shape),
        )


def _setting(encoder: Config, name: str) -> Any:
    """A config's setting, or mmdet3d's default, which its own KITTI config relies on."""
    return encoder.get(name, inspect.signature(SparseEncoder).parameters[name].default)


def _ranks(cells: Tensor, shape: list[int]) -> Tensor:
    """(N,) number of each cell (frame, z, y, x) in the order of a dense (B, D, H, W) grid."""
    frame, z, y, x = cells.T
    depth, height, width = shape
    return ((frame * depth + z) * height + y) * width + x


def _read_points(inputs: Inputs, cells: Tensor, shape: list[int]) -> Tensor:
    """(N,) points that the voxels inside each cell hold."""
    voxels = inputs.voxels["coors"].long()
    inside = torch.cat([voxels[:, :1], voxels[:, 1:] // STRIDE], dim=1)
    totals = cells.new_zeros(len(inputs.batch.points) * shape[0] * shape[1] * shape[2])
    totals.index_add_(0, _ranks(inside, shape), inputs.voxels["num_points"].long())
    return totals[_ranks(cells, shape)]
