"""SparseKD's label distillation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kd_methods.core.interface import Batch, Detections, KDMethod, Outputs
from kd_methods.core.registry import register


@register("sparsekd_label", paper="Yang et al., NeurIPS 2022", year=2022)
class SparseKDLabel(KDMethod):
    """The student's targets are the ground truth and the teacher's confident detections.

    Source: Yang et al., arXiv 2205.15156, label KD, after Nguyen et al., WACV 2022. In
    CVMI-Lab/SparseKD (parse_teacher_pred_to_targets and every Waymo config) the teacher's
    detections with a score above 0.6, for all classes alike, stand before the ground truth in
    the list that the detector assigns its targets from; a detection that covers a ground-truth
    box is kept beside it.

    What differs: the detections are those after non-maximum suppression, as anchor heads give
    near copies of a box, where the source's centre head needs none. The threshold was set for
    CenterPoint on Waymo; focal loss gives scores on the same scale here, so it is kept.
    """

    threshold: float = 0.6

    def needs(self) -> set[str]:
        return {"head"}

    def targets(self, teacher: Outputs, batch: Batch) -> Batch:
        sure = [self._confident(found) for found in teacher.detections]
        frames = list(zip(sure, batch.boxes, batch.labels, strict=True))
        return replace(
            batch,
            boxes=[torch.cat([found.boxes.to(boxes), boxes]) for found, boxes, _ in frames],
            labels=[torch.cat([found.labels.to(labels), labels]) for found, _, labels in frames],
        )

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {}

    def _confident(self, found: Detections) -> Detections:
        sure = found.scores > self.threshold
        return Detections(found.boxes[sure], found.scores[sure], found.labels[sure])
