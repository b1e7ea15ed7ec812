"""What an anchor head is trained to predict, for all frames of a batch at once.

mmdet3d assigns frame by frame, class by class and object by object: some three thousand small
operations for six frames, six sevenths of a PointPillars student's step, which on a graphics card
take longer than the network. The rules are those of mmdet's MaxIoUAssigner and mmdet3d's
AnchorTrainMixin, and so are the results, bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmdet3d.models.dense_heads.train_mixins import get_direction_target
from mmdet3d.structures import LiDARInstance3DBoxes
from torch import Tensor

NONE, NEITHER = 0, -1
"""Anchors of the background, and those that are neither background nor an object's."""


class Truth(NamedTuple):
    """The objects of B frames that each of C assigners sees, in their order.

    Attributes:
        boxes: (B, C, G, 7) filled up with zeros.
        labels: (B, C, G).
        counts: (B, C) how many there are.
        most: (C,) of them in one frame, at least 1.
    """

    boxes: Tensor
    labels: Tensor
    counts: Tensor
    most: Sequence[int]


def anchor_targets(head: Any, anchors: Tensor, truth: Sequence[Any]) -> tuple[Any, ...]:
    """The targets of an ``Anchor3DHead`` that has an assigner per class and does not sample.

    Args:
        anchors: (D, H, W, C, R, 7) of C classes in R directions.
        truth: the frames' ``InstanceData``.

    Returns:
        As ``AnchorTrainMixin.anchor_target_3d``: of A = D H W C R anchors the labels (B, A), their
        weights, box codes (B, A, 7), their weights, directions (B, A), their weights, each in a
        list; and the numbers of positive and of negative anchors.
    """
    classes, directions = anchors.shape[-3:-1]
    objects = _by_assigner(truth, classes, head.assign_per_class)
    owner = torch.stack(
        [
            _assign(assigner, anchors[..., c, :, :].reshape(-1, 7), objects, c)
            .unflatten(1, (-1, directions))
            for c, assigner in enumerate(head.bbox_assigner)
        ],
        dim=2,
    ).flatten(1)  # fmt: skip
    anchors = anchors.reshape(-1, 7)
    positive = owner > NONE
    weights = positive.to(anchors.dtype)
    frame, row = positive.nonzero().unbind(1)
    theirs = frame, row // directions % classes, owner[frame, row] - 1
    labels = torch.full_like(owner, head.num_classes)
    labels[frame, row] = objects.labels[theirs]
    codes = anchors.new_zeros(*owner.shape, 7)
    codes[frame, row] = head.bbox_coder.encode(anchors[row], objects.boxes[theirs])
    facing = torch.zeros_like(owner)
    facing[frame, row] = get_direction_target(
        anchors[row], codes[frame, row], head.dir_offset, head.dir_limit_offset, one_hot=False
    )
    numbers = torch.stack([positive.sum(1), (owner == NONE).sum(1)]).clamp(min=1).sum(1).tolist()
    return (
        [labels],
        [(owner > NEITHER).to(anchors.dtype)],
        [codes],
        [weights[..., None].repeat(1, 1, 7)],
        [facing],
        [weights],
        *numbers,
    )


def _by_assigner(truth: Sequence[Any], classes: int, per_class: bool) -> Truth:
    """The objects of some frames; each assigner sees those of its class, or all."""
    boxes = torch.cat([one.bboxes_3d.tensor for one in truth])
    labels = torch.cat([one.labels_3d for one in truth])
    frame = torch.cat([torch.full_like(one.labels_3d, i) for i, one in enumerate(truth)])
    every = torch.arange(classes, device=labels.device)
    seen = (labels[:, None] == every) | (not per_class)
    own = frame[:, None] == torch.arange(len(truth), device=labels.device)
    member = (own[:, :, None] & seen[:, None]).long()  # (T, B, C)
    place = (member.cumsum(0) * member).sum(1) - 1  # (T, C); -1, a spare one, if unseen
    counts = member.sum(0)
    most = counts.amax(0).clamp(min=1).tolist()
    to = frame[:, None], every, place
    filled = boxes.new_zeros(len(truth), classes, max(most) + 1, 7)
    filled[to] = boxes[:, None].expand(-1, classes, -1)
    named = labels.new_zeros(filled.shape[:-1])
    named[to] = labels[:, None].expand(-1, classes)
    return Truth(filled[:, :, :-1], named[:, :, :-1], counts, most)


def _assign(assigner: Any, anchors: Tensor, truth: Truth, which: int) -> Tensor:
    """(B, N) 1 + index of the object that each anchor (N, 7) is for, else NONE, NEITHER.

    An anchor is for the object that it overlaps most, where that suffices, and for one that no
    other overlaps more (mmdet's MaxIoUAssigner, steps 1 to 4); the last of several such.
    """
    boxes = truth.boxes[:, which, : truth.most[which]]
    number = torch.arange(boxes.shape[1], device=boxes.device)
    overlaps = bbox_overlaps(_upright(boxes), _upright(anchors).expand(len(boxes), -1, -1))
    overlaps.masked_fill_((number >= truth.counts[:, which, None])[..., None], -1)
    most, best = overlaps.max(dim=1)
    owner = torch.where(most < assigner.neg_iou_thr, NONE, NEITHER)
    owner = torch.where(most >= assigner.pos_iou_thr, best + 1, owner)
    top = overlaps.amax(dim=2, keepdim=True)
    forced = (overlaps == top) & (top >= assigner.min_pos_iou)
    last = (forced * (number + 1).short()[:, None]).amax(dim=1).long()
    return torch.where(last > 0, last, owner)


def _upright(boxes: Tensor) -> Tensor:
    """(..., 4) corners of boxes (..., 7), each turned to the nearer axis."""
    return LiDARInstance3DBoxes(boxes.reshape(-1, 7)).nearest_bev.view(*boxes.shape[:-1], 4)
