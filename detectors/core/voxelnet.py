"""Detectors of voxels, a 2D backbone, a fusing neck and a dense head, read from their config."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detectors.core.family import Family, Hooks, Inputs, Model, scale_widths, wanted
from detectors.core.grid import DetectorError, Grid
from detectors.operators.voxels import hard_voxels
from detectors.parts import BACKBONES, ENCODERS, HEADS, NECKS
from detectors.parts.part import SLACK, DenseHead, Encoder
from kd_methods.core.interface import Batch, BEVMap, Detections, Layer, Maps, Spec

TRIED = 4.0
"""Compression ratio at which a user's config is tried out."""
PARTS = ("voxel_encoder", "middle_encoder", "backbone", "neck", "bbox_head")
"""Of a model's config."""
PREFIX = "pts_"
"""Of the parts' names in detectors that could also read images."""


class VoxelNet(Family):
    """A detector whose parts :mod:`detectors.parts` knows.

    Args:
        name: of the family.
        config_file: with mmdet3d's config; a path, or the place among those installed with it.
    """

    def __init__(self, name: str, config_file: str) -> None:
        self.name, self.config_file = name, config_file
        self._of: VoxelNet = self

    def with_config(self, file: Path) -> VoxelNet:
        student = type(self)(self.name, str(file.resolve()))
        student.source, student._of = student.digest(), self
        theirs, own = ({p: n.first_stage()[p]["type"] for p in PARTS} for n in (self, student))
        for part in PARTS:
            if own[part] != theirs[part]:
                raise DetectorError(
                    f"{file}: model.{part} is of type {own[part]}, that of {self.name} of "
                    f"{theirs[part]}; a student has its family's parts in other widths"
                )
        stages = {len(each.first_stage()["backbone"]["layer_strides"]) for each in (self, student)}
        if len(stages) > 1:
            raise DetectorError(f"{file}: model.backbone has not as many stages as {self.name}'s")
        student.try_out()
        return student

    def adapted(self, grid: Grid) -> Grid:
        """With voxels by as much larger or smaller as its config's are than its family's."""
        sizes = (each.default_grid().voxel_size for each in (self, self._of))
        factors = [own / whole for own, whole in zip(*sizes, strict=True)]
        if math.prod(factors) == 1:
            return grid
        voxels = zip(grid.voxel_size, factors, strict=True)
        return replace(
            grid,
            voxel_size=tuple(round(size * factor, 6) for size, factor in voxels),
            max_voxels=tuple(math.ceil(n / math.prod(factors[:2])) for n in grid.max_voxels),
        )

    def base_config(self) -> dict[str, Any]:
        """The config as one of mmdet3d's VoxelNet, which has the same parts under plain names."""
        config = super().base_config()
        if any(key.startswith(PREFIX) for key in config):
            config = {key.removeprefix(PREFIX): value for key, value in config.items()}
            config |= {
                key: config[key].get("pts", config[key])
                for key in ("train_cfg", "test_cfg")
                if key in config
            }
        return config | {"type": "VoxelNet"}

    def lacking(self) -> str:
        return self.encoder.lacking()

    def first_stage(self) -> dict[str, Any]:
        """The config of what comes before a second stage, as one of mmdet3d's VoxelNet."""
        return self.base_config()

    @cached_property
    def encoder(self) -> Encoder:
        """What comes before the 2D backbone."""
        return self._part(ENCODERS, "middle_encoder")

    @cached_property
    def dense_head(self) -> DenseHead:
        """What comes after the neck."""
        return self._part(HEADS, "bbox_head")

    def _part(self, known: Any, name: str) -> Any:
        """What is known of a part of the config.

        Raises:
            DetectorError: there is no such part, or it is of an unknown type.
        """
        found = (self.first_stage().get(name) or {}).get("type")
        if found not in known:
            raise DetectorError(
                f"{self.config_file}: model.{name} is of type {found}; known are {', '.join(known)}"
            )
        return known[found]

    def _widths(self, config: dict[str, Any], part: str) -> list[int]:
        """A part's widths.

        Raises:
            DetectorError: they are no list of whole numbers above 0.
        """
        widths = config[part].get("out_channels")
        right = isinstance(widths, (list, tuple))
        if not right or not all(type(width) is int and width > 0 for width in widths):
            raise DetectorError(
                f"{self.config_file}: model.{part}.out_channels is {widths!r}; write a list of "
                "whole numbers above 0"
            )
        return list(widths)

    @cached_property
    def strides(self) -> tuple[int, int]:
        """Voxels per cell, along x and y: of the backbone's last map, and of the neck's."""
        config = self.first_stage()
        for name, known in (("backbone", BACKBONES), ("neck", NECKS)):
            self._part(dict.fromkeys(known), name)
        down, up = config["backbone"]["layer_strides"], config["neck"]["upsample_strides"]
        return self.encoder.stride * math.prod(down), round(self.encoder.stride * down[0] / up[0])

    def maps(self, grid: Grid) -> Maps:
        down = self.first_stage()["backbone"]["layer_strides"]
        stages = tuple(self.encoder.stride * product for product in accumulate(down, operator.mul))
        return Maps(grid.extent, grid.cells[:2], stages, self.strides[1])

    def default_grid(self) -> Grid:
        layer = self.first_stage().get("data_preprocessor", {}).get("voxel_layer") or {}
        names = ("point_cloud_range", "voxel_size", "max_voxels")
        if lacking := [name for name in names if name not in layer]:
            raise DetectorError(
                f"{self.config_file}: model.data_preprocessor.voxel_layer has no "
                f"{', '.join(lacking)}"
            )
        region, size, most = (tuple(layer[name]) for name in names)
        return Grid(region, size, most)

    def cover(self, grid: Grid, low: Sequence[float], high: Sequence[float]) -> Grid:
        """Each side is widened to whole cells, as many as the network can halve."""
        long, wide, deep = (end - start for start, end in zip(low, high, strict=True))
        x, y, z = grid.voxel_size
        deep, z = self.encoder.layers(deep, z)
        sides = self._whole(long, x), self._whole(wide, y), deep
        x1, y1, z1 = (round(start + side, 6) for start, side in zip(low, sides, strict=True))
        x0, y0, z0 = low
        whole = replace(grid, point_cloud_range=(x0, y0, z0, x1, y1, z1), voxel_size=(x, y, z))
        whole.check(self.strides[0])
        share = math.prod(whole.cells[:2]) / math.prod(grid.cells[:2])
        return replace(whole, max_voxels=tuple(math.ceil(n * share) for n in grid.max_voxels))

    def _whole(self, side: float, size: float) -> float:
        """The least side of whole cells that the network can halve."""
        return math.ceil(side / size / self.strides[0] - SLACK) * self.strides[0] * size

    def config(self, ratio: float, grid: Grid) -> dict[str, Any]:
        grid.check(self.strides[0])
        config = self.first_stage()
        config["data_preprocessor"]["voxel_layer"].update(
            point_cloud_range=list(grid.point_cloud_range),
            voxel_size=list(grid.voxel_size),
            max_voxels=list(grid.max_voxels),
        )
        entering = self.encoder.resize(config, ratio, grid)
        stages, fused = (
            scale_widths(self._widths(config, part), ratio) for part in ("backbone", "neck")
        )
        config["backbone"].update(in_channels=entering, out_channels=stages)
        config["neck"].update(in_channels=stages, out_channels=fused)
        self.dense_head.resize(config, ratio, grid, sum(fused), self.strides[1])
        return config

    def try_out(self) -> None:
        """Build the smallest network and run it on an empty frame, in a small region.

        Raises:
            DetectorError: a part is of an unknown type or does not suit the others.
            Exception: whatever mmdet3d raises of a config that it cannot build or run.
        """
        whole = self.default_grid()
        self.config(1, whole)
        low = whole.point_cloud_range[:3]
        side = [4 * self.strides[0] * size for size in whole.voxel_size[:2]]
        high = low[0] + side[0], low[1] + side[1], whole.point_cloud_range[5]
        small = replace(self.cover(whole, low, high), max_voxels=(100, 100))
        self.dry_run(self.build(TRIED, small).eval(), small)

    def buildable(self, config: dict[str, Any]) -> dict[str, Any]:
        self.encoder.buildable(config)
        self.dense_head.buildable(config)
        return config

    def place(self, model: Model, device: torch.device) -> Model:
        for part in (model.backbone, model.neck, self.head(model)):
            part.to(memory_format=torch.channels_last)
        return model.to(device)

    def voxelizer(self, grid: Grid, training: bool) -> Callable[[Batch], Inputs]:
        """As mmdet3d's data preprocessor does, for all frames at once."""
        room = self.first_stage()["data_preprocessor"]["voxel_layer"]["max_num_points"]
        most = grid.max_voxels[0 if training else 1]
        size, limits = torch.tensor(grid.voxel_size), torch.tensor(grid.point_cloud_range)

        def voxelize(batch: Batch) -> Inputs:
            points = [_never_empty(frame, grid) for frame in batch.points]
            voxels, cells, counts = hard_voxels(points, size, limits, room, most)
            centres = (cells[:, [3, 2, 1]] + 0.5) * size.to(voxels) + limits[:3].to(voxels)
            found = {"voxels": voxels, "coors": cells, "num_points": counts}
            found["voxel_centers"] = centres
            return Inputs(replace(batch, points=points), found)

        return voxelize

    def head(self, model: Model) -> Model:
        return model.bbox_head

    def spec(self, model: Model) -> Spec:
        return Spec(
            local=Layer(self.encoder.channels(model), dense=False),
            stages=[_dense_layer([norm]) for norm in _norms(model.backbone.blocks)],
            neck=_dense_layer(_norms(model.neck.deblocks)),
            classes=self.dense_head.classes(self.head(model)),
        )

    def taps(self, model: Model, needs: set[str]) -> Hooks:
        modules = {
            "local": self.encoder.local(model),
            "stages": model.backbone,
            "neck": model.neck,
            "head": self.head(model),
        }
        taps = {name: modules[name] for name in wanted(needs)}
        if "stages:pre_relu" in needs:
            for i, norm in enumerate(_norms(model.backbone.blocks)):
                taps[f"stages.{i}.pre_relu"] = norm
        if "neck:pre_relu" in needs:
            for i, norm in enumerate(_norms(model.neck.deblocks)):
                taps[f"neck.{i}.pre_relu"] = norm
        return taps

    def read(self, model: Model, inputs: Inputs, raw: dict[str, Any], grid: Grid) -> dict[str, Any]:
        read: dict[str, Any] = {}
        if "local" in raw:
            read["local"] = self.encoder.read(raw["local"], inputs, grid)
        if "stages" in raw:
            read["stages"] = [
                _map(values, grid, raw.get(f"stages.{i}.pre_relu"))
                for i, values in enumerate(raw["stages"])
            ]
        if "neck" in raw:
            parts = [raw[name] for name in sorted(raw) if name.startswith("neck.")]
            pre_relu = torch.cat(parts, dim=1) if parts else None
            read["neck"] = _map(raw["neck"][0], grid, pre_relu)
        if "head" in raw:
            read["head"] = self.dense_head.read(self.head(model), raw["head"], inputs)
        return read

    def detections(self, model: Model, inputs: Inputs, raw: dict[str, Any]) -> list[Detections]:
        return self.dense_head.detections(self.head(model), raw["head"], inputs)


