"""LGSD: local graphs with contrast, and the relations of their centres (hjc0106, 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.core.features import adapter, rows, sample, unit
from kd_methods.core.graphs import EdgeLayer, Graphs, important, joined
from kd_methods.core.interface import Batch, KDMethod, Layer, Outputs, Spec
from kd_methods.core.registry import register
from kd_methods.core.relations import cosines

NORM_EPS = 1e-3
"""Added to the variance in the batch norms of edges."""
LENGTH_EPS = 1e-5
"""Added to the lengths of features."""


class Terms(NamedTuple):
    """The losses of one layer of graphs, without their weights."""

    local: Tensor
    contrast: Tensor
    relation: Tensor


@register("lgsd", paper="hjc0106/LGSD, 2024", year=2024)
class LGSD(KDMethod):
    """Edges of nested local graphs match and are told apart; their centres relate alike.

        e_ij = ReLU(BN(W [x_i - x_j, x_i])),   x_i of the next layer = mean_j e_ij
        local    = mean (e^S - ReLU(BN(W' e^T)))^2
        contrast = -1/M sum_m log( exp(z^T_m . z^S_m / tau) / sum_n exp(z^T_m . z^S_n / tau) )
        relation = mean_{u,v} |cos^T_uv - cos^S_uv|,   of the mean edges of all centres u, v
        L = balance (local + 0.2 contrast + relation)

    A layer's centres i are the N rows that score highest, each joined to its K nearest rows j,
    itself included. N halves from layer to layer, and K is divided by ``narrowing``. z is a trained
    embedding of an edge, of length 1; M edges are drawn at random.

    PointPillars: rows are the pillars of the batch, scored by the points that the detector reads;
    all layers share their weights; only the last has contrast, and in the others local is not
    multiplied by ``balance``. SECOND: rows are the cells of a frame in each backbone stage, scored
    by the teacher's largest channel; the second stage starts with N and K of the first's second
    layer; L is the mean over layers and stages. PointRCNN: as PointPillars, on points, scored by
    the teacher's largest channel.

    Attributes:
        graphs: in whose features neighbours are found: each network's ``own``, where the k-th
            nearest of one is compared with the k-th nearest of the other, or the ``teacher``'s.
        layers: nested layers of graphs.
        nodes: N of the first layer; per batch, for SECOND per frame.
        neighbours: K of the first layer.
        narrowing: by what K is divided from layer to layer.
        balance: factor of the losses.
        contrast: weight of the contrast among them.
        temperature: tau, above 0.
        pairs: M; each edge is told apart from the M - 1 others.

    Source: hjc0106/LGSD, 2f1aa9c, and its configs; there is no paper. ``pairs`` is ours:
    the code takes all edges, 32,000 on pointpillars@4. Its weighing of channels before SECOND's
    centres are chosen gets no gradient and is left out.
    """

    graphs: Literal["own", "teacher"] = "own"
    layers: int = 3
    nodes: int = 2000
    neighbours: int = 64
    narrowing: int = 1
    balance: float = 0.25
    contrast: float = 0.2
    temperature: float = 0.07
    pairs: int = 1024
    table = {
        "pointpillars@16": {"nodes": 4000, "neighbours": 96, "narrowing": 2},
        "second": {"layers": 2, "nodes": 256, "narrowing": 2},
        "second@4": {"balance": 0.5},
        "second@16": {"neighbours": 48},
    }
    lidar_source = ("pointpillars@4", "pointpillars@16", "second@4", "second@16")

    def needs(self) -> set[str]:
        return {"stages"} if self._on_maps() else {"local"}

    def build(self, teacher: Spec, student: Spec) -> None:
        theirs, ours = (s.stages if self._on_maps() else [s.local] for s in (teacher, student))
        self.levels = nn.ModuleList(
            Level(s.channels, t.channels) for t, s in zip(theirs, ours, strict=True)
        )

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        if self._on_maps():
            return self._maps(teacher, student)
        theirs, ours = teacher.local.values, student.local.values
        if len(theirs) < 2:
            return dict.fromkeys(("local", "contrast", "relation"), 0 * ours.sum())
        on_points = self.family == "pointrcnn"
        score = theirs.amax(1) if on_points else teacher.local.capped_count.to(theirs)
        every = torch.arange(len(score), device=score.device)
        terms = self._nested(0, theirs, ours, score, [every])
        local = torch.stack([term.local for term in terms])
        relation = torch.stack([term.relation for term in terms])
        return {
            "local": local[:-1].sum() + self.balance * local[-1],
            "contrast": self.balance * self.contrast * terms[-1].contrast,
            "relation": self.balance * relation.sum(),
        }

    def _on_maps(self) -> bool:
        return self.family == "second"

    def _maps(self, teacher: Outputs, student: Outputs) -> dict[str, Tensor]:
        """The means over all layers of all stages."""
        terms: list[Terms] = []
        for i, (t, s) in enumerate(zip(teacher.stages, student.stages, strict=True)):
            table = rows(t)
            every = torch.arange(len(table), device=table.device).chunk(len(t.values))
            terms += self._nested(i, table, rows(s), table.amax(1), every)
        local, contrast, relation = (torch.stack(each).mean() for each in zip(*terms, strict=True))
        return {
            "local": self.balance * local,
            "contrast": self.balance * self.contrast * contrast,
            "relation": self.balance * relation,
        }

    def _nested(
        self, stage: int, theirs: Tensor, ours: Tensor, score: Tensor, groups: Sequence[Tensor]
    ) -> list[Terms]:
        """The terms of each layer of graphs over rows of features (V, C)."""
        terms = []
        for depth in range(stage, stage + self.layers):
            centres = important(score, groups, max(self.nodes // 2**depth, 1))
            degree = max(self.neighbours // self.narrowing**depth, 1)
            found = joined(theirs.detach(), groups, centres, degree, ordered=True)
            own = found
            if self.graphs == "own":
                own = joined(ours.detach(), groups, centres, degree, ordered=True)
            level, last = self.levels[stage], self._on_maps() or depth == self.layers - 1
            target, output = level(theirs, found, ours, own)
            theirs, ours, score = target.mean(1), output.mean(1), score[found.centre]
            unlike = (cosines(theirs, LENGTH_EPS) - cosines(ours, LENGTH_EPS)).abs().mean()
            contrast = self._contrast(level, target, output) if last else unlike.new_zeros(())
            terms.append(Terms(level.apart(target, output), contrast, unlike))  # type: ignore
            groups = torch.arange(len(score), device=score.device).split([len(c) for c in centres])
        return terms

    def _contrast(self, level: nn.Module, target: Tensor, output: Tensor) -> Tensor:
        """How well a sample of the teacher's edges finds the student's, of all edges (N, K, C)."""
        theirs, ours = target.flatten(0, 1), output.flatten(0, 1)
        chosen = sample(len(theirs), self.pairs, theirs.device)
        likeness = level.likeness(theirs[chosen], ours[chosen])  # type: ignore[operator]
        labels = torch.arange(len(chosen), device=chosen.device)
        return F.cross_entropy(likeness / self.temperature, labels)


class Level(nn.Module):
    """The trained layers of one tap: edges of both networks, their comparison and embeddings."""

    def __init__(self, student: int, teacher: int) -> None:
        super().__init__()
        self.teacher_edges = EdgeLayer(teacher, teacher, NORM_EPS, offset=True)
        self.student_edges = EdgeLayer(student, student, NORM_EPS, offset=True)
        self.adapter = adapter(Layer(teacher, False), Layer(student, False), NORM_EPS)
        self.widen = nn.Linear(student, teacher)
        self.embed_teacher, self.embed_student = _embedding(teacher), _embedding(teacher)

    def forward(
        self, teacher: Tensor, theirs: Graphs, student: Tensor, ours: Graphs
    ) -> tuple[Tensor, Tensor]:
        """All edges (N, K, C) of the teacher's rows and the student's (V, C), on their graphs."""
        target = self.teacher_edges(teacher, theirs).all_values()
        return target, self.student_edges(student, ours).all_values()

    def apart(self, teacher: Tensor, student: Tensor) -> Tensor:
        """Mean squared difference of edges (N, K, C), the teacher's at the student's width."""
        return F.mse_loss(student.flatten(0, 1), self.adapter(teacher.flatten(0, 1)))

    def likeness(self, teacher: Tensor, student: Tensor) -> Tensor:
        """(M, M) cosines of the embeddings of edges (M, C), the teacher's in rows."""
        theirs = unit(self.embed_teacher(teacher), dim=1)
        return theirs @ unit(self.embed_student(self.widen(student)), dim=1).T


def _embedding(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)
    )
