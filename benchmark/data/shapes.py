"""Shapes of the embedded set: road users as KITTI labels them, and what stands around them.

A shape is built from parts in its own frame: x ahead, y left, z up, metres. Sizes follow the means
and spreads of KITTI's labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from benchmark.data.raycast import CYLINDER, ELLIPSOID, HULL

_RUBBER, _GLASS, _PLATE = 0.06, 0.04, 0.95  # reflectances


@dataclass(frozen=True, eq=False)
class Part:
    """A unit body stretched to half sizes `half`, turned by `axes` (columns), moved to `centre`."""

    kind: int
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    reflectance: float
    taper: tuple[float, float, float] = (0.0, 0.0, 0.0)
    density: float = 1.0
    axes: np.ndarray | None = None

    def transform(self) -> np.ndarray:
        """(3, 4) from the shape's frame to the unit body."""
        inverse = np.diag(1 / np.array(self.half))
        if self.axes is not None:
            inverse = inverse @ self.axes.T
        return np.column_stack([inverse, -inverse @ np.array(self.centre)])

    def reach(self) -> np.ndarray:
        """(3,) half sizes of the axis-aligned box around the part."""
        axes = np.eye(3) if self.axes is None else self.axes
        stretched = axes * np.array(self.half)
        if self.kind == ELLIPSOID:
            return np.sqrt((stretched**2).sum(axis=1))
        if self.kind == CYLINDER:
            return np.sqrt((stretched[:, :2] ** 2).sum(axis=1)) + np.abs(stretched[:, 2])
        return np.abs(stretched).sum(axis=1)


@dataclass(frozen=True, eq=False)
class Shape:
    """Parts whose bounding box stands centred on the origin.

    Attributes:
        size: (3,) length, width and height of the bounding box with its margin.
        kind, transform, taper, density, reflectance: of the parts, as in `raycast.Parts`.
    """

    size: np.ndarray
    kind: np.ndarray
    transform: np.ndarray
    taper: np.ndarray
    density: np.ndarray
    reflectance: np.ndarray


def assemble(parts: Iterable[Part], margin: float = 0.0) -> Shape:
    """Centre the parts' bounding box, stand it on z = 0, and widen it by `margin` all around."""
    parts = list(parts)
    centres = np.array([part.centre for part in parts])
    reach = np.array([part.reach() for part in parts])
    low, high = (centres - reach).min(axis=0), (centres + reach).max(axis=0)
    origin = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, min(low[2], 0.0)])
    transform = np.stack([part.transform() for part in parts])
    transform[..., 3] += transform[..., :3] @ origin
    extent = np.append(high[:2] - low[:2], high[2] - origin[2])
    return Shape(
        size=extent + margin * np.array([2, 2, 1]),
        kind=np.array([part.kind for part in parts]),
        transform=transform,
        taper=np.array([part.taper for part in parts]),
        density=np.array([part.density for part in parts]),
        reflectance=np.array([part.reflectance for part in parts]),
    )


def car(rng: np.random.Generator) -> Shape:
    """Sedan, hatchback, estate, off-roader or people carrier."""
    rear, front, waist, rear_taper, front_taper, taller = _CABINS[rng.integers(len(_CABINS))]
    length = np.clip(rng.normal(3.9, 0.38), 3.0, 4.9)
    width = np.clip(1.6 + 0.12 * (length - 3.9) + rng.normal(0, 0.06), 1.4, 1.85)
    height = np.clip(rng.normal(1.41, 0.06) * taller, 1.28, 1.9)
    paint = _paint(rng)
    floor, waist = 0.13 * height, waist * height
    cabin = ((rear + front) / 2 * length, (front - rear) / 2 * length)
    roof = 0.93 * height
    shrink = (roof - waist) / (height - waist)
    tapers = (front_taper * shrink, rear_taper * shrink, 0.25 * shrink)
    top_rear, top_front = (
        rear + rear_taper * (front - rear) / 2,
        front - front_taper * (front - rear) / 2,
    )
    return assemble(
        [
            _block(
                0,
                (floor + waist) / 2,
                length / 2,
                width / 2,
                waist - floor,
                paint,
                (0.06, 0.03, 0.08),
            ),
            _block(
                cabin[0],
                (waist + roof) / 2,
                cabin[1],
                0.94 * width / 2,
                roof - waist,
                _GLASS,
                tapers,
            ),
            _block(
                (top_rear + top_front) / 2 * length,
                (roof + height) / 2,
                (top_front - top_rear) / 2 * length,
                0.74 * width / 2,
                height - roof,
                paint,
            ),
            *_wheels(length, width, 0.2 * height + rng.uniform(0, 0.03)),
            *_plates(length, 0.35 * height),
        ],
        margin=0.03,
    )


