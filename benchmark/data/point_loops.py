"""Compiled loops over the points of a scan, each to the bit what numpy's expression gives.

The loops live in one file because numba's cache notices a change in a function's own file only.
None of them reorders or fuses arithmetic.
"""

from __future__ import annotations

import numpy as np
from numba import njit

PIXELS, METRES = 1e-3, 1e-6
"""By how much :func:`maybe_seen` is more generous than an exact projection."""


@njit(cache=True, nogil=True)
def first_unusable(points: np.ndarray) -> int:
    """Index of the first point (n, 4) that is not finite or whose reflectance is not in [0, 1],
    or -1."""
    for i in range(len(points)):
        usable = 0 <= points[i, 3] <= 1
        for k in range(3):
            usable &= np.isfinite(points[i, k])
        if not usable:
            return i
    return -1


@njit(cache=True, nogil=True)
def rows_where(points: np.ndarray, marks: np.ndarray, wanted: int) -> np.ndarray:
    """The points (m, 4) whose mark (n,) is the wanted one, in their order."""
    kept = np.empty_like(points)
    count = 0
    for i in range(len(points)):
        if marks[i] == wanted:
            kept[count] = points[i]
            count += 1
    return kept[:count].copy()


@njit(cache=True, nogil=True)
def rows_within(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The points (m, 4) strictly between two corners (3,), in their order."""
    inside = np.ones(len(points), np.bool_)
    for i in range(len(points)):
        for k in range(3):
            inside[i] &= low[k] < points[i, k] < high[k]
    return rows_where(points, inside, True)


@njit(cache=True, nogil=True)
def maybe_seen(
    points: np.ndarray, projection: np.ndarray, size: tuple[int, int], depths: tuple[float, float]
) -> np.ndarray:
    """The points (m, 4) that an exact projection may put into the image, in their order.

    Args:
        projection: (3, 4) to pixels times depth, and depth.
        size: width and height, pixels.
        depths: least and greatest depth, metres.
    """
    seen = np.empty(len(points), np.bool_)
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        u, v, depth = (
            projection[0, 0] * x + projection[0, 1] * y + projection[0, 2] * z + projection[0, 3],
            projection[1, 0] * x + projection[1, 1] * y + projection[1, 2] * z + projection[1, 3],
            projection[2, 0] * x + projection[2, 1] * y + projection[2, 2] * z + projection[2, 3],
        )
        seen[i] = (
            depths[0] - METRES < depth < depths[1] + METRES
            and -PIXELS * depth < u < (size[0] + PIXELS) * depth
            and -PIXELS * depth < v < (size[1] + PIXELS) * depth
        )
    return rows_where(points, seen, True)


@njit(cache=True, nogil=True)
def turn(points: np.ndarray, cos: float, sin: float) -> None:
    """Turn x and y of points (n, 4) in place, in double precision."""
    for i in range(len(points)):
        x, y = np.float64(points[i, 0]), np.float64(points[i, 1])
        points[i, 0] = cos * x - sin * y
        points[i, 1] = sin * x + cos * y


@njit(cache=True, nogil=True)
def carry(
    points: np.ndarray, owner: np.ndarray, centres: np.ndarray, move: np.ndarray, cos: np.ndarray,
    sin: np.ndarray,
) -> None:  # fmt: skip
    """Move points (n, 4) in place, each with the box (n,) that owns it, or not at all (-1).

    Args:
        centres: (m, 2) around which the boxes turn.
        move: (m, 3) metres, after the turn.
        cos, sin: (m,) of the turns.
    """
    for i in range(len(points)):
        box = owner[i]
        if box < 0:
            continue
        x = np.float64(points[i, 0]) - centres[box, 0]
        y = np.float64(points[i, 1]) - centres[box, 1]
        points[i, 0] = cos[box] * x - sin[box] * y + centres[box, 0] + move[box, 0]
        points[i, 1] = sin[box] * x + cos[box] * y + centres[box, 1] + move[box, 1]
        points[i, 2] += move[box, 2]
