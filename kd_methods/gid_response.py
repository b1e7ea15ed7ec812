"""GID's response part: general instance distillation (Dai et al., CVPR 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.geometry import inside
from kd_methods.core.interface import Batch, KDMethod, Outputs, Spec
from kd_methods.core.regions import disparate, overlaps
from kd_methods.core.registry import register


@register("gid_response", paper="Dai et al., CVPR 2021", year=2021)
class GIDResponse(KDMethod):
    """Where the networks' scores differ most, the student predicts what the teacher predicts.

        L_class = classification / |M| sum_{i in M} sum_k BCE(s_ik, sigmoid(t_ik))
        L_box   = regression / |M| sum_{i in M} || code_i^S - code_i^T ||_1

    M are the anchors that match an instance: their IoU with it in BEV, both turned to the nearest
    axis, is at least ``matched``, or none has a larger one. On points, M are the points inside an
    instance. Instances are chosen as in ``gid_feature``. s and t are class logits; the yaw code
    differs by its sine.

    Attributes:
        classification: weight of L_class.
        regression: weight of L_box.
        matched: IoU of an anchor with an instance, in [0, 1].
        candidates: priors per frame before the suppression.
        overlap: IoU above which one of two boxes is suppressed.
        instances: boxes per frame.

    Source: Dai et al., arXiv 2103.02340; values of the RetinaNet configs of
    daixinghome/Distill_GID_detectron2.
    """

    classification: float = 0.1
    regression: float = 1.0
    matched: float = 0.5
    candidates: int = 3000
    overlap: float = 0.3
    instances: int = 10

    def needs(self) -> set[str]:
        return {"head"}

    def build(self, teacher: Spec, student: Spec) -> None:
        self.anchors = student.neck.dense

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        places = disparate(teacher, student, self.candidates, self.overlap, self.instances)
        frames = zip(student.head.priors, places, strict=True)
        size = student.head.priors.shape[1]
        chosen = [self._match(priors, at.boxes) + i * size for i, (priors, at) in enumerate(frames)]
        rows = torch.cat(chosen)

        def matched(values: Tensor) -> Tensor:
            return values.flatten(0, 1).index_select(0, rows)

        ours, theirs = (matched(network.head.class_logits) for network in (student, teacher))
        classes = F.binary_cross_entropy_with_logits(ours, theirs.sigmoid(), reduction="sum")
        code = matched(student.head.deltas) - matched(teacher.head.deltas)
        place = code[:, :6].abs().sum() + code[:, 6].sin().abs().sum()
        return {
            "class": self.classification * classes / max(len(rows), 1),
            "box": self.regression * place / max(len(rows), 1),
        }

    def _match(self, priors: Tensor, boxes: Tensor) -> Tensor:
        """Indices (n,) of one frame's priors (A, 7) that match any of the boxes (G, 7)."""
        if not self.anchors:
            centres = priors[:, :3] + priors[:, 5:6] / 2 * priors.new_tensor([0, 0, 1])
            return inside(centres, boxes).any(1).nonzero().flatten()
        rows, overlap = overlaps(priors, boxes)
        if not len(rows):
            return rows
        best = overlap.amax(0)
        fits = (overlap >= self.matched) | ((overlap == best) & (best > 0))
        return rows[fits.any(1)]
