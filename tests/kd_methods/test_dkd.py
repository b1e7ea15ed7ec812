"""DKD against its formula, prior by prior."""

import math
from dataclasses import replace

import numeric
import pytest
import torch
from fidelity import FAMILY, assert_same, built, scene
from test_bckd import logits

from kd_methods.dkd import decoupled


def softmax(values):
    exponentials = [torch.exp(value) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def divergence(p, q):
    return sum(a * torch.log(a / b) for a, b in zip(p, q, strict=True))


def terms(theirs, ours, label):
    """Both divergences of one row of logits."""
    p, q = softmax(theirs), softmax(ours)
    target = divergence([p[label], 1 - p[label]], [q[label], 1 - q[label]])
    rest = [[x for k, x in enumerate(row) if k != label] for row in (theirs, ours)]
    return target, divergence(softmax(rest[0]), softmax(rest[1]))


def reference(example, tau, background):
    teacher, student = example.teacher.head, example.student.head
    rows, positive = [], 0
    for b, frame in enumerate(student.assigned.tolist()):
        for i, label in enumerate(frame):
            t, s = (
                [*head.class_logits[b, i] / tau, torch.zeros(())] for head in (teacher, student)
            )
            if label >= 0:
                rows.append((math.inf, t, s, label))
                positive += 1
            elif label == -1:
                rows.append((max(t[:3]).item(), t, s, 3))
    rows.sort(key=lambda row: -row[0])
    assert positive * (1 + background) < len(rows) or background > 1
    rows = rows[: positive * (1 + background)]
    target, others = zip(*(terms(*row[1:]) for row in rows), strict=True)
    return {
        "target": tau**2 * sum(target) / len(rows),
        "others": 0.25 * tau**2 * sum(others) / len(rows),
    }


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize(("tau", "background"), [(1.0, 0), (2.0, 3)])
def test_target_and_other_classes(kind, tau, background):
    example = scene(kind)
    method = built(f"dkd:temperature={tau}:background={background}", example, FAMILY[kind])
    assert_same(method, example, lambda: reference(example, tau, background))


def test_background_is_where_the_teacher_sees_objects():
    example = scene("maps")
    assigned = torch.full((2, 10), -1)
    assigned[0, 3], assigned[1, 5] = 2, 0
    example.student.head = replace(example.student.head, assign=lambda: assigned)
    method = built("dkd:background=2", example)
    assert_same(method, example, lambda: reference(example, 1.0, 2))


def test_the_numeric_example():
    teacher, student = logits()
    target, others = decoupled(student, teacher, torch.tensor([0, 1, 2, 0]))
    found = target.mean().item(), others.mean().item()
    assert found == pytest.approx((0.16863481062932692, 0.13544346187226172), abs=1e-9)


@pytest.mark.parametrize("label", [-1, -2])
def test_frames_without_positives_are_finite(label):
    networks = numeric.heads(*logits(), torch.full((4,), label))
    losses = numeric.built("dkd")(*networks, numeric.NO_BATCH)
    assert all(loss.isfinite() for loss in losses.values())
    assert (losses["target"] > 0) == (label == -1)


def test_an_equal_student_has_nothing_to_learn():
    example = scene("maps", alike=True)
    losses = built("dkd", example)(example.teacher, example.student, example.batch)
    assert all(loss.item() == pytest.approx(0, abs=1e-15) for loss in losses.values())
