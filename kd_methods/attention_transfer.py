"""Attention transfer: where the features are strong."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_methods.core.features import tables, unit
from kd_methods.core.interface import Batch, Dense, KDMethod, Outputs, Points
from kd_methods.core.registry import register


@register("attention_transfer", paper="Zagoruyko & Komodakis, ICLR 2017", year=2017)
class AttentionTransfer(KDMethod):
    """The student's features are strong in the same cells or points as the teacher's.

    Source: Zagoruyko & Komodakis, arXiv 1612.03928, section 3.1, equation 2, with the attention
    map that sums squares over channels. The equation adds beta / 2 times the distance of the two
    maps of unit length; here the distance is squared, as in the authors' code, and summed over
    cells and frames of every backbone stage, the published LiDAR recipe (LGSD on KITTI: beta / 2
    is 0.5, and 1 for PointPillars at 1/16; LGSD adds logit distillation, which is
    ``attention_transfer+logit_kd`` here). Empty cells are neither masked there nor here: they
    have little attention. Points of a frame take the place of cells.
    """

    weight: float = 0.5
    table = {"pointpillars@16": {"weight": 1.0}}
    lidar_source = ("pointpillars@4", "pointpillars@16", "second@4", "second@16")

    def needs(self) -> set[str]:
        return {"stages"}

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        pairs = zip(teacher.stages, student.stages, strict=True)
        return {
            f"stage{i}": (attention(s) - attention(t)).square().sum()
            for i, (t, s) in enumerate(pairs)
        }


def attention(features: Dense | Points) -> Tensor:
    """(N,) strength of each row, of length 1 in each frame."""
    return torch.cat([unit(table.square().sum(1), dim=0) for table in tables(features)])
