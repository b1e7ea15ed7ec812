"""PointDistiller: local graphs of pillars, voxels or points (Zhang et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from kd_methods.core.features import frames, rows
from kd_methods.core.graphs import EdgeLayer, Graphs, important, joined
from kd_methods.core.interface import Batch, KDMethod, Layer, Outputs, Points, Spec
from kd_methods.core.registry import register

NEGLIGIBLE = 1e-12
"""Graphs with less than this share of the largest weight are not computed."""


@register("point_distiller", paper="Zhang et al., CVPR 2023", year=2023)
class PointDistiller(KDMethod):
    """The student's graphs around the most important pillars or points match the teacher's.

        paper:                  L = mean_b 1/N sum_i phi_i || max_k e^T_ik - max_k e^S_ik ||_2
        released, PointPillars: L = 2 mean_{i,k,c} phi_i (e^T_ikc - e^S_ikc)^2
        released, SECOND:       L = 2 B sum_l mean_{i,k,c} (e^T_ikc - e^S_ikc)^2
        released, PointRCNN:    L = 2 mean_{i,c} (max_k e^T_ikc - max_k e^S_ikc)^2

    The N most important rows are centres i, each joined to its K nearest rows k in the teacher's
    feature space, itself included. e_ik = ReLU(BN(W [row k, row i])), one trained layer per
    network. phi = N softmax(importance / tau), importance being the number of raw points in the
    pillar or voxel (``released``: of those the detector reads). For points it is the largest
    channel of the teacher's feature to pick centres, of its graph for phi; for SECOND's maps, the
    largest channel of a cell.

    Attributes:
        variant: ``paper``: equation 2, graphs within a frame; ``released``: the loss of the
            authors' code, with graphs over the whole batch (PointPillars), on the backbone's maps
            (SECOND) or within a frame of points (PointRCNN).
        nodes: N, per frame; for PointPillars in ``released``, per batch.
        neighbours: K, the neighbours of a centre, itself among them.
        channels: width of an edge e.
        temperature: tau of ``paper``, above 0; in raw points, for PointRCNN in feature values.
        released_temperature: tau of ``released``, above 0; used by PointPillars only.

    Source: Zhang et al., arXiv 2205.11098, section 3, equation 2; code RunpeiDong/PointDistiller,
    a5dc465. ``temperature`` is ours (the paper prints none), ``released_temperature`` that of the
    code, whose calls do not read the configs; all other values are those of the configs
    (docs/methods.md has both).
    """

    variant: Literal["paper", "released"] = "paper"
    nodes: int = 6000
    neighbours: int = 128
    channels: int = 32
    temperature: float = 10.0
    released_temperature: float = 0.01
    table = {
        "pointpillars@16": {"nodes": 12000, "channels": 16},
        "second": {"nodes": 256},
        "second@4": {"neighbours": 256},
        "pointrcnn": {"temperature": 1.0},
        "pointrcnn@8": {"channels": 45},
    }
    lidar_source = (
        "pointpillars@4",
        "pointpillars@16",
        "second@4",
        "second@16",
        "pointrcnn@8",
        "pointrcnn@16",
    )

    def needs(self) -> set[str]:
        return {"stages"} if self._on_maps() else {"local"}

    def build(self, teacher: Spec, student: Spec) -> None:
        self.teacher_edges = self._edge_layers(teacher)
        self.student_edges = self._edge_layers(student)

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        if self._on_maps():
            pairs = zip(teacher.stages, student.stages, strict=True)
            return {
                f"stage{i}": 2 * self._released_map(i, rows(t), rows(s), len(batch.points))
                for i, (t, s) in enumerate(pairs)
            }
        variants = {"paper": self._paper, "released": self._released}
        return {"graph": variants[self.variant](teacher.local, student.local)}

    def _on_maps(self) -> bool:
        return self.variant == "released" and self.family == "second"

    def _on_points(self) -> bool:
        return self.family == "pointrcnn"

    def _edge_layers(self, spec: Spec) -> nn.ModuleList:
        layers: Sequence[Layer] = spec.stages if self._on_maps() else [spec.local]
        return nn.ModuleList(EdgeLayer(layer.channels, self.channels) for layer in layers)

    def _paper(self, teacher: Points, student: Points) -> Tensor:
        score = teacher.values.amax(1) if self._on_points() else teacher.count.float()
        graphs = self._graphs(teacher.values, score, frames(teacher))
        target = self.teacher_edges[0](teacher.values, graphs).maximum()
        output = self.student_edges[0](student.values, graphs).maximum()
        importance = target.detach().amax(1) if self._on_points() else score[graphs.centre]
        distance = torch.linalg.vector_norm(target - output, dim=1)
        sizes = torch.bincount(teacher.batch[graphs.centre])
        parts = [
            (mean_one_softmax(i / self.temperature) * d).mean()
            for i, d in zip(
                importance.split(sizes.tolist()), distance.split(sizes.tolist()), strict=True
            )
            if len(d)
        ]
        return torch.stack(parts).mean()

    def _released(self, teacher: Points, student: Points) -> Tensor:
        if self._on_points():
            score, groups = teacher.values.amax(1), frames(teacher)
        else:
            score = teacher.capped_count.float()
            groups = [torch.arange(len(score), device=score.device)]
        graphs = self._graphs(teacher.values, score, groups)
        target = self.teacher_edges[0](teacher.values, graphs)
        output = self.student_edges[0](student.values, graphs)
        if self._on_points():
            return 2 * (target.maximum() - output.maximum()).square().mean()
        weight = mean_one_softmax(score[graphs.centre] / self.released_temperature)
        chosen = torch.nonzero(weight > NEGLIGIBLE * weight.max()).flatten()
        squares = (target.values(chosen) - output.values(chosen)).square().mean((1, 2))
        return 2 * (weight[chosen] * squares).sum() / len(weight)

    def _released_map(self, stage: int, teacher: Tensor, student: Tensor, frames: int) -> Tensor:
        every_frame = torch.arange(len(teacher), device=teacher.device).chunk(frames)
        graphs = self._graphs(teacher, teacher.amax(1), every_frame)
        target = self.teacher_edges[stage](teacher, graphs)
        output = self.student_edges[stage](student, graphs)
        return frames * (target.all_values() - output.all_values()).square().mean()

    def _graphs(self, values: Tensor, score: Tensor, groups: Sequence[Tensor]) -> Graphs:
        """Graphs of the rows in each group, N per group or one per row where there are fewer."""
        return joined(values, groups, important(score, groups, self.nodes), self.neighbours)


def mean_one_softmax(logits: Tensor) -> Tensor:
    """(N,) softmax of logits (N,), scaled to mean 1."""
    return logits.softmax(0) * len(logits)
