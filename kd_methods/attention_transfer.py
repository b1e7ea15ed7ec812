"""Attention transfer (Zagoruyko & Komodakis, ICLR 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_methods.core.features import tables, unit
from kd_methods.core.interface import Batch, BEVMap, KDMethod, Outputs, Points
from kd_methods.core.registry import register


@register("attention_transfer", paper="Zagoruyko & Komodakis, ICLR 2017", year=2017)
class AttentionTransfer(KDMethod):
    """The student's spatial attention map matches the teacher's in every backbone stage.

        L = weight * sum_l sum_b || Q(S_l) / ||Q(S_l)||_2 - Q(T_l) / ||Q(T_l)||_2 ||_2^2
        Q(A)_i = sum_c A_ic^2

    T_l and S_l are the features of backbone stage l, b a frame, i a BEV cell (or point), c a
    channel. Maps are normalised per frame; empty cells are not masked, their attention is small.

    Attributes:
        weight: the paper's beta / 2; 0.5, and 1 for ``pointpillars@16``, in LGSD.

    Source: Zagoruyko & Komodakis, arXiv 1612.03928, section 3.1, equation 2, with the distance
    squared, as in the LiDAR recipe of LGSD (KITTI). LGSD adds logit distillation; here that is the
    composition ``attention_transfer+logit_kd``.
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


def attention(features: BEVMap | Points) -> Tensor:
    """(N,) squared norm of each row over channels, scaled to length 1 within each frame."""
    return torch.cat([unit(table.square().sum(1), dim=0) for table in tables(features)])
