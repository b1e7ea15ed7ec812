"""SparseKD's logit distillation against its formula."""

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
