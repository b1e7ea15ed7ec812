"""The ray caster against brute force: small steps along each ray, and plain inside tests."""

import numpy as np
import pytest
from shapely import affinity, geometry

from benchmark.data.synthetic.raycast import (
    CYLINDER,
    ELLIPSOID,
    HULL,
    NOTHING,
    ROAD,
    VERGE,
    Ground,
    Parts,
    cast,
)
from benchmark.data.synthetic.scenes import Scene, footprints_overlap
from benchmark.data.synthetic.shapes import ROAD_USERS, Part, Surface

STEP = 0.004
FLAT = Ground(-1.73, 0, 0, 0, 0, 0, 50, -50, 0)
DEEP = FLAT._replace(height=-1e4)


def _rays(rng, count, spread=0.4):
    directions = np.column_stack([np.ones(count), rng.uniform(-spread, spread, (count, 2))])
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _rotation(rng):
    return np.linalg.qr(rng.normal(size=(3, 3)))[0]


def _is_inside(points, part):
    """Whether points (..., 3) lie in a part, from the definition of the unit bodies."""
    x, y, z = np.moveaxis((points - part.centre) @ part.axes / part.half, -1, 0)
    if part.kind == ELLIPSOID:
        return x**2 + y**2 + z**2 <= 1
    if part.kind == CYLINDER:
        return (x**2 + y**2 <= 1) & (abs(z) <= 1)
    front, rear, side = (1 - taper * (z + 1) / 2 for taper in part.taper)
    return (abs(z) <= 1) & (x <= front) & (-x <= rear) & (abs(y) <= side)


def _as_objects(*parts):
    """Every part an object of its own, where it is."""
    return Parts(
        kind=np.array([part.kind for part in parts]),
        transform=np.stack([part.transform() for part in parts]),
        taper=np.array([part.taper for part in parts], float),
        surface=np.array([part.surface for part in parts], float),
        first=np.arange(len(parts) + 1),
        centre=np.array([part.centre for part in parts]),
        radius=np.array([2 * np.linalg.norm(part.half) for part in parts]),
    )


def _cast_at(directions, *parts, ground=DEEP):
    chance = np.random.default_rng(0).random((len(directions), 2))
    return cast(directions, chance, _as_objects(*parts), ground)


@pytest.mark.parametrize("kind", [HULL, ELLIPSOID, CYLINDER])
@pytest.mark.parametrize("seed", range(4))
def test_parts_are_hit_where_small_steps_find_them(kind, seed):
    rng = np.random.default_rng(seed)
    part = Part(
        kind,
        centre=np.array([6.0, *rng.uniform(-0.5, 0.5, 2)]),
        half=rng.uniform(0.3, 1.5, 3),
        surface=Surface(0.5),
        taper=tuple(rng.uniform(0, 0.6, 3)) if kind == HULL else (0, 0, 0),
        axes=_rotation(rng),
    )
    directions = _rays(rng, 400)
    hits = _cast_at(directions, part)
    steps = np.arange(2.0, 10.0, STEP)
    inside = _is_inside(directions[:, None] * steps[:, None], part)
    expected = np.where(inside.any(axis=1), steps[inside.argmax(axis=1)], np.inf)
    met = np.isfinite(expected)
    assert 10 < met.sum() < 400
    assert (hits.part[met] == 0).all()
    assert (np.abs(hits.distance[met] - expected[met]) <= STEP + 1e-9).all()
    # What only the caster met is a corner thinner than a step.
    extra = np.isfinite(hits.distance) & ~met
    assert extra.sum() <= 4
    assert hits.possible.tolist() == [met.sum() + extra.sum()]


