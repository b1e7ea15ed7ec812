"""ReviewKD against its formula."""

import numeric
import pytest
import torch
from fidelity import assert_same, built, scene

from kd_methods import MethodError, create
from kd_methods.reviewkd import hierarchical


def normalised(layer, values):
    """Batch norm of maps with the batch's own statistics."""
    channels = []
    for c in range(values.shape[1]):
        x = values[:, c]
        variance = ((x - x.mean()) ** 2).mean()
        channels.append((x - x.mean()) / (variance + 1e-5) ** 0.5 * layer.weight[c] + layer.bias[c])
    return torch.stack(channels, dim=1)


def pointwise(weight, values):
    return torch.einsum("oc,bchw->bohw", weight[:, :, 0, 0], values)


def around(weight, values):
    """3x3 convolution, zero beyond the map."""
    total = 0
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            moved = torch.zeros_like(values)
            height, width = values.shape[2:]
            ys, xs = slice(max(-dy, 0), height - max(dy, 0)), slice(max(-dx, 0), width - max(dx, 0))
            yf, xf = slice(max(dy, 0), height - max(-dy, 0)), slice(max(dx, 0), width - max(-dx, 0))
            moved[:, :, ys, xs] = values[:, :, yf, xf]
            total = total + torch.einsum("oc,bchw->bohw", weight[:, :, dy + 1, dx + 1], moved)
    return total


def pooled(values, side):
    """Means over side x side regions from floor to ceiling of their bounds."""
    height, width = values.shape[2:]
    rows = [(i * height // side, -(-(i + 1) * height // side)) for i in range(side)]
    columns = [(i * width // side, -(-(i + 1) * width // side)) for i in range(side)]
    cells = [[values[:, :, a:b, c:d].mean((2, 3)) for c, d in columns] for a, b in rows]
    return torch.stack([torch.stack(row, dim=-1) for row in cells], dim=-2)


def hcl(ours, theirs):
    total, weights, weight = ((ours - theirs) ** 2).mean(), 1.0, 1.0
    for side in (4, 2, 1):
        if side < ours.shape[2]:
            weight /= 2
            total = total + weight * ((pooled(ours, side) - pooled(theirs, side)) ** 2).mean()
            weights += weight
    return total / weights


def reference(method, example):
    losses, later = {}, None
    for i in (2, 1, 0):
        level = method.levels[i]
        x = normalised(
            level.enter[1], pointwise(level.enter[0].weight, example.student.stages[i].values)
        )
        if later is not None:
            y = later.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            y = y[:, :, : x.shape[2], : x.shape[3]]
            logits = pointwise(level.attend.weight, torch.cat([x, y], dim=1))
            z = 1 / (1 + torch.exp(-logits - level.attend.bias[:, None, None]))
            x = z[:, 0, None] * x + z[:, 1, None] * y
        out = normalised(level.leave[1], around(level.leave[0].weight, x))
        losses[f"stage{i}"] = hcl(out, example.teacher.stages[i].values)
        later = x
    return losses


@pytest.mark.parametrize("width", [2, 512])
def test_later_stages_help_earlier_ones(width):
    example = scene("maps")
    method = built(f"reviewkd:width={width}", example)
    assert method.levels[0].enter[0].weight.shape[0] == min(width, 5)
    assert_same(method, example, lambda: reference(method, example))


def test_the_numeric_example():
    teacher, student = numeric.sines(1, 2, 8, 6)
    loss = hierarchical(student, teacher)
    assert loss.item() == pytest.approx(0.5519984293940154, abs=1e-9)


def test_points_are_refused():
    with pytest.raises(MethodError, match="no cells to scale up"):
        create("reviewkd", "pointrcnn@8").build(*scene("points").specs)
