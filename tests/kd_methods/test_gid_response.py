"""GID's response part against its formula."""

from dataclasses import replace

import pytest
import torch
from fidelity import FAMILY, assert_same, built
from test_gid_feature import aligned_iou, instances, with_boxes
from test_mimic import holds


def with_priors(kind):
    example = with_boxes(kind)
    random = torch.Generator().manual_seed(8)
    priors = torch.rand(2, 10, 7, generator=random, dtype=torch.float64)
    priors = priors * torch.tensor([7.0, 7, 2, 1, 1, 1, 3]) + torch.tensor(
        [1.5, -3.5, -2, 2, 2, 1, 0]
    )
    for network in (example.teacher, example.student):
        network.head = replace(network.head, priors=priors)
    return example


def matched(kind, priors, boxes):
    """Indices of a frame's priors that match an instance."""
    if kind == "points":
        middle = [(x, y, z + h / 2) for x, y, z, _, _, h, _ in priors.tolist()]
        return [i for i, at in enumerate(middle) if any(holds(b.tolist(), at) for b in boxes)]
    found = set()
    for box in boxes:
        overlaps = [aligned_iou(prior, box) for prior in priors]
        best = max(overlaps)
        found |= {i for i, o in enumerate(overlaps) if o >= 0.5 or (o == best > 0)}
    return sorted(found)


def reference(example, kind, found):
    teacher, student = example.teacher.head, example.student.head
    classes, place, count = 0, 0, 0
    for b, frame in enumerate(found):
        for i in matched(kind, student.priors[b], [box for _, box in frame]):
            p, q = (1 / (1 + torch.exp(-h.class_logits[b, i])) for h in (teacher, student))
            classes = classes - (p * torch.log(q) + (1 - p) * torch.log(1 - q)).sum()
            code = student.deltas[b, i] - teacher.deltas[b, i]
            place = place + code[:6].abs().sum() + abs(torch.sin(code[6]))
            count += 1
    return {"class": 0.1 * classes / count, "box": place / count}, count


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("most", [2, 4])
def test_priors_that_match_an_instance_follow_the_teacher(kind, most):
    example = with_priors(kind)
    method = built(f"gid_response:instances={most}", example, FAMILY[kind])
    losses, count = reference(example, kind, instances(example, most, 0.3))
    assert 0 < count < 20
    assert_same(method, example, lambda: losses)


def test_an_instance_that_no_anchor_touches_teaches_nothing():
    example = with_priors("maps")
    for network in (example.teacher, example.student):
        network.head = replace(network.head, priors=network.head.priors + 100)
    losses = built("gid_response", example)(example.teacher, example.student, example.batch)
    assert losses["class"].item() == losses["box"].item() == 0
    assert losses["class"].requires_grad
