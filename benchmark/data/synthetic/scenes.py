"""Random street scenes for the built-in synthetic set: which shapes stand where.

Everything is in the LiDAR frame: x ahead, y left, z up, metres; the sensor is the origin.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from benchmark.data.synthetic.raycast import Ground, Parts
from benchmark.data.synthetic.shapes import DISTRACTORS, ROAD_USERS, Shape, barrier, house, tree

SENSOR_HEIGHT = 1.73
_SCENERY = 85.0  # metres to the farthest scenery
_OWN = np.array([2.0, 0.0, 10.0, 2.0, 0.0])  # the car that carries the sensor, and room ahead of it
_SCENERY_AHEAD, _VEHICLES_AHEAD = (1.0, 3.0), (1.36, 2.45)
_AHEAD = {"Pedestrian": (2.7, 7.4), "Cyclist": (1.05, 3.7)}
"""Of the beta laws of distances along the road or the view, up to where scenery ends: the same
whatever the farthest road user."""
_VIEW = np.radians(43)  # largest angle of backdrop from the x axis
_ASIDE = 2.0  # metres that road users stand anywhere beside the view, some of them cut by its edge
_AROUND = 3  # times as many objects all around as in view of the camera
_TRIES = 40
_CLEARANCE = 6.2  # metres that people keep from the car that carries the sensor
_ON_FOOT = ("Pedestrian", "Person_sitting")


@dataclass(frozen=True, eq=False)
class Placed:
    """A shape on the ground; `name` is KITTI's class, or "" for scenery."""

    name: str
    shape: Shape
    x: float
    y: float
    z: float
    yaw: float

    def box(self) -> np.ndarray:
        """(7,) x, y, z of the bottom centre, length, width, height, yaw."""
        return np.array([self.x, self.y, self.z, *self.shape.size, self.yaw])


@dataclass(frozen=True)
class _Lane:
    """Where a class moves or stands: beside the road's axis from `low` to `high` metres (left is
    positive), facing `heading` degrees from the road's direction, give or take `spread`; `row` is
    the chance that the next place along the road is taken too.

    Without `low` and `high` the place is anywhere in view.
    """

    weight: float
    heading: tuple[float, ...]
    spread: float
    low: float | None = None
    high: float | None = None
    row: float = 0.0


@dataclass(frozen=True)
class _Street:
    """A kind of place: mean numbers of road users, lanes by class, edges of road and pavements."""

    weight: float
    means: dict[str, float]
    vehicles: tuple[_Lane, ...]
    cyclists: tuple[_Lane, ...]
    people: tuple[_Lane, ...]
    left: float
    right: float
    kerb: float
    pavement: float
    facades: float  # chance that a stretch behind the pavement is built up or planted

    def lanes(self, name: str) -> tuple[_Lane, ...]:
        if name in _ON_FOOT:
            return self.people
        return self.cyclists if name == "Cyclist" else self.vehicles


