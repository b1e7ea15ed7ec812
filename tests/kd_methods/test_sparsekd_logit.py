"""SparseKD's logit distillation against its formula."""

from dataclasses import replace

import pytest
import torch
from fidelity import FAMILY, assert_same, built, gradients, scene

from kd_methods import create


def smooth_l1(difference):
    size = abs(difference)
    return 4.5 * size**2 if size < 1 / 9 else size - 1 / 18


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("counts", [(9, 5), (7,), (6, 3, 4)])
def test_positive_priors_follow_the_teacher(kind, counts):
    example = scene(kind, counts)
    method = built("sparsekd_logit", example, FAMILY[kind])
    ours, theirs = example.student.head, example.teacher.head

    def reference():
        positive = [
            (b, a) for b in range(len(counts)) for a in range(10) if ours.assigned[b, a] >= 0
        ]
        squares, box = 0.0, 0.0
        for b, a in positive:
            for k in range(3):
                student, teacher = (
                    1 / (1 + torch.exp(-head.class_logits[b, a, k])) for head in (ours, theirs)
                )
                squares = squares + (student - teacher) ** 2
            own = sum(1 for frame, _ in positive if frame == b)
            s, t = ours.deltas[b, a], theirs.deltas[b, a]
            yaw = torch.sin(s[6]) * torch.cos(t[6]) - torch.cos(s[6]) * torch.sin(t[6])
            distance = sum(smooth_l1(s[i] - t[i]) for i in range(6)) + smooth_l1(yaw)
            box = box + distance / own / len(counts)
        return {"class": 15 * squares / len(positive), "box": 0.2 * box}

    assert_same(method, example, reference)


def with_heat(head, seed=0):
    """The same head of heat maps, whose targets are random heat."""
    random = torch.Generator().manual_seed(seed)
    heat = torch.rand(head.class_logits.shape, generator=random, dtype=torch.float64)
    return replace(head, soften=lambda: heat)


@pytest.mark.parametrize("family", ["centerpoint_pillar", "centerpoint_voxel"])
def test_where_heat_and_teacher_are_high_maps_follow_the_teacher(family):
    example = scene("maps", (9, 5))
    example.student.__dict__["head"] = with_heat(example.student.head)
    method = built("sparsekd_logit", example, family)
    ours, theirs = example.student.head, example.teacher.head

    def reference():
        total = weights = box = 0.0
        centres = [(b, a) for b in range(2) for a in range(10) if ours.assigned[b, a] >= 0]
        for b in range(2):
            for a in range(10):
                student, teacher = (
                    1 / (1 + torch.exp(-head.class_logits[b, a])) for head in (ours, theirs)
                )
                weight = max(ours.soften()[b, a]) * max(teacher)
                weights = weights + weight
                total = total + weight * sum((student[k] - teacher[k]) ** 2 for k in range(3))
        for b, a in centres:
            difference = ours.deltas[b, a] - theirs.deltas[b, a]
            box = box + sum(abs(d) for d in difference[:6]) + abs(torch.sin(difference[6]))
        factor = 7 if family == "centerpoint_pillar" else 15
        return {"class": factor * total / weights, "box": 0.2 * box / len(centres)}

    assert_same(method, example, reference)
    assert not create("sparsekd_logit", f"{family}@4").extrapolated()


def test_heat_without_objects_gives_no_loss():
    example = scene("maps")
    head = replace(
        example.student.head, soften=lambda: torch.zeros_like(example.student.head.class_logits)
    )
    head.assigned.fill_(-1)
    example.student.__dict__["head"] = head
    losses = built("sparsekd_logit", example)(example.teacher, example.student, example.batch)
    assert all(value == 0 for value in losses.values())


def test_frames_without_objects_give_no_loss():
    example = scene("maps")
    example.student.head.assigned.fill_(-1)
    losses = built("sparsekd_logit", example)(example.teacher, example.student, example.batch)
    assert all(value == 0 for value in losses.values())
    assert not any(gradient.any() for gradient in gradients(losses, example.leaves))


def test_one_frame_of_two_without_objects_is_finite():
    example = scene("maps")
    example.student.head.assigned[0] = -1
    losses = built("sparsekd_logit", example)(example.teacher, example.student, example.batch)
    assert all(value.isfinite() and value > 0 for value in losses.values())
    assert all(gradient.isfinite().all() for gradient in gradients(losses, example.leaves))


def test_the_author_gives_the_weights_for_second():
    assert not create("sparsekd_logit", "second@4").extrapolated()
    assert create("sparsekd_logit", "pointpillars@4").extrapolated()
