"""The region that a detector sees, and the classes that it finds; read without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kd_methods.core.errors import PointKDError

if TYPE_CHECKING:
    from torch import Tensor

CLASSES = ("Pedestrian", "Cyclist", "Car")
"""Class names in the order of class indices, as in mmdet3d's KITTI configs."""


class DetectorError(PointKDError):
    """A family, student or grid that cannot be built."""


@dataclass(frozen=True)
class Grid:
    """The region a detector sees and how finely.

    Attributes:
        point_cloud_range: x, y, z minimum, then maximum, metres.
        voxel_size: x, y, z, metres; empty for families that read points.
        max_voxels: voxels kept per frame in training and in evaluation.
        num_points: points drawn per frame, in training and in evaluation; 0 takes all.
        sample_range: points at least this far away, metres, are drawn before nearer ones.
        proposals: boxes per frame that the second stage refines in evaluation; it trains on a
            quarter of them.
        roi_points: points that the second stage reads in each.
    """

    point_cloud_range: tuple[float, float, float, float, float, float]
    voxel_size: tuple[float, ...] = ()
    max_voxels: tuple[int, ...] = ()
    num_points: int = 0
    sample_range: float = 0.0
    proposals: int = 0
    roi_points: int = 0

    @property
    def cells(self) -> tuple[int, int, int]:
        """Number of voxels along x, y, z."""
        low, high = self.point_cloud_range[:3], self.point_cloud_range[3:]
        steps = zip(low, high, self.voxel_size, strict=True)
        x, y, z = (round((top - bottom) / size) for bottom, top, size in steps)
        return x, y, z

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max, metres."""
        x0, y0, _, x1, y1, _ = self.point_cloud_range
        return x0, y0, x1, y1

    @property
    def described(self) -> str:
        """Where it reaches, for people."""
        x0, y0, x1, y1 = self.extent
        return f"x {x0:g} to {x1:g} m, y {y0:g} to {y1:g} m"

    def check(self, multiple: int) -> None:
        """Raise :class:`DetectorError` unless the map's sides are multiples of ``multiple``."""
        for axis, count, size in zip("xy", self.cells, self.voxel_size, strict=False):
            if count <= 0 or count % multiple:
                raise DetectorError(
                    f"point_cloud_range and voxel_size give {count} cells along {axis}; the "
                    f"network halves its map, so make that side a multiple of {multiple * size:g} m"
                )

    def inside(self, positions: Tensor) -> Tensor:
        """(n,) whether positions (n, 2 or more), metres, lie within the range in x and y."""
        x0, y0, x1, y1 = self.extent
        x, y = positions[:, 0], positions[:, 1]
        return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


def grid_settings(grid: Grid) -> dict[str, Any]:
    """The grid as plain lists, for configs and records."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(grid).items()
    }


def read_grid(settings: Mapping[str, Any]) -> Grid:
    """The grid of :func:`grid_settings`.

    Raises:
        DetectorError: the settings are not those of a grid.
    """
    sides: dict[str, Any] = {k: tuple(v) for k, v in settings.items() if isinstance(v, list)}
    try:
        return Grid(**{**settings, **sides})
    except TypeError as error:
        raise DetectorError(f"grid {dict(settings)}: {error}") from None
