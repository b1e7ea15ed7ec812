"""SA-SSD's encoder (He et al., CVPR 2020): SECOND's, taught where objects are by a network of
points that only training needs (section 3.2).

mmdet3d's own (SparseEncoderSASSD, models/middle_encoders/sparse_encoder.py) is not used: its points
find neighbours by frame, x and y (:521), its stages are placed as those of twice their stride
(:351), its classes are the wrong way round (:463), and it fits KITTI's range and full widths alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmcv.ops import points_in_boxes_part, three_interpolate, three_nn
from mmdet.models.losses import FocalLoss, SmoothL1Loss
from mmdet3d.models.detectors import VoxelNet
from mmdet3d.models.middle_encoders import SparseEncoder
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from detectors.core.family import AUXILIARY
from detectors.core.grid import Grid
from detectors.operators.per_batch import once
from detectors.parts.part import Config
from detectors.parts.voxels import Voxels

PRIOR = 0.01
"""Probability of an object before training (Lin et al., ICCV 2017, section 4.1), so that the loss
of a batch without objects, which no number of them divides, starts low."""
BETA = 1 / 9
"""Offset in metres at which the loss turns from squared to absolute; the authors'."""
NEAREST = 1e-8
"""Metres added to distances before they divide."""


class AuxiliaryVoxels(Voxels):
    """Voxels whose encoder also learns from points. What is deployed is SECOND's."""

    def resize(self, config: Config, ratio: float, grid: Grid) -> int:
        entering = super().resize(config, ratio, grid)
        config["middle_encoder"]["type"] = SparseEncoder.__name__
        return entering

    def buildable(self, config: Config) -> None:
        layer = config["data_preprocessor"]["voxel_layer"]
        stages = config["middle_encoder"]["encoder_channels"]
        config["type"] = AuxiliaryVoxelNet.__name__
        config[AUXILIARY] = {
            "widths": [stage[-1] for stage in stages[1:]],
            "across": config["middle_encoder"]["sparse_shape"][-1],
            "low": layer["point_cloud_range"][:3],
            "voxel_size": layer["voxel_size"],
        }


@MODELS.register_module()
class AuxiliaryVoxelNet(VoxelNet):
    """mmdet3d's detector with the losses of an auxiliary network."""

    def __init__(self, auxiliary: Config, **parts: Any) -> None:
        super().__init__(**parts)
        self.auxiliary = AuxiliaryPoints(**auxiliary)

    def loss(self, inputs: dict[str, Any], samples: Any, **options: Any) -> dict[str, Tensor]:
        """Losses of the head and of the points, on the same pass."""
        seen: list[Any] = []
        stages = list(self.middle_encoder.encoder_layers.children())[1:]
        handles = [
            module.register_forward_hook(lambda module, given, output: seen.append(output))
            for module in (self.voxel_encoder, *stages)
        ]
        try:
            losses = super().loss(inputs, samples, **options)
        finally:
            for handle in handles:
                handle.remove()
        boxes = [sample.gt_instances_3d.bboxes_3d.tensor for sample in samples]
        frame = inputs["voxels"]["coors"][:, 0].long()
        return losses | self.auxiliary.losses(seen[0][:, :3], frame, seen[1:], boxes)


class PointTargets(NamedTuple):
    """What the points are taught.

    Attributes:
        held: (N,) whether an object holds the point.
        offset: (N, 3) metres from that object's centre to the point; 0 where there is none.
    """

    held: Tensor
    offset: Tensor


