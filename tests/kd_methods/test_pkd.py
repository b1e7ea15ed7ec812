"""PKD against its formula, channel by channel."""

import numeric
import pytest
import torch
from fidelity import FAMILY, assert_same, built, gradients, per_frame, scene


def linear(layer, rows):
    return [layer.weight.flatten(1) @ row + layer.bias for row in rows]


def standardised(column):
    mean = sum(column) / len(column)
    spread = (sum((x - mean) ** 2 for x in column) / (len(column) - 1)) ** 0.5
    return [(x - mean) / (spread + 1e-6) for x in column]


def reference(method, teacher, student):
    losses = {}
    for i, (t, s) in enumerate(zip(teacher, student, strict=True)):
        theirs = torch.cat(per_frame(t))
        ours = torch.stack(linear(method.adapters[i], torch.cat(per_frame(s))))
        channels = []
        for c in range(theirs.shape[1]):
            if theirs[:, c].std() < 1e-6:
                continue
            pairs = zip(standardised(list(ours[:, c])), standardised(theirs[:, c]), strict=True)
            channels.append(sum((a - b) ** 2 for a, b in pairs) / len(theirs))
        losses[f"level{i}"] = sum(channels) / len(channels) / 2
    return losses


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("tap", ["neck", "stages"])
def test_every_channel_is_standardised_over_the_batch(kind, tap):
    example = scene(kind)
    for features in example.teacher.taps(tap):
        features.values[:, 1] = 0.5  # dead: the source would pull the student's to its mean
    method = built(f"pkd:tap={tap}", example, FAMILY[kind])
    networks = example.teacher.taps(tap), example.student.taps(tap)
    assert_same(method, example, lambda: reference(method, *networks))


def test_the_numeric_example():
    losses = numeric.built("pkd:weight=1")(*numeric.maps())
    assert losses["level0"].item() == pytest.approx(0.9427627401035679, abs=1e-9)


def test_a_student_channel_that_does_not_vary_has_a_finite_gradient():
    example = scene("maps", alike=True)
    with torch.no_grad():
        example.student.neck.values.fill_(1)
    losses = built("pkd", example)(example.teacher, example.student, example.batch)
    found = gradients(losses, example.leaves)
    assert all(gradient.isfinite().all() for gradient in found)
