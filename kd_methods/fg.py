"""FGFI: fine-grained feature imitation near objects (Wang et al., CVPR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kd_methods.core.features import cells_of, tables
from kd_methods.core.interface import Batch, BEVMap, KDMethod, Outputs, Spec
from kd_methods.core.regions import covered, overlaps, patches
from kd_methods.core.registry import register


@register("fg", paper="Wang et al., CVPR 2019", year=2019)
class FG(KDMethod):
    """The student's features match the teacher's at cells whose anchors fit an object.

        L = scale / (2 |M|) sum_{i in M} sum_c (T_ic - a(S)_ic)^2
        M = cells with an anchor whose IoU with an object g exceeds threshold * m_g

    T and S are the neck's features, m_g is the largest IoU of any anchor with object g. IoU is that
    of rectangles in BEV, turned to the nearest axis; an object that no anchor touches selects
    nothing. a is a 3x3 convolution and ReLU. On points, M are the points inside objects and a is
    linear with ReLU. Without objects the loss is 0.

    Attributes:
        scale: weight of the loss.
        threshold: share of an object's largest IoU that selects an anchor, in [0, 1].

    Source: Wang et al., arXiv 1906.03609, and
    twangnh/Distilling-Object-Detectors, whose values are used, without its warm-up.
    """

    scale: float = 0.01
    threshold: float = 0.5

    by_place = True

    def needs(self) -> set[str]:
        return {"neck", "head"}

    def build(self, teacher: Spec, student: Spec) -> None:
        ours, theirs = student.neck.channels, teacher.neck.channels
        linear = nn.Conv2d(ours, theirs, 3) if student.neck.dense else nn.Linear(ours, theirs)
        self.adapter = nn.Sequential(linear, nn.ReLU())

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        pick = self._near_objects if isinstance(student.neck, BEVMap) else self._in_objects
        theirs, ours = pick(teacher, student, batch)
        squares = (theirs - self.adapter(ours).flatten(1)).square().sum()
        return {"neck": self.scale / 2 * squares / max(len(theirs), 1)}

    def _in_objects(
        self, teacher: Outputs, student: Outputs, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Features (n, C) of both networks at the points inside objects."""
        inside = [held.any(1) for held in covered(student.neck, batch.boxes)]
        rows = torch.cat(inside).nonzero().flatten()
        return teacher.neck.values.index_select(0, rows), student.neck.values.index_select(0, rows)

    def _near_objects(
        self, teacher: Outputs, student: Outputs, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """At the cells of M, the teacher's features (n, C) and the student's patches around."""
        assert isinstance(student.neck, BEVMap)
        theirs, ours = [], []
        for i, (table, boxes) in enumerate(zip(tables(teacher.neck), batch.boxes, strict=True)):
            cells = self._cells(student.neck, student.head.priors[i], boxes)
            theirs.append(table.index_select(0, cells))
            ours.append(patches(student.neck, i, cells))
        return torch.cat(theirs), torch.cat(ours)

    def _cells(self, neck: BEVMap, priors: Tensor, boxes: Tensor) -> Tensor:
        """The cells (n,) of one frame's M."""
        rows, overlap = overlaps(priors, boxes.to(priors))
        if not len(rows):
            return rows
        fits = (overlap > self.threshold * overlap.amax(0)).any(1).nonzero().flatten()
        return cells_of(neck, priors.index_select(0, rows[fits]))[0].unique()
