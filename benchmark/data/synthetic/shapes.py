"""Shapes of the built-in synthetic set: road users as KITTI labels them, and their surroundings.

A shape is built from parts in its own frame: x ahead, y left, z up, metres. Sizes follow the means
and spreads of KITTI's labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from benchmark.data.synthetic.raycast import CYLINDER, ELLIPSOID, HULL

Span = tuple[float, float]


class Surface(NamedTuple):
    """What a ray meets: reflectance 0..1, gloss and density as in `raycast.Parts`."""

    reflectance: float
    gloss: float = 0.0
    density: float = 1.0


@dataclass(frozen=True, eq=False)
class Part:
    """A unit body stretched to half sizes `half`, turned by `axes` (columns), moved to `centre`."""

    kind: int
    centre: np.ndarray
    half: np.ndarray
    surface: Surface
    taper: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axes: np.ndarray | None = None

    def transform(self) -> np.ndarray:
        """(3, 4) from the shape's frame to the unit body."""
        inverse = np.diag(1 / self.half)
        if self.axes is not None:
            inverse = inverse @ self.axes.T
        return np.column_stack([inverse, -inverse @ self.centre])

    def reach(self) -> np.ndarray:
        """(3,) half sizes of the axis-aligned box around the part."""
        if self.axes is None:
            return self.half
        stretched = self.axes * self.half
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
        kind, transform, taper, surface: (p,), (p, 3, 4), (p, 3), (p, 3) of the parts.
    """

    size: np.ndarray
    kind: np.ndarray
    transform: np.ndarray
    taper: np.ndarray
    surface: np.ndarray


def assemble(parts: Iterable[Part], margin: float = 0.0) -> Shape:
    """Centre the parts' bounding box, lift it to z >= 0, and widen it by `margin` all around."""
    parts = list(parts)
    centres = np.array([part.centre for part in parts])
    reach = np.array([part.reach() for part in parts])
    low, high = (centres - reach).min(axis=0), (centres + reach).max(axis=0)
    low[2] = min(low[2], 0.0)
    origin = np.array([*(low[:2] + high[:2]) / 2, low[2]])
    transform = np.stack([part.transform() for part in parts])
    transform[..., 3] += transform[..., :3] @ origin
    return Shape(
        size=high - low + margin * np.array([2, 2, 1]),
        kind=np.array([part.kind for part in parts]),
        transform=transform,
        taper=np.array([part.taper for part in parts]),
        surface=np.array([part.surface for part in parts]),
    )


# Road users


def car(rng: np.random.Generator) -> Shape:
    """Sedan, hatchback, estate, off-roader or people carrier."""
    cabin = _CABINS[rng.integers(len(_CABINS))]
    length = float(np.clip(rng.normal(3.85, 0.38), 3.0, 4.9))
    width = float(np.clip(rng.normal(1.57 + 0.12 * (length - 3.9), 0.06), 1.4, 1.85))
    height = float(np.clip(rng.normal(1.41, 0.06) * cabin.tallness, 1.28, 1.9))
    paint, floor, waist, roof = _paint(rng), 0.13 * height, cabin.waist * height, 0.93 * height
    rear, front = cabin.rear * length, cabin.front * length
    half = (front - rear) / 2
    tapers = (cabin.front_lean, cabin.rear_lean, 0.2)
    roof_ends = (rear + cabin.rear_lean * half, front - cabin.front_lean * half)
    return assemble(
        [
            _block((-length / 2, length / 2), (floor, waist), width, paint, (0.06, 0.03, 0.08)),
            _block((rear, front), (waist, roof), 0.94 * width, _GLASS, tapers),
            _block(roof_ends, (roof, height), 0.75 * width, paint),
            *_wheels(length, width, 0.2 * height + rng.uniform(0, 0.03)),
            *_plates(length, 0.35 * height),
        ],
        margin=0.03,
    )


class _Cabin(NamedTuple):
    """Ends of the cabin as shares of the length, waist as a share of the height, lean of front and
    rear window as shares of half the cabin, height relative to a sedan's."""

    rear: float
    front: float
    waist: float
    front_lean: float
    rear_lean: float
    tallness: float


