"""Mimicking in objects' boxes against its formula."""

from dataclasses import replace

import pytest
import torch
from fidelity import FAMILY, assert_same, built, scene
from test_rdd import bilinear

BOXES = [[5.0, 1.0, -1.0, 6.0, 4.0, 2.0, 0.4], [8.0, -3.0, -1.0, 5.0, 5.0, 2.0, -1.2]]
GRID = 3


def with_objects(kind, counts=(20, 15)):
    example = scene(kind, counts)
    boxes = [torch.tensor(BOXES), torch.tensor(BOXES[1:])]
    example.batch = replace(example.batch, boxes=boxes)
    return example


def holds(box, place):
    """Whether a place, in BEV or in space, lies in a box."""
    x, y, z, length, width, height, yaw = box
    yaw = torch.tensor(yaw, dtype=torch.float64)
    dx, dy = place[0] - x, place[1] - y
    along, across = dx * yaw.cos() + dy * yaw.sin(), dy * yaw.cos() - dx * yaw.sin()
    within = abs(along) <= length / 2 and abs(across) <= width / 2
    return within and (len(place) == 2 or z <= place[2] <= z + height)


def places(network, kind, frame, box):
    """The features (C,) in a box."""
    if kind == "points":
        rows = [i for i, b in enumerate(network.neck.batch.tolist()) if b == frame]
        return [network.neck.values[i] for i in rows if holds(box, network.neck.xyz[i].tolist())]
    x, y, _, length, width, _, yaw = box
    cos, sin = (f(torch.tensor(yaw, dtype=torch.float64)).item() for f in (torch.cos, torch.sin))
    found = []
    for i in range(GRID):
        for j in range(GRID):
            u, v = ((i + 0.5) / GRID - 0.5) * length, ((j + 0.5) / GRID - 0.5) * width
            at = x + u * cos - v * sin, y + u * sin + v * cos
            found.append(bilinear(network.neck.values[frame], *at))
    return found


@pytest.mark.parametrize("kind", ["maps", "points"])
def test_features_in_objects_match(kind):
    example = with_objects(kind)
    method = built(f"mimic:grid={GRID}", example, FAMILY[kind])

    def reference():
        means = []
        weight = method.adapter.weight.flatten(1)
        for frame, boxes in enumerate(example.batch.boxes):
            for box in boxes.double().tolist():
                theirs = places(example.teacher, kind, frame, box)
                ours = places(example.student, kind, frame, box)
                pairs = zip(theirs, ours, strict=True)
                squares = [(t - weight @ s - method.adapter.bias) ** 2 for t, s in pairs]
                if squares:
                    means.append(sum(s.mean() for s in squares) / len(squares))
        assert len(means) > 1
        return {"neck": sum(means) / len(means)}

    assert_same(method, example, reference)


@pytest.mark.parametrize("kind", ["maps", "points"])
def test_nothing_without_objects(kind):
    example = scene(kind)
    loss = built("mimic", example, FAMILY[kind])(example.teacher, example.student, example.batch)
    assert loss["neck"].item() == 0
    assert loss["neck"].requires_grad
