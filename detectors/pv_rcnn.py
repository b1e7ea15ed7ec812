"""PV-RCNN (Shi et al., CVPR 2020) as in mmdet3d's KITTI config, both stages.

The first stage is SECOND's network. Key points gather features from its voxels, its map and the
points around them; a grid of places in each proposal gathers theirs, and a second stage refines the
proposal from it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from mmdet3d.models.dense_heads import PartA2RPNHead
from mmdet3d.models.middle_encoders import VoxelSetAbstraction
from mmdet3d.models.roi_heads import PVRCNNRoiHead
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.model import normal_init
from torch import Tensor

from detectors.core.family import (
    Family,
    Hooks,
    Inputs,
    Model,
    per_class,
    scale_branches,
    scale_widths,
    scaled,
    to_float,
)
from detectors.core.grid import DetectorError, Grid
from detectors.core.voxelnet import VoxelNet
from detectors.operators.per_batch import remembering
from detectors.parts.anchors import TargetsOnce
from detectors.parts.part import Config, as_detections, metas
from detectors.parts.proposals import Proposals, as_proposals, never_without
from detectors.parts.set_abstraction import SetAbstraction
from kd_methods.core.interface import Detections

FIRST_STAGE = ("data_preprocessor", "voxel_encoder", "middle_encoder", "backbone", "neck")
"""Parts that SECOND has too, under the same names."""
FRESH_BOX_STD = 0.001
"""Standard deviation of the second stage's fresh box weights, so that it initially keeps the
proposals: the authors' (pcdet/models/roi_heads/pvrcnn_head.py), which mmdet3d leaves out."""