def _never_empty(points: Tensor, grid: Grid) -> Tensor:
    """The points, or one at the middle of the range where none lies within it.

    mmdet3d takes the number of frames from the last voxel, so each frame needs one.
    """
    low, high = (points.new_tensor(side) for side in _corners(grid))
    if ((points[:, :3] >= low) & (points[:, :3] < high)).all(dim=1).any():
        return points
    return torch.cat([(low + high) / 2, points.new_zeros(1)])[None]


def _corners(grid: Grid) -> tuple[Sequence[float], Sequence[float]]:
    return grid.point_cloud_range[:3], grid.point_cloud_range[3:]


def _map(values: Tensor, grid: Grid, pre_relu: Tensor | None = None) -> BEVMap:
    """A feature map (B, C, H, W) that covers the whole grid."""
    stride = round(grid.cells[0] / values.shape[-1])
    pre_relu = None if pre_relu is None else pre_relu.float()
    return BEVMap(values.float(), stride, grid.extent, pre_relu)


def _norms(blocks: nn.ModuleList) -> list[nn.BatchNorm2d]:
    """The last batch norm of every block of a backbone or neck."""
    return [[m for m in block.modules() if isinstance(m, nn.BatchNorm2d)][-1] for block in blocks]


def _dense_layer(norms: list[nn.BatchNorm2d]) -> Layer:
    """Shape of a map that concatenates the outputs of several batch norms."""
    weight = torch.cat([norm.weight.detach() for norm in norms])
    bias = torch.cat([norm.bias.detach() for norm in norms])
    return Layer(len(weight), dense=True, batch_norm=(weight, bias))