_ANY = (0.0, 90.0, 180.0, 270.0)
_STREETS = (
    _Street(  # a street with parked cars on both sides
        weight=0.45,
        means={
            "Car": 3.3,
            "Pedestrian": 2.1,
            "Cyclist": 1.75,
            "Van": 0.38,
            "Truck": 0.1,
            "Person_sitting": 0.05,
        },
        vehicles=(
            _Lane(0.16, (0,), 4, -0.4, 0.4),
            _Lane(0.14, (180,), 4, 2.6, 3.9),
            _Lane(0.28, (0,), 3, -4.2, -2.7, 0.6),
            _Lane(0.22, (0, 180), 3, 5.6, 6.4, 0.6),
            _Lane(0.08, (90, 270), 15),
            _Lane(0.12, (90, 270), 5, 9.0, 11.0, 0.6),
        ),
        cyclists=(
            _Lane(0.35, (0,), 8, -2.6, -1.6),
            _Lane(0.3, (180,), 8, 4.0, 4.6),
            _Lane(0.15, (0, 180), 10, -7.5, -5.4),
            _Lane(0.2, (90, 270), 25, -4.5, 7.0),
        ),
        people=(
            _Lane(0.35, (0, 180), 15, -8.0, -5.2),
            _Lane(0.25, (0, 180), 15, 7.6, 10.4),
            _Lane(0.15, _ANY, 45, -8.0, -5.2),
            _Lane(0.25, (90, 270), 20),
        ),
        left=7.4,
        right=-5.0,
        kerb=0.12,
        pavement=3.4,
        facades=0.85,
    ),
    _Street(  # a crossing
        weight=0.2,
        means={
            "Car": 5.2,
            "Pedestrian": 3.2,
            "Cyclist": 2.75,
            "Van": 0.38,
            "Truck": 0.15,
            "Person_sitting": 0.02,
        },
        vehicles=(
            _Lane(0.3, (0,), 6, -0.5, 0.5, 0.3),
            _Lane(0.35, (180,), 6, 2.7, 3.9, 0.3),
            _Lane(0.35, (90, 270), 20),
        ),
        cyclists=(
            _Lane(0.3, (0,), 10, -2.6, -1.6),
            _Lane(0.2, (180,), 10, 4.4, 5.4),
            _Lane(0.5, (90, 270), 20, -5.5, 8.5),
        ),
        people=(_Lane(0.6, (90, 270), 25), _Lane(0.4, _ANY, 45)),
        left=7.5,
        right=-6.0,
        kerb=0.0,
        pavement=3.0,
        facades=0.7,
    ),
    _Street(  # a square or pedestrian precinct
        weight=0.15,
        means={
            "Car": 1.4,
            "Pedestrian": 6.0,
            "Cyclist": 3.3,
            "Van": 0.25,
            "Truck": 0.0,
            "Person_sitting": 0.4,
        },
        vehicles=(_Lane(1.0, _ANY, 25, row=0.3),),
        cyclists=(_Lane(1.0, _ANY, 45),),
        people=(_Lane(0.4, (0, 180), 20), _Lane(0.6, _ANY, 45)),
        left=9.0,
        right=-9.0,
        kerb=0.0,
        pavement=4.0,
        facades=0.85,
    ),
    _Street(  # an open road
        weight=0.2,
        means={
            "Car": 5.0,
            "Pedestrian": 0.7,
            "Cyclist": 1.1,
            "Van": 0.35,
            "Truck": 0.3,
            "Person_sitting": 0.0,
        },
        vehicles=(
            _Lane(0.3, (0,), 3, -0.4, 0.4),
            _Lane(0.2, (0,), 3, -4.1, -3.3, 0.3),
            _Lane(0.25, (180,), 3, 3.4, 4.2, 0.3),
            _Lane(0.25, (180,), 3, 7.1, 7.9, 0.3),
        ),
        cyclists=(_Lane(0.5, (0,), 8, -5.4, -4.6), _Lane(0.5, (180,), 8, 8.6, 9.4)),
        people=(_Lane(0.6, (0, 180), 20, -8.5, -6.4), _Lane(0.4, (0, 180), 20, 10.5, 12.5)),
        left=9.9,
        right=-5.9,
        kerb=0.05,
        pavement=2.0,
        facades=0.7,
    ),
)


@dataclass
class Scene:
    """Ground and the objects on it, none of which touches another.

    Attributes:
        around: whether they stand all around the sensor, not only in view of the camera.
    """

    ground: Ground
    around: bool = False
    objects: list[Placed] = field(default_factory=list)

    @property
    def view(self) -> float:
        """Objects' largest angle from the x axis, radians."""
        return np.pi if self.around else _VIEW

    def place(self, name: str, shape: Shape, x: float, y: float, yaw: float, gap: float) -> bool:
        """Stand a shape on the ground unless it comes nearer than `gap` metres to another."""
        length, width = shape.size[:2] + gap
        footprint = np.array([x, y, length, width, yaw])
        others = [_OWN, *((o.x, o.y, *o.shape.size[:2], o.yaw) for o in self.objects)]
        if footprints_overlap(footprint, np.array(others)).any():
            return False
        z = self.ground.elevation(x, y)
        self.objects.append(Placed(name, shape, x, y, z, yaw))
        return True

    def parts(self) -> Parts:
        """All objects' parts in the LiDAR frame, as the ray caster takes them."""
        shapes = [placed.shape for placed in self.objects]
        centre = np.array([(o.x, o.y, o.z + o.shape.size[2] / 2) for o in self.objects])
        return Parts(
            kind=_join([shape.kind for shape in shapes], np.int64),
            transform=_join([_in_world(placed) for placed in self.objects]).reshape(-1, 3, 4),
            taper=_join([shape.taper for shape in shapes]).reshape(-1, 3),
            surface=_join([shape.surface for shape in shapes]).reshape(-1, 3),
            first=np.cumsum([0, *(len(shape.kind) for shape in shapes)]),
            centre=centre.reshape(-1, 3),
            radius=np.array([np.linalg.norm(shape.size) / 2 for shape in shapes]),
        )


