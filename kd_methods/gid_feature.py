"""GID's feature and relation parts: general instance distillation (Dai et al., CVPR 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.core.interface import Batch, BEVMap, KDMethod, Outputs, Spec
from kd_methods.core.regions import Instances, crops, disparate, need_prior_per_point, rows_at
from kd_methods.core.registry import register
from kd_methods.core.relations import distances, relative


@register("gid_feature", paper="Dai et al., CVPR 2021", year=2021)
class GIDFeature(KDMethod):
    """Where the networks' scores differ most, features and their mutual distances match.

        L_feature  = feature / (n G^2) sum_i || crop_i(T) - a(crop_i(S)) ||^2
        L_relation = relation / (n^2 - n) sum_{u != v} h(D^T_uv - D^S_uv),   0 if n < 3
        D_uv = d_uv / mean of d over pairs,   d_uv = || crop_u - crop_v ||_2

    The n instances of the batch are boxes: per frame, priors with the largest difference of
    |p_T - p_S|, p being the probability of the best class, thinned out by non-maximum suppression;
    each box is decoded by the network with the larger p. crop_i samples the neck at G x G places in
    the rotated box; where a prior is a point, it is that point's feature and G = 1. a is a 3x3
    convolution of the crop (points: linear), h is smooth L1.

    Attributes:
        feature: weight of L_feature.
        relation: weight of L_relation.
        candidates: priors per frame before the suppression.
        overlap: IoU above which one of two boxes is suppressed.
        instances: boxes per frame.
        grid: G; unused on points.

    Source: Dai et al., arXiv 2103.02340; values of the RetinaNet configs of
    daixinghome/Distill_GID_detectron2, which never applies its adapters.
    """

    feature: float = 5e-4
    relation: float = 40.0
    candidates: int = 3000
    overlap: float = 0.3
    instances: int = 10
    grid: int = 10

    def needs(self) -> set[str]:
        return {"neck", "head"}

    def build(self, teacher: Spec, student: Spec) -> None:
        ours, theirs = student.neck.channels, teacher.neck.channels
        self.adapter: nn.Module = nn.Linear(ours, theirs)
        if student.neck.dense:
            self.adapter = nn.Conv2d(ours, theirs, 3, padding=1)

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        need_prior_per_point("gid_feature", student.neck, student.head)
        places = disparate(teacher, student, self.candidates, self.overlap, self.instances)
        theirs, ours = (self._crop(network, places) for network in (teacher, student))
        squares = F.mse_loss(self.adapter(ours), theirs, reduction="sum")
        samples = theirs[:, 0].numel()
        return {
            "feature": self.feature * squares / max(samples, 1),
            "relation": self.relation * unlike(theirs.flatten(1), ours.flatten(1)),
        }

    def _crop(self, network: Outputs, places: list[Instances]) -> Tensor:
        """(n, C, G, G) features of the instances, or (n, C) of points."""
        if isinstance(network.neck, BEVMap):
            return crops(network.neck, [frame.boxes for frame in places], self.grid)
        return rows_at(network.neck, network.head, places)


def unlike(teacher: Tensor, student: Tensor) -> Tensor:
    """Smooth L1 between the relative distances of rows (n, ...), mean over pairs."""
    if len(teacher) < 3:
        return 0 * student.sum()
    return F.smooth_l1_loss(relative(distances(student)), relative(distances(teacher)))