_CABINS = (
    _Cabin(-0.36, 0.24, 0.60, 0.60, 0.50, 1.00),  # sedan
    _Cabin(-0.49, 0.24, 0.60, 0.60, 0.25, 1.02),  # hatchback
    _Cabin(-0.49, 0.22, 0.60, 0.50, 0.18, 1.02),  # estate
    _Cabin(-0.48, 0.24, 0.62, 0.38, 0.16, 1.18),  # off-roader
    _Cabin(-0.48, 0.34, 0.58, 0.55, 0.16, 1.12),  # people carrier
)


def van(rng: np.random.Generator) -> Shape:
    """Delivery van or minibus."""
    length = float(np.clip(rng.normal(5.0, 0.6), 4.1, 6.5))
    width = float(np.clip(rng.normal(1.85, 0.1), 1.65, 2.1))
    height = float(np.clip(rng.normal(2.2, 0.25), 1.8, 2.8))
    paint, floor = _paint(rng), 0.12 * height
    bonnet = length / 2 - rng.uniform(0.1, 0.2) * length
    return assemble(
        [
            _block((-length / 2, bonnet), (floor, height), width, paint, (0.2, 0.02, 0.1)),
            _block((bonnet, length / 2), (floor, 0.5 * height), width, paint, (0.3, 0.0, 0.1)),
            *_wheels(length, width, 0.33),
            *_plates(length, 0.25 * height),
        ],
        margin=0.03,
    )


def truck(rng: np.random.Generator) -> Shape:
    """Cab and box body."""
    length = float(np.clip(rng.normal(8.3, 1.8), 6.0, 13.0))
    height, width = float(np.clip(rng.normal(3.4, 0.3), 2.6, 3.8)), 2.5
    rear, front, cab = -length / 2, length / 2, length / 2 - 2.0
    return assemble(
        [
            _block((rear, cab - 0.3), (0.9, height), width, _paint(rng)),
            _block((cab, front), (0.5, 2.7), 0.96 * width, _paint(rng), (0.12, 0.0, 0.05)),
            _block((rear + 0.3, front - 0.9), (0.6, 0.9), 0.8, Surface(0.1)),
            *_wheels(length, width, 0.5),
            *_plates(length, 0.7),
        ],
        margin=0.04,
    )


def pedestrian(rng: np.random.Generator) -> Shape:
    """Adult or child, standing to striding, some with a backpack, a bag or a long coat."""
    child = rng.random() < 0.05
    height = rng.uniform(1.1, 1.5) if child else float(np.clip(rng.normal(1.77, 0.09), 1.5, 1.98))
    s, build = height / 1.74, rng.uniform(0.75, 1.3)
    cloth, trousers = Surface(rng.uniform(0.2, 0.75)), Surface(rng.uniform(0.15, 0.65))
    stride, swing, half = rng.uniform(0, 0.45) * s, rng.uniform(0.02, 0.35) * s, 0.18 * s * build
    parts = [
        _ball((0.02, 0, height - 0.12 * s), (0.1 * s, 0.085 * s, 0.12 * s), _SKIN),
        _ball((0, 0, 1.16 * s), (0.14 * s * build, half, 0.36 * s), cloth),
    ]
    for side, ahead in ((1, stride), (-1, -stride)):
        hip, foot = (0, 0.09 * side, 0.9 * s), (ahead, 0.1 * side, 0.06)
        shoulder, hand = (0, half * side, 1.37 * s), (-swing * side, 1.2 * half * side, 0.8 * s)
        parts += [
            _limb(hip, foot, 0.075 * s * build, trousers),
            _limb(shoulder, hand, 0.05 * s, cloth),
            _ball((ahead + 0.06, 0.1 * side, 0.05), (0.13, 0.05, 0.05), _RUBBER),
        ]
    extra, stuff = rng.random(), Surface(rng.uniform(0.1, 0.6))
    if extra < 0.2:
        parts.append(_block((-0.3 * s, -0.1 * s), (0.98 * s, 1.42 * s), 0.3, stuff))
    elif extra < 0.35:
        parts.append(_block((-0.13, 0.23), (0.42 * s, 0.77 * s), 0.14, stuff, y=1.4 * half))
    elif extra < 0.5:
        parts.append(_pillar((0.25 * s, 1.25 * s), 0.2 * s * build, cloth))
    return assemble(parts, margin=0.04)


