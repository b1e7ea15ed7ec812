"""Compiled geometry of boxes in the LiDAR frame: points inside, collisions, free places.

Boxes are (n, 7): x, y, z of the bottom centre, length, width, height in metres, yaw in radians.
The loops live in one file because numba's cache notices a change in a function's own file only.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

MOST_TILES = 256
"""Tiles of the ground along x and y, of 1 m where that suffices."""
SLACK = 1e-6
"""Metres by which a tile is more generous than the exact test, above its rounding."""


@njit(cache=True, nogil=True)
def first_box(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Index (n,) of the first box that a point (n, 3 or more) lies strictly inside, or -1."""
    boxes = boxes.astype(np.float64)
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    reach = 0.5 * np.hypot(boxes[:, 3], boxes[:, 4])
    found = np.full(len(points), -1, np.int64)
    if not len(boxes):
        return found
    x0, y0 = (boxes[:, 0] - reach).min() - SLACK, (boxes[:, 1] - reach).min() - SLACK
    x1, y1 = (boxes[:, 0] + reach).max() + SLACK, (boxes[:, 1] + reach).max() + SLACK
    side = max(1.0, (x1 - x0) / MOST_TILES, (y1 - y0) / MOST_TILES)
    near = _tiles_near(boxes, reach + SLACK, x0, y0, side)
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        if (
            not (x0 <= x <= x1 and y0 <= y <= y1)
            or not near[int((x - x0) / side), int((y - y0) / side)]
        ):
            continue
        for j in range(len(boxes)):
            dx, dy = x - boxes[j, 0], y - boxes[j, 1]
            above = points[i, 2] - boxes[j, 2]
            if abs(dx) >= reach[j] or abs(dy) >= reach[j] or not 0.0 < above < boxes[j, 5]:
                continue
            along, across = cos[j] * dx + sin[j] * dy, cos[j] * dy - sin[j] * dx
            if 2.0 * abs(along) < boxes[j, 3] and 2.0 * abs(across) < boxes[j, 4]:
                found[i] = j
                break
    return found


def count_inside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(n,) points of which each box (n, 7) is the :func:`first_box`."""
    owner = first_box(points, boxes)
    return np.bincount(owner[owner >= 0], minlength=len(boxes))


@njit(cache=True, nogil=True)
def count_above(
    points: np.ndarray, boxes: np.ndarray, ground: float
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) points inside each box by itself, above its lowest `ground` metres or quarter, and (n,)
    those inside a box twice as long and wide."""
    boxes = boxes.astype(np.float64)
    inside, around = np.zeros(len(boxes), np.int64), np.zeros(len(boxes), np.int64)
    for j in range(len(boxes)):
        x, y, z, length, width, height, yaw = boxes[j]
        cos, sin, reach = math.cos(yaw), math.sin(yaw), math.hypot(length, width)
        bottom = min(ground, 0.25 * height)
        for i in range(len(points)):
            dx, dy = points[i, 0] - x, points[i, 1] - y
            if abs(dx) >= reach or abs(dy) >= reach or not bottom < points[i, 2] - z < height:
                continue
            along, across = abs(cos * dx + sin * dy), abs(cos * dy - sin * dx)
            if along < length and across < width:
                around[j] += 1
                if 2 * along < length and 2 * across < width:
                    inside[j] += 1
    return inside, around


@njit(cache=True, nogil=True)
def _tiles_near(
    boxes: np.ndarray, reach: np.ndarray, x0: float, y0: float, side: float
) -> np.ndarray:
    """Whether a box reaches into each tile of the ground, from a corner on."""
    near = np.zeros((MOST_TILES + 2, MOST_TILES + 2), np.bool_)
    for j in range(len(boxes)):
        left, right = boxes[j, 0] - reach[j] - x0, boxes[j, 0] + reach[j] - x0
        low, high = boxes[j, 1] - reach[j] - y0, boxes[j, 1] + reach[j] - y0
        near[int(left / side) : int(right / side) + 1, int(low / side) : int(high / side) + 1] = (
            True
        )
    return near


@njit(cache=True, nogil=True)
def _collide(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two boxes (7,) share ground: no side of either separates them."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    cos_t, sin_t = abs(math.cos(b[6] - a[6])), abs(math.sin(b[6] - a[6]))
    for box, other in ((a, b), (b, a)):
        cos, sin = math.cos(box[6]), math.sin(box[6])
        along = box[3] + cos_t * other[3] + sin_t * other[4]
        across = box[4] + sin_t * other[3] + cos_t * other[4]
        if 2.0 * abs(cos * dx + sin * dy) >= along or 2.0 * abs(cos * dy - sin * dx) >= across:
            return False
    return True


@njit(cache=True, nogil=True)
def collisions(boxes: np.ndarray) -> np.ndarray:
    """(n, n) whether two different boxes share ground; boxes that touch do not."""
    boxes = boxes.astype(np.float64)
    matrix = np.zeros((len(boxes), len(boxes)), np.bool_)
    for i in range(len(boxes)):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = _collide(boxes[i], boxes[j])
    return matrix


@njit(cache=True, nogil=True)
def free_moves(boxes: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Move boxes one after the other, each by the first of its moves that hits no other box.

    Args:
        boxes: (n, 7).
        moves: (n, tries, 4) x, y, z in metres and turn about z in radians.

    Returns:
        (n,) the number of the move, or -1 where a box has to stay.
    """
    placed = boxes.astype(np.float64)
    chosen = np.full(len(boxes), -1, np.int64)
    for i in range(len(boxes)):
        start = placed[i].copy()
        for attempt in range(moves.shape[1]):
            placed[i, :3] = start[:3] + moves[i, attempt, :3]
            placed[i, 6] = start[6] + moves[i, attempt, 3]
            free = True
            for j in range(len(boxes)):
                if j != i and _collide(placed[i], placed[j]):
                    free = False
                    break
            if free:
                chosen[i] = attempt
                break
        if chosen[i] < 0:
            placed[i] = start
    return chosen