# Rear and front end of the cabin and the waist as shares of length and height, the lean of rear and
# front window as shares of the half cabin, and how much taller than a sedan.
_CABINS = (
    (-0.36, 0.24, 0.60, 0.50, 0.60, 1.00),  # sedan
    (-0.49, 0.24, 0.60, 0.25, 0.60, 1.02),  # hatchback
    (-0.49, 0.22, 0.60, 0.18, 0.50, 1.02),  # estate
    (-0.48, 0.24, 0.62, 0.16, 0.38, 1.18),  # off-roader
    (-0.48, 0.34, 0.58, 0.16, 0.55, 1.12),  # people carrier
)


def van(rng: np.random.Generator) -> Shape:
    """Delivery van or minibus."""
    length = np.clip(rng.normal(5.0, 0.6), 4.1, 6.5)
    width, height = (
        np.clip(rng.normal(1.9, 0.1), 1.7, 2.2),
        np.clip(rng.normal(2.2, 0.25), 1.8, 2.8),
    )
    paint, hood, floor = _paint(rng), rng.uniform(0.1, 0.2) * length, 0.12 * height
    hold = length - hood
    return assemble(
        [
            _block(
                -hood / 2,
                (floor + height) / 2,
                hold / 2,
                width / 2,
                height - floor,
                paint,
                (0.2, 0.02, 0.1),
            ),
            _block(
                hold / 2,
                (floor + 0.5 * height) / 2,
                hood / 2,
                width / 2,
                0.5 * height - floor,
                paint,
                (0.3, 0, 0.1),
            ),
            *_wheels(length, width, 0.33),
            *_plates(length, 0.25 * height),
        ],
        margin=0.03,
    )


def truck(rng: np.random.Generator) -> Shape:
    """Cab and box body."""
    length = np.clip(rng.normal(9.0, 2.0), 6.0, 13.0)
    width, height, paint = 2.5, np.clip(rng.normal(3.2, 0.3), 2.6, 3.8), _paint(rng)
    cab, floor = 2.0, 0.9
    return assemble(
        [
            _block(
                -(cab + 0.3) / 2,
                (floor + height) / 2,
                (length - cab - 0.3) / 2,
                width / 2,
                height - floor,
                paint,
            ),
            _block(
                (length - cab) / 2,
                1.6,
                cab / 2,
                0.96 * width / 2,
                2.2,
                _paint(rng),
                (0.12, 0, 0.05),
            ),
            _block(-0.3, 0.75, length / 2 - 0.6, 0.4, 0.3, 0.1),
            *_wheels(length, width, 0.5),
            *_plates(length, 0.7),
        ],
        margin=0.04,
    )