class AuxiliaryPoints(nn.Module):
    """Tells of each voxel's mean point whether it is of an object and how far from its centre, from
    the encoder's strided stages (section 3.2): in the authors' code from 32, 64 and 64 channels.

    Args:
        widths: channels of the stages.
        across: voxels of the grid along x.
        low: least x, y and z of the grid, metres.
        voxel_size: sides of a voxel along x, y and z, metres.
    """

    def __init__(
        self,
        widths: Sequence[int],
        across: int,
        low: Sequence[float],
        voxel_size: Sequence[float],
    ) -> None:
        super().__init__()
        width = widths[-1]
        self.point_fc = nn.Linear(sum(widths), width, bias=False)
        self.point_cls = nn.Linear(width, 1)
        self.point_reg = nn.Linear(width, 3, bias=False)
        nn.init.constant_(self.point_cls.bias, math.log(PRIOR / (1 - PRIOR)))
        self.across, self.low, self.voxel_size = across, list(low), list(voxel_size)
        self.classify, self.regress = FocalLoss(), SmoothL1Loss(beta=BETA)

    def forward(self, points: Tensor, frame: Tensor, stages: Sequence[Any]) -> tuple[Tensor, ...]:
        """(N, 1) logits of an object and (N, 3) offsets from its centre, metres.

        Args:
            points: (N, 3) metres, frame after frame.
            frame: (N,) of each point.
            stages: spconv's ``SparseConvTensor`` of each.
        """
        parts = []
        for stage in stages:
            cells, stride = stage.indices.long(), self.across // stage.spatial_shape[-1]
            size = stride * points.new_tensor(self.voxel_size)
            centres = points.new_tensor(self.low) + (cells[:, [3, 2, 1]] + 0.5) * size
            features = stage.features.float()
            parts.append(interpolate(points, frame, centres, cells[:, 0], features))
        features = self.point_fc(torch.cat(parts, dim=1))
        return self.point_cls(features), self.point_reg(features)

    def losses(
        self, points: Tensor, frame: Tensor, stages: Sequence[Any], boxes: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Focal loss of which points are objects', smooth L1 loss of their offsets, each divided by
        the number of such points and, as in the authors' code, of frames.

        Args:
            boxes: (T, 7) of each frame; the others as in :meth:`forward`.
        """
        held, offset = once(
            "points of objects",
            (points, frame, *boxes),
            lambda: point_targets(points, frame, boxes),
        )
        with torch.autocast(points.device.type, enabled=False):
            logits, offsets = self(points.float(), frame, stages)
            count = held.sum().clamp(min=1) * len(boxes)
            weight = held[:, None].expand_as(offset).float()
            return {
                "aux_loss_cls": self.classify(logits, (~held).long(), avg_factor=count),
                "aux_loss_reg": self.regress(offsets, offset, weight, avg_factor=count),
            }


def point_targets(points: Tensor, frame: Tensor, boxes: Sequence[Tensor]) -> PointTargets:
    """What points are taught.

    Args:
        points: (N, 3) metres, frame after frame.
        frame: (N,) of each point.
        boxes: (T, 7) of each frame: x, y, z of the bottom centre, sizes (metres), yaw (radians).
    """
    found = []
    for number, objects in enumerate(boxes):
        mine = points[frame == number]
        first = points_in_boxes_part(mine[None], objects[None])[0].long()
        held, offset = first >= 0, torch.zeros_like(mine)
        centres = objects[:, :3].clone()
        centres[:, 2] += objects[:, 5] / 2
        offset[held] = mine[held] - centres[first[held]]
        found.append(PointTargets(held, offset))
    return PointTargets(*map(torch.cat, zip(*found, strict=True)))


def interpolate(
    points: Tensor, frame: Tensor, places: Tensor, frames: Tensor, features: Tensor
) -> Tensor:
    """(N, C) features at points: of the three nearest places of the same frame, weighted by their
    inverse distance (Qi et al., PointNet++, NeurIPS 2017, equation 2, with p = 1).

    Args:
        points: (N, 3) metres, frame after frame.
        frame: (N,) of each point.
        places: (M, 3) metres, in any order.
        frames: (M,) of each place; each frame of a point has one at least.
        features: (M, C).
    """
    parts = []
    for number in frame.unique().tolist():
        theirs = (frames == number).nonzero()[:, 0]
        distance, nearest = three_nn(points[frame == number][None], places[theirs][None])
        weight = 1 / (distance + NEAREST)
        weight = weight / weight.sum(dim=2, keepdim=True)
        columns = features.index_select(0, theirs).T[None].contiguous()
        parts.append(three_interpolate(columns, nearest, weight)[0].T)
    return torch.cat(parts)
