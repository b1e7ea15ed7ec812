"""SE-SSD against its formula."""

import math

import pytest
import torch
from fidelity import assert_same, built, gradients, scene
from shapely.geometry import Polygon

from kd_methods import HeadOutputs, create

PRIORS = 24


def with_boxes(counts, seed=0, alike=False, confident=True):
    """A scene whose heads predict jittered copies of four boxes, half of them confidently."""
    example = scene("maps", counts, seed, alike=alike)
    random = torch.Generator().manual_seed(seed)
    objects = torch.tensor([[3.0, 0, -1, 3.6, 2, 1.5, 0.3], [9.0, 2, -1, 3.6, 2, 1.5, 2.0]] * 2)
    objects[2:, 1] += 4
    for net in (example.teacher, example.student):
        if alike:
            random.manual_seed(seed)
        shape = (len(counts), PRIORS)
        jitter = torch.randn(*shape, 7, generator=random, dtype=torch.float64) * 0.08
        deltas = objects.double().repeat(PRIORS // 4, 1) + jitter
        logits = torch.randn(*shape, 3, generator=random, dtype=torch.float64)
        logits = logits - (1.5 if confident else 9.0)
        if net is example.student:
            deltas.requires_grad_()
            logits.requires_grad_()
            example.leaves[:] = [deltas, logits]
        net.head = HeadOutputs(logits, deltas, None, objects, lambda d: d, lambda: None)
    return example


def rectangle(box):
    x, y, _, length, width, _, yaw = (float(v) for v in box)
    corners = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    return Polygon(
        [
            (
                x + a * length / 2 * math.cos(yaw) - b * width / 2 * math.sin(yaw),
                y + a * length / 2 * math.sin(yaw) + b * width / 2 * math.cos(yaw),
            )
            for a, b in corners
        ]
    )


def overlap(a, b):
    a, b = rectangle(a), rectangle(b)
    return a.intersection(b).area / a.union(b).area


def smooth_l1(difference, sigma=3.0):
    size = abs(difference)
    return 0.5 * (sigma * size) ** 2 if size < 1 / sigma**2 else size - 0.5 / sigma**2


def reference(example, score=0.3, threshold=0.7):
    box_loss, score_loss = torch.zeros((), dtype=torch.float64), 0.0
    frames = len(example.batch.points)
    matches = 0
    for i in range(frames):
        found = []
        for net in (example.student, example.teacher):
            probabilities = 1 / (1 + torch.exp(-net.head.class_logits[i]))
            rows = [
                (net.head.deltas[i, a], max(p), int(p.argmax()))
                for a, p in enumerate(probabilities)
                if max(p) >= score
            ]
            found.append(rows)
        students, teachers = found
        pairs = []
        for s in students:
            candidates = [(overlap(s[0], t[0]), t) for t in teachers if t[2] == s[2]]
            if candidates and max(c[0] for c in candidates) > threshold:
                pairs.append((s, max(candidates, key=lambda c: c[0])[1]))
        for s, t in pairs:
            e = [s[0][k] - t[0][k] for k in range(6)] + [torch.sin(s[0][6] - t[0][6])]
            box_loss = box_loss + sum(smooth_l1(v) for v in e) / 7 / len(pairs) / frames
            score_loss = score_loss + smooth_l1(s[1] - t[1]) / len(pairs) / frames
        matches += len(pairs)
    return {"box": box_loss, "score": score_loss}, matches


@pytest.mark.parametrize("counts", [(9, 5), (7,), (6, 3, 4)])
def test_matched_boxes_and_scores_agree(counts):
    example = with_boxes(counts)
    method = built("se_ssd", example)
    losses, matches = reference(example)
    assert 3 < matches < len(counts) * PRIORS
    assert_same(method, example, lambda: losses)


def test_weight_rises_over_a_quarter_of_the_schedule_as_in_the_source():
    method = create("se_ssd", "pointpillars@4")
    method.build(None, None)
    for epoch in range(60):
        method.on_epoch(epoch, 60)
        expected = math.exp(-5 * (1 - min(epoch, 15) / 15) ** 2)
        assert method.ramp_factor.item() == pytest.approx(expected, rel=1e-6)
    method.on_epoch(0, 3)
    assert method.ramp_factor == 1


def test_no_confident_boxes_give_no_loss_and_finite_gradients():
    example = with_boxes((4, 4), confident=False)
    losses = built("se_ssd", example)(example.teacher, example.student, example.batch)
    assert all(value == 0 for value in losses.values())
    assert not any(gradient.any() for gradient in gradients(losses, example.leaves))


def test_the_teacher_agrees_with_itself():
    example = with_boxes((4,), alike=True)
    losses = built("se_ssd", example)(example.teacher, example.student, example.batch)
    assert all(value == 0 for value in losses.values())
    assert all(g.isfinite().all() for g in gradients(losses, example.leaves))


def test_only_the_most_confident_boxes_are_matched():
    example = with_boxes((6,))
    few = built("se_ssd:limit=2", example)._confident(example.student.head, 0)
    best = example.student.head.class_logits[0].sigmoid().amax(1).sort(descending=True).values
    torch.testing.assert_close(few.scores.sort(descending=True).values, best[:2])
