"""PointRCNN (Shi et al., CVPR 2019) as in mmdet3d's KITTI config, both stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from mmdet3d.models.dense_heads import PointRPNHead
from mmdet3d.registry import MODELS
from mmengine.model import normal_init
from torch import Tensor

from detectors.core.family import (
    Family,
    Hooks,
    Inputs,
    Model,
    installed_config,
    per_class,
    scale_branches,
    scale_widths,
    scaled,
    to_float,
    wanted,
)
from detectors.core.grid import DetectorError, Grid
from detectors.parts.proposals import Proposals, as_proposals, never_without
from kd_methods.core.interface import Batch, Detections, HeadOutputs, Layer, Points, Spec

YAW = 6
"""First column of the cosine and sine that the box code ends with."""
COUNTED_POINTS = 40_000
"""Points of the frame on which mmdet3d counts FLOPs (tools/analysis_tools/get_flops.py)."""
FRESH_BOX_STD = 0.001
"""Standard deviation of the second stage's fresh box weights, so that it initially keeps the
proposals. mmdet3d intends to set it, but passes the weights to a function that expects their layer
and then does nothing (point_rcnn_bbox_head.py:211)."""


class PointRCNN(Family):
    """PointNet++ with set abstraction and feature propagation, a point head, RoI refinement."""

    name = "pointrcnn"
    config_file = "point_rcnn/point-rcnn_8xb2_kitti-3d-3class.py"

    def default_grid(self) -> Grid:
        config = installed_config(self.config_file)
        sample = next(step for step in config["train_pipeline"] if step["type"] == "PointSample")
        model = config["model"]
        return Grid(
            point_cloud_range=tuple(config["point_cloud_range"]),
            num_points=sample["num_points"],
            sample_range=sample["sample_range"],
            proposals=model["test_cfg"]["rpn"]["nms_cfg"]["nms_post"],
            roi_points=_roi_layer(model)["num_sampled_points"],
        )

    def cover(self, grid: Grid, low: Sequence[float], high: Sequence[float]) -> Grid:
        x0, y0, z0, x1, y1, z1 = *low, *high
        return replace(grid, point_cloud_range=(x0, y0, z0, x1, y1, z1))

    def config(self, ratio: float, grid: Grid) -> dict[str, Any]:
        config = self.base_config()
        backbone, neck, head = config["backbone"], config["neck"], config["rpn_head"]
        backbone["num_points"] = self._levels(backbone["num_points"], grid)
        backbone["sa_channels"] = tuple(scale_branches(c, ratio) for c in backbone["sa_channels"])
        neck["fp_channels"] = _propagation(backbone, neck, ratio)
        features = neck["fp_channels"][-1][-1]
        _scale_first_stage(head["pred_layer_cfg"], features, ratio)
        _scale_second_stage(config["roi_head"]["bbox_head"], ratio)
        self._resize_second_stage(config, grid)
        head["num_classes"] = len(grid.classes)
        head["bbox_coder"]["mean_size"] = [list(each.size) for each in grid.classes]
        stage = config["train_cfg"]["rcnn"]
        stage["assigner"] = per_class(stage["assigner"], grid)
        return config

    def build(self, ratio: float, grid: Grid) -> Model:
        model = super().build(ratio, grid)
        head = model.roi_head.bbox_head
        normal_init(head.conv_reg, std=FRESH_BOX_STD)
        head.register_forward_hook(to_float)
        return model

    def buildable(self, config: dict[str, Any]) -> dict[str, Any]:
        config["rpn_head"]["type"] = PointHead.__name__
        return config

    def voxelizer(self, grid: Grid, training: bool) -> Callable[[Batch], Inputs]:
        """A check that every frame has the grid's number of points; nothing is voxelised."""

        def check(batch: Batch) -> Inputs:
            for index, points in enumerate(batch.points):
                if len(points) != grid.num_points:
                    raise DetectorError(
                        f"frame {index} of the batch has {len(points)} points; "
                        f"{self.name} needs exactly {grid.num_points} sampled from each frame"
                    )
            return Inputs(batch, {})

        return check

    def head(self, model: Model) -> Model:
        return model.rpn_head

    def spec(self, model: Model) -> Spec:
        widths = [
            sum(mlp[-1].conv.out_channels for mlp in level.mlps)
            for level in model.backbone.SA_modules
        ]
        features = model.neck.FP_modules[-1].mlps[-1].conv.out_channels
        return Spec(
            local=Layer(features, dense=False),
            stages=[Layer(width, dense=False) for width in widths],
            neck=Layer(features, dense=False),
            classes=model.rpn_head.num_classes,
        )

    def taps(self, model: Model, needs: set[str]) -> Hooks:
        if needs & {"stages:pre_relu", "neck:pre_relu"}:
            raise DetectorError(
                f"{self.name} pools over neighbours after the ReLU, so it has no pre-activations"
            )
        modules = {
            "local": model.neck,
            "stages": model.backbone,
            "neck": model.neck,
            "head": model.rpn_head,
        }
        taps = {name: modules[name] for name in wanted(needs)}
        return taps | {"features": model.neck} if "head" in taps else taps

    def read(self, model: Model, inputs: Inputs, raw: dict[str, Any], grid: Grid) -> dict[str, Any]:
        read: dict[str, Any] = {
            name: _points(raw[name]["fp_xyz"], raw[name]["fp_features"])
            for name in ("local", "neck")
            if name in raw
        }
        if "stages" in raw:
            levels = zip(raw["stages"]["sa_xyz"][1:], raw["stages"]["sa_features"][1:], strict=True)
            read["stages"] = [_points(xyz, values) for xyz, values in levels]
        if "head" in raw:
            read["head"] = _boxes(model.rpn_head, raw["head"], inputs)
        return read

    def losses(self, model: Model, inputs: Inputs) -> dict[str, Tensor]:
        return super().losses(model, never_without(inputs))

    @torch.no_grad()
    def dry_run(self, model: Model, grid: Grid) -> None:
        """The first stage on mmdet3d's 40,000 points (or its share of them, on a smaller grid),
        the second on as many RoIs as it refines at most."""
        count = grid.num_points * COUNTED_POINTS // self.default_grid().num_points
        weight = next(model.parameters())
        labels = torch.zeros(0, dtype=torch.long, device=weight.device)
        points = weight.new_zeros(count, 4)
        batch = Batch([weight.new_zeros(0, 7)], [labels], [points], grid.class_names)
        self.observe(model, Inputs(batch, {}))
        head = model.roi_head.bbox_head
        channels = head.in_channels + self.spec(model).neck.channels
        head(weight.new_zeros(grid.proposals, grid.roi_points, channels))

    @torch.no_grad()
    def predict(self, model: Model, inputs: Inputs) -> list[Detections]:
        """Final boxes of each frame, one after the other.

        mmdet3d's single_roipoint_extractor.py cuts the batch's proposals into equal parts, which
        hands some to the wrong frame where suppression left unequal numbers.
        """
        return [super(PointRCNN, self).predict(model, frame)[0] for frame in _frames(inputs)]

    @torch.no_grad()
    def detections(self, model: Model, inputs: Inputs, raw: dict[str, Any]) -> list[Detections]:
        """Final boxes: the second stage runs on the captured features, in evaluation mode."""
        training = model.roi_head.training
        model.roi_head.eval()
        found = [_refined(model, raw, i, frame) for i, frame in enumerate(_frames(inputs))]
        model.roi_head.train(training)
        return found

    def _resize_second_stage(self, config: dict[str, Any], grid: Grid) -> None:
        """The grid's number of proposals and of points in each; layers keep their share of them."""
        whole, head = self.default_grid(), config["roi_head"]["bbox_head"]
        for name, given, smallest in (
            ("proposals", grid.proposals, 4), ("roi_points", grid.roi_points, 16)
        ):  # fmt: skip
            if given < smallest or given % smallest:
                raise DetectorError(f"{name} is {given}; make it a multiple of {smallest}")
        config["test_cfg"]["rpn"]["nms_cfg"]["nms_post"] = grid.proposals
        config["train_cfg"]["rcnn"]["sampler"]["num"] = grid.proposals // 4
        _roi_layer(config)["num_sampled_points"] = grid.roi_points
        head["num_points"] = tuple(
            count * grid.roi_points // whole.roi_points if count > 0 else count
            for count in head["num_points"]
        )

    def _levels(self, counts: tuple[int, ...], grid: Grid) -> tuple[int, ...]:
        """Points that each set abstraction keeps: mmdet3d's share of the frame's points."""
        whole = self.default_grid().num_points
        if grid.num_points < 1 or any(grid.num_points * n % whole for n in counts):
            raise DetectorError(
                f"num_points is {grid.num_points}; {self.name} divides it by 4 four times; "
                f"make it a multiple of {whole // min(counts)}"
            )
        return tuple(grid.num_points * n // whole for n in counts)


@MODELS.register_module()
class PointHead(PointRPNHead):
    """mmdet3d's point head, trained also on batches without a point in a box.

    mmdet3d divides by the number of such points (point_rpn_head.py:179). With any, the losses are
    the same. Proposals have no gradient: nothing of the second stage sends any to them, and the
    graph behind them would stay in memory.
    """

    @torch.no_grad()
    def predict_by_feat(self, *arguments: Any, **options: Any) -> list[Proposals]:
        """Proposals of each frame."""
        return as_proposals(super().predict_by_feat(*arguments, **options))

    def loss_by_feat(
        self, bbox_preds: Tensor, cls_preds: Tensor, points: Tensor, truth: Any, *unused: Any
    ) -> dict[str, Tensor]:
        """Box loss (mean over points in boxes) and focal loss (over the number of them)."""
        codes, labels, positive, negative, weights, _ = self.get_targets(points, truth)
        labels = labels.masked_fill(negative, self.num_classes)
        focal = self.cls_loss(
            cls_preds.reshape(-1, self.num_classes),
            labels.reshape(-1),
            (positive | negative).float().reshape(-1),
        )
        return {
            "bbox_loss": self.bbox_loss(bbox_preds, codes, weights[..., None]),
            "semantic_loss": focal / positive.sum().clamp(min=1),
        }


def _frames(inputs: Inputs) -> Iterator[Inputs]:
    """Each frame of a batch as its own batch."""
    batch = inputs.batch
    for boxes, labels, points in zip(batch.boxes, batch.labels, batch.points, strict=True):
        yield replace(inputs, batch=replace(batch, boxes=[boxes], labels=[labels], points=[points]))


def _refined(model: Model, raw: dict[str, Any], index: int, frame: Inputs) -> Detections:
    """The second stage's output for one frame's captured outputs."""
    codes, logits = (values[index : index + 1].detach() for values in raw["head"])
    samples = frame.samples()
    proposals = model.rpn_head.predict_by_feat(
        torch.stack(list(frame.batch.points)),
        codes,
        logits,
        batch_input_metas=[sample.metainfo for sample in samples],
        cfg=model.test_cfg.rpn,
    )
    features = {
        "fp_features": raw["features"]["fp_features"][index : index + 1].detach(),
        "fp_points": raw["features"]["fp_xyz"][index : index + 1],
        "points_cls_preds": logits,
    }
    (found,) = model.roi_head.predict(features, proposals, samples)
    return Detections(found.bboxes_3d.tensor, found.scores_3d, found.labels_3d)


def _roi_layer(config: dict[str, Any]) -> dict[str, Any]:
    return config["roi_head"]["bbox_roi_extractor"]["roi_layer"]


def _propagation(
    backbone: dict[str, Any], neck: dict[str, Any], ratio: float
) -> tuple[tuple[int, ...], ...]:
    """Widths of the feature propagation layers, each with its input's before its own."""
    skips = [backbone["in_channels"] - 3]
    skips += [sum(branch[-1] for branch in level) for level in backbone["sa_channels"]]
    entering, layers = skips.pop(), []
    for widths in neck["fp_channels"]:
        own = scale_widths(widths[1:], ratio)
        layers.append((entering + skips.pop(), *own))
        entering = own[-1]
    return tuple(layers)


def _scale_first_stage(layers: dict[str, Any], features: int, ratio: float) -> None:
    layers["in_channels"] = features
    for name in ("cls_linear_channels", "reg_linear_channels"):
        layers[name] = tuple(scale_widths(layers[name], ratio))


def _scale_second_stage(head: dict[str, Any], ratio: float) -> None:
    head["mlp_channels"] = scale_widths(head["mlp_channels"], ratio)
    head["sa_channels"] = scale_branches(head["sa_channels"], ratio)
    layers = head["pred_layer_cfg"]
    layers["in_channels"] = scaled(layers["in_channels"], ratio)
    for name in ("cls_conv_channels", "reg_conv_channels"):
        layers[name] = tuple(scale_widths(layers[name], ratio))


def _points(xyz: Tensor, values: Tensor) -> Points:
    """Points of all frames from xyz (B, M, 3) and features (B, C, M)."""
    frames, size, _ = xyz.shape
    ones = torch.ones(frames * size, dtype=torch.long, device=xyz.device)
    return Points(
        values=values.float().transpose(1, 2).flatten(0, 1),
        batch=torch.arange(frames, device=xyz.device).repeat_interleave(size),
        xyz=xyz.flatten(0, 1),
        count=ones,
        capped_count=ones,
    )


def _boxes(head: Model, raw: tuple[Tensor, Tensor], inputs: Inputs) -> HeadOutputs:
    """What the point head predicted, the box code's cosine and sine as one angle.

    Args:
        raw: codes (B, A, 8) as mmdet3d's PointXYZWHLRBBoxCoder has them, class logits (B, A, K).
    """
    codes, logits = raw
    xyz = torch.stack([points[:, :3] for points in inputs.batch.points])
    classes = logits.detach().argmax(2)
    angle = torch.atan2(codes[..., YAW + 1], codes[..., YAW])

    def decode(deltas: Tensor) -> Tensor:
        yaw = deltas[..., YAW:]
        code = torch.cat([deltas[..., :YAW], yaw.cos(), yaw.sin()], dim=-1).flatten(0, -2)
        places, labels = xyz.expand(*deltas.shape[:-1], 3), classes.expand(deltas.shape[:-1])
        centred = head.bbox_coder.decode(code, places.reshape(-1, 3), labels.reshape(-1))
        return _on_the_ground(centred).view(*deltas.shape[:-1], 7)

    def assign() -> Tensor:
        truth = [sample.gt_instances_3d for sample in never_without(inputs).samples()]
        _, labels, positive, negative, _, _ = head.get_targets(list(xyz), truth)
        return labels.masked_fill(~positive, -2).masked_fill(negative, -1)

    still = torch.zeros_like(codes[..., : YAW + 1])
    return HeadOutputs(
        class_logits=logits,
        deltas=torch.cat([codes[..., :YAW], angle[..., None]], dim=-1),
        direction_logits=None,
        priors=decode(still).detach(),
        decode=decode,
        assign=assign,
    )


def _on_the_ground(boxes: Tensor) -> Tensor:
    """Boxes (n, 7) from their centre's height to their bottom's."""
    return torch.cat([boxes[:, :2], boxes[:, 2:3] - boxes[:, 5:6] / 2, boxes[:, 3:]], dim=1)


FAMILY = PointRCNN()
