"""A head of anchors: mmdet3d's Anchor3DHead."""

from __future__ import annotations

from typing import Any

import torch
from mmdet3d.models.dense_heads import Anchor3DHead
from mmdet3d.registry import MODELS
from torch import Tensor

from detectors.core.family import Inputs, Model, per_class
from detectors.core.grid import DetectorError, Grid
from detectors.operators.per_batch import once, remembering
from detectors.parts.anchor_targets import anchor_targets
from detectors.parts.part import Config, DenseHead, as_detections, metas, rows
from kd_methods.core.interface import Detections, HeadOutputs


class Anchors(DenseHead):
    """A box for each anchor: each class's, in two directions, in every cell of the map."""

    def resize(self, config: Config, ratio: float, grid: Grid, entering: int, stride: int) -> None:
        """It has no width but that of the map."""
        head = config["bbox_head"]
        if head.get("bbox_coder", {}).get("code_size", 7) != 7:
            raise DetectorError("model.bbox_head.bbox_coder.code_size must be 7, no velocity")
        if not head.get("use_direction_classifier", True):
            raise DetectorError("model.bbox_head.use_direction_classifier is off; turn it on")
        head.update(in_channels=entering, feat_channels=entering, num_classes=len(grid.classes))
        head["anchor_generator"].update(_anchors(grid))
        config["train_cfg"]["assigner"] = per_class(config["train_cfg"]["assigner"], grid)

    def buildable(self, config: Config) -> None:
        if config["bbox_head"]["type"] == Anchor3DHead.__name__:
            config["bbox_head"]["type"] = AnchorHead.__name__

    def classes(self, head: Model) -> int:
        return head.num_classes

    def read(self, head: Model, raw: Any, inputs: Inputs) -> HeadOutputs:
        return _boxes(head, raw, inputs)

    @torch.no_grad()
    def detections(self, head: Model, raw: Any, inputs: Inputs) -> list[Detections]:
        detached = [[level.detach() for level in maps] for maps in raw]
        return as_detections(head.predict_by_feat(*detached, batch_input_metas=metas(inputs)))


class TargetsOnce:
    """For a head of mmdet3d whose targets depend on anchors and objects alone: they are computed
    once for all networks that see a batch."""

    def anchor_target_3d(self, anchors: Any, truth: Any, *unused: Any, **settings: Any) -> Any:
        objects = [tensor for one in truth for tensor in (one.bboxes_3d.tensor, one.labels_3d)]
        (among,) = anchors[0]
        return once("anchor targets", (among, *objects), lambda: anchor_targets(self, among, truth))


@MODELS.register_module()
class AnchorHead(TargetsOnce, Anchor3DHead):
    """mmdet3d's head."""


def _anchors(grid: Grid) -> dict[str, Any]:
    """Where the anchors of each class lie, and their sizes."""
    x0, y0, x1, y1 = grid.extent
    bottoms = [each.bottom for each in grid.classes]
    return {
        "ranges": [[x0, y0, bottom, x1, y1, bottom] for bottom in bottoms],
        "sizes": [list(each.size) for each in grid.classes],
        "reshape_out": False,
    }


def _boxes(head: Model, raw: tuple[list[Tensor], ...], inputs: Inputs) -> HeadOutputs:
    """What an Anchor3DHead predicted, with one row per anchor.

    Args:
        raw: the head's output: class scores, box codes and direction scores, one map each.
    """
    scores, codes, directions = (maps[0] for maps in raw)
    priors = head.prior_generator.grid_anchors([scores.shape[-2:]], device=scores.device)
    anchors = priors[0].reshape(-1, head.box_code_size)

    def assign() -> Tensor:
        samples = inputs.samples()
        with remembering(inputs.searches):
            labels, weights = head.anchor_target_3d(
                [[priors[0]] for _ in samples],
                [sample.gt_instances_3d for sample in samples],
                [sample.metainfo for sample in samples],
                num_classes=head.num_classes,
                label_channels=head.cls_out_channels,
                sampling=head.sampling,
            )[:2]
        label = labels[0].masked_fill(labels[0] >= head.num_classes, -1)
        return label.masked_fill(weights[0] == 0, -2)

    return HeadOutputs(
        class_logits=rows(scores, head.num_classes),
        deltas=rows(codes, head.box_code_size),
        direction_logits=rows(directions, 2),
        priors=anchors.expand(len(scores), -1, -1),
        decode=lambda deltas: head.bbox_coder.decode(anchors.expand_as(deltas), deltas),
        assign=assign,
    )
