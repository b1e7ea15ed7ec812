"""Rotated boxes against shapely."""

import math

import pytest
import torch
from shapely.geometry import Polygon

from kd_methods.core.geometry import (
    aligned_iou,
    inside,
    iou_3d,
    limit_angle,
    near,
    nearest_aligned,
    pairwise_rotated_iou,
    rotated_corners,
    rotated_intersection,
    rotated_iou,
)


def random_boxes(n, seed, spread=4.0):
    generator = torch.Generator().manual_seed(seed)
    centre = spread * torch.rand(n, 2, generator=generator, dtype=torch.double)
    size = 0.3 + 4 * torch.rand(n, 2, generator=generator, dtype=torch.double)
    angle = 20 * torch.rand(n, 1, generator=generator, dtype=torch.double) - 10
    return torch.cat([centre, size, angle], dim=1)


def polygon(box):
    x, y, length, width, angle = box.tolist()
    cos, sin = math.cos(angle), math.sin(angle)
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    local = [(a * length / 2, b * width / 2) for a, b in signs]
    return Polygon([(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in local])


def test_corners_are_those_of_the_rotated_rectangle():
    boxes = random_boxes(20, 0)
    for box, corners in zip(boxes, rotated_corners(boxes), strict=True):
        assert polygon(box).symmetric_difference(Polygon(corners.tolist())).area < 1e-12


def test_intersection_equals_shapely_on_random_pairs():
    a, b = random_boxes(500, 1), random_boxes(500, 2)
    expected = [polygon(p).intersection(polygon(q)).area for p, q in zip(a, b, strict=True)]
    expected = torch.tensor(expected, dtype=torch.double)
    torch.testing.assert_close(rotated_intersection(a, b), expected, rtol=0, atol=1e-9)
    assert (expected > 0).float().mean() > 0.5


@pytest.mark.parametrize("mode", ["iou", "iof"])
def test_pairwise_overlap_equals_shapely(mode):
    a, b = random_boxes(20, 3, spread=12), random_boxes(25, 4, spread=12)
    overlap = pairwise_rotated_iou(a, b, mode)
    for i, p in enumerate(map(polygon, a)):
        for j, q in enumerate(map(polygon, b)):
            inter = p.intersection(q).area
            whole = p.area if mode == "iof" else p.union(q).area
            assert overlap[i, j].item() == pytest.approx(inter / whole, abs=1e-9)


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_identical_boxes_overlap_fully_in_single_precision(quarter_turns):
    boxes = random_boxes(300, 5).float()
    turned = boxes.clone()
    turned[:, 4] += quarter_turns * math.pi / 2
    if quarter_turns % 2:
        turned[:, 2:4] = turned[:, [3, 2]]
    torch.testing.assert_close(rotated_iou(boxes, turned), torch.ones(300), rtol=0, atol=1e-5)


def test_touching_nested_and_empty_boxes():
    box = torch.tensor([[0.0, 0.0, 4.0, 2.0, 0.3]])
    along = torch.tensor([[4 * math.cos(0.3), 4 * math.sin(0.3), 4.0, 2.0, 0.3]])
    inner = torch.tensor([[0.0, 0.0, 2.0, 1.0, 0.3]])
    empty = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0]])
    assert rotated_iou(box, along).item() == pytest.approx(0, abs=1e-6)
    assert rotated_iou(box, inner).item() == pytest.approx(0.25, abs=1e-6)
    assert rotated_iou(empty, empty).item() == 0


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="'iou' or 'iof'"):
        rotated_iou(random_boxes(1, 0), random_boxes(1, 0), "giou")


def test_limited_angles_differ_by_whole_turns():
    angle = torch.linspace(-20, 20, 101, dtype=torch.double)
    limited = limit_angle(angle)
    assert (limited >= -math.pi).all()
    assert (limited < math.pi).all()
    turns = (angle - limited) / (2 * math.pi)
    torch.testing.assert_close(turns, turns.round())


def random_volumes(n, seed, spread=4.0):
    generator = torch.Generator().manual_seed(100 + seed)
    flat = random_boxes(n, seed, spread)
    height = torch.rand(n, 2, generator=generator, dtype=torch.double)
    parts = flat[:, :2], height[:, :1], flat[:, 2:4], 1 + height[:, 1:], flat[:, 4:]
    return torch.cat(parts, dim=1)


def test_volumes_overlap_as_their_rectangles_times_their_heights():
    a, b = random_volumes(30, 0), random_volumes(30, 1)
    for one, other, found in zip(a, b, iou_3d(a, b), strict=True):
        flat = [polygon(box[[0, 1, 3, 4, 6]]) for box in (one, other)]
        height = min(one[2] + one[5], other[2] + other[5]) - max(one[2], other[2])
        common = flat[0].intersection(flat[1]).area * max(height.item(), 0)
        union = flat[0].area * one[5] + flat[1].area * other[5] - common
        assert found.item() == pytest.approx((common / union).item(), abs=1e-9)


def test_places_inside_are_those_of_the_polygon():
    from shapely.geometry import Point

    boxes = random_volumes(10, 2)
    places = torch.rand(200, 2, dtype=torch.double, generator=torch.Generator().manual_seed(3)) * 6
    for box, held in zip(boxes, inside(places, boxes).T, strict=True):
        shape = polygon(box[[0, 1, 3, 4, 6]])
        assert held.tolist() == [shape.contains(Point(p)) for p in places.tolist()]


@pytest.mark.parametrize("spread", [4.0, 200.0])
def test_near_leaves_out_no_box_that_touches_another(spread):
    boxes, others = random_volumes(500, 4, spread), random_volumes(5, 5, spread)
    overlap = aligned_iou(nearest_aligned(boxes)[:, None], nearest_aligned(others))
    touching = set((overlap > 0).any(1).nonzero().flatten().tolist())
    found = set(near(boxes, others).tolist())
    assert touching <= found
    assert spread == 4 or len(found) < 100


def test_nothing_is_near_nothing():
    boxes = random_volumes(3, 6)
    assert len(near(boxes, boxes[:0])) == len(near(boxes[:0], boxes)) == 0
