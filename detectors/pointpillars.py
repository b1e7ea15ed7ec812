"""PointPillars (Lang et al., CVPR 2019) as in mmdet3d's KITTI config."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from detectors import anchors
from detectors.family import Family, Grid, Hooks, Inputs, Model, scale_widths, scaled, wanted
from kd_methods.core.interface import Detections, Layer, Points, Spec


class PointPillars(Family):
    """Pillars, a 2D backbone of three stages, a fusing neck and an anchor head."""

    name = "pointpillars"
    config_file = "_base_/models/pointpillars_hv_secfpn_kitti.py"
    ratios = (4, 16)
    gradient_clip = 35.0

    def default_grid(self) -> Grid:
        layer = self.base_config()["data_preprocessor"]["voxel_layer"]
        return Grid(
            tuple(layer["point_cloud_range"]),
            tuple(layer["voxel_size"]),
            tuple(layer["max_voxels"]),
        )

    def config(self, ratio: float, grid: Grid) -> dict[str, Any]:
        grid.check(multiple=8)
        config = self.base_config()
        place = {
            "point_cloud_range": list(grid.point_cloud_range),
            "voxel_size": list(grid.voxel_size),
        }
        layer = config["data_preprocessor"]["voxel_layer"]
        layer.update(place, max_voxels=list(grid.max_voxels))
        pillar = scaled(config["middle_encoder"]["in_channels"], ratio)
        stages = scale_widths(config["backbone"]["out_channels"], ratio)
        fused = scale_widths(config["neck"]["out_channels"], ratio)
        config["voxel_encoder"].update(place, feat_channels=[pillar])
        nx, ny, _ = grid.cells
        config["middle_encoder"].update(in_channels=pillar, output_shape=[ny, nx])
        config["backbone"].update(in_channels=pillar, out_channels=stages)
        config["neck"].update(in_channels=stages, out_channels=fused)
        head = config["bbox_head"]
        head.update(in_channels=sum(fused), feat_channels=sum(fused))
        head["anchor_generator"] = anchors.reduced_anchors(head["anchor_generator"], grid)
        return config

    def spec(self, model: Model) -> Spec:
        return Spec(
            local=Layer(model.voxel_encoder.pfn_layers[-1].units, dense=False),
            stages=[anchors.dense_layer([n]) for n in anchors.backbone_norms(model.backbone)],
            neck=anchors.dense_layer(anchors.neck_norms(model.neck)),
            classes=model.bbox_head.num_classes,
        )

    def taps(self, model: Model, needs: set[str]) -> Hooks:
        modules = {
            "local": model.voxel_encoder,
            "stages": model.backbone,
            "neck": model.neck,
            "head": model.bbox_head,
        }
        taps = {name: modules[name] for name in wanted(needs)}
        if "stages:pre_relu" in needs:
            for i, norm in enumerate(anchors.backbone_norms(model.backbone)):
                taps[f"stages.{i}.pre_relu"] = norm
        if "neck:pre_relu" in needs:
            for i, norm in enumerate(anchors.neck_norms(model.neck)):
                taps[f"neck.{i}.pre_relu"] = norm
        return taps

    def read(self, model: Model, inputs: Inputs, raw: dict[str, Any], grid: Grid) -> dict[str, Any]:
        read: dict[str, Any] = {}
        if "local" in raw:
            read["local"] = _pillars(raw["local"], inputs, grid)
        if "stages" in raw:
            read["stages"] = [
                anchors.read_map(values, grid, raw.get(f"stages.{i}.pre_relu"))
                for i, values in enumerate(raw["stages"])
            ]
        if "neck" in raw:
            parts = [raw[name] for name in sorted(raw) if name.startswith("neck.")]
            pre_relu = torch.cat(parts, dim=1) if parts else None
            read["neck"] = anchors.read_map(raw["neck"][0], grid, pre_relu)
        if "head" in raw:
            read["head"] = anchors.read_boxes(model.bbox_head, raw["head"], inputs)
        return read

    def detections(self, model: Model, raw: dict[str, Any]) -> list[Detections]:
        return anchors.read_detections(model.bbox_head, raw["head"])


def _pillars(values: Tensor, inputs: Inputs, grid: Grid) -> Points:
    coordinates = inputs.voxels["coors"].long()
    return Points(
        values=values.float(),
        batch=coordinates[:, 0],
        xyz=inputs.voxels["voxel_centers"],
        count=_raw_counts(inputs, coordinates, grid),
        capped_count=inputs.voxels["num_points"],
    )


def _raw_counts(inputs: Inputs, coordinates: Tensor, grid: Grid) -> Tensor:
    """(N,) points of the cloud in each pillar, uncapped."""
    from mmcv.ops import Voxelization

    nx, ny, nz = grid.cells
    locate = Voxelization(grid.voxel_size, grid.point_cloud_range, max_num_points=-1)
    shape = (len(inputs.batch.points), nz, ny, nx)
    totals = torch.zeros(shape, dtype=torch.long, device=coordinates.device)
    for total, points in zip(totals, inputs.batch.points, strict=True):
        cells = locate(points).long()
        z, y, x = cells[cells[:, 0] >= 0].T
        total.index_put_((z, y, x), torch.ones_like(z), accumulate=True)
    return totals[tuple(coordinates.T)]


FAMILY = PointPillars()
