"""2D boxes from 3D boxes, for labels whose tool wrote none: KITTI's rules need their heights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.data.calibration import Calibration, camera_corners, image_boxes
from benchmark.data.errors import DataError
from benchmark.data.labels import Labels, write_labels
from benchmark.data.opening import open_dataset
from benchmark.files import fresh_folder


def with_image_boxes(
    labels: Labels, calibration: Calibration, size: tuple[int, int], every: bool = False
) -> Labels:
    """The labels, with the box around the projected corners where an object has no box of a height.

    Args:
        size: width and height of the image in pixels, to which boxes are clipped.
        every: whether objects that have a box get another one.

    Objects that the camera does not see, and DontCare, keep what they have.
    """
    boxes = clipped_boxes(labels, calibration, size)
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    bare = (every | (labels.bbox[:, 3] <= labels.bbox[:, 1])) & (labels.name != "DontCare")
    return replace(labels, bbox=np.where((bare & seen)[:, None], boxes, labels.bbox))


def clipped_boxes(labels: Labels, calibration: Calibration, size: tuple[int, int]) -> np.ndarray:
    """(n, 4) left, top, right, bottom around the projected 3D boxes, within the image, pixels."""
    corners = camera_corners(labels.dimensions, labels.location, labels.rotation_y)
    limits = np.array([size[0] - 1, size[1] - 1] * 2)
    return np.clip(image_boxes(corners, calibration), 0, limits)


def write_image_boxes(root: Path, folder: Path, every: bool = False) -> tuple[int, int]:
    """Write the labels of both splits with 2D boxes into a new or empty folder.

    Returns:
        Frames written, and objects that got a box.

    Raises:
        DataError: a frame cannot be read, or the folder holds something.
    """
    fresh_folder(folder, DataError)
    frames = {
        frame_id: dataset
        for dataset in (open_dataset(root, split) for split in ("train", "val"))
        for frame_id in dataset.ids
    }
    filled = 0
    for frame_id, dataset in frames.items():
        labels, calibration, size = dataset.annotation(frame_id)
        if size is None:
            raise DataError(f"{root}: view is full, so there is no image that boxes could be in")
        found = with_image_boxes(labels, calibration, size, every)
        filled += int((found.bbox != labels.bbox).any(axis=1).sum())
        write_labels(folder / f"{frame_id}.txt", found)
    return len(frames), filled
