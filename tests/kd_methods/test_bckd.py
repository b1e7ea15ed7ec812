"""BCKD against its formula, prior by prior."""

from dataclasses import replace

import numeric
import pytest
import torch
from fidelity import FAMILY, assert_same, built, scene

from kd_methods.core.geometry import rotated_intersection


def decode(deltas):
    """Boxes with positive sizes, near one place so that most overlap."""
    place, size, yaw = deltas[..., :3], deltas[..., 3:6], deltas[..., 6:]
    return torch.cat([0.3 * place, 2 * torch.exp(0.3 * size), yaw], dim=-1)


def with_boxes(kind="maps", **settings):
    example = scene(kind, **settings)
    for network in (example.teacher, example.student):
        network.head = replace(network.head, decode=decode)
    return example


def overlap(a, b):
    flat = [box[[0, 1, 3, 4, 6]][None] for box in (a, b)]
    low, high = max(a[2], b[2]), min(a[2] + a[5], b[2] + b[5])
    common = rotated_intersection(*flat)[0] * (high - low).clamp(min=0)
    return common / (a[3] * a[4] * a[5] + b[3] * b[4] * b[5] - common)


def reference(example, boxes):
    teacher, student = example.teacher.head, example.student.head
    assigned, classes, place = student.assigned.tolist(), 0, 0
    for b, frame in enumerate(assigned):
        weighted = []
        for i, label in enumerate(frame):
            if label == -2:
                continue
            p, q = (1 / (1 + torch.exp(-h.class_logits[b, i])) for h in (teacher, student))
            entropy = -(p * torch.log(q) + (1 - p) * torch.log(1 - q))
            classes = classes + (entropy * (p - q).abs()).sum()
            boxes_of = (decode(h.deltas[b, i]) for h in (student, teacher))
            weighted.append(((p - q).abs().max().item(), 1 - overlap(*boxes_of)))
        weighted.sort(key=lambda pair: -pair[0])
        place = place + sum(weight * apart for weight, apart in weighted[:boxes])
    positive = sum(label >= 0 for frame in assigned for label in frame)
    return {"class": classes / positive, "box": 4 * place / positive}


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("boxes", [3, 1000])
def test_classes_of_all_priors_and_boxes_where_they_differ(kind, boxes):
    example = with_boxes(kind)
    method = built(f"bckd:boxes={boxes}", example, FAMILY[kind])
    assert_same(method, example, lambda: reference(example, boxes))


def logits():
    teacher = [[2, -1, -3], [-4, 0.5, -2], [-5, -5, -5], [1, 1, -1]]
    student = [[1, -2, -3], [-3, -0.5, -1], [-4, -6, -5], [0, 2, -1]]
    return torch.tensor(teacher).double(), torch.tensor(student).double()


def test_the_numeric_example():
    networks = numeric.heads(*logits(), torch.tensor([0, 1, -1, -1]))
    losses = numeric.built("bckd")(*networks, numeric.NO_BATCH)
    assert losses["class"].item() == pytest.approx(0.34240438551648206, abs=1e-9)
    assert losses["box"].item() == pytest.approx(0, abs=1e-12)


def test_boxes_weigh_by_the_largest_difference_of_a_class():
    networks = numeric.heads(*logits(), torch.tensor([0, 1, -1, -1]))
    far = networks[1].head.deltas + 100
    networks[1].head = replace(networks[1].head, deltas=far)
    losses = numeric.built("bckd:regression=2")(*networks, numeric.NO_BATCH)
    weights = [0.1497385, 0.24491866, 0.01129336, 0.23105858]
    assert losses["box"].item() == pytest.approx(sum(weights), abs=1e-6)


def test_frames_without_positives_still_teach():
    networks = numeric.heads(*logits(), torch.full((4,), -1))
    losses = numeric.built("bckd")(*networks, numeric.NO_BATCH)
    assert losses["class"].item() == pytest.approx(2 * 0.34240438551648206, abs=1e-9)


def test_an_equal_student_has_nothing_to_learn():
    example = with_boxes(alike=True)
    losses = built("bckd", example)(example.teacher, example.student, example.batch)
    assert losses["class"].item() == 0
    assert losses["box"].item() == 0
