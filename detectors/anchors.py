"""Reading mmdet3d's anchor head, which PointPillars and SECOND share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from detectors.family import Grid, Inputs, Model
from kd_methods.core.interface import Boxes, Dense, Detections, Layer


def reduced_anchors(generator: dict[str, Any], grid: Grid) -> dict[str, Any]:
    """An anchor generator's config with its ranges moved to the grid, heights kept."""
    x0, y0, x1, y1 = grid.extent
    ranges = [[x0, y0, low, x1, y1, high] for _, _, low, _, _, high in generator["ranges"]]
    return {**generator, "ranges": ranges}


def read_boxes(head: Model, raw: tuple[list[Tensor], ...], inputs: Inputs) -> Boxes:
    """What an Anchor3DHead predicted, with one row per anchor.

    Args:
        raw: the head's output: class scores, box codes and direction scores, one map each.
    """
    scores, codes, directions = (maps[0] for maps in raw)
    priors = head.prior_generator.grid_anchors([scores.shape[-2:]], device=scores.device)
    anchors = priors[0].reshape(-1, head.box_code_size)

    def assign() -> Tensor:
        samples = inputs.samples()
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

    return Boxes(
        class_logits=_rows(scores, head.num_classes),
        deltas=_rows(codes, head.box_code_size),
        direction_logits=_rows(directions, 2),
        priors=anchors,
        decode=lambda deltas: head.bbox_coder.decode(anchors.expand_as(deltas), deltas),
        assign=assign,
    )


@torch.no_grad()
def read_detections(head: Model, raw: tuple[list[Tensor], ...]) -> list[Detections]:
    """Final boxes from an Anchor3DHead's output."""
    from mmdet3d.structures import LiDARInstance3DBoxes

    detached = [[level.detach() for level in maps] for maps in raw]
    metas = [{"box_type_3d": LiDARInstance3DBoxes}] * len(detached[0][0])
    return [
        Detections(found.bboxes_3d.tensor, found.scores_3d, found.labels_3d)
        for found in head.predict_by_feat(*detached, batch_input_metas=metas)
    ]


def read_map(values: Tensor, grid: Grid, pre_relu: Tensor | None = None) -> Dense:
    """A feature map (B, C, H, W) that covers the whole grid."""
    stride = round(grid.cells[0] / values.shape[-1])
    pre_relu = None if pre_relu is None else pre_relu.float()
    return Dense(values.float(), stride, grid.extent, pre_relu)


def backbone_norms(backbone: Model) -> list[nn.BatchNorm2d]:
    """The last batch norm of every stage of a SECOND backbone."""
    return [_last_norm(block) for block in backbone.blocks]


def neck_norms(neck: Model) -> list[nn.BatchNorm2d]:
    """The batch norm of every branch of a SECONDFPN neck."""
    return [_last_norm(block) for block in neck.deblocks]


def dense_layer(norms: list[nn.BatchNorm2d]) -> Layer:
    """Shape of a map that concatenates the outputs of several batch norms."""
    weight = torch.cat([norm.weight.detach() for norm in norms])
    bias = torch.cat([norm.bias.detach() for norm in norms])
    return Layer(len(weight), dense=True, batch_norm=(weight, bias))


def _last_norm(block: nn.Module) -> nn.BatchNorm2d:
    return [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)][-1]


def _rows(maps: Tensor, size: int) -> Tensor:
    """(B, A * size, H, W) to (B, H * W * A, size), anchors in the generator's order."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, size).float()
