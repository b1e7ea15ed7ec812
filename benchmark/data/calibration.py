"""One frame's calibration, and boxes between LiDAR, camera and image.

Frames of reference as in KITTI (Geiger et al., "Vision meets Robotics", IJRR 2013): LiDAR x
ahead, y left, z up; rectified camera x right, y down, z ahead; image u right, v down in pixels of
camera 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmark.data.errors import DataError
from benchmark.files import read_text

_ROWS = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}
_ALIASES = {"R_rect": "R0_rect", "Tr_velo_cam": "Tr_velo_to_cam"}
"""Rows of KITTI's tracking benchmark, by the names of its object benchmark."""
_NEAREST_DEPTH = 0.1  # metres; what lies nearer to the camera plane is cut off before projection

# Corners of a unit box on the ground: x right, y down, z ahead of a box with rotation_y = 0.
_CORNERS = np.array(
    [
        [x, y, z]
        for y in (0.0, -1.0)
        for x, z in ((0.5, 0.5), (0.5, -0.5), (-0.5, -0.5), (-0.5, 0.5))
    ]
)
_EDGES = np.array(
    [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]]
)


@dataclass(frozen=True, eq=False)
class Calibration:
    """The three matrices of a KITTI calibration file that camera 2 and the LiDAR need.

    Attributes:
        p2: (3, 4) rectified camera frame to pixels of camera 2.
        r0_rect: (3, 3) rotation of the reference camera to the rectified frame.
        tr_velo_to_cam: (3, 4) LiDAR to the reference camera.
    """

    p2: np.ndarray
    r0_rect: np.ndarray
    tr_velo_to_cam: np.ndarray

    @cached_property
    def lidar_to_camera(self) -> np.ndarray:
        """(4, 4) LiDAR to the rectified camera frame."""
        matrix = np.eye(4)
        matrix[:3] = self.r0_rect @ self.tr_velo_to_cam
        return matrix

    @cached_property
    def camera_to_lidar(self) -> np.ndarray:
        """(4, 4) rectified camera frame to LiDAR."""
        return np.linalg.inv(self.lidar_to_camera)

    @cached_property
    def lidar_to_image(self) -> np.ndarray:
        """(3, 4) LiDAR to pixels of camera 2 times depth, and depth."""
        return self.p2 @ self.lidar_to_camera

    def project_lidar(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) u, v in pixels and depth in metres of points (n, 3) in the LiDAR frame."""
        projection = self.lidar_to_image
        return _dehomogenise(points @ projection[:, :3].T + projection[:, 3])

    def project_camera(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) u, v in pixels and depth in metres of points (n, 3) in the camera frame."""
        return _dehomogenise(points @ self.p2[:, :3].T + self.p2[:, 3])


def read_calibration(path: Path) -> Calibration:
    """Read P2, R0_rect and Tr_velo_to_cam of one calibration file, of KITTI's object or tracking
    benchmark; other rows are ignored.

    Raises:
        DataError: names file and line for a missing row, two that differ, a wrong number of values,
            a value that is not finite, and an R0_rect or Tr_velo_to_cam that is not a rotation.
        OSError: if the file cannot be read.
    """
    rows: dict[str, np.ndarray] = {}
    found = []
    for number, line in enumerate(read_text(path, DataError).splitlines(), start=1):
        written, _, values = line.replace(":", " ", 1).strip().partition(" ")
        found.append(written)
        name = _ALIASES.get(written, written)
        if name not in _ROWS:
            continue
        row = _parse_row(f"{path}:{number}", name, values.split())
        if not np.array_equal(rows.setdefault(name, row), row):
            raise DataError(f"{path}:{number}: another row {name} with other values; keep one")
    for name in _ROWS:
        if name not in rows:
            raise DataError(f"{path}: row {name} is missing; {_nearest(name, found)}")
    return Calibration(rows["P2"], rows["R0_rect"], rows["Tr_velo_to_cam"])