def pedestrian(rng: np.random.Generator) -> Shape:
    """Adult or child, standing to striding, some with a bag, a backpack or a long coat."""
    height = (
        rng.uniform(1.05, 1.45)
        if rng.random() < 0.1
        else np.clip(rng.normal(1.74, 0.09), 1.5, 1.98)
    )
    scale, cloth = height / 1.74, rng.uniform(0.1, 0.6)
    stride, swing = rng.uniform(0.0, 0.38) * scale, rng.uniform(0.02, 0.3) * scale
    build = rng.uniform(0.9, 1.25)
    hip, shoulder = 0.9 * scale, 1.42 * scale
    half = 0.2 * scale * build
    parts = [
        _ball((0.02, 0, height - 0.12 * scale), (0.1 * scale, 0.085 * scale, 0.12 * scale), 0.35),
        _ball((0, 0, (hip + shoulder) / 2), (0.14 * scale * build, half, 0.36 * scale), cloth),
    ]
    trousers = rng.uniform(0.08, 0.5)
    for side, ahead in ((1, stride), (-1, -stride)):
        leg = _limb(
            (0, 0.09 * side, hip), (ahead, 0.1 * side, 0.06), 0.075 * scale * build, trousers
        )
        arm = _limb(
            (0, half * side, shoulder - 0.05),
            (-swing * side, 1.25 * half * side, 0.8 * scale),
            0.05 * scale,
            cloth,
        )
        parts += [leg, arm, _ball((ahead + 0.06, 0.1 * side, 0.05), (0.13, 0.05, 0.05), 0.1)]
    extra = rng.random()
    if extra < 0.2:
        parts.append(
            _block(-0.2 * scale, 1.2 * scale, 0.1, 0.15, 0.45 * scale, rng.uniform(0.1, 0.6))
        )
    elif extra < 0.35:
        parts.append(
            _block(0.05, 0.6 * scale, 0.18, 0.07, 0.35, rng.uniform(0.1, 0.6), y=1.5 * half)
        )
    elif extra < 0.5:
        parts.append(_pillar(0.75 * scale, 0.21 * scale * build, 0.5 * scale, cloth))
    return assemble(parts, margin=0.05)


def person_sitting(rng: np.random.Generator) -> Shape:
    """A person on a chair or bench."""
    scale, cloth, seat = rng.uniform(0.85, 1.0), rng.uniform(0.1, 0.6), 0.42
    parts = [
        _ball((0, 0, seat + 0.76 * scale), (0.1, 0.085, 0.12), 0.35),
        _ball((-0.03, 0, seat + 0.33 * scale), (0.15, 0.21 * scale, 0.34 * scale), cloth),
        _block(-0.02, seat - 0.04, 0.22, 0.22, 0.06, 0.3),
        _block(-0.24, seat + 0.2, 0.02, 0.2, 0.5, 0.3),
    ]
    for side in (1, -1):
        knee = (0.42 * scale, 0.12 * side, seat + 0.08)
        parts += [
            _limb((0, 0.1 * side, seat + 0.1), knee, 0.08, cloth),
            _limb(knee, (rng.uniform(0.35, 0.55) * scale, 0.12 * side, 0.05), 0.06, cloth),
            _limb(
                (0, 0.22 * side, seat + 0.55 * scale), (0.25, 0.2 * side, seat + 0.25), 0.05, cloth
            ),
        ]
    return assemble(parts, margin=0.04)


