"""Compiled loops of the operators on the CPU. Serial, so the result never depends on threads.

They live in one file because numba's cache notices a change in a function's own file only.
Coordinates come one axis after the other, (3, n), so that the innermost loops vectorise. Sums are
never reordered or fused: a distance is bit-identical to PyTorch's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

LOOP: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"nnan", "nsz"}}
"""``nnan`` and ``nsz`` let a minimum or maximum vectorise and change no finite result."""

BLOCK = 128
"""Points searched together; a block without a candidate costs one vectorised pass."""

MARGIN = 1e-6
"""Slack of a quick rejection, above the rounding of the exact test that it saves."""

CORNERS = 20
"""Room for the corners of a clipped box, however its coordinates compare (also if not finite)."""


@njit(**LOOP)
def furthest_points(xyz: np.ndarray, chosen: np.ndarray) -> None:
    """Fill ``chosen`` (m,) with points (3, n), each the furthest from those before; first is 0.

    The first of equally far points is taken.
    """
    x, y, z = xyz[0], xyz[1], xyz[2]
    nearest = np.full(len(x), np.inf, xyz.dtype)
    last = 0
    for step in range(len(chosen)):
        chosen[step] = last
        px, py, pz = x[last], y[last], z[last]
        for k in range(len(x)):
            dx, dy, dz = x[k] - px, y[k] - py, z[k] - pz
            nearest[k] = min(nearest[k], dx * dx + dy * dy + dz * dz)
        far = nearest.max()
        last = 0
        while nearest[last] < far and last + 1 < len(x):
            last += 1


@njit(**LOOP)
def furthest_by_distance(distance: np.ndarray, chosen: np.ndarray) -> None:
    """As :func:`furthest_points`, from the distances (n, n) between the points."""
    nearest = np.full(len(distance), np.inf, distance.dtype)
    last = 0
    for step in range(len(chosen)):
        chosen[step] = last
        for k in range(len(nearest)):
            nearest[k] = min(nearest[k], distance[last, k])
        last = int(nearest.argmax())


@njit(**LOOP)
def _squares(xyz: np.ndarray, px: float, py: float, pz: float, square: np.ndarray) -> float:
    """Fill ``square`` with squared distances of points (3, n) to a place; the least of them."""
    x, y, z = xyz[0], xyz[1], xyz[2]
    least = square.dtype.type(np.inf)
    for k in range(len(x)):
        dx, dy, dz = px - x[k], py - y[k], pz - z[k]
        square[k] = dx * dx + dy * dy + dz * dz
        least = min(least, square[k])
    return least


@njit(**LOOP)
def ball_query(
    xyz: np.ndarray, centres: np.ndarray, low: float, high: float, index: np.ndarray
) -> None:
    """Fill ``index`` (m, s) with the first points (3, n) around each centre (3, m).

    A point counts whose squared distance is 0 or in [low, high). Unused slots repeat the
    first point found; a row without any is 0.
    """
    samples = index.shape[1]
    square = np.empty(BLOCK, xyz.dtype)
    for c in range(len(index)):
        px, py, pz = centres[0, c], centres[1, c], centres[2, c]
        found = 0
        for start in range(0, xyz.shape[1], BLOCK):
            size = min(BLOCK, xyz.shape[1] - start)
            if _squares(xyz[:, start : start + BLOCK], px, py, pz, square) >= high:
                continue
            for k in range(size):
                d = square[k]
                if found < samples and (d == 0 or (low <= d < high)):
                    index[c, found] = start + k
                    found += 1
            if found == samples:
                break
        index[c, found:] = index[c, 0] if found else 0


@njit(**LOOP)
def nearest(
    targets: np.ndarray, sources: np.ndarray, distance: np.ndarray, index: np.ndarray
) -> None:
    """Fill ``distance`` and ``index`` (m, k) with the sources (3, n) nearest each target (3, m).

    Squared distances, ascending; the lower index first among equals. Places without a source
    are infinite, with index 0.
    """
    count = index.shape[1]
    square = np.empty(BLOCK, sources.dtype)
    distance[:] = np.inf
    index[:] = 0
    for t in range(len(index)):
        px, py, pz = targets[0, t], targets[1, t], targets[2, t]
        for start in range(0, sources.shape[1], BLOCK):
            size = min(BLOCK, sources.shape[1] - start)
            least = _squares(sources[:, start : start + BLOCK], px, py, pz, square)
            if least >= distance[t, -1]:
                continue
            for k in range(size):
                place = count
                while place > 0 and square[k] < distance[t, place - 1]:
                    place -= 1
                if place < count:
                    for later in range(count - 1, place, -1):
                        distance[t, later] = distance[t, later - 1]
                        index[t, later] = index[t, later - 1]
                    distance[t, place] = square[k]
                    index[t, place] = start + k


@njit(**LOOP)
def first_box(points: np.ndarray, boxes: np.ndarray, first: np.ndarray) -> None:
    """Fill ``first`` (m,) with the lowest box (8, n) that holds each point (3, m), or -1.

    Boxes are x, y, z of the bottom centre, half the sizes, cosine and sine of the yaw.
    """
    x, y, z, length, width, height, cos, sin = boxes
    for p in range(len(first)):
        first[p] = -1
        for b in range(len(x)):
            dx, dy = points[0, p] - x[b], points[1, p] - y[b]
            if (
                abs(points[2, p] - z[b] - height[b]) <= height[b]
                and abs(dx * cos[b] + dy * sin[b]) < length[b]
                and abs(dy * cos[b] - dx * sin[b]) < width[b]
            ):
                first[p] = b
                break


@njit(cache=True, nogil=True)
def suppress(boxes: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    """(n,) whether each rotated box stays when the better ones drop those they overlap.

    Args:
        boxes: (5, n) centre x, centre y, length, width (metres), yaw (radians), best first, in
            double precision.
        labels: (n,) boxes of different labels never drop each other.
        threshold: a box goes when its intersection over union with a kept one exceeds this.
    """
    x, y, length, width, yaw = boxes
    area, reach = length * width, 0.5 * np.hypot(length, width)
    least = max(threshold - MARGIN, 0.0)  # no overlap exceeds the ratio of the areas
    alive = np.ones(len(x), np.bool_)
    polygon = np.empty((2, 2, CORNERS))
    for i in range(len(x)):
        if not alive[i]:
            continue
        for j in range(i + 1, len(x)):
            dx, dy, far = x[j] - x[i], y[j] - y[i], reach[i] + reach[j]
            if dx * dx + dy * dy > far * far or not alive[j] or labels[i] != labels[j]:
                continue
            small, large = min(area[i], area[j]), max(area[i], area[j])
            if small <= least * large:
                continue
            common = _intersection(boxes[:, i], boxes[:, j], polygon)
            if common > threshold * (area[i] + area[j] - common):
                alive[j] = False
    return alive


@njit(cache=True, nogil=True)
def _intersection(a: np.ndarray, b: np.ndarray, polygon: np.ndarray) -> float:
    """Area common to two rotated boxes (5,), b clipped by a's sides in a's own frame.

    polygon: (2, 2, CORNERS) scratch, the corners' x and y before and after a cut. Sutherland and
    Hodgman (1974).
    """
    cos, sin = math.cos(a[4]), math.sin(a[4])
    dx, dy = b[0] - a[0], b[1] - a[1]
    x, y = dx * cos + dy * sin, dy * cos - dx * sin
    cos, sin = math.cos(b[4] - a[4]), math.sin(b[4] - a[4])
    for corner in range(4):
        u = 0.5 * b[2] * (1.0 if corner in (0, 3) else -1.0)
        v = 0.5 * b[3] * (1.0 if corner < 2 else -1.0)
        polygon[0, 0, corner] = x + u * cos - v * sin
        polygon[0, 1, corner] = y + u * sin + v * cos
    size = 4
    for side in range(4):
        axis, sign = side // 2, 1.0 - 2.0 * (side % 2)
        size = _cut(polygon[side % 2], polygon[1 - side % 2], size, axis, sign, 0.5 * a[2 + axis])
    area = 0.0
    for k in range(size):
        after = k + 1 if k + 1 < size else 0
        area += polygon[0, 0, k] * polygon[0, 1, after] - polygon[0, 1, k] * polygon[0, 0, after]
    return 0.5 * abs(area)


@njit(cache=True, nogil=True)
def _cut(old: np.ndarray, new: np.ndarray, size: int, axis: int, sign: float, limit: float) -> int:
    """Copy the part of a convex polygon where sign * coordinate <= limit; its corner count."""
    kept = 0
    for k in range(size):
        after = k + 1 if k + 1 < size else 0
        here, there = limit - sign * old[axis, k], limit - sign * old[axis, after]
        if here >= 0.0:
            new[0, kept], new[1, kept] = old[0, k], old[1, k]
            kept += 1
        if (here >= 0.0) != (there >= 0.0):
            part = here / (here - there)
            new[0, kept] = old[0, k] + part * (old[0, after] - old[0, k])
            new[1, kept] = old[1, k] + part * (old[1, after] - old[1, k])
            kept += 1
    return kept


@njit(**LOOP)
def add_rows(totals: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """Add values (n, C) to the rows (n,) of totals (N, C), in their order."""
    for i in range(len(rows)):
        row = rows[i]
        for c in range(totals.shape[1]):
            totals[row, c] += values[i, c]
