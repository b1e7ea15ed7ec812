"""Cast rays at objects made of simple convex parts, above a curved ground with kerbs.

A part is an affine image of a unit body, so that a ray is moved into the unit body's frame, keeps
its parameter t (the distance in metres), and meets one of three shapes:

    HULL       |x|, |y|, |z| <= 1, whose front, rear and sides lean inwards towards the top
    ELLIPSOID  x^2 + y^2 + z^2 <= 1
    CYLINDER   x^2 + y^2 <= 1, |z| <= 1
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

HULL, ELLIPSOID, CYLINDER = 0, 1, 2
NOTHING, ROAD, VERGE = -1, -2, -3  # what a ray hit, if not a part

_FARTHEST = 110.0  # metres


class Parts(NamedTuple):
    """The p parts of n objects; those of object i are first[i] to first[i + 1].

    Attributes:
        kind: (p,) HULL, ELLIPSOID or CYLINDER.
        transform: (p, 3, 4) from the world to the unit body.
        taper: (p, 3) how far a hull's front, rear and sides lean inwards at its top, 0 to 1.
        surface: (p, 3) reflectance (0 to 1), gloss (the share of rays that a mirror-like surface
            sends away at grazing incidence) and density (the chance that the part stops a ray;
            below 1 for foliage and spokes).
        first: (n + 1,) where each object's parts begin.
        centre, radius: (n, 3), (n,) a sphere around each object, in metres.
    """

    kind: np.ndarray
    transform: np.ndarray
    taper: np.ndarray
    surface: np.ndarray
    first: np.ndarray
    centre: np.ndarray
    radius: np.ndarray


class Ground(NamedTuple):
    """z = height + slope . (x, y) + bend . (x^2, y^2) / 2, raised by `kerb` beside the road.

    The road passes under the sensor in direction `heading` (radians); its edges lie `left` > 0 and
    `right` < 0 metres beside the sensor.
    """

    height: float
    slope_x: float
    slope_y: float
    bend_x: float
    bend_y: float
    heading: float
    left: float
    right: float
    kerb: float

    def elevation(self, x: float, y: float) -> float:
        """z in metres at one place."""
        beside = y * np.cos(self.heading) - x * np.sin(self.heading)
        raised = self.kerb if beside > self.left or beside < self.right else 0.0
        curved = (self.bend_x * x * x + self.bend_y * y * y) / 2
        return self.height + self.slope_x * x + self.slope_y * y + curved + raised


class Hits(NamedTuple):
    """What r rays hit first.

    Attributes:
        distance: (r,) metres; infinite where nothing is hit.
        part: (r,) index of the part, or NOTHING, ROAD or VERGE.
        cosine: (r,) of the angle between the ray and the surface's normal.
        possible: (n,) rays that would hit each object if it were alone.
    """

    distance: np.ndarray
    part: np.ndarray
    cosine: np.ndarray
    possible: np.ndarray


def cast(directions: np.ndarray, chance: np.ndarray, parts: Parts, ground: Ground) -> Hits:
    """Cast rays from the origin.

    directions: (r, 3) unit vectors. chance: (r, 2) uniform numbers in [0, 1) that decide whether a
    ray passes a part of density below 1, and how deep it enters before it is stopped.
    """
    return Hits(*_cast(directions, chance, *parts, *ground))


@njit(nogil=True, cache=True)
def _cast(
    directions,
    chance,
    kind,
    transform,
    taper,
    surface,
    first,
    centre,
    radius,
    height,
    slope_x,
    slope_y,
    bend_x,
    bend_y,
    heading,
    left,
    right,
    kerb,
):
    rays, objects = len(directions), len(centre)
    distance = np.full(rays, np.inf)
    part = np.full(rays, NOTHING)
    cosine = np.zeros(rays)
    possible = np.zeros(objects, np.int64)
    normal = np.zeros(3)
    best_normal = np.zeros(3)
    cos_heading, sin_heading = np.cos(heading), np.sin(heading)
    for ray in range(rays):
        dx, dy, dz = directions[ray]
        fall = dz - slope_x * dx - slope_y * dy
        bend = -(bend_x * dx * dx + bend_y * dy * dy) / 2
        aside = dy * cos_heading - dx * sin_heading
        best, hit, cos_ground = _cast_at_ground(
            bend, fall, height, kerb, aside, left, right, dz, slope_x, slope_y
        )
        for obj in range(objects):
            along = centre[obj, 0] * dx + centre[obj, 1] * dy + centre[obj, 2] * dz
            square = centre[obj, 0] ** 2 + centre[obj, 1] ** 2 + centre[obj, 2] ** 2
            if along <= 0 or square - along * along > radius[obj] ** 2:
                continue
            met = False
            for p in range(first[obj], first[obj + 1]):
                enter, leave = _cross_part(kind[p], transform[p], taper[p], dx, dy, dz, normal)
                if not 0 < enter < leave:
                    continue
                density = surface[p, 2]
                if density < 1:
                    if (chance[ray, 0] + 0.6180339887 * p) % 1.0 > density:
                        continue
                    enter += (leave - enter) * chance[ray, 1] * (1 - density)
                met = True
                if enter < best:
                    best, hit = enter, p
                    best_normal[:] = normal
            possible[obj] += met
        if best < _FARTHEST:
            distance[ray], part[ray] = best, hit
            if hit >= 0:
                cosine[ray] = _cosine(transform[hit], best_normal, dx, dy, dz)
            else:
                cosine[ray] = cos_ground
    return distance, part, cosine, possible


@njit(nogil=True, cache=True)
def _cast_at_ground(bend, fall, height, kerb, aside, left, right, dz, slope_x, slope_y):
    """Distance, surface and cosine where a ray meets the ground."""
    steepness = abs(fall) / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    upper = _cross_paraboloid(bend, fall, height + kerb)
    if upper * aside > left or upper * aside < right:
        return upper, VERGE, steepness
    lower = _cross_paraboloid(bend, fall, height)
    if lower == np.inf or right <= lower * aside <= left:
        return lower, ROAD, steepness
    face = left / aside if aside > 0 else right / aside
    return face, VERGE, abs(aside)


@njit(nogil=True, cache=True)
def _cross_paraboloid(bend, fall, height):
    """The smallest t > 0 with bend t^2 + fall t - height = 0; height < 0."""
    root = fall * fall + 4 * bend * height
    if root < 0:
        return np.inf
    # Stable for bend near 0; the other root is negative or behind this one.
    divisor = fall - np.sqrt(root)
    if divisor >= -1e-9:
        return np.inf
    return 2 * height / divisor


@njit(nogil=True, cache=True)
def _cross_part(kind, transform, taper, dx, dy, dz, normal):
    """Where a ray enters and leaves a part, and its normal in the unit body's frame."""
    ox, oy, oz = transform[0, 3], transform[1, 3], transform[2, 3]
    ux = transform[0, 0] * dx + transform[0, 1] * dy + transform[0, 2] * dz
    uy = transform[1, 0] * dx + transform[1, 1] * dy + transform[1, 2] * dz
    uz = transform[2, 0] * dx + transform[2, 1] * dy + transform[2, 2] * dz
    if kind == ELLIPSOID:
        enter, leave = _cross_quadric(
            ux * ux + uy * uy + uz * uz,
            ox * ux + oy * uy + oz * uz,
            ox * ox + oy * oy + oz * oz - 1,
        )
        normal[0], normal[1], normal[2] = ox + enter * ux, oy + enter * uy, oz + enter * uz
        return enter, leave
    if kind == CYLINDER:
        enter, leave = _cross_quadric(ux * ux + uy * uy, ox * ux + oy * uy, ox * ox + oy * oy - 1)
        normal[0], normal[1], normal[2] = ox + enter * ux, oy + enter * uy, 0.0
        enter, leave = _clip(enter, leave, 0.0, 0.0, 1.0, 1.0, ox, oy, oz, ux, uy, uz, normal)
        return _clip(enter, leave, 0.0, 0.0, -1.0, 1.0, ox, oy, oz, ux, uy, uz, normal)
    front, rear, side = taper[0] / 2, taper[1] / 2, taper[2] / 2
    enter, leave = -np.inf, np.inf
    enter, leave = _clip(enter, leave, 0.0, 0.0, 1.0, 1.0, ox, oy, oz, ux, uy, uz, normal)
    enter, leave = _clip(enter, leave, 0.0, 0.0, -1.0, 1.0, ox, oy, oz, ux, uy, uz, normal)
    enter, leave = _clip(enter, leave, 1.0, 0.0, front, 1 - front, ox, oy, oz, ux, uy, uz, normal)
    enter, leave = _clip(enter, leave, -1.0, 0.0, rear, 1 - rear, ox, oy, oz, ux, uy, uz, normal)
    enter, leave = _clip(enter, leave, 0.0, 1.0, side, 1 - side, ox, oy, oz, ux, uy, uz, normal)
    return _clip(enter, leave, 0.0, -1.0, side, 1 - side, ox, oy, oz, ux, uy, uz, normal)