def cyclist(rng: np.random.Generator) -> Shape:
    """A rider, upright to bent forward, on a bicycle, some with a basket or child seat."""
    scale, cloth, lean = rng.uniform(0.9, 1.02), rng.uniform(0.1, 0.7), rng.uniform(0.15, 0.55)
    hip = np.array([-0.18, 0.0, 0.95]) * scale
    shoulder = hip + 0.52 * scale * np.array([np.sin(lean), 0, np.cos(lean)])
    head = shoulder + scale * np.array([0.07 + 0.1 * np.sin(lean), 0, 0.24])
    parts = [
        *_bicycle_parts(rng, scale),
        _limb(hip, shoulder, 0.16 * scale, cloth),
        _ball(tuple(head), (0.12 * scale, 0.09 * scale, 0.13 * scale), rng.uniform(0.2, 0.7)),
    ]
    pedal, trousers = rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.5)
    for side in (1, -1):
        turn = pedal + (0 if side == 1 else np.pi)
        foot = (
            np.array([0.05 + 0.17 * np.cos(turn), 0.12 * side, 0.3 + 0.17 * np.sin(turn)]) * scale
        )
        knee = (hip + foot) / 2 + scale * np.array([0.24, 0.1 * side, 0.06])
        parts += [
            _limb(hip + [0, 0.09 * side, 0], knee, 0.08 * scale, trousers),
            _limb(knee, foot, 0.06 * scale, trousers),
            _limb(
                shoulder + [0, 0.17 * side, -0.03],
                np.array([0.42, 0.24 * side, 1.0]) * scale,
                0.05,
                cloth,
            ),
        ]
    if rng.random() < 0.3:
        parts.append(_block(-0.55 * scale, 0.85 * scale, 0.15, 0.14, 0.3, rng.uniform(0.1, 0.6)))
    return assemble(parts, margin=0.03)


def bicycle(rng: np.random.Generator) -> Shape:
    """A parked bicycle."""
    return assemble(_bicycle_parts(rng, rng.uniform(0.94, 1.06)))


def _bicycle_parts(rng: np.random.Generator, scale: float) -> list[Part]:
    paint = rng.uniform(0.1, 0.6)
    hub, crank, seat, bars = (
        np.array(place) * scale
        for place in ((0.53, 0, 0.34), (0.0, 0, 0.3), (-0.2, 0, 0.92), (0.4, 0, 1.02))
    )
    rear = hub * [-1, 1, 1]
    wheels = [
        Part(
            CYLINDER,
            tuple(centre),
            (0.34 * scale, 0.34 * scale, 0.02),
            0.15,
            (0, 0, 0),
            0.45,
            _SIDEWAYS,
        )
        for centre in (hub, rear)
    ]
    tubes = [
        _limb(a, b, 0.025, paint)
        for a, b in ((hub, bars), (crank, bars), (crank, seat), (crank, rear))
    ]
    across = _limb(bars + [0, 0.27 * scale, 0], bars - [0, 0.27 * scale, 0], 0.025, paint)
    return [*wheels, *tubes, across]


def pole(rng: np.random.Generator) -> Shape:
    """Lamp post, traffic light or sign post."""
    height, radius = rng.uniform(2.5, 7.0), rng.uniform(0.04, 0.12)
    parts = [_pillar(height / 2, radius, height / 2, rng.uniform(0.2, 0.5))]
    if rng.random() < 0.5:
        parts.append(_block(0, min(height, rng.uniform(2.2, 3.0)) - 0.4, 0.03, 0.33, 0.66, 0.9))
    return assemble(parts)


def tree(rng: np.random.Generator) -> Shape:
    """Trunk and crown."""
    trunk, crown = rng.uniform(1.8, 3.0), rng.uniform(1.2, 2.6)
    parts = [_pillar(trunk / 2 + 0.4, rng.uniform(0.1, 0.25), trunk / 2 + 0.4, 0.3)]
    for _ in range(3):
        x, y = rng.normal(0, 0.35 * crown, 2)
        centre = (x, y, trunk + crown * rng.uniform(0.5, 1.1))
        parts.append(_ball(centre, (crown * 0.8, crown * 0.8, crown * 0.75), 0.4, density=0.55))
    return assemble(parts)


def bush(rng: np.random.Generator) -> Shape:
    """A round shrub of a child's to a car's size."""
    half = rng.uniform(0.3, 1.1, 2)
    height = rng.uniform(0.7, 1.7)
    return assemble(
        [_ball((0, 0, 0.45 * height), (half[0], half[1], 0.55 * height), 0.4, density=0.6)]
    )


def bollard(rng: np.random.Generator) -> Shape:
    """Bollard, bin or advertising column: round, upright and about as tall as a person."""
    radius, height = rng.uniform(0.08, 0.4), rng.uniform(0.7, 1.9)
    return assemble([_pillar(height / 2, radius, height / 2, rng.uniform(0.15, 0.6))])


