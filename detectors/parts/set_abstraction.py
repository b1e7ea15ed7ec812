"""Set abstraction of points that stand in one table for all frames (Shi et al., PV-RCNN, 2020)."""

from __future__ import annotations

from typing import Any

import torch
from mmcv.ops import ball_query
from mmdet3d.models.layers.pointnet_modules.stack_point_sa_module import StackedSAModuleMSG
from mmdet3d.registry import MODELS
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import pad

from detectors.operators.stacked import rows_of_frames, sum_rows


@MODELS.register_module()
class SetAbstraction(StackedSAModuleMSG):
    """mmdet3d's layer, with the channels of a point side by side in memory. The original
    (stack_point_sa_module.py:76 and :176) turns and copies what it gathers five times, in two of
    three milliseconds of PV-RCNN's step on a CPU."""

    def forward(
        self, xyz: Tensor, xyz_batch_cnt: Tensor, new_xyz: Tensor, new_xyz_batch_cnt: Tensor,
        features: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Centres as given, and for each the largest values around it.

        Args:
            xyz, features: (N, 3) metres, (N, C) of the points.
            new_xyz: (M, 3) centres, metres.
            xyz_batch_cnt, new_xyz_batch_cnt: (B,) points and centres of each frame.

        Returns:
            (M, 3) and (M, sum of the branches' widths).
        """
        pooled = []
        for grouper, layers in zip(self.groupers, self.mlps, strict=True):
            idx = ball_query(
                0, grouper.radius, grouper.sample_nums, xyz, new_xyz, xyz_batch_cnt,
                new_xyz_batch_cnt,
            )  # fmt: skip
            empty = idx[:, :1] < 0
            rows = rows_of_frames(idx, new_xyz_batch_cnt, xyz_batch_cnt)
            rows, centres = rows.masked_fill(empty, len(xyz)), new_xyz.masked_fill(empty, 0)
            pooled.append(_largest(layers, _Around.apply(features, xyz, centres, rows)))
        return new_xyz, torch.cat(pooled, dim=1)


class _Around(Function):
    """(M, S, 3 + C) the points that rows (M, S) name, or zeros for the number of points N: places
    (N, 3) relative to centres (M, 3), then features (N, C). Only features have a gradient."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, xyz: Tensor, centres: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.number = len(features)
        table = pad(torch.cat([xyz, features], dim=1), (0, 0, 0, 1))
        values = table.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        values[..., :3] -= centres[:, None]
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (rows,) = ctx.saved_tensors
        summed = sum_rows(rows.flatten(), gradient[..., 3:].flatten(0, 1), ctx.number + 1)
        return summed[: ctx.number], None, None, None


def _largest(layers: Any, values: Tensor) -> Tensor:
    """(M, K) largest outputs of layers that see each of the S rows of values (M, S, C)."""
    return layers(values.mT.unsqueeze(2)).max(-1).values.flatten(1)