class PVRCNN(VoxelNet):
    """SECOND's network, key points, refinement of grids in the proposals."""

    def base_config(self) -> Config:
        """mmdet3d's own model config, both stages."""
        return Family.base_config(self)

    def first_stage(self) -> Config:
        """Its parts and settings under the names that a VoxelNet has for them."""
        whole = self.base_config()
        first = {name: whole[name] for name in FIRST_STAGE}
        head = whole["rpn_head"] | {"type": "Anchor3DHead"}
        settings = {name: whole[name]["rpn"] for name in ("train_cfg", "test_cfg")}
        return {"type": "VoxelNet", **first, "bbox_head": head, **settings}

    def default_grid(self) -> Grid:
        config = self.base_config()
        return replace(
            super().default_grid(),
            key_points=config["points_encoder"]["num_keypoints"],
            proposals=config["test_cfg"]["rpn"]["nms_post"],
            roi_points=config["roi_head"]["bbox_roi_extractor"]["grid_size"] ** 3,
        )

    def config(self, ratio: float, grid: Grid) -> Config:
        """Where the grid says nothing of the second stage (it is SECOND's), that is mmdet3d's."""
        first, config, grid = super().config(ratio, grid), self.base_config(), self._complete(grid)
        config |= {name: first[name] for name in FIRST_STAGE}
        config["rpn_head"] = first["bbox_head"] | {"type": config["rpn_head"]["type"]}
        config["train_cfg"]["rpn"] = first["train_cfg"]
        _resize_points(config, ratio, grid)
        _resize_second_stage(config, ratio, grid)
        self._resize_proposals(config, grid)
        return config

    def buildable(self, config: Config) -> Config:
        config["rpn_head"]["type"] = ProposalHead.__name__
        config["roi_head"]["type"] = RefiningHead.__name__
        config["points_encoder"]["type"] = KeyPoints.__name__
        for layer in (*_gathering(config), config["roi_head"]["bbox_roi_extractor"]["roi_layer"]):
            layer["type"] = SetAbstraction.__name__
        return config

    def build(self, ratio: float, grid: Grid) -> Model:
        model = super().build(ratio, grid)
        normal_init(model.roi_head.bbox_head.reg_layer[-1], std=FRESH_BOX_STD)
        model.points_encoder.register_forward_hook(to_float)
        return model

    def head(self, model: Model) -> Model:
        return model.rpn_head

    def taps(self, model: Model, needs: set[str]) -> Hooks:
        taps = super().taps(model, needs)
        return taps | {"features": model.middle_encoder} if "head" in taps else taps

    def observe(self, model: Model, inputs: Inputs) -> None:
        """Run the first stage only."""
        self._first_stage(model, inputs)

    def losses(self, model: Model, inputs: Inputs) -> dict[str, Tensor]:
        return super().losses(model, never_without(inputs))

    @torch.no_grad()
    def dry_run(self, model: Model, grid: Grid) -> None:
        """The second stage refines as many proposals as it does at most."""
        inputs, count = self.empty_frame(model, grid), self._complete(grid).proposals
        features = self._first_stage(model, inputs)
        boxes = features["spatial_feats"].new_ones(count, 7)
        proposed = Proposals(
            bboxes_3d=LiDARInstance3DBoxes(boxes), labels_3d=boxes.new_zeros(count).long()
        )
        _refined(model, inputs, features, [proposed])

    @torch.no_grad()
    def detections(self, model: Model, inputs: Inputs, raw: dict[str, Any]) -> list[Detections]:
        """Final boxes: the second stage runs on the captured features, in evaluation mode."""
        spatial, voxels = raw["features"]
        proposals = model.rpn_head.predict_by_feat(
            *raw["head"], batch_input_metas=metas(inputs), cfg=model.test_cfg.rpn
        )
        features = {"spatial_feats": spatial, "multi_scale_3d_feats": voxels}
        return _refined(model, inputs, features, proposals)

    def _first_stage(self, model: Model, inputs: Inputs) -> dict[str, Any]:
        """Its features; the head is called for its outputs."""
        with remembering(inputs.searches):
            features = model.extract_feat(inputs.tensors())
        model.rpn_head(features["neck_feats"])
        return features

    def _complete(self, grid: Grid) -> Grid:
        """The grid, with mmdet3d's second stage where it says nothing of it."""
        whole = self.default_grid()
        names = ("key_points", "proposals", "roi_points")
        return replace(
            grid, **{name: getattr(grid, name) or getattr(whole, name) for name in names}
        )

    def _resize_proposals(self, config: Config, grid: Grid) -> None:
        """Proposals of both phases, and samples of them, in the proportion of mmdet3d's."""
        training, whole = config["train_cfg"], self.default_grid().proposals

        def share(count: int) -> int:
            return max(1, round(count * grid.proposals / whole))

        for settings in (training["rpn_proposal"], config["test_cfg"]["rpn"]):
            settings.update({name: share(settings[name]) for name in ("nms_post", "max_num")})
        sampler = training["rcnn"]["sampler"]
        sampler["num"] = share(sampler["num"])
        training["rcnn"]["assigner"] = per_class(training["rcnn"]["assigner"], grid)


@MODELS.register_module()
class ProposalHead(TargetsOnce, PartA2RPNHead):
    """mmdet3d's head, whose proposals are quick to divide by class."""

    def predict_by_feat(self, *arguments: Any, **options: Any) -> list[Proposals]:
        """Proposals of each frame, without gradient."""
        return as_proposals(super().predict_by_feat(*arguments, **options))


@MODELS.register_module()
class KeyPoints(VoxelSetAbstraction):
    """mmdet3d's encoder, for voxels in any order. The original (voxel_set_abstraction.py:307)
    takes them to be sorted by frame; spconv's are not behind a strided layer, so that key points
    would gather voxels of other frames."""

    def forward(self, read: Any, features: dict[str, Any], proposals: Any) -> dict[str, Tensor]:
        """Features of key points, with and without fusion, and where they are."""
        voxels = [_by_frame(stage) for stage in features["multi_scale_3d_feats"]]
        return super().forward(read, features | {"multi_scale_3d_feats": voxels}, proposals)


@MODELS.register_module()
class RefiningHead(PVRCNNRoiHead):
    """mmdet3d's head in float32. Under autocast it would turn boxes and grids in bfloat16
    (rotation_3d_in_axis, structures/bbox_3d/utils.py:113), which misplaces them by decimetres."""

    def loss(self, features: dict[str, Tensor], *arguments: Any) -> dict[str, Tensor]:
        """Losses of both branches."""
        with _full_precision(features):
            return super().loss(features, *arguments)

    def predict(self, features: dict[str, Tensor], *arguments: Any) -> Any:
        """Final boxes of each frame."""
        with _full_precision(features):
            return super().predict(features, *arguments)


