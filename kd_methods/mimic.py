"""Mimicking features in regions (Li, Jin and Yan, CVPR 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kd_methods.core.features import tables, widener
from kd_methods.core.interface import Batch, BEVMap, KDMethod, Outputs, Spec
from kd_methods.core.regions import covered, crops
from kd_methods.core.registry import register


@register("mimic", paper="Li et al., CVPR 2017", year=2017)
class Mimic(KDMethod):
    """The student's features inside the objects' boxes match the teacher's.

        L = mean over boxes, channels and cells of (crop(T) - a(crop(S)))^2

    T and S are the neck's features. crop samples them at ``grid`` x ``grid`` places in the rotated
    ground-truth box; on points the places are the points inside the box, and boxes that hold none
    are left out. a is a 1x1 convolution where the student is narrower (points: a linear layer).
    Without boxes the loss is 0.

    Attributes:
        weight: 0.1 in SparseKD's configs.
        grid: RoI Align samples ``grid`` x ``grid`` places in the rotated box; unused on points.

    Source: Li et al., CVPR 2017, on ground-truth boxes as in CVMI-Lab/SparseKD's
    region-of-interest feature distillation, whose grid and weight are used.
    """

    weight: float = 0.1
    grid: int = 7

    def needs(self) -> set[str]:
        return {"neck"}

    def build(self, teacher: Spec, student: Spec) -> None:
        self.adapter = widener(student.neck, teacher.neck)

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        match = self._on_map if isinstance(student.neck, BEVMap) else self._in_points
        return {"neck": match(teacher.neck, student.neck, batch.boxes)}

    def _on_map(self, teacher: Any, student: Any, boxes: Sequence[Tensor]) -> Tensor:
        theirs, ours = (crops(neck, boxes, self.grid) for neck in (teacher, student))
        squares = (theirs - self.adapter(ours)).square().mean((1, 2, 3))
        return squares.sum() / max(len(squares), 1)

    def _in_points(self, teacher: Any, student: Any, boxes: Sequence[Tensor]) -> Tensor:
        """The mean over boxes of the mean over the points in each."""
        sums, boxes_met = [], 0
        frames = zip(tables(teacher), tables(student), covered(student, boxes), strict=True)
        for theirs, ours, held in frames:
            rows = held.any(1).nonzero().flatten()
            difference = theirs.index_select(0, rows) - self.adapter(ours.index_select(0, rows))
            share = held.index_select(0, rows).to(difference) / held.sum(0).clamp(min=1)
            sums.append((difference.square().mean(1) * share.sum(1)).sum())
            boxes_met += int(held.any(0).sum())
        return torch.stack(sums).sum() / max(boxes_met, 1)
