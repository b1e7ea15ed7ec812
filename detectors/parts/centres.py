"""A head of heat maps: mmdet3d's CenterHead (Yin et al., CenterPoint, CVPR 2021).

Each cell of the map is a prior: a box of 1 m at the cell's corner, on the ground of the frame.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from mmdet3d.models.dense_heads import CenterHead
from mmdet3d.registry import MODELS
from torch import Tensor

from detectors.core.family import Inputs, Model, scaled
from detectors.core.grid import Grid
from detectors.operators.per_batch import once, remembering
from detectors.parts.centre_targets import Targets, centre_targets
from detectors.parts.part import Config, DenseHead, as_detections, metas, require_type, rows
from kd_methods.core.interface import Detections, HeadOutputs

YAW = 6
"""First column of the sine and cosine that the box code ends with."""
CODE = ("reg", "height", "dim", "rot")
"""Maps of the box code: offset in cells, height of the centre, logarithm of the size, sine and
cosine of the yaw."""
MARGIN = 10.0
"""Metres around the region within which a box may have its centre; CenterPoint's own is 10 too."""
LEAST = 1e-4
"""Probabilities are kept this far from 0 and 1 in the loss, as mmdet3d's clip_sigmoid does."""


class Centres(DenseHead):
    """One task for all classes, and no velocity, which frames of one scan do not have."""

    def resize(self, config: Config, ratio: float, grid: Grid, entering: int, stride: int) -> None:
        require_type(config, "bbox_head.separate_head", "SeparateHead")
        head, names = config["bbox_head"], list(grid.class_names)
        x0, y0, z0, x1, y1, z1 = grid.point_cloud_range
        centres = [*(v - MARGIN for v in (x0, y0, z0)), *(v + MARGIN for v in (x1, y1, z1))]
        nx, ny, _ = grid.cells
        place = {"voxel_size": list(grid.voxel_size[:2]), "out_size_factor": stride}
        place["pc_range"] = [x0, y0]
        training = {"grid_size": list(grid.cells), "point_cloud_range": [x0, y0, z0, x1, y1, z1]}
        training |= {"voxel_size": list(grid.voxel_size), "out_size_factor": stride}
        head.update(
            in_channels=entering,
            tasks=[{"num_class": len(names), "class_names": names}],
            share_conv_channel=scaled(head.get("share_conv_channel", 64), ratio),
            common_heads={name: head["common_heads"][name] for name in CODE},
        )
        separate = head["separate_head"]
        separate["head_conv"] = scaled(separate.get("head_conv", 64), ratio)
        most = min(head["bbox_coder"]["max_num"], (nx // stride) * (ny // stride))
        head["bbox_coder"].update(place, post_center_range=centres, max_num=most, code_size=7)
        training["code_weights"] = config["train_cfg"]["code_weights"][: YAW + 2]
        config["train_cfg"].update(training)
        config["test_cfg"].update(place, post_center_limit_range=centres)

    def buildable(self, config: Config) -> None:
        config["bbox_head"]["type"] = CentreHead.__name__

    def classes(self, head: Model) -> int:
        return head.num_classes[0]

    def read(self, head: Model, raw: Any, inputs: Inputs) -> HeadOutputs:
        return _boxes(head, raw[0][0], inputs)

    @torch.no_grad()
    def detections(self, head: Model, raw: Any, inputs: Inputs) -> list[Detections]:
        maps = {name: values.detach() for name, values in raw[0][0].items()}
        return as_detections(head.predict_by_feat(([maps],), metas(inputs)))


@MODELS.register_module()
class CentreHead(CenterHead):
    """mmdet3d's head for boxes without velocity, which the original can detect but not be trained
    on. The original's loss also writes probabilities over the logits that others have captured, and
    draws the same heat maps for every network that sees a batch."""

    def loss_by_feat(self, outputs: Any, truth: Any, *unused: Any) -> dict[str, Tensor]:
        """Focal loss of the heat maps, L1 loss of the box codes at the objects' centres."""
        (maps,) = outputs[0]
        targets = self.targets(truth)
        code = _code(maps)[targets.frame, targets.cell]
        weights = code.new_tensor(self.train_cfg["code_weights"]).expand_as(code)
        peaks = targets.heat.eq(1).sum().clamp(min=1)
        likely = maps["heatmap"].sigmoid().clamp(LEAST, 1 - LEAST)
        return {
            "loss_heatmap": self.loss_cls(likely, targets.heat, avg_factor=peaks),
            "loss_bbox": self.loss_bbox(code, targets.code, weights, avg_factor=len(code) + 1e-4),
        }

    def targets(self, truth: Any) -> Targets:
        """Computed once for all networks that see a batch.

        Args:
            truth: the frames' ``InstanceData``.
        """
        boxes = [(one.bboxes_3d.tensor, one.labels_3d) for one in truth]
        among = tuple(tensor for frame in boxes for tensor in frame)
        classes = self.num_classes[0]
        return once("centres", among, lambda: centre_targets(self.train_cfg, classes, boxes))

    def predict_by_feat(self, *arguments: Any, **options: Any) -> Any:
        """Boxes of each frame. mmdet3d's coder makes a tensor of a tensor, and PyTorch warns."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning)
            return super().predict_by_feat(*arguments, **options)


def _code(maps: dict[str, Tensor]) -> Tensor:
    """(B, H * W, 8) box codes."""
    return torch.cat([rows(maps[name], maps[name].shape[1]) for name in CODE], dim=-1)


def _boxes(head: Model, maps: dict[str, Tensor], inputs: Inputs) -> HeadOutputs:
    """What the head predicted, one row per cell, the code's sine and cosine as one angle."""
    code, logits = _code(maps), rows(maps["heatmap"], head.num_classes[0])
    angle = torch.atan2(code[..., YAW], code[..., YAW + 1])
    corners = _corners(head, maps["heatmap"])

    def decode(deltas: Tensor) -> Tensor:
        place = corners + deltas[..., :2] * _cell(head, deltas)
        size = deltas[..., 3:YAW].exp()
        bottom = deltas[..., 2:3] - size[..., 2:] / 2
        return torch.cat([place, bottom, size, deltas[..., YAW:]], dim=-1)

    def targets() -> Targets:
        with remembering(inputs.searches):
            return head.targets([sample.gt_instances_3d for sample in inputs.samples()])

    def assign() -> Tensor:
        found, label = targets(), torch.full(logits.shape[:2], -1, device=logits.device)
        label[found.frame, found.cell] = found.label
        return label

    return HeadOutputs(
        class_logits=logits,
        deltas=torch.cat([code[..., :YAW], angle[..., None]], dim=-1),
        direction_logits=None,
        priors=decode(torch.zeros_like(code[..., : YAW + 1])),
        decode=decode,
        assign=assign,
        soften=lambda: rows(targets().heat, head.num_classes[0]),
    )


def _cell(head: Model, like: Tensor) -> Tensor:
    """Sides of a cell along x and y, metres."""
    coder = head.bbox_coder
    return like.new_tensor(coder.voxel_size) * coder.out_size_factor


def _corners(head: Model, heat: Tensor) -> Tensor:
    """(H * W, 2) x and y of the cells' least corners, metres."""
    height, width = heat.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([x, y], dim=-1).reshape(-1, 2).to(heat.device, torch.float32)
    return cells * _cell(head, cells) + cells.new_tensor(head.bbox_coder.pc_range)
