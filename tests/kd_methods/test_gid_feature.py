"""GID's instances, features and relations against their formulas."""

import math
from dataclasses import replace

import numeric
import pytest
import torch
from fidelity import FAMILY, assert_same, built, scene
from test_mimic import places

from kd_methods import MethodError
from kd_methods.core.regions import _suppress, disparate
from kd_methods.gid_feature import unlike

GRID = 3  # of test_mimic


def decode(deltas):
    """Boxes with positive sizes, some of which overlap."""
    place = 2 * deltas[..., :3] + torch.tensor([5.0, 0, 0])
    return torch.cat([place, 2 * torch.exp(0.3 * deltas[..., 3:6]), deltas[..., 6:]], dim=-1)


def instances(example, most, overlap):
    """Per frame (prior, box) of the largest differences of scores, suppressed one by one."""
    found = []
    for b, logits in enumerate(example.student.head.class_logits):
        scores = []
        for i in range(len(logits)):
            p, q = (
                (1 / (1 + torch.exp(-network.head.class_logits[b, i]))).max().item()
                for network in (example.teacher, example.student)
            )
            better = example.teacher if p > q else example.student
            scores.append((abs(p - q), i, decode(better.head.deltas[b, i]).detach()))
        kept = []
        for _, i, box in sorted(scores, key=lambda score: -score[0]):
            if all(aligned_iou(box, other) <= overlap for _, other in kept):
                kept.append((i, box))
        found.append(kept[:most])
    return found


def rectangle(box):
    x, y, _, length, width, _, yaw = box.tolist()
    if abs((yaw + math.pi / 2) % math.pi - math.pi / 2) > math.pi / 4:
        length, width = width, length
    return x - length / 2, y - width / 2, x + length / 2, y + width / 2


def aligned_iou(a, b):
    a, b = rectangle(a), rectangle(b)
    x, y = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(x, 0) * max(y, 0)
    areas = [(r[2] - r[0]) * (r[3] - r[1]) for r in (a, b)]
    return common / (sum(areas) - common)


def with_boxes(kind, counts=(10, 10)):
    example = scene(kind, counts)
    for network in (example.teacher, example.student):
        network.head = replace(network.head, decode=decode)
    return example


def region(network, kind, frame, prior, box):
    """(G * G, C) features of an instance, (1, C) of a point."""
    if kind == "points":
        return network.neck.values[frame * 10 + prior][None]
    return torch.stack(places(network, kind, frame, box.tolist()))


def convolved(layer, cells):
    """3x3 convolution of a G x G crop (G * G, C), or the linear map of a point."""
    if len(cells) == 1:
        return cells @ layer.weight.T + layer.bias
    out = []
    for y in range(GRID):
        for x in range(GRID):
            value = layer.bias
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if 0 <= y + dy < GRID and 0 <= x + dx < GRID:
                        cell = cells[(y + dy) * GRID + x + dx]
                        value = value + layer.weight[:, :, dy + 1, dx + 1] @ cell
            out.append(value)
    return torch.stack(out)


def relations(crops):
    count = len(crops)
    pairs = [(u, v) for u in range(count) for v in range(count) if u != v]
    distances = {(u, v): ((crops[u] - crops[v]) ** 2).sum() ** 0.5 for u, v in pairs}
    mean = sum(distances.values()) / len(pairs)
    return {pair: distance / mean for pair, distance in distances.items()}


def smooth(value):
    return value**2 / 2 if abs(value) < 1 else abs(value) - 0.5


def reference(method, example, kind, found):
    theirs, ours = (
        [region(n, kind, b, *one) for b, frame in enumerate(found) for one in frame]
        for n in (example.teacher, example.student)
    )
    squares = sum(
        ((t - convolved(method.adapter, s)) ** 2).sum() / len(t)
        for t, s in zip(theirs, ours, strict=True)
    )
    a, b = relations(theirs), relations(ours)
    return {
        "feature": 5e-4 * squares / len(theirs),
        "relation": 40 * sum(smooth(a[pair] - b[pair]) for pair in a) / len(a),
    }


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("most", [3, 10])
def test_features_and_relations_where_scores_differ(kind, most):
    example = with_boxes(kind)
    method = built(f"gid_feature:grid={GRID}:instances={most}", example, FAMILY[kind])
    found = instances(example, most, 0.3)
    assert 2 * 2 <= sum(map(len, found)) < 20
    assert_same(method, example, lambda: reference(method, example, kind, found))


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.3, 0.6])
def test_instances_are_those_of_greedy_suppression(overlap):
    example = with_boxes("maps")
    chosen = disparate(example.teacher, example.student, 3000, overlap, 10)
    expected = instances(example, 10, overlap)
    assert [frame.priors.tolist() for frame in chosen] == [[i for i, _ in f] for f in expected]
    boxes = torch.cat([frame.boxes for frame in chosen])
    torch.testing.assert_close(boxes, torch.stack([box for f in expected for _, box in f]))


@pytest.mark.parametrize("crowd", [200, 300, 600])
def test_instances_are_found_beyond_a_crowd(crowd):
    """The best all lie in one place; those that stay come after them."""
    places = torch.arange(crowd + 9).clamp(min=crowd - 1) - crowd + 1
    rectangles = torch.stack([5.0 * places, 0 * places, 5.0 * places + 1, 0 * places + 1], 1)
    (kept,) = _suppress(rectangles[None], 0.3, 10)
    assert kept.tolist() == [0, *range(crowd, crowd + 9)]


def test_the_numeric_example():
    assert unlike(*numeric.sines(3, 4)).item() == pytest.approx(0.23653247521779017, abs=1e-9)


def test_points_need_a_prior_each():
    example = scene("points", (9, 5))
    method = built("gid_feature", example, "pointrcnn@8")
    with pytest.raises(MethodError, match="one prior per point"):
        method(example.teacher, example.student, example.batch)


def test_two_instances_have_no_relation():
    example = with_boxes("maps", (10,))
    method = built("gid_feature:instances=2", example)
    assert method(example.teacher, example.student, example.batch)["relation"].item() == 0
