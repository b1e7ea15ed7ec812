"""Similarity-preserving distillation (Tung & Mori, ICCV 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_methods.core.features import sample, tables, unit
from kd_methods.core.interface import Batch, BEVMap, KDMethod, Outputs, Points
from kd_methods.core.registry import register


@register("similarity_preserving", paper="Tung & Mori, ICCV 2019", year=2019)
class SimilarityPreserving(KDMethod):
    """The student's similarities between frames, and between cells, match the teacher's.

        L = weight * sum_{l >= 1} (frames_l + cells_l)
        frames_l = 1/B^2 || G(T_l) - G(S_l) ||_F^2,           G(A) = F F^T, rows scaled to length 1
        cells_l  = mean_b 1/m^2 || C(T_lb) - C(S_lb) ||_F^2,  C(A) = cosine similarities of m cells

    T_l and S_l are the features of backbone stage l, all but the first. F holds one row for each of
    the B frames: the flattened map, or for points the mean of their features. C compares m cells
    (or points) of frame b, the same in both networks, drawn uniformly in each step.

    Attributes:
        weight: factor of both terms; in LGSD 0.5, for PointPillars at 16x 1.
        cells: m, the most cells sampled per frame.

    Source: Tung & Mori, arXiv 1907.09682, equations 2 to 4; the second term is from the LiDAR
    recipe of LGSD (KITTI), which compares all cells.
    """

    weight: float = 0.5
    cells: int = 1024
    table = {"pointpillars@16": {"weight": 1.0}}
    lidar_source = ("pointpillars", "second")

    def needs(self) -> set[str]:
        return {"stages"}

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        losses = {}
        for i, (t, s) in enumerate(zip(teacher.stages, student.stages, strict=True)):
            if i > 0:
                losses[f"frames{i}"] = (between_frames(t) - between_frames(s)).square().mean()
                losses[f"cells{i}"] = self._between_cells(t, s)
        return losses

    def _between_cells(self, teacher: BEVMap | Points, student: BEVMap | Points) -> Tensor:
        """Mean squared difference of the cosine similarities of sampled cells, mean over frames."""
        distances = []
        for t, s in zip(tables(teacher), tables(student), strict=True):
            chosen = sample(len(t), self.cells, t.device)
            difference = cosines(t.index_select(0, chosen)) - cosines(s.index_select(0, chosen))
            distances.append(difference.square().mean())
        return torch.stack(distances).mean()


def between_frames(features: BEVMap | Points) -> Tensor:
    """(B, B) inner products of frames, each row scaled to length 1."""
    if isinstance(features, Points):
        frames = torch.stack([table.mean(0) for table in tables(features)])
    else:
        frames = features.values.flatten(1)
    return unit(frames @ frames.T, dim=1)


def cosines(table: Tensor) -> Tensor:
    """(n, n) cosine similarities of rows (n, C)."""
    directions = unit(table, dim=1)
    return directions @ directions.T
