"""Similarity-preserving distillation: which inputs look alike."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_methods.core.features import sample, tables, unit
from kd_methods.core.interface import Batch, Dense, KDMethod, Outputs, Points
from kd_methods.core.registry import register


@register("similarity_preserving", paper="Tung & Mori, ICCV 2019", year=2019)
class SimilarityPreserving(KDMethod):
    """What is similar to the teacher, frames or cells or points of a frame, is so to the student.

    Source: Tung & Mori, arXiv 1907.09682, equations 2 to 4: the mean squared difference of the two
    b x b matrices of inner products between the inputs of a batch, rows scaled to length 1. A
    detector's batch holds few frames with many things in each, so the published LiDAR recipe (LGSD
    on KITTI) adds the cosine similarities between all cells of a frame; both terms weigh 0.5 and
    apply to every stage but the first. Here the cells are a uniform sample of ``cells`` per frame
    (LGSD: all), an unbiased estimate of the mean over pairs of different cells at a hundredth of
    the cost for a map of 10,000. LGSD's third term, similarity of channels through a trained
    adapter, is left out: it is not between inputs and compares representation spaces, which the
    paper set out to avoid. Points have no counterpart in other frames, so a frame of points is
    represented by their mean.
    """

    weight: float = 0.5
    cells: int = 1024
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

    def _between_cells(self, teacher: Dense | Points, student: Dense | Points) -> Tensor:
        distances = []
        for t, s in zip(tables(teacher), tables(student), strict=True):
            chosen = sample(len(t), self.cells, t.device)
            difference = cosines(t.index_select(0, chosen)) - cosines(s.index_select(0, chosen))
            distances.append(difference.square().mean())
        return torch.stack(distances).mean()


def between_frames(features: Dense | Points) -> Tensor:
    """(B, B) inner products of frames, each row of length 1."""
    if isinstance(features, Points):
        frames = torch.stack([table.mean(0) for table in tables(features)])
    else:
        frames = features.values.flatten(1)
    return unit(frames @ frames.T, dim=1)


def cosines(table: Tensor) -> Tensor:
    """(n, n) cosine similarities of rows (n, C)."""
    directions = unit(table, dim=1)
    return directions @ directions.T
