"""What an encoder and a dense head must say of themselves. Parts have no state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from detectors.core.family import Inputs, Model
from detectors.core.grid import DetectorError, Grid
from kd_methods.core.interface import Detections, HeadOutputs, Points

Config = dict[str, Any]
"""mmdet3d's config of a model, changed in place."""

VALUES = 4
"""Of a point: x, y, z and reflectance."""
SLACK = 1e-6
"""Of a cell, by which a side may miss a whole number of them."""


class Encoder(ABC):
    """From voxels to the map that the 2D backbone reads."""

    stride: int
    """Voxels per cell of that map, along x and y."""
    like: str
    """The family of ours that begins with it."""

    def lacking(self) -> str:
        """What is not installed that it needs, and the remedy; empty if nothing."""
        return ""

    @abstractmethod
    def layers(self, deep: float, height: float) -> tuple[float, float]:
        """Height of a region at least this deep that the network can take, and of its voxels.

        Args:
            height: of voxels elsewhere.
        """

    @abstractmethod
    def resize(self, config: Config, ratio: float, grid: Grid) -> int:
        """Divide widths by about the square root of the ratio; the channels of the map.

        Raises:
            DetectorError: the grid does not suit the network.
        """

    @abstractmethod
    def buildable(self, config: Config) -> None:
        """Put our classes where mmdet3d's fail or waste time."""

    @abstractmethod
    def local(self, model: Model) -> nn.Module:
        """The module whose output is the ``local`` output."""

    @abstractmethod
    def channels(self, model: Model) -> int:
        """Channels of ``local``."""

    @abstractmethod
    def read(self, raw: Any, inputs: Inputs, grid: Grid) -> Points:
        """``local`` from the output of its module."""


def require_type(config: Config, path: str, known: str) -> None:
    """Raise :class:`DetectorError` unless a part of a config is of a known type.

    Args:
        path: of the part in the model, e.g. ``bbox_head.separate_head``.
    """
    part: Any = config
    for name in path.split("."):
        part = part.get(name) or {}
    if part.get("type", known) != known:
        raise DetectorError(f"model.{path} is of type {part['type']}; known is {known}")


class DenseHead(ABC):
    """From the neck's map to boxes."""

    @abstractmethod
    def resize(self, config: Config, ratio: float, grid: Grid, entering: int, stride: int) -> None:
        """Divide widths by about the square root of the ratio; find the grid's classes.

        Args:
            entering: channels of the neck's map.
            stride: voxels per cell of that map, along x and y.
        """

    @abstractmethod
    def buildable(self, config: Config) -> None:
        """Put our classes where mmdet3d's fail or waste time."""

    @abstractmethod
    def classes(self, head: Model) -> int:
        """Number of classes."""

    @abstractmethod
    def read(self, head: Model, raw: Any, inputs: Inputs) -> HeadOutputs:
        """What the head predicted, from its output."""

    @abstractmethod
    def detections(self, head: Model, raw: Any, inputs: Inputs) -> list[Detections]:
        """Final boxes of each frame, without gradient."""


def as_detections(found: Any) -> list[Detections]:
    """Final boxes from mmdet3d's ``InstanceData`` of each frame."""
    return [Detections(f.bboxes_3d.tensor, f.scores_3d, f.labels_3d) for f in found]


def metas(inputs: Inputs) -> list[dict[str, Any]]:
    """mmdet3d's meta data of each frame."""
    return [sample.metainfo for sample in inputs.samples()]


def rows(maps: Tensor, size: int) -> Tensor:
    """(B, A * size, H, W) to (B, H * W * A, size), priors in the generator's order."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, size).float()


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