def _by_frame(stage: Any) -> Any:
    """The same cells of a SparseConvTensor, sorted by frame and otherwise in their order."""
    order = stage.indices[:, 0].argsort(stable=True)
    rows = stage.features.index_select(0, order), stage.indices.index_select(0, order)
    return type(stage)(*rows, stage.spatial_shape, stage.batch_size)


def _full_precision(features: dict[str, Tensor]) -> AbstractContextManager[None]:
    return torch.autocast(features["keypoints"].device.type, enabled=False)


def _refined(
    model: Model, inputs: Inputs, features: dict[str, Any], proposals: list[Proposals]
) -> list[Detections]:
    """What the second stage makes of proposals, in evaluation mode."""
    stage, training = (model.points_encoder, model.roi_head), model.training
    for part in stage:
        part.eval()
    with remembering(inputs.searches):
        points = model.points_encoder(inputs.tensors(), features, proposals)
        found = model.roi_head.predict(points, proposals, inputs.samples())
    for part in stage:
        part.train(training)
    return as_detections(found)


def _resize_points(config: Config, ratio: float, grid: Grid) -> None:
    """Key points: how many, where, what they read, and how wide."""
    encoder, stages = config["points_encoder"], config["middle_encoder"]["encoder_channels"]
    encoder.update(
        num_keypoints=grid.key_points,
        voxel_size=list(grid.voxel_size),
        point_cloud_range=list(grid.point_cloud_range),
        bev_feat_channel=config["backbone"]["in_channels"],
        fused_out_channel=scaled(encoder["fused_out_channel"], ratio),
    )
    for layer, widths in zip(encoder["voxel_sa_cfgs_list"], stages, strict=True):
        layer["in_channels"] = widths[-1]
    for layer in _gathering(config):
        layer["mlp_channels"] = scale_branches(layer["mlp_channels"], ratio)


def _resize_second_stage(config: Config, ratio: float, grid: Grid) -> None:
    """The grid in each proposal, classes, and widths.

    Raises:
        DetectorError: the number of places is no cube.
    """
    side = round(grid.roi_points ** (1 / 3))
    if side**3 != grid.roi_points:
        raise DetectorError(
            f"roi_points is {grid.roi_points}; make it the places of a cube, such as 27 or 216"
        )
    stage, encoder = config["roi_head"], config["points_encoder"]
    gathered = encoder["bev_feat_channel"] + sum(map(_leaving, _gathering(config)))
    layer, box = stage["bbox_roi_extractor"]["roi_layer"], stage["bbox_head"]
    layer["in_channels"] = encoder["fused_out_channel"]
    layer["mlp_channels"] = scale_branches(layer["mlp_channels"], ratio)
    stage["bbox_roi_extractor"]["grid_size"] = box["grid_size"] = side
    stage["num_classes"] = box["num_classes"] = len(grid.classes)
    stage["semantic_head"].update(
        in_channels=gathered, mlp_channels=tuple(scale_widths(SEGMENTATION, ratio))
    )
    box["in_channels"] = _leaving(layer)
    for name in ("shared_fc_channels", "reg_channels", "cls_channels"):
        box[name] = tuple(scale_widths(box[name], ratio))


SEGMENTATION = (256, 256)
"""Widths of the head that tells objects' key points from others: mmdet3d's default."""


def _gathering(config: Config) -> list[Config]:
    """The set abstractions around key points: of the points, and of each encoder stage's voxels."""
    encoder = config["points_encoder"]
    return [encoder["rawpoints_sa_cfgs"], *encoder["voxel_sa_cfgs_list"]]


def _leaving(layer: Config) -> int:
    """Channels that leave a set abstraction."""
    return sum(branch[-1] for branch in layer["mlp_channels"])


FAMILY = PVRCNN("pv_rcnn", "pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py")