def _nearest(name: str, found: list[str]) -> str:
    """What to do about a missing row, by those that are there."""
    alike = [other for other in found if other.startswith(name)]
    if alike:
        return (
            f"there is {', '.join(alike)}: several cameras, as in Waymo's converted by mmdet3d? "
            f"Write the row of the labels' camera as {name}, and its projection as P2"
        )
    return f"the file has {', '.join(filter(None, found)) or 'no row'}; {name} is KITTI's name"


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write the three rows as KITTI does; reading them back gives the values to 13 digits."""
    rows = (calibration.p2, calibration.r0_rect, calibration.tr_velo_to_cam)
    lines = (
        f"{name}: {' '.join(f'{value:.12e}' for value in row.ravel())}\n"
        for name, row in zip(_ROWS, rows, strict=True)
    )
    path.write_text("".join(lines), encoding="utf-8")


def lidar_to_camera_boxes(
    boxes: np.ndarray, calibration: Calibration
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """KITTI's dimensions (n, 3), location (n, 3) and rotation_y (n,) of LiDAR boxes (n, 7).

    Boxes are x, y, z of the bottom centre, length, width, height and yaw (0 along x, towards y),
    as mmdet3d's LiDARInstance3DBoxes. As there, a yaw is about the vertical axis of either frame:
    rotation_y = -yaw - pi / 2, which ignores the few milliradians between the two axes.
    """
    boxes = np.asarray(boxes, np.float64)
    matrix = calibration.lidar_to_camera
    location = boxes[:, :3] @ matrix[:3, :3].T + matrix[:3, 3]
    return boxes[:, [5, 4, 3]], location, wrap_angle(-boxes[:, 6] - np.pi / 2)


def camera_to_lidar_boxes(
    dimensions: np.ndarray, location: np.ndarray, rotation_y: np.ndarray, calibration: Calibration
) -> np.ndarray:
    """LiDAR boxes (n, 7) float32; the inverse of `lidar_to_camera_boxes`."""
    matrix = calibration.camera_to_lidar
    bottom = location @ matrix[:3, :3].T + matrix[:3, 3]
    yaw = wrap_angle(-rotation_y - np.pi / 2)
    return np.column_stack([bottom, dimensions[:, [2, 1, 0]], yaw]).astype(np.float32)


def camera_corners(
    dimensions: np.ndarray, location: np.ndarray, rotation_y: np.ndarray
) -> np.ndarray:
    """(n, 8, 3) corners in the camera frame of boxes as in KITTI's labels."""
    corners = _CORNERS * dimensions[:, None, [2, 0, 1]]
    cos, sin = np.cos(rotation_y)[:, None], np.sin(rotation_y)[:, None]
    x, y, z = np.moveaxis(corners, -1, 0)
    return np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=-1) + location[:, None]


def image_boxes(corners: np.ndarray, calibration: Calibration) -> np.ndarray:
    """(n, 4) left, top, right, bottom around the projected boxes, not clipped to the image.

    corners: (n, 8, 3) in the camera frame. The part of a box behind the camera is cut off first; a
    box that lies wholly behind it gives left = top = inf and right = bottom = -inf.
    """
    start, end = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
    depth_start, depth_end = start[..., 2] - _NEAREST_DEPTH, end[..., 2] - _NEAREST_DEPTH
    crossing = depth_start * depth_end < 0
    share = depth_start / np.where(crossing, depth_start - depth_end, 1)
    points = np.concatenate([corners, start + share[..., None] * (end - start)], axis=1)
    ahead = np.concatenate([corners[..., 2] >= _NEAREST_DEPTH, crossing], axis=1)
    points[~ahead] = (0, 0, 1)  # any point that projects; masked below
    pixels = calibration.project_camera(points.reshape(-1, 3))[:, :2]
    pixels = pixels.reshape(*points.shape[:2], 2)
    low = np.where(ahead[..., None], pixels, np.inf).min(axis=1)
    high = np.where(ahead[..., None], pixels, -np.inf).max(axis=1)
    return np.concatenate([low, high], axis=1)


def observation_angle(location: np.ndarray, rotation_y: np.ndarray) -> np.ndarray:
    """(n,) KITTI's alpha: rotation_y relative to the ray from the camera to the object."""
    return wrap_angle(rotation_y - np.arctan2(location[:, 0], location[:, 2]))


def wrap_angle(angle: np.ndarray) -> np.ndarray:
    """Angles in radians moved to [-pi, pi)."""
    return angle - 2 * np.pi * np.floor(angle / (2 * np.pi) + 0.5)


def _dehomogenise(points: np.ndarray) -> np.ndarray:
    """(n, 3) u, v, w of points (n, 3) u * w, v * w, w."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.column_stack([points[:, :2] / points[:, 2:], points[:, 2]])


def _cut(shape: tuple[int, int], count: int) -> str:
    """What to write instead of a matrix of another shape."""
    rows, columns = shape
    part = f"the {shape[0]} x {shape[1]} of its upper left"
    alike = {16: "4 x 4", 12: "3 x 4", 9: "3 x 3"}.get(count)
    wanted = f"write {rows * columns}, row by row"
    return f"{wanted}: {part}, if it is a {alike} matrix" if alike else wanted


def _parse_row(place: str, name: str, words: list[str]) -> np.ndarray:
    shape = _ROWS[name]
    count = shape[0] * shape[1]
    try:
        values = np.array([float(word) for word in words])
    except ValueError as error:
        raise DataError(f"{place}: {name}: {error}; write decimal numbers") from None
    if len(values) != count:
        raise DataError(f"{place}: {name} has {len(values)} numbers; {_cut(shape, len(values))}")
    if not np.isfinite(values).all():
        raise DataError(f"{place}: {name} has a number that is not finite; calibrate again")
    matrix = values.reshape(shape)
    rotation = matrix[:, :3]
    if name != "P2" and not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2):
        raise DataError(
            f"{place}: {name} is not a rotation matrix; calibrate again, or add KITTI's file again"
        )
    return matrix