def person_sitting(rng: np.random.Generator) -> Shape:
    """A person on a chair."""
    s, seat, cloth = rng.uniform(0.85, 1.0), 0.42, Surface(rng.uniform(0.1, 0.6))
    parts = [
        _ball((0, 0, seat + 0.76 * s), (0.1, 0.085, 0.12), _SKIN),
        _ball((-0.03, 0, seat + 0.33 * s), (0.15, 0.21 * s, 0.34 * s), cloth),
        _block((-0.24, 0.2), (seat - 0.07, seat - 0.01), 0.44, _WOOD),
        _block((-0.26, -0.22), (seat - 0.05, seat + 0.45), 0.4, _WOOD),
    ]
    foot = rng.uniform(0.35, 0.5) * s
    for side in (1, -1):
        knee = (0.4 * s, 0.12 * side, seat + 0.08)
        shoulder, hand = (0, 0.2 * side, seat + 0.55 * s), (0.25, 0.19 * side, seat + 0.25)
        parts += [
            _limb((0, 0.1 * side, seat + 0.1), knee, 0.08, cloth),
            _limb(knee, (foot, 0.12 * side, 0.05), 0.06, cloth),
            _limb(shoulder, hand, 0.05, cloth),
        ]
    return assemble(parts, margin=0.03)


def cyclist(rng: np.random.Generator) -> Shape:
    """A rider, upright to bent forward, on a bicycle, some with a basket or child seat."""
    s, lean = rng.uniform(0.9, 1.02), rng.uniform(0.15, 0.55)
    cloth, trousers = Surface(rng.uniform(0.15, 0.75)), Surface(rng.uniform(0.1, 0.6))
    build, grip = rng.uniform(0.75, 1.1), rng.uniform(0.16, 0.38)
    hip = np.array([-0.18, 0.0, 0.95]) * s
    shoulder = hip + 0.52 * s * np.array([np.sin(lean), 0, np.cos(lean)])
    head = shoulder + s * np.array([0.07 + 0.1 * np.sin(lean), 0, 0.24])
    parts = [
        *_bicycle_parts(rng, s, grip),
        _limb(hip, shoulder, 0.16 * s * build, cloth),
        _ball(head, (0.12 * s, 0.09 * s, 0.13 * s), Surface(rng.uniform(0.2, 0.7))),
    ]
    pedals = rng.uniform(0, 2 * np.pi)
    for side, turn in ((1, pedals), (-1, pedals + np.pi)):
        foot = s * np.array([0.05 + 0.17 * np.cos(turn), 0.12 * side, 0.3 + 0.17 * np.sin(turn)])
        knee = (hip + foot) / 2 + s * np.array([0.24, 0.1 * side, 0.06])
        hand = s * np.array([0.42, (grip - 0.03) * side, 1.0])
        parts += [
            _limb(hip + [0, 0.09 * side, 0], knee, 0.08 * s, trousers),
            _limb(knee, foot, 0.06 * s, trousers),
            _limb(shoulder + [0, 0.17 * side, -0.03], hand, 0.05, cloth),
        ]
    if rng.random() < 0.3:
        stuff = Surface(rng.uniform(0.1, 0.6))
        parts.append(_block((-0.7 * s, -0.4 * s), (0.7 * s, s), 0.28, stuff))
    return assemble(parts, margin=0.03)


# Scenery, some of it about as large as a road user


def bicycle(rng: np.random.Generator) -> Shape:
    """A parked bicycle."""
    return assemble(_bicycle_parts(rng, rng.uniform(0.94, 1.06), grip=0.27))


