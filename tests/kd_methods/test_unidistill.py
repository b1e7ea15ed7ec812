"""UniDistill's feature and relation parts against their formulas."""

import numeric
import pytest
import torch
from fidelity import assert_same, built, scene
from test_mimic import with_objects
from test_rdd import bilinear

from kd_methods import MethodError, create
from kd_methods.core.relations import cosines


def nine(features, frame, box):
    """Features of a map at the corners, the middles of the sides and the centre of a box."""
    x, y, _, length, width, _, yaw = box
    cos, sin = (f(torch.tensor(yaw, dtype=torch.float64)).item() for f in (torch.cos, torch.sin))
    found = []
    for u in (-length / 2, 0, length / 2):
        for v in (-width / 2, 0, width / 2):
            at = x + u * cos - v * sin, y + u * sin + v * cos
            found.append(bilinear(features.values[frame], *at))
    return found


def alike(p, q):
    lengths = [(x**2).sum() ** 0.5 + 1e-4 for x in (p, q)]
    return (p * q).sum() / (lengths[0] * lengths[1])


def reference(method, example):
    teacher, student = example.teacher, example.student
    weight, bias = method.adapter.weight.flatten(1), method.adapter.bias
    apart, unlike = [], []
    for frame, boxes in enumerate(example.batch.boxes):
        for box in boxes.double().tolist():
            t, s = (nine(network.stages[0], frame, box) for network in (teacher, student))
            each = [(a - weight @ b - bias).abs().mean() for a, b in zip(t, s, strict=True)]
            apart.append(sum(each) / 9)
            t, s = (nine(network.neck, frame, box) for network in (teacher, student))
            pairs = [(i, j) for i in range(9) for j in range(9)]
            unlike.append(sum((alike(t[i], t[j]) - alike(s[i], s[j])).abs() for i, j in pairs) / 81)
    assert len(apart) > 1
    return {"feature": 10 * sum(apart) / len(apart), "relation": sum(unlike) / len(unlike)}


def test_nine_places_of_every_object():
    example = with_objects("maps")
    method = built("unidistill", example)
    assert_same(method, example, lambda: reference(method, example))


def test_the_numeric_example():
    teacher, student = numeric.sines(9, 4)
    apart = (teacher - student).abs().mean()
    unlike = (cosines(teacher, 1e-4) - cosines(student, 1e-4)).abs().mean()
    assert apart.item() == pytest.approx(0.7419907711687382, abs=1e-9)
    assert unlike.item() == pytest.approx(0.8628235210611889, abs=1e-9)


def test_nothing_without_objects():
    example = scene("maps")
    losses = built("unidistill", example)(example.teacher, example.student, example.batch)
    assert all(loss.item() == 0 and loss.requires_grad for loss in losses.values())


def test_points_are_refused():
    with pytest.raises(MethodError, match="corners of boxes"):
        create("unidistill", "pointrcnn@8").build(*scene("points").specs)
