"""Sigmoid focal loss against its formula and automatic differentiation."""

import pytest
import torch
from mmcv.ops import sigmoid_focal_loss


def formula(logits, target, gamma, alpha, weight):
    """Lin et al., equation 5, element by element."""
    total = []
    for row, label in zip(logits, target.tolist(), strict=True):
        for c, x in enumerate(row):
            p = 1 / (1 + torch.exp(-x))
            hit = label == c
            p_t, alpha_t = (p, alpha) if hit else (1 - p, 1 - alpha)
            loss = -alpha_t * (1 - p_t) ** gamma * torch.log(p_t)
            total.append(loss if weight is None else loss * weight[min(label, len(weight) - 1)])
    return torch.stack(total)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
def test_loss_and_gradient_equal_the_formula(gamma, alpha, weighted):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(12, 3, dtype=torch.double, generator=generator)
    target = torch.randint(0, 3 if weighted else 4, (12,), generator=generator)
    weight = torch.rand(3, dtype=torch.double, generator=generator) if weighted else None
    ours, reference = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = sigmoid_focal_loss(ours, target, gamma, alpha, weight, "none")
    expected = formula(reference, target, gamma, alpha, weight)
    torch.testing.assert_close(loss.flatten(), expected, rtol=1e-9, atol=1e-12)
    sigmoid_focal_loss(ours, target, gamma, alpha, weight, "sum").backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, reference.grad, rtol=1e-9, atol=1e-12)