@njit(nogil=True, cache=True)
def _cross_quadric(a, b, c):
    """The roots of a t^2 + 2 b t + c; an empty interval where there are none."""
    root = b * b - a * c
    if a < 1e-12:
        return (-np.inf, np.inf) if c < 0 else (np.inf, -np.inf)
    if root <= 0:
        return np.inf, -np.inf
    root = np.sqrt(root)
    return (-b - root) / a, (-b + root) / a


@njit(nogil=True, cache=True)
def _clip(enter, leave, nx, ny, nz, offset, ox, oy, oz, ux, uy, uz, normal):
    """Cut the interval of a ray to the half-space n . x <= offset."""
    speed = nx * ux + ny * uy + nz * uz
    gap = offset - (nx * ox + ny * oy + nz * oz)
    if abs(speed) < 1e-12:
        return (enter, leave) if gap >= 0 else (np.inf, -np.inf)
    t = gap / speed
    if speed > 0:
        return enter, min(leave, t)
    if t > enter:
        normal[0], normal[1], normal[2] = nx, ny, nz
        return t, leave
    return enter, leave


@njit(nogil=True, cache=True)
def _cosine(transform, normal, dx, dy, dz):
    """Of the angle between a ray and a normal given in the unit body's frame."""
    x = transform[0, 0] * normal[0] + transform[1, 0] * normal[1] + transform[2, 0] * normal[2]
    y = transform[0, 1] * normal[0] + transform[1, 1] * normal[1] + transform[2, 1] * normal[2]
    z = transform[0, 2] * normal[0] + transform[1, 2] * normal[1] + transform[2, 2] * normal[2]
    return abs(x * dx + y * dy + z * dz) / np.sqrt(x * x + y * y + z * z)