def test_cosine_of_a_sphere_and_a_wall():
    rng = np.random.default_rng(0)
    directions = _rays(rng, 300, 0.1)
    centre = np.array([10.0, 0.0, 0.0])
    sphere = Part(ELLIPSOID, centre, np.full(3, 2.0), Surface(0.5))
    hits = _cast_at(directions, sphere)
    normal = (directions * hits.distance[:, None] - centre) / 2
    np.testing.assert_allclose(hits.cosine, -(normal * directions).sum(axis=1), atol=1e-9)
    wall = Part(HULL, centre, np.array([0.5, 5.0, 5.0]), Surface(0.5))
    np.testing.assert_allclose(_cast_at(directions, wall).cosine, directions[:, 0], atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_ground_is_hit_where_small_steps_cross_it(seed):
    rng = np.random.default_rng(seed)
    ground = Ground(
        height=-1.73,
        slope_x=rng.normal(0, 0.02),
        slope_y=rng.normal(0, 0.02),
        bend_x=rng.normal(0, 5e-4),
        bend_y=rng.normal(0, 5e-4),
        heading=rng.normal(0, 0.1),
        left=4.0,
        right=-3.0,
        kerb=0.15,
    )
    directions = _rays(rng, 300, 0.8)
    directions = directions[directions[:, 2] < -0.05]
    empty = Scene(ground).parts()
    hits = cast(directions, np.zeros((len(directions), 2)), empty, ground)
    for direction, distance, part in zip(directions, hits.distance, hits.part, strict=True):
        steps = np.arange(0.5, 100, STEP * 5)
        x, y, z = direction[:, None] * steps
        height = np.array([ground.elevation(a, b) for a, b in zip(x[::10], y[::10], strict=True)])
        assert np.isfinite(distance)
        below = z[::10] <= height
        first = steps[::10][below.argmax()]
        assert first - 10 * 5 * STEP - 1e-6 <= distance <= first + 1e-6
        beside = direction[1] * np.cos(ground.heading) - direction[0] * np.sin(ground.heading)
        on_road = ground.right < beside * distance * (1 - 1e-9) < ground.left
        assert part in (ROAD, VERGE)
        if abs(beside * distance - ground.left) > 1e-6 < abs(beside * distance - ground.right):
            assert (part == ROAD) == on_road


def test_rays_into_the_sky_hit_nothing():
    directions = np.array([[0.8, 0.0, 0.6]])
    hits = cast(directions, np.zeros((1, 2)), Scene(FLAT).parts(), FLAT)
    assert hits.part.tolist() == [NOTHING]
    assert np.isinf(hits.distance).all()


def test_the_nearest_object_wins_and_all_count_as_possible():
    walls = [
        Part(HULL, np.array([x, 0.0, 0.0]), np.array([0.5, 1.0, 1.0]), Surface(0.5))
        for x in (20.5, 10.5, 15.5)
    ]
    # Aside by 0, 0.08 and 0.2 of the distance; the fronts are 20, 10 and 15 m away, 1 m to a side.
    directions = np.array([[1.0, 0.0, -0.01], [1.0, 0.08, -0.01], [1.0, 0.2, -0.01]])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    hits = _cast_at(directions, *walls, ground=FLAT)
    assert hits.part.tolist() == [1, 1, NOTHING]
    assert hits.possible.tolist() == [1, 2, 1]


def test_a_part_of_half_density_stops_half_of_the_rays():
    surface = Surface(0.4, density=0.5)
    hedge = Part(HULL, np.array([10.0, 0, 0]), np.array([1.0, 8, 8]), surface)
    hits = _cast_at(_rays(np.random.default_rng(0), 4000, 0.1), hedge)
    stopped = hits.distance[hits.part == 0]
    assert len(stopped) == pytest.approx(2000, abs=150)
    assert stopped.min() >= 9
    assert 9.5 < stopped.max() < 11.2


@pytest.mark.parametrize("name", ROAD_USERS)
def test_shapes_fill_their_boxes(name):
    """Seen from all around, a shape reaches its box on every side and never leaves it."""
    rng = np.random.default_rng(3)
    for _ in range(5):
        shape, hit = ROAD_USERS[name](rng), []
        for yaw in np.arange(0, 2 * np.pi, np.pi / 8):
            scene = Scene(FLAT)
            scene.place(name, shape, 12.0, 0.0, yaw, 0.0)
            directions = _rays(rng, 20000, 0.6)
            hits = cast(directions, rng.random((20000, 2)), scene.parts(), FLAT)
            met = hits.part >= 0
            offset = (directions * hits.distance[:, None])[met] - [12.0, 0.0, FLAT.height]
            plane = (offset[:, 0] + 1j * offset[:, 1]) * np.exp(-1j * yaw)
            hit.append(np.column_stack([plane.real, plane.imag, offset[:, 2]]))
        points = np.concatenate(hit)
        length, width, height = shape.size
        low, high = points.min(axis=0), points.max(axis=0)
        box = np.array([[-length / 2, -width / 2, 0], [length / 2, width / 2, height]])
        assert (low >= box[0] - 1e-9).all()
        assert (high <= box[1] + 1e-9).all()
        # To the margin and what rays 1 cm apart may miss of a shoe's or a limb's round end.
        assert (low - box[0])[:2].max() < 0.12
        assert (box[1] - high).max() < 0.12


def test_footprints_against_shapely():
    rng = np.random.default_rng(0)
    boxes = np.column_stack(
        [rng.uniform(-6, 6, (120, 2)), rng.uniform(0.5, 5, (120, 2)), rng.uniform(-4, 4, 120)]
    )

    def polygon(x, y, length, width, yaw):
        box = geometry.box(-length / 2, -width / 2, length / 2, width / 2)
        return affinity.translate(affinity.rotate(box, yaw, (0, 0), use_radians=True), x, y)

    polygons = [polygon(*box) for box in boxes]
    for i in range(0, 120, 4):
        expected = [polygons[i].intersects(other) for other in polygons]
        assert footprints_overlap(boxes[i], boxes).tolist() == expected