def cabinet(rng: np.random.Generator) -> Shape:
    """Switch cabinet, container or pallet: a box from a person's to a car's size."""
    length, width, height = rng.uniform(0.4, 2.6), rng.uniform(0.35, 1.5), rng.uniform(0.8, 1.8)
    return assemble([_block(0, height / 2, length / 2, width / 2, height, rng.uniform(0.15, 0.6))])


def bench(rng: np.random.Generator) -> Shape:
    """An empty bench."""
    length = rng.uniform(1.2, 2.0)
    return assemble(
        [
            _block(0, 0.42, length / 2, 0.22, 0.06, 0.3),
            _block(0, 0.65, length / 2, 0.02, 0.4, 0.3, y=-0.22),
            *(_block(x, 0.2, 0.04, 0.2, 0.4, 0.3) for x in (-0.4 * length, 0.4 * length)),
        ]
    )


def barrier(
    length: float, thickness: float, height: float, reflectance: float, density: float = 1.0
) -> Shape:
    """Wall, facade, fence or hedge (the last two of density below 1), along x."""
    return assemble(
        [_block(0, height / 2, length / 2, thickness / 2, height, reflectance, density=density)]
    )


ROAD_USERS: dict[str, Callable[[np.random.Generator], Shape]] = {
    "Car": car,
    "Van": van,
    "Truck": truck,
    "Pedestrian": pedestrian,
    "Person_sitting": person_sitting,
    "Cyclist": cyclist,
}
DISTRACTORS = (pole, pole, tree, tree, bush, bollard, bollard, cabinet, bench, bicycle)


_SIDEWAYS = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])  # unit z along y
_PAINTS = np.array([0.06, 0.12, 0.25, 0.35, 0.5, 0.65])  # black to white


def _paint(rng: np.random.Generator) -> float:
    return float(rng.choice(_PAINTS) * rng.uniform(0.8, 1.2))


def _block(
    x: float,
    z: float,
    half_length: float,
    half_width: float,
    height: float,
    reflectance: float,
    taper: tuple[float, float, float] = (0.0, 0.0, 0.0),
    density: float = 1.0,
    y: float = 0.0,
) -> Part:
    half = (half_length, half_width, height / 2)
    return Part(HULL, (x, y, z), half, reflectance, taper, density)


def _ball(
    centre: tuple[float, float, float],
    half: tuple[float, float, float],
    reflectance: float,
    density: float = 1.0,
) -> Part:
    return Part(ELLIPSOID, centre, half, reflectance, density=density)


def _pillar(z: float, radius: float, half_height: float, reflectance: float) -> Part:
    return Part(CYLINDER, (0.0, 0.0, z), (radius, radius, half_height), reflectance)


def _limb(start: ArrayLike, end: ArrayLike, radius: float, reflectance: float) -> Part:
    """A round bar between two points."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length
    aside = np.cross(along, np.eye(3)[np.argmin(np.abs(along))])
    aside /= np.linalg.norm(aside)
    axes = np.column_stack([aside, np.cross(along, aside), along])
    centre = tuple((start + end) / 2)
    return Part(CYLINDER, centre, (radius, radius, length / 2), reflectance, axes=axes)


def _wheels(length: float, width: float, radius: float) -> list[Part]:
    return [
        Part(CYLINDER, (x, y, radius), (radius, radius, 0.1), _RUBBER, axes=_SIDEWAYS)
        for x in (-0.31 * length, 0.31 * length)
        for y in (0.1 - width / 2, width / 2 - 0.1)
    ]


def _plates(length: float, z: float) -> list[Part]:
    """Number plates, front and rear."""
    return [_block(x, z, 0.01, 0.26, 0.11, _PLATE) for x in (-length / 2, length / 2)]
