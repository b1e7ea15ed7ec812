"""Overhaul of feature distillation against its formulas."""

import pytest
import torch
from fidelity import assert_same, built, scene

from kd_methods import MethodError, create
from kd_methods.overhaul import margins


def expected_negative(deviation, mean):
    """Mean of the negative values of a normal distribution, by numerical integration."""
    x = torch.linspace(mean - 12 * deviation, 0, 400_001, dtype=torch.float64)
    density = torch.exp(-(((x - mean) / deviation) ** 2) / 2)
    return (torch.trapezoid(x * density, x) / torch.trapezoid(density, x)).item()


@pytest.mark.parametrize(("weight", "bias"), [(1.0, 0.0), (-0.5, 0.3), (0.2, -1.0), (0.7, 1.9)])
def test_margin_is_the_mean_negative_pre_activation(weight, bias):
    found = margins(torch.tensor([weight]), torch.tensor([bias])).item()
    assert found == pytest.approx(expected_negative(abs(weight), bias), rel=1e-5)


def test_margin_of_channels_that_are_hardly_ever_negative_or_constant():
    found = margins(torch.tensor([0.5, -0.5, 0.0, 0.0, 0.0]), torch.tensor([4.0, 4, 1, 0, -2]))
    torch.testing.assert_close(found, torch.tensor([-1.5, -1.5, 0, 0, -2]))


@pytest.mark.parametrize("counts", [(5, 5), (5,)])
def test_partial_distance_of_pre_activations(counts):
    example = scene("maps", counts)
    method = built("overhaul:weight=0.01", example)
    norms = [layer.batch_norm for layer in example.specs[0].stages]

    def reference():
        losses = {}
        stages = zip(
            method.connectors, norms, example.teacher.stages, example.student.stages, strict=True
        )
        for i, (connector, (weights, biases), teacher, student) in enumerate(stages):
            linear, norm = connector.regressor
            mapped = torch.einsum("oc,bchw->bohw", linear.weight[:, :, 0, 0], student.pre_relu)
            total = torch.zeros((), dtype=torch.float64)
            for c in range(teacher.values.shape[1]):
                deviation, mean = abs(weights[c].item()), biases[c].item()
                rare = 0.5 * torch.special.erfc(torch.tensor(mean / deviation / 2**0.5)) <= 0.001
                margin = -3 * deviation if rare else expected_negative(deviation, mean)
                channel = mapped[:, c]
                centred = channel - channel.mean()
                scale = norm.weight[c] / ((centred**2).mean() + 1e-5).sqrt()
                output = centred * scale + norm.bias[c]
                pairs = zip(teacher.pre_relu[:, c].flatten(), output.flatten(), strict=True)
                for t, s in pairs:
                    t = max(t.item(), margin)
                    if not s.item() <= t <= 0:
                        total = total + (t - s) ** 2
            losses[f"stage{i}"] = total / len(counts) / [4, 2, 1][i]
        return losses

    assert_same(method, example, reference)


def test_points_are_refused_with_the_reason():
    with pytest.raises(MethodError, match="pre-activations"):
        create("overhaul", "pointrcnn@8").build(*scene("points").specs)