def pole(rng: np.random.Generator) -> Shape:
    """Lamp post, traffic light or sign post."""
    height = rng.uniform(2.5, 7.0)
    parts = [_pillar((0, height), rng.uniform(0.04, 0.12), Surface(rng.uniform(0.2, 0.5)))]
    if rng.random() < 0.5:
        top = min(height, rng.uniform(2.2, 3.0))
        parts.append(_block((-0.03, 0.03), (top - 0.7, top), 0.66, Surface(0.9)))
    return assemble(parts)


def tree(rng: np.random.Generator) -> Shape:
    """Trunk and crown."""
    trunk, crown = rng.uniform(1.8, 3.0), rng.uniform(1.2, 2.6)
    parts = [_pillar((0, trunk + 0.8), rng.uniform(0.1, 0.25), _WOOD)]
    for _ in range(3):
        centre = (*rng.normal(0, 0.35 * crown, 2), trunk + crown * rng.uniform(0.5, 1.1))
        parts.append(_ball(centre, (0.8 * crown, 0.8 * crown, 0.75 * crown), _LEAVES))
    return assemble(parts)


def bush(rng: np.random.Generator) -> Shape:
    """A round shrub of a child's to a car's size."""
    height = rng.uniform(0.7, 1.7)
    half = (*rng.uniform(0.3, 1.1, 2), 0.55 * height)
    return assemble([_ball((0, 0, 0.55 * height), half, _LEAVES)])


def bollard(rng: np.random.Generator) -> Shape:
    """Bollard, bin or advertising column: round, upright and about as tall as a person."""
    surface = Surface(rng.uniform(0.15, 0.6))
    return assemble([_pillar((0, rng.uniform(0.7, 1.9)), rng.uniform(0.08, 0.4), surface)])


def cabinet(rng: np.random.Generator) -> Shape:
    """Switch cabinet, container or pallet: a box from a person's to a car's size."""
    half, surface = rng.uniform(0.2, 1.3), Surface(rng.uniform(0.15, 0.6))
    height, width = rng.uniform(0.8, 1.8), rng.uniform(0.35, 1.5)
    return assemble([_block((-half, half), (0, height), width, surface)])


def bench(rng: np.random.Generator) -> Shape:
    """An empty bench."""
    half = rng.uniform(0.6, 1.0)
    legs = [_block((x - 0.04, x + 0.04), (0, 0.4), 0.4, _WOOD) for x in (-0.8 * half, 0.8 * half)]
    seat = _block((-half, half), (0.39, 0.45), 0.44, _WOOD)
    return assemble([seat, _block((-half, half), (0.45, 0.85), 0.04, _WOOD, y=-0.2), *legs])


def house(rng: np.random.Generator) -> Shape:
    """A building."""
    half, surface = rng.uniform(3, 12), Surface(rng.uniform(0.35, 0.7), density=0.9)
    return assemble([_block((-half, half), (0, rng.uniform(3, 10)), rng.uniform(5, 12), surface)])


def barrier(rng: np.random.Generator, length: float) -> Shape:
    """A facade with windows and bays, a hedge, fence or wall along x."""
    kind, span = rng.random(), (-length / 2, length / 2)
    stone = rng.uniform(0.3, 0.6)
    if kind < 0.35:
        front = Surface(stone, density=0.8)
        return assemble([_block(span, (0, rng.uniform(2.5, 8)), 2.5, front)])
    if kind < 0.8:
        return assemble([_block(span, (0, rng.uniform(1.0, 5.0)), rng.uniform(0.8, 3.0), _LEAVES)])
    if kind < 0.9:
        return assemble([_block(span, (0, rng.uniform(0.9, 1.8)), 0.06, Surface(0.3, 0, 0.35))])
    return assemble([_block(span, (0, rng.uniform(0.6, 1.5)), 0.25, Surface(stone))])


ROAD_USERS: dict[str, Callable[[np.random.Generator], Shape]] = {
    "Car": car,
    "Van": van,
    "Truck": truck,
    "Pedestrian": pedestrian,
    "Person_sitting": person_sitting,
    "Cyclist": cyclist,
}
DISTRACTORS = (pole, pole, tree, tree, bush, bollard, bollard, cabinet, bench, bicycle)


