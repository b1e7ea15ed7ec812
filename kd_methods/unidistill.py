"""UniDistill: distillation at nine places of each object in BEV (Zhou et al., CVPR 2023)."""

from __future__ import annotations

from torch import Tensor

from kd_methods.core.features import widener
from kd_methods.core.interface import Batch, BEVMap, KDMethod, MethodError, Outputs, Points, Spec
from kd_methods.core.regions import crops
from kd_methods.core.registry import register
from kd_methods.core.relations import cosines

EPS = 1e-4
"""Added to the lengths of features."""


@register("unidistill", paper="Zhou et al., CVPR 2023", year=2023)
class UniDistill(KDMethod):
    """Nine places of each object match in their features and in how alike these are.

        L_feature  = feature mean over objects, p, c of |T_pc - a(S)_pc|,   of the first stage
        L_relation = relation mean over objects, p, q of |cos^T_pq - cos^S_pq|,   of the neck
        cos_pq = x_p . x_q / ((|x_p| + 1e-4) (|x_q| + 1e-4))

    p and q are the corners of the object's rotated box in BEV, the middles of its sides and its
    centre; features there are sampled bilinearly. a is a 1x1 convolution where the student is
    narrower. Without objects the loss is 0.

    Attributes:
        feature: weight of L_feature.
        relation: weight of L_relation.

    Source: Zhou et al., arXiv 2303.15083, and megvii-research/CVPR2023-UniDistill, without
    the response part, which takes the heat maps of centre heads. The adapter is ours, and so is the
    first stage, in place of the map before the BEV encoder.
    """

    feature: float = 10.0
    relation: float = 1.0

    def needs(self) -> set[str]:
        return {"stages", "neck"}

    def build(self, teacher: Spec, student: Spec) -> None:
        if not (student.neck.dense and teacher.neck.dense):
            raise MethodError("unidistill: points give no features at the corners of boxes")
        self.adapter = widener(student.stages[0], teacher.stages[0])

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        apart = self._nine(teacher.stages[0], batch) - self.adapter(
            self._nine(student.stages[0], batch)
        )
        theirs, ours = (
            cosines(self._nine(network.neck, batch).flatten(2).transpose(1, 2), EPS)
            for network in (teacher, student)
        )
        objects = max(len(apart), 1)
        return {
            "feature": self.feature * apart.abs().mean((1, 2, 3)).sum() / objects,
            "relation": self.relation * (theirs - ours).abs().mean((1, 2)).sum() / objects,
        }

    def _nine(self, features: BEVMap | Points, batch: Batch) -> Tensor:
        """(n, C, 3, 3) features at the nine places of all objects."""
        assert isinstance(features, BEVMap)
        return crops(features, batch.boxes, 3, rim=True)
