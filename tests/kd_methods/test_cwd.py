"""CWD against its formula."""

import numeric
import pytest
import torch
from fidelity import FAMILY, assert_same, built, per_frame, scene


def softmax(values):
    powers = torch.exp(values)
    return powers / powers.sum()


def divergence(theirs, ours, temperature):
    """Of one frame (n, C), summed over channels."""
    total = 0
    for c in range(theirs.shape[1]):
        p = softmax(theirs[:, c] / temperature)
        q = softmax(ours[:, c] / temperature)
        total = total + (p * torch.log(p / q)).sum()
    return total


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("tap", ["neck", "stages"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_channels_are_distributions_over_a_frame(kind, tap, temperature):
    example = scene(kind)
    method = built(f"cwd:tap={tap}:temperature={temperature}", example, FAMILY[kind])

    def reference():
        losses = {}
        taps = zip(example.teacher.taps(tap), example.student.taps(tap), strict=True)
        for i, (t, s) in enumerate(taps):
            layer, total = method.adapters[i], 0
            for theirs, ours in zip(per_frame(t), per_frame(s), strict=True):
                adapted = ours @ layer.weight.flatten(1).T + layer.bias
                total = total + divergence(theirs, adapted, temperature) / theirs.shape[1]
            losses[f"level{i}"] = temperature**2 * total / 2
        return losses

    assert_same(method, example, reference)


@pytest.mark.parametrize(
    ("temperature", "value"), [(1, 0.42186272075496856), (4, 0.4694827401246607)]
)
def test_the_numeric_examples(temperature, value):
    losses = numeric.built(f"cwd:weight=1:temperature={temperature}")(*numeric.maps())
    assert losses["level0"].item() == pytest.approx(value, abs=1e-9)
