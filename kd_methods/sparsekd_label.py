"""SparseKD's label distillation (Yang et al., NeurIPS 2022)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kd_methods.core.interface import Batch, Detections, KDMethod, Outputs
from kd_methods.core.registry import register


@register("sparsekd_label", paper="Yang et al., NeurIPS 2022", year=2022)
class SparseKDLabel(KDMethod):
    """The student's targets are the ground truth plus the teacher's confident detections.

        targets of frame b = [teacher detections with score > threshold] + [ground truth]

    The detector assigns its training targets from this list; the method adds no loss of its own.
    Detections are those after non-maximum suppression. One that covers a ground-truth box stays.

    Attributes:
        threshold: score, in [0, 1], that a detection must exceed, the same for all classes.
        ground_truth: whether the ground truth is among the targets; without it the student learns
            from the teacher alone, as in SCKD (AAAI 2025), whose threshold is 0.1.

    Source: Yang et al., arXiv 2205.15156, label KD, after Nguyen et al., WACV 2022;
    CVMI-Lab/SparseKD, parse_teacher_pred_to_targets, whose threshold (CenterPoint, Waymo) is kept.
    """

    threshold: float = 0.6
    ground_truth: bool = True
    lidar_source = ("centerpoint_pillar", "centerpoint_voxel")
    neutral = {"ground_truth": True}
    by_place = True

    def needs(self) -> set[str]:
        return {"head"}

    def targets(self, teacher: Outputs, batch: Batch) -> Batch:
        sure = [self._confident(found) for found in teacher.detections]
        kept = None if self.ground_truth else 0
        truth = [[frame[:kept] for frame in frames] for frames in (batch.boxes, batch.labels)]
        frames = list(zip(sure, *truth, strict=True))
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
