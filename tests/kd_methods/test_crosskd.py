"""CrossKD against its formula, cell by cell and prior by prior."""

from dataclasses import replace

import fidelity
import numeric
import pytest
import torch
from fidelity import MAPS, assert_same, gradients, scene
from test_bckd import decode, overlap
from torch import nn

from kd_methods import MethodError, create
from kd_methods.crosskd import style

PER_CELL = 2


def with_anchors(counts=(9, 5), **settings):
    """Heads with two anchors in every cell of the neck's map."""
    example = scene("maps", counts, **settings)
    height, width = MAPS[0]
    anchors, random = height * width * PER_CELL, torch.Generator().manual_seed(7)
    shape = len(counts), anchors
    assigned = torch.randint(-2, 3, shape, generator=random)
    for network in (example.teacher, example.student):
        network.head = replace(
            network.head,
            class_logits=torch.randn(*shape, 3, generator=random).double(),
            deltas=torch.randn(*shape, 7, generator=random).double(),
            decode=decode,
            assign=lambda: assigned,
        )
    return example


class Teacher(nn.Module):
    def __init__(self, channels, kernel=1):
        super().__init__()
        self.bbox_head = nn.Module()
        self.bbox_head.conv_cls = nn.Conv2d(channels, PER_CELL * 3, kernel)
        self.bbox_head.conv_reg = nn.Conv2d(channels, PER_CELL * 7, kernel)


def built(text, example):
    method = fidelity.built(text, example)
    method.initialise(nn.Module(), Teacher(example.teacher.neck.values.shape[1]).double())
    return method


def reference(method, example, boxes):
    teacher, student = example.teacher, example.student
    layer = method.adapter
    maps = [layer.weight[:, :, 0, 0] @ frame.flatten(1) for frame in student.neck.values]
    ours = torch.stack(maps, dim=1) + layer.bias[:, None, None]
    theirs = torch.stack([frame.flatten(1) for frame in teacher.neck.values], dim=1)
    styled = []
    for s, t in zip(ours, theirs, strict=True):
        deviation = ((s - s.mean()) ** 2).sum() / (s.numel() - 1)
        spread = ((t - t.mean()) ** 2).sum() / (t.numel() - 1)
        styled.append((s - s.mean()) / (deviation**0.5 + 1e-6) * spread**0.5 + t.mean())
    styled = torch.stack(styled)
    classes, place = 0, 0
    for b, frame in enumerate(student.head.assigned.tolist()):
        weighted = []
        for i, label in enumerate(frame):
            if label == -2:
                continue
            cell, anchor = i // PER_CELL, i % PER_CELL
            r, delta = (
                weight[anchor * n : anchor * n + n, :, 0, 0] @ styled[:, b, cell]
                + bias[anchor * n : anchor * n + n]
                for n, weight, bias in (
                    (3, method.head_weight[:6], method.head_bias[:6]),
                    (7, method.head_weight[6:], method.head_bias[6:]),
                )
            )
            p, q = (1 / (1 + torch.exp(-x)) for x in (teacher.head.class_logits[b, i], r))
            entropy = -(p * torch.log(q) + (1 - p) * torch.log(1 - q))
            classes = classes + (entropy * (p - q).abs()).sum()
            pair = decode(delta), decode(teacher.head.deltas[b, i])
            weighted.append((p.max().item(), 1 - overlap(*pair)))
        weighted.sort(key=lambda pair: -pair[0])
        place = place + sum(weight * apart for weight, apart in weighted[:boxes])
    positive = (student.head.assigned >= 0).sum()
    return {"class": classes / positive, "box": place / positive}


@pytest.mark.parametrize("boxes", [5, 1000])
def test_the_teacher_s_head_on_the_student_s_features(boxes):
    example = with_anchors()
    method = built(f"crosskd:boxes={boxes}", example)
    assert_same(method, example, lambda: reference(method, example, boxes))


def test_the_numeric_example():
    teacher, student = numeric.sines(2, 3, 4, 5)
    expected = torch.tensor([0.83248825, 0.75267929, 0.52585251], dtype=torch.float64)
    scale, shift = style(student, teacher)
    found = student[0, 0, 0, :3] * scale[0] + shift[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-9)


def test_an_equal_network_has_nothing_to_learn():
    example = with_anchors(alike=True)
    method = built("crosskd", example)
    theirs = method._predict(example.teacher.neck.values, example.teacher)
    example.teacher.head = replace(theirs, class_logits=theirs.class_logits.detach())
    losses = method(example.teacher, example.student, example.batch)
    assert losses["class"].item() == pytest.approx(0, abs=1e-6)
    assert losses["box"].item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("settings", [{"counts": (6,)}, {"scale": 0.0}, {"alike": True}])
def test_losses_and_gradients_are_finite(settings):
    example = with_anchors(**settings)
    method = built("crosskd", example)
    losses = method(example.teacher, example.student, example.batch)
    found = gradients(losses, [*example.leaves, *method.parameters()])
    assert all(loss.isfinite() for loss in losses.values())
    assert all(gradient.isfinite().all() and gradient.abs().max() < 1e6 for gradient in found)


def test_the_copied_head_is_not_trained_and_is_part_of_the_state():
    method = built("crosskd", with_anchors())
    assert {name for name, _ in method.named_parameters()} == {"adapter.weight", "adapter.bias"}
    assert {"head_weight", "head_bias"} <= set(method.state_dict())


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(MethodError, match="hidden layers"):
        create("crosskd", "pointrcnn@8").build(*scene("points").specs)
    example = with_anchors()
    method = fidelity.built("crosskd", example)
    for teacher in (nn.Module(), Teacher(24, kernel=3), Teacher(23)):
        with pytest.raises(MethodError, match="no 1x1 convolutions"):
            method.initialise(nn.Module(), teacher)
