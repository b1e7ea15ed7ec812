"""RKD against its formula, pair by pair and triple by triple."""

import numeric
import pytest
import torch
import torch.nn.functional as F
from fidelity import FAMILY, assert_same, built
from test_gid_feature import smooth
from test_mimic import places, with_objects

from kd_methods.core.relations import angles, distances, relative


def vectors(example, network, kind):
    """One vector for each object that holds anything."""
    found = []
    for b, boxes in enumerate(example.batch.boxes):
        for box in boxes.double().tolist():
            held = places(network, kind, b, box)
            if held:
                found.append(torch.stack(held))
    return [rows.mean(0) if kind == "points" else rows.T.flatten() for rows in found]


def distance_term(theirs, ours):
    total, count = 0, len(theirs)
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    t, s = ([((x[j] - x[i]) ** 2).sum() ** 0.5 for i, j in pairs] for x in (theirs, ours))
    for a, b in zip(t, s, strict=True):
        total = total + smooth(a / (sum(t) / len(t)) - b / (sum(s) / len(s)))
    return total / count**2


def angle_term(theirs, ours):
    total, count = 0, len(theirs)
    for i in range(count):
        for j in range(count):
            for k in range(count):
                if i in (j, k):
                    continue
                a, b = (F.normalize(x[j] - x[i], dim=0) for x in (theirs, ours))
                c, d = (F.normalize(x[k] - x[i], dim=0) for x in (theirs, ours))
                total = total + smooth((a * c).sum() - (b * d).sum())
    return total / count**3


@pytest.mark.parametrize("kind", ["maps", "points"])
def test_distances_and_angles_of_the_objects_of_all_frames(kind):
    example = with_objects(kind, (40, 40))
    method = built("rkd:grid=3", example, FAMILY[kind])

    def reference():
        rows = [vectors(example, n, kind) for n in (example.teacher, example.student)]
        assert len(rows[0]) > 2
        return {"distance": 25 * distance_term(*rows), "angle": 50 * angle_term(*rows)}

    assert_same(method, example, reference)


def test_the_numeric_example():
    teacher, student = (distances(rows) for rows in numeric.sines(3, 4))
    apart = F.smooth_l1_loss(relative(student), relative(teacher)) * 2 / 3
    turned = F.smooth_l1_loss(angles(student, 3), angles(teacher, 3))
    assert apart.item() == pytest.approx(0.1576883168118601, abs=1e-9)
    assert turned.item() == pytest.approx(0.07529825093213416, abs=1e-9)


def test_angles_at_an_object_that_lies_on_another_are_0():
    rows = torch.tensor([[0.0, 0], [0, 0], [1, 0], [0, 2]], requires_grad=True)
    found = angles(distances(rows), 4)
    assert found[0, 1].tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(found[0, 2], torch.tensor([0.0, 0, 1, 0]))
    found.sum().backward()
    assert rows.grad.isfinite().all()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_two_objects_have_no_relation(count):
    example = with_objects("maps")
    boxes = torch.cat(example.batch.boxes)[:count]
    example.batch.boxes[:] = [boxes, boxes[:0]]
    losses = built("rkd", example)(example.teacher, example.student, example.batch)
    assert all(loss == 0 for loss in losses.values())


def test_at_most_so_many_objects_take_part():
    example = with_objects("maps")
    method = built("rkd:objects=3", example)
    losses = method(example.teacher, example.student, example.batch)
    assert all(loss.isfinite() for loss in losses.values())