def random_scene(rng: np.random.Generator, max_range: float, around: bool = False) -> Scene:
    """A scene whose road users stand up to `max_range` metres away, in or near the camera's view or
    all around."""
    weights = np.array([street.weight for street in _STREETS])
    street = _STREETS[rng.choice(len(_STREETS), p=weights / weights.sum())]
    scene, share = Scene(_random_ground(rng, street), around), _AROUND if around else 1
    busy = rng.gamma(3.0, 1 / 3.0)  # KITTI's frames differ more than a Poisson law allows
    names = [
        name
        for name, mean in street.means.items()
        for _ in range(rng.poisson(share * mean * (busy if name == "Car" else 1)))
    ]
    for name in rng.permutation(names):
        _place_road_user(rng, scene, street, str(name), max_range)
    _place_facades(rng, scene, street)
    _place_distractors(rng, scene, street)
    _place_backdrop(rng, scene, street)
    return scene


def footprints_overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) whether a rectangle (5,) x, y, length, width, yaw meets each of n others (n, 5).

    Separating axes: two rectangles are apart if they are on one of their four sides' normals.
    """
    offset = others[:, :2] - box[:2]
    overlap = np.ones(len(others), bool)
    for yaw in (box[4], box[4] + np.pi / 2, others[:, 4], others[:, 4] + np.pi / 2):
        distance = np.abs(offset[:, 0] * np.cos(yaw) + offset[:, 1] * np.sin(yaw))
        reach = _half_extent(box[2], box[3], box[4] - yaw)
        reach = reach + _half_extent(others[:, 2], others[:, 3], others[:, 4] - yaw)
        overlap &= distance < reach
    return overlap


def _half_extent(length, width, angle):
    """Half the shadow of a rectangle on an axis at `angle` from its length."""
    return (length * np.abs(np.cos(angle)) + width * np.abs(np.sin(angle))) / 2


def _random_ground(rng: np.random.Generator, street: _Street) -> Ground:
    return Ground(
        height=-SENSOR_HEIGHT + rng.normal(0, 0.02),
        slope_x=rng.normal(0, 0.01),
        slope_y=rng.normal(0, 0.01),
        bend_x=rng.normal(0, 3e-4),
        bend_y=rng.normal(0, 3e-4),
        heading=np.radians(rng.normal(0, 5)),
        left=street.left,
        right=street.right,
        kerb=street.kerb,
    )


def _place_road_user(
    rng: np.random.Generator, scene: Scene, street: _Street, name: str, max_range: float
) -> None:
    lanes, law = street.lanes(name), _AHEAD.get(name, _VEHICLES_AHEAD)
    weights = np.array([lane.weight for lane in lanes])
    shape = ROAD_USERS[name](rng)
    gap, nearest = (0.3, _CLEARANCE) if name in _ON_FOOT else (0.5, 0.0)
    for _ in range(_TRIES):
        lane = lanes[rng.choice(len(lanes), p=weights / weights.sum())]
        x, y = _spot(rng, scene, lane.low, lane.high, _SCENERY * rng.beta(*law))
        facing = rng.choice(lane.heading) + rng.normal(0, lane.spread)
        yaw = scene.ground.heading + np.radians(facing)
        if not nearest < np.hypot(x, y) <= max_range:
            continue
        if not scene.place(name, shape, x, y, yaw, gap):
            continue
        if name == "Pedestrian" and rng.random() < 0.4:  # a companion walks beside
            side = yaw + rng.choice((-1, 1)) * np.pi / 2
            _place_next(rng, scene, scene.objects[-1], side, rng.uniform(1.1, 1.4), max_range)
        _extend_row(rng, scene, lane, max_range)
        return


def _extend_row(rng: np.random.Generator, scene: Scene, lane: _Lane, max_range: float) -> None:
    """Let others follow the last vehicle along the road, bumper to bumper or door to door."""
    onward = scene.ground.heading + rng.choice((0, np.pi))
    while rng.random() < lane.row:
        last = scene.objects[-1]
        length, width = last.shape.size[:2]
        away = 2 * _half_extent(length, width, last.yaw - onward) + rng.uniform(0.4, 1.2)
        if not _place_next(rng, scene, last, onward, away, max_range):
            break


def _place_next(
    rng: np.random.Generator,
    scene: Scene,
    last: Placed,
    direction: float,
    away: float,
    max_range: float,
) -> bool:
    """Another of a class, facing as the last one, `away` metres from it."""
    x, y = last.x + away * np.cos(direction), last.y + away * np.sin(direction)
    if np.hypot(x, y) > max_range:
        return False
    yaw = last.yaw + rng.normal(0, 0.05)
    return scene.place(last.name, ROAD_USERS[last.name](rng), x, y, yaw, 0.05)


def _spot(
    rng: np.random.Generator,
    scene: Scene,
    low: float | None,
    high: float | None,
    ahead: float,
) -> tuple[float, float]:
    """A random place `ahead` metres away: `low` to `high` metres beside the road's axis, or
    anywhere in the view and a little beside it."""
    if low is not None and high is not None:
        behind = scene.around and rng.random() < 0.5
        return _on_road(scene.ground, -ahead if behind else ahead, rng.uniform(low, high))
    if scene.around:
        bearing = rng.uniform(-np.pi, np.pi)
        return ahead * np.cos(bearing), ahead * np.sin(bearing)
    return ahead, rng.uniform(-1, 1) * (ahead + _ASIDE)


def _on_road(ground: Ground, along: float, beside: float) -> tuple[float, float]:
    cos, sin = np.cos(ground.heading), np.sin(ground.heading)
    return along * cos - beside * sin, along * sin + beside * cos


def _place_facades(rng: np.random.Generator, scene: Scene, street: _Street) -> None:
    """Walls, houses, hedges and fences behind the pavements."""
    for edge, side in ((street.left, 1), (street.right, -1)):
        along = rng.uniform(-5, 5) - (_SCENERY if scene.around else 0)
        while along < _SCENERY:
            length = rng.uniform(3, 14)
            if rng.random() < street.facades:
                beside = edge + side * (street.pavement + rng.uniform(0.2, 2.5))
                x, y = _on_road(scene.ground, along + length / 2, beside)
                scene.place("", barrier(rng, length), x, y, scene.ground.heading, 0.2)
            along += length + rng.uniform(0, 2)


def _place_backdrop(rng: np.random.Generator, scene: Scene, street: _Street) -> None:
    """Houses and trees farther off, which most of the upper beams meet."""
    for _ in range(rng.poisson(40 * (_AROUND if scene.around else 1))):
        shape = (house, tree)[rng.integers(2)](rng)
        distance, bearing = rng.uniform(18, _SCENERY), rng.uniform(-scene.view, scene.view)
        x, y = distance * np.cos(bearing), distance * np.sin(bearing)
        beside = y * np.cos(scene.ground.heading) - x * np.sin(scene.ground.heading)
        room = shape.size[0] / 2 + street.pavement
        if not street.right - room < beside < street.left + room:
            scene.place("", shape, x, y, rng.uniform(-np.pi, np.pi), 0.5)


def _place_distractors(rng: np.random.Generator, scene: Scene, street: _Street) -> None:
    """Poles, trees, bins and the like beside the road."""
    for _ in range(rng.poisson(45 * (_AROUND if scene.around else 1))):
        shape = DISTRACTORS[rng.integers(len(DISTRACTORS))](rng)
        side = rng.random() < 0.5
        edge = street.left if side else street.right
        away = rng.uniform(0.4, street.pavement + 4) * (1 if side else -1)
        ahead = _SCENERY * rng.beta(*_SCENERY_AHEAD)
        x, y = _spot(rng, scene, edge + away, edge + away, ahead)
        scene.place("", shape, x, y, rng.uniform(-np.pi, np.pi), 0.3)


def _in_world(placed: Placed) -> np.ndarray:
    """(p, 3, 4) the parts' transforms, from the LiDAR frame."""
    cos, sin = np.cos(placed.yaw), np.sin(placed.yaw)
    turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    transform = placed.shape.transform
    linear = transform[..., :3] @ turn
    offset = transform[..., 3] - linear @ np.array([placed.x, placed.y, placed.z])
    return np.concatenate([linear, offset[..., None]], axis=-1)


def _join(arrays: list[np.ndarray], dtype: type = np.float64) -> np.ndarray:
    return np.concatenate(arrays).astype(dtype) if arrays else np.empty(0, dtype)
