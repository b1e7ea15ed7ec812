"""RDD: regions in which teacher and student differ look alike."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_methods.core.features import adapter
from kd_methods.core.interface import (
    Batch,
    Boxes,
    Dense,
    KDMethod,
    MethodError,
    Outputs,
    Points,
    Spec,
)
from kd_methods.core.registry import register


@register("rdd", paper="Li et al., ICCV 2023", year=2023)
class RDD(KDMethod):
    """In regions where the networks differ, the student's features and predictions follow.

    Source: Li et al., arXiv 2308.10308, equations 2, 5, 8 and 9. A region pair is one place in
    both networks' neck features, proposed by the teacher or by the student. Features are divided
    by 4 and softmax-normalised over channels; the student's pass a 1x1 convolution, batch norm
    and ReLU. With m_i in {0, 1} the feature loss is the mean over pairs of m_i times the
    Euclidean distance, the logit loss the mean of m_i times the L1 distances of class
    probabilities and of box codes; both weigh 0.2 and lambda is 0.1, on KITTI too.

    There is no code, and the paper leaves open what follows, argued here:

    - The weights m minimise sum m_i I_i + lambda ||m||_1, I_i the mutual information of a pair.
      As I_i >= 0, taken literally all would be 0, where the paper says that lambda = 0 keeps all
      pairs and m_i is large for disparate ones. The paper holds the entropy H(S) constant and
      replaces H(S|T) by the norm distance d_i of equation 8; then I_i = -d_i up to a constant
      and the minimiser is m_i = 1 where d_i > lambda, else 0, as the paper describes it.
    - Proposals are the ``proposals`` priors of a frame with the highest class probability in one
      network, before suppression, so both networks predict for the same prior; 50 is the most
      that mmdet3d's KITTI heads put out for a frame.
    - RoI Align is sampled in the rotated box on ``grid`` x ``grid`` points, and before the softmax
      and the convolution: both act cell by cell, so only interpolation differs, and the map's
      other cells cost nothing. 3 points are one per cell in a pedestrian's box and one per four
      cells along a car. Where a prior is a point (PointRCNN), its region is that point's feature.
    - Regressed coordinates are box codes, the regression branch's output; yaw differs by its
      sine, as in the detectors' own loss, for which a box and its half turn are alike.
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
            raise MethodError("rdd: teacher and student differ in the kind of their neck")
        self.adapter = adapter(student.neck, teacher.neck)

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        self._check(student.neck, student.head)
        priors = [self._proposals(net.head) for net in (teacher, student)]
        boxes = [
            _take(net.head.decode(net.head.deltas.detach()), chosen)
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

    def _check(self, neck: Dense | Points, head: Boxes) -> None:
        if isinstance(neck, Points) and len(neck.values) != head.class_logits[..., 0].numel():
            raise MethodError("rdd: a neck of points needs one prior for each point")

    def _proposals(self, head: Boxes) -> Tensor:
        """(B, M) priors with the highest class probability in each frame."""
        score = head.class_logits.detach().amax(2)
        return score.topk(min(self.proposals, score.shape[1]), dim=1).indices

    def _normalised(self, neck: Dense | Points, priors: Tensor, boxes: Tensor) -> Tensor:
        """(B * P, C, ...) features of the regions, softmax over channels."""
        if isinstance(neck, Dense):
            regions = crop(neck, boxes, self.grid)
        else:
            regions = _take(neck.values.unflatten(0, (len(priors), -1)), priors).flatten(0, 1)
        return (regions / self.temperature).softmax(1)

    def _logits(self, student: Boxes, teacher: Boxes, priors: Tensor) -> Tensor:
        """(B * P,) L1 distances of class probabilities and box codes."""
        ours, theirs = (_take(head.class_logits, priors).sigmoid() for head in (student, teacher))
        code = _take(student.deltas, priors) - _take(teacher.deltas, priors)
        place = code[..., :6].abs().sum(2) + code[..., 6].sin().abs()
        return ((ours - theirs).abs().sum(2) + place).flatten()


def crop(features: Dense, boxes: Tensor, size: int) -> Tensor:
    """Features interpolated on a grid in each box; places off the map take its border.

    Args:
        boxes: (B, P, 7).
        size: points along the length and along the width.

    Returns:
        (B * P, C, size, size), rows along the length.
    """
    x0, y0, x1, y1 = features.extent
    steps = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) / size - 0.5
    along = steps[:, None] * boxes[..., 3, None, None]
    across = steps[None, :] * boxes[..., 4, None, None]
    cos, sin = (f(boxes[..., 6, None, None]) for f in (torch.cos, torch.sin))
    x = boxes[..., 0, None, None] + along * cos - across * sin
    y = boxes[..., 1, None, None] + along * sin + across * cos
    places = torch.stack([2 * (x - x0) / (x1 - x0) - 1, 2 * (y - y0) / (y1 - y0) - 1], dim=-1)
    places = places.nan_to_num().clamp(-1, 1).flatten(1, 2)
    sampled = F.grid_sample(features.values, places, padding_mode="border", align_corners=False)
    return sampled.unflatten(2, (-1, size)).movedim(2, 1).flatten(0, 1)


def _take(values: Tensor, rows: Tensor) -> Tensor:
    """(B, P, C) rows (B, P) of values (B, A, C)."""
    return values.gather(1, rows[..., None].expand(-1, -1, values.shape[2]))
