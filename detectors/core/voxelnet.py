"""What PointPillars and SECOND share: voxels, a 2D backbone, a fusing neck, an anchor head."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from mmdet3d.models.dense_heads import Anchor3DHead
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from detectors.core.anchor_targets import anchor_targets
from detectors.core.family import Family, Hooks, Inputs, Model, per_class, scale_widths, wanted
from detectors.core.grid import Grid
from detectors.operators.per_batch import once, remembering
from detectors.operators.voxels import hard_voxels
from kd_methods.core.interface import Batch, BEVMap, Detections, HeadOutputs, Layer, Points, Spec

SLACK = 1e-6
"""Of a cell, by which a side may miss a whole number of them."""


class VoxelNet(Family):
    """A detector of mmdet3d's VoxelNet class; a family adds what comes before the 2D backbone."""

    multiple: int
    """Number of which the cells along x and y must be a multiple."""

    @abstractmethod
    def scale_encoder(self, config: dict[str, Any], ratio: float, grid: Grid) -> int:
        """Resize the layers before the 2D backbone; the number of channels that they give it."""

    @abstractmethod
    def encoder(self, model: Model) -> nn.Module:
        """The module whose output is the family's ``local``."""

    @abstractmethod
    def encoder_channels(self, model: Model) -> int:
        """Channels of ``local``."""

    @abstractmethod
    def read_local(self, raw: Any, inputs: Inputs, grid: Grid) -> Points:
        """``local`` from the output of :meth:`encoder`."""

    def default_grid(self) -> Grid:
        layer = self.base_config()["data_preprocessor"]["voxel_layer"]
        return Grid(
            tuple(layer["point_cloud_range"]),
            tuple(layer["voxel_size"]),
            tuple(layer["max_voxels"]),
        )

    def cover(self, grid: Grid, low: Sequence[float], high: Sequence[float]) -> Grid:
        """Each side is widened to whole cells, as many as the network can halve."""
        long, wide, deep = (end - start for start, end in zip(low, high, strict=True))
        x, y, z = grid.voxel_size
        deep, z = self.layers(deep, z)
        sides = self._whole(long, x), self._whole(wide, y), deep
        x1, y1, z1 = (round(start + side, 6) for start, side in zip(low, sides, strict=True))
        x0, y0, z0 = low
        whole = replace(grid, point_cloud_range=(x0, y0, z0, x1, y1, z1), voxel_size=(x, y, z))
        whole.check(self.multiple)
        share = math.prod(whole.cells[:2]) / math.prod(grid.cells[:2])
        return replace(whole, max_voxels=tuple(math.ceil(n * share) for n in grid.max_voxels))

    def _whole(self, side: float, size: float) -> float:
        """The least side of whole cells that the network can halve."""
        return math.ceil(side / size / self.multiple - SLACK) * self.multiple * size

    @abstractmethod
    def layers(self, deep: float, height: float) -> tuple[float, float]:
        """Height of a region at least this deep that the network can take, and of its voxels.

        Args:
            height: of voxels elsewhere.
        """

    def config(self, ratio: float, grid: Grid) -> dict[str, Any]:
        grid.check(self.multiple)
        config = self.base_config()
        config["data_preprocessor"]["voxel_layer"].update(
            point_cloud_range=list(grid.point_cloud_range),
            voxel_size=list(grid.voxel_size),
            max_voxels=list(grid.max_voxels),
        )
        entering = self.scale_encoder(config, ratio, grid)
        stages = scale_widths(config["backbone"]["out_channels"], ratio)
        fused = scale_widths(config["neck"]["out_channels"], ratio)
        config["backbone"].update(in_channels=entering, out_channels=stages)
        config["neck"].update(in_channels=stages, out_channels=fused)
        head = config["bbox_head"]
        head.update(in_channels=sum(fused), feat_channels=sum(fused))
        head["num_classes"] = len(grid.classes)
        head["anchor_generator"].update(_anchors(grid))
        config["train_cfg"]["assigner"] = per_class(config["train_cfg"]["assigner"], grid)
        return config

    def buildable(self, config: dict[str, Any]) -> dict[str, Any]:
        config["bbox_head"]["type"] = AnchorHead.__name__
        return config

    def place(self, model: Model, device: torch.device) -> Model:
        for part in (model.backbone, model.neck, model.bbox_head):
            part.to(memory_format=torch.channels_last)
        return model.to(device)

    def voxelizer(self, grid: Grid, training: bool) -> Callable[[Batch], Inputs]:
        """As mmdet3d's data preprocessor does, for all frames at once."""
        room = self.base_config()["data_preprocessor"]["voxel_layer"]["max_num_points"]
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
            local=Layer(self.encoder_channels(model), dense=False),
            stages=[_dense_layer([norm]) for norm in _norms(model.backbone.blocks)],
            neck=_dense_layer(_norms(model.neck.deblocks)),
            classes=model.bbox_head.num_classes,
        )

    def taps(self, model: Model, needs: set[str]) -> Hooks:
        modules = {
            "local": self.encoder(model),
            "stages": model.backbone,
            "neck": model.neck,
            "head": model.bbox_head,
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
            read["local"] = self.read_local(raw["local"], inputs, grid)
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
            read["head"] = _boxes(model.bbox_head, raw["head"], inputs)
        return read

    @torch.no_grad()
    def detections(self, model: Model, inputs: Inputs, raw: dict[str, Any]) -> list[Detections]:
        detached = [[level.detach() for level in maps] for maps in raw["head"]]
        metas = [sample.metainfo for sample in inputs.samples()]
        found = model.bbox_head.predict_by_feat(*detached, batch_input_metas=metas)
        return [Detections(f.bboxes_3d.tensor, f.scores_3d, f.labels_3d) for f in found]


def count_points(inputs: Inputs, cells: Tensor, size: tuple[float, ...], grid: Grid) -> Tensor:
    """(N,) points of the cloud, uncapped, in each of some cells.

    Args:
        cells: (N, 4) frame, z, y, x index of cells of ``size`` (x, y, z, metres) in the grid.
    """
    return inputs.searches.once(
        ("points in cells", size), (cells,), lambda: _count_points(inputs, cells, size, grid)
    )


def _count_points(inputs: Inputs, cells: Tensor, size: tuple[float, ...], grid: Grid) -> Tensor:
    from mmcv.ops import Voxelization

    locate = Voxelization(size, grid.point_cloud_range, max_num_points=-1)
    nx, ny, nz = locate.grid_size.tolist()
    shape = (len(inputs.batch.points), nz, ny, nx)
    totals = torch.zeros(shape, dtype=torch.long, device=cells.device)
    for total, points in zip(totals, inputs.batch.points, strict=True):
        found = locate(points).long()
        z, y, x = found[found[:, 0] >= 0].T
        total.index_put_((z, y, x), torch.ones_like(z), accumulate=True)
    return totals[tuple(cells.T)]


@MODELS.register_module()
class AnchorHead(Anchor3DHead):
    """mmdet3d's head. Its targets depend on anchors and objects alone, so they are computed once
    for all networks that see a batch."""

    def anchor_target_3d(self, anchors: Any, truth: Any, *unused: Any, **settings: Any) -> Any:
        objects = [tensor for one in truth for tensor in (one.bboxes_3d.tensor, one.labels_3d)]
        (among,) = anchors[0]
        return once("anchor targets", (among, *objects), lambda: anchor_targets(self, among, truth))


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


def _anchors(grid: Grid) -> dict[str, Any]:
    """Where the anchors of each class lie, and their sizes."""
    x0, y0, x1, y1 = grid.extent
    bottoms = [each.bottom for each in grid.classes]
    return {
        "ranges": [[x0, y0, bottom, x1, y1, bottom] for bottom in bottoms],
        "sizes": [list(each.size) for each in grid.classes],
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
        class_logits=_rows(scores, head.num_classes),
        deltas=_rows(codes, head.box_code_size),
        direction_logits=_rows(directions, 2),
        priors=anchors.expand(len(scores), -1, -1),
        decode=lambda deltas: head.bbox_coder.decode(anchors.expand_as(deltas), deltas),
        assign=assign,
    )


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


def _rows(maps: Tensor, size: int) -> Tensor:
    """(B, A * size, H, W) to (B, H * W * A, size), anchors in the generator's order."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, size).float()
