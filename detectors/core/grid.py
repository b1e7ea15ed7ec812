"""The region that a detector sees, and the classes that it finds; read without PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from kd_methods.core.errors import PointKDError

if TYPE_CHECKING:
    from torch import Tensor


class DetectorError(PointKDError):
    """A family, student or grid that cannot be built."""


@dataclass(frozen=True)
class ObjectClass:
    """A class of objects that detectors find.

    Attributes:
        name: as tables print it.
        size: length, width and height, metres: of anchors, and what point heads start from.
        bottom: height of the anchors' bottom in the LiDAR's frame, metres.
    """

    name: str
    size: tuple[float, float, float]
    bottom: float

    @property
    def like(self) -> str:
        """The class of KITTI whose settings it shares: its namesake, else the nearest in size."""
        known = {each.name: each for each in KITTI_CLASSES}
        return self.name if self.name in known else min(known, key=lambda n: self._far(known[n]))

    def _far(self, other: ObjectClass) -> float:
        """How far the sizes are from each other, as factors."""
        sides = zip(self.size, other.size, strict=True)
        return sum(math.log(mine / theirs) ** 2 for mine, theirs in sides)


KITTI_CLASSES = (
    ObjectClass("Pedestrian", (0.8, 0.6, 1.73), -0.6),
    ObjectClass("Cyclist", (1.76, 0.6, 1.73), -0.6),
    ObjectClass("Car", (3.9, 1.6, 1.56), -1.78),
)
"""In the order of class indices, with the anchors of mmdet3d's KITTI configs."""
CLASSES = tuple(each.name for each in KITTI_CLASSES)
"""KITTI's names in this order."""


MOST_CELLS = 4096**2
"""Cells of a grid from above; one of 200 m at 5 cm has as many."""
LEAST_METRES, MOST_METRES = 0.001, 10_000.0
_COUNT = {"least": 0, "most": 10**7}


def _not_here(value: Any, path: str, problems: list[str]) -> None:
    """Refuses classes in a profile's grid."""
    problems.append(f"{path}: classes belong to the data set; describe them in its dataset.yaml")


@dataclass(frozen=True)
class Grid:
    """The region that a detector sees, how finely, and the classes that it finds there.

    Attributes:
        point_cloud_range: x, y, z minimum, then maximum, metres.
        voxel_size: x, y, z, metres; empty for families that read points.
        max_voxels: voxels kept per frame in training and in evaluation.
        num_points: points drawn per frame, in training and in evaluation; 0 takes all.
        sample_range: points at least this far away, metres, are drawn before nearer ones.
        proposals: boxes per frame that the second stage refines in evaluation; on how many it is
            trained follows, in mmdet3d's proportion.
        roi_points: points that the second stage reads in each.
        key_points: points per frame that gather features for the second stage, where it reads
            those of key points.
        classes: those of the data set, in the order of class indices.

    Raises:
        DetectorError: it is no region, or no way to cut one into voxels.
    """

    point_cloud_range: tuple[float, float, float, float, float, float]
    voxel_size: tuple[float, ...] = ()
    max_voxels: tuple[int, ...] = ()
    num_points: int = field(default=0, metadata=_COUNT)
    sample_range: float = field(default=0.0, metadata={"least": 0})
    proposals: int = field(default=0, metadata=_COUNT)
    roi_points: int = field(default=0, metadata=_COUNT)
    key_points: int = field(default=0, metadata=_COUNT)
    classes: tuple[ObjectClass, ...] = field(default=KITTI_CLASSES, metadata={"read": _not_here})

    def __post_init__(self) -> None:
        region = self.point_cloud_range
        sides = zip(region[:3], region[3:], strict=False)
        if len(region) != 6 or not all(-MOST_METRES <= a < b <= MOST_METRES for a, b in sides):
            raise DetectorError(
                f"point_cloud_range is {list(region)}; write x, y, z minimum, then "
                f"maximum, in metres, at most {MOST_METRES:g} m away"
            )
        for name in ("num_points", "proposals", "roi_points", "key_points"):
            count = getattr(self, name)
            if type(count) is not int or not _COUNT["least"] <= count <= _COUNT["most"]:
                raise DetectorError(f"{name} is {count!r}; write a whole number of at least 0")
        if not 0 <= self.sample_range <= MOST_METRES:
            raise DetectorError(f"sample_range is {self.sample_range!r}; write metres")
        if not self.voxel_size:
            return
        if len(self.voxel_size) != 3 or not all(
            LEAST_METRES <= side <= MOST_METRES for side in self.voxel_size
        ):
            raise DetectorError(
                f"voxel_size is {list(self.voxel_size)}; write x, y, z in metres, each at least "
                f"{LEAST_METRES:g}"
            )
        most = self.max_voxels
        if len(most) != 2 or not all(type(n) is int and 1 <= n <= MOST_CELLS for n in most):
            raise DetectorError(
                f"max_voxels is {list(self.max_voxels)}; write those kept in training and in "
                f"evaluation, each 1 to {MOST_CELLS:,}"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of class indices."""
        return tuple(each.name for each in self.classes)

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
        if not self.voxel_size:
            raise DetectorError("the grid has no voxel_size; write x, y, z in metres")
        if math.prod(self.cells[:2]) > MOST_CELLS:
            raise DetectorError(
                f"point_cloud_range and voxel_size give {' x '.join(map(str, self.cells[:2]))} "
                f"cells, more than {MOST_CELLS:,}; choose a smaller range"
            )
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
    """The grid as plain lists, for configs and records; without classes if they are KITTI's, and
    without key points if there are none."""
    settings = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(grid).items()
    }
    if grid.classes == KITTI_CLASSES:
        del settings["classes"]
    if not grid.key_points:
        del settings["key_points"]
    return settings


def read_grid(settings: Mapping[str, Any]) -> Grid:
    """The grid of :func:`grid_settings`.

    Raises:
        DetectorError: the settings are not those of a grid.
    """
    try:
        sides: dict[str, Any] = {k: tuple(v) for k, v in settings.items() if isinstance(v, list)}
        if "classes" in sides:
            read = [ObjectClass(**{**c, "size": tuple(c["size"])}) for c in sides["classes"]]
            sides["classes"] = tuple(read)
        return Grid(**{**settings, **sides})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DetectorError(f"grid {settings}: {error}") from None