# Parts

_RUBBER, _SKIN, _WOOD, _PLATE = Surface(0.06), Surface(0.35), Surface(0.3), Surface(0.95)
_GLASS, _LEAVES = Surface(0.04, gloss=0.95), Surface(0.45, density=0.5)
_PAINTS = np.array([0.006, 0.02, 0.06, 0.12, 0.3, 0.5])  # black to white
_SIDEWAYS = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])  # unit z along y


def _paint(rng: np.random.Generator) -> Surface:
    return Surface(rng.choice(_PAINTS) * rng.uniform(0.8, 1.2), gloss=rng.uniform(0.4, 1.25))


def _block(
    x: Span,
    z: Span,
    width: float,
    surface: Surface,
    taper: tuple[float, float, float] = (0.0, 0.0, 0.0),
    y: float = 0.0,
) -> Part:
    """A box from x[0] to x[1] and z[0] to z[1], `width` wide about y."""
    centre = np.array([(x[0] + x[1]) / 2, y, (z[0] + z[1]) / 2])
    half = np.array([(x[1] - x[0]) / 2, width / 2, (z[1] - z[0]) / 2])
    return Part(HULL, centre, half, surface, taper)


def _ball(centre: ArrayLike, half: ArrayLike, surface: Surface) -> Part:
    return Part(ELLIPSOID, np.asarray(centre, float), np.asarray(half, float), surface)


def _pillar(z: Span, radius: float, surface: Surface) -> Part:
    """An upright cylinder from z[0] to z[1]."""
    half = np.array([radius, radius, (z[1] - z[0]) / 2])
    return Part(CYLINDER, np.array([0, 0, (z[0] + z[1]) / 2]), half, surface)


def _limb(start: ArrayLike, end: ArrayLike, radius: float, surface: Surface) -> Part:
    """A round bar between two points."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length
    aside = np.cross(along, np.eye(3)[np.argmin(np.abs(along))])
    aside /= np.linalg.norm(aside)
    axes = np.column_stack([aside, np.cross(along, aside), along])
    return Part(
        CYLINDER, (start + end) / 2, np.array([radius, radius, length / 2]), surface, axes=axes
    )


def _wheels(length: float, width: float, radius: float) -> list[Part]:
    half = np.array([radius, radius, 0.1])
    return [
        Part(CYLINDER, np.array([x, y, radius]), half, _RUBBER, axes=_SIDEWAYS)
        for x in (-0.31 * length, 0.31 * length)
        for y in (0.1 - width / 2, width / 2 - 0.1)
    ]


def _plates(length: float, z: float) -> list[Part]:
    """Number plates, front and rear."""
    return [
        _block((x - 0.01, x + 0.01), (z - 0.055, z + 0.055), 0.52, _PLATE)
        for x in (-length / 2, length / 2)
    ]


def _bicycle_parts(rng: np.random.Generator, s: float, grip: float) -> list[Part]:
    """A bicycle of relative size `s` whose handlebar reaches `grip` metres to each side."""
    paint, spokes = Surface(rng.uniform(0.1, 0.6)), Surface(0.15, density=0.45)
    front, rear = np.array([0.53, 0, 0.34]) * s, np.array([-0.53, 0, 0.34]) * s
    crank, saddle = np.array([0.0, 0, 0.3]) * s, np.array([-0.2, 0, 0.92]) * s
    bars, aside = np.array([0.4, 0, 1.02]) * s, np.array([0, grip, 0]) * s
    tubes = (
        (front, bars),
        (crank, bars),
        (crank, saddle),
        (crank, rear),
        (bars + aside, bars - aside),
    )
    half = np.array([0.34 * s, 0.34 * s, 0.02])
    return [
        *(Part(CYLINDER, hub, half, spokes, axes=_SIDEWAYS) for hub in (front, rear)),
        *(_limb(a, b, 0.025, paint) for a, b in tubes),
    ]
