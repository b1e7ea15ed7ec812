"""Overlaps of the compiled loops against shapely and against boxes whose overlap is known."""

import numpy as np
import pytest
from devkit_reference import Thing, footprint, space_overlap
from hypothesis import given, settings, strategies as st

from benchmark.evaluation.kernels import ground_intersection, pair_overlaps


def box(x=0.0, y=1.5, z=20.0, h=1.5, w=1.6, length=3.9, ry=0.0):
    return np.array([x, y, z, h, w, length, ry])


def thing(b, bbox=(0.0, 0.0, 1.0, 1.0)):
    x, y, z, h, w, length, ry = b.tolist()
    return Thing("Car", 0, 0, 0, list(bbox), h, w, length, x, y, z, ry)


boxes = st.builds(
    box,
    st.floats(-3, 3),
    st.floats(1, 2),
    st.floats(17, 23),
    st.floats(0.1, 3),
    st.floats(0.1, 4),
    st.floats(0.1, 8),
    st.floats(-7, 7),
)


@settings(max_examples=300, deadline=None)
@given(boxes, boxes)
def test_intersection_equals_shapely(a, b):
    expected = footprint(thing(a)).intersection(footprint(thing(b))).area
    assert ground_intersection(a, b) == pytest.approx(expected, abs=1e-9)
    assert ground_intersection(b, a) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(boxes)
def test_a_box_covers_itself_however_it_is_turned(a):
    half_turn = a + np.array([0, 0, 0, 0, 0, 0, np.pi])
    quarter_turn = a[[0, 1, 2, 3, 5, 4, 6]] + np.array([0, 0, 0, 0, 0, 0, np.pi / 2])
    for same in (a, half_turn, quarter_turn):
        assert ground_intersection(a, same) == pytest.approx(a[4] * a[5], rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(boxes, st.floats(-500, 500), st.floats(-500, 500))
def test_intersection_does_not_depend_on_the_place(a, x, z):
    b = a + np.array([0.4, 0, -0.3, 0, 0, 0, 0.5])
    move = np.array([x, 0, z, 0, 0, 0, 0])
    assert ground_intersection(a + move, b + move) == pytest.approx(
        ground_intersection(a, b), abs=1e-9
    )


@pytest.mark.parametrize("ry", [0.0, 0.3, np.pi / 2, -2.0])
def test_touching_and_contained_boxes(ry):
    along = np.array([np.cos(ry), 0, -np.sin(ry), 0, 0, 0, 0])
    a = box(ry=ry)
    assert ground_intersection(a, a + 3.9 * along) == pytest.approx(0, abs=1e-9)
    assert ground_intersection(a, a + 100 * along) == 0
    assert ground_intersection(a, a + 1.95 * along) == pytest.approx(1.6 * 1.95)
    inner = box(w=0.5, length=1.0, ry=ry + 0.4)
    assert ground_intersection(a, inner) == pytest.approx(0.5)
    assert ground_intersection(inner, a) == pytest.approx(0.5)


def test_yaw_turns_as_in_kitti():
    """rotation_y > 0 turns the box's front from x to -z; the other sign would miss this one."""
    ahead = box(x=np.cos(0.8) * 3, z=20 - np.sin(0.8) * 3, w=0.2, length=0.2)
    assert ground_intersection(box(length=8.0, ry=0.8), ahead) == pytest.approx(0.04)
    assert ground_intersection(box(length=8.0, ry=-0.8), ahead) == 0


def test_heights_overlap_downwards():
    """y points down and is the bottom: the box spans y - h to y."""
    a, b = box(y=2.0, h=1.0), box(y=1.5, h=1.0)
    bbox = np.zeros((1, 4))
    overlaps = pair_overlaps(bbox, b[None], bbox, a[None], False)[:, 0, 0]
    assert overlaps == pytest.approx([0, 1, 0.5 / 1.5])


@settings(max_examples=100, deadline=None)
@given(boxes, boxes, st.booleans())
def test_overlap_in_space_equals_shapely(a, b, of_detection):
    bbox = np.zeros((1, 4))
    found = pair_overlaps(bbox, a[None], bbox, b[None], of_detection)[2, 0, 0]
    expected = space_overlap(thing(a), thing(b), 0 if of_detection else -1)
    assert found == pytest.approx(expected, abs=1e-9)


def test_image_overlap():
    none = box(w=-1, length=-1)[None]
    a, b = np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 5, 15, 25]])
    for of_detection, expected in ((False, 25 / 275), (True, 25 / 100)):
        found = pair_overlaps(a, none, b, none, of_detection)[:, 0, 0]
        assert found == pytest.approx([expected, 0, 0])
