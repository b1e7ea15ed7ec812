"""Representation disparity-aware distillation (Li et al., ICCV 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_methods.core.features import adapter
from kd_methods.core.interface import (
    Batch,
    BEVMap,
    HeadOutputs,
    KDMethod,
    MethodError,
    Outputs,
    Points,
    Spec,
)
from kd_methods.core.regions import crop, need_prior_per_point, take
from kd_methods.core.registry import register


@register("rdd", paper="Li et al., ICCV 2023", year=2023)
class RDD(KDMethod):
    """The student matches the teacher's features and head outputs in regions where they differ.

        L_feature = feature_weight / n * sum_i m_i d_i,   d_i = || a(R_i^S) - R_i^T ||_2
        L_logit   = logit_weight / n * sum_i m_i ( ||sigmoid(s_i) - sigmoid(t_i)||_1
                                                   + ||code_i^S - code_i^T||_1 )
        R_i = softmax_c(crop_i(neck) / temperature);  m_i = 1 if d_i > sparsity, else 0

    Regions i, n in all, are the highest-scoring priors of the teacher and of the student in each
    frame, before suppression, so both networks predict for each. crop_i samples the neck in a
    region's box, decoded by the network that proposed it; where a prior is a point, it is that
    point's feature. a is a 1x1 convolution, batch norm and ReLU; s and t are class logits; the yaw
    code differs by its sine.

    Attributes:
        feature_weight: weight of L_feature.
        logit_weight: weight of L_logit.
        sparsity: the paper's lambda, a feature distance; 0 keeps all pairs, larger values fewer.
        temperature: divisor of the features before the softmax over channels, above 0.
        proposals: regions that each network proposes per frame.
        grid: RoI Align samples ``grid`` x ``grid`` places in the rotated box; unused on points.

    Source: Li et al., arXiv 2308.10308, equations 2, 5, 8 and 9. No code is published;
    ``proposals`` and ``grid`` are ours, the other values the paper's, on KITTI too.
    """

    feature_weight: float = 0.2
    logit_weight: float = 0.2
    sparsity: float = 0.1
    temperature: float = 4.0
    proposals: int = 50
    grid: int = 3
    lidar_source = ("pointpillars", "second")

    def needs(self) -> set[str]:
        return {"neck", "head"}

    def build(self, teacher: Spec, student: Spec) -> None:
        if teacher.neck.dense != student.neck.dense:
            raise MethodError("rdd: teacher and student have different kinds of neck")
        self.adapter = adapter(student.neck, teacher.neck)

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        need_prior_per_point("rdd", student.neck, student.head)
        priors = [self._proposals(net.head) for net in (teacher, student)]
        boxes = [
            take(net.head.decode(net.head.deltas.detach()), chosen)
            for net, chosen in zip((teacher, student), priors, strict=True)
        ]
        chosen, regions = torch.cat(priors, dim=1), torch.cat(boxes, dim=1)
        theirs = self._normalised(teacher.neck, chosen, regions)
        ours = self.adapter(self._normalised(student.neck, chosen, regions))
        distance = torch.linalg.vector_norm((ours - theirs).flatten(1), dim=1)
        disparate = (distance.detach() > self.sparsity).to(distance)
        difference = self._logits(student.head, teacher.head, chosen)
        return {
            "feature": self.feature_weight * (disparate * distance).mean(),
            "logit": self.logit_weight * (disparate * difference).mean(),
        }

    def _proposals(self, head: HeadOutputs) -> Tensor:
        """(B, M) the highest-scoring priors of each frame, by their best class."""
        score = head.class_logits.detach().amax(2)
        return score.topk(min(self.proposals, score.shape[1]), dim=1).indices

    def _normalised(self, neck: BEVMap | Points, priors: Tensor, boxes: Tensor) -> Tensor:
        """(B * P, C, ...) features of the regions, softmax over channels."""
        if isinstance(neck, BEVMap):
            regions = crop(neck, boxes, self.grid)
        else:
            regions = take(neck.values.unflatten(0, (len(priors), -1)), priors).flatten(0, 1)
        return (regions / self.temperature).softmax(1)

    def _logits(self, student: HeadOutputs, teacher: HeadOutputs, priors: Tensor) -> Tensor:
        """(B * P,) L1 distances of class probabilities plus those of box codes."""
        ours, theirs = (take(head.class_logits, priors).sigmoid() for head in (student, teacher))
        code = take(student.deltas, priors) - take(teacher.deltas, priors)
        place = code[..., :6].abs().sum(2) + code[..., 6].sin().abs()
        return ((ours - theirs).abs().sum(2) + place).flatten()
