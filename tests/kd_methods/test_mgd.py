"""MGD against its formula, cell by cell."""

import numeric
import pytest
import torch
from fidelity import assert_same, built, scene
from torch import nn

from kd_methods import MethodError


def convolved(layer, values):
    """3x3 convolution of a map (C, H, W), one cell after the other."""
    _, height, width = values.shape
    out = []
    for y in range(height):
        for x in range(width):
            cell = layer.bias
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        cell = cell + layer.weight[:, :, dy + 1, dx + 1] @ values[:, y + dy, x + dx]
            out.append(cell)
    return torch.stack(out, dim=1).reshape(-1, height, width)


def reference(method, example):
    losses = {}
    pairs = zip(example.teacher.stages, example.student.stages, strict=True)
    for i, (teacher, student) in enumerate(pairs):
        frames, _, height, width = teacher.values.shape
        kept = torch.rand(frames, 1, height, width, dtype=torch.float64) >= 0.65
        adapter, generator = method.adapters[i], method.generators[i]
        total = 0
        for b in range(frames):
            values = torch.einsum("oc,chw->ohw", adapter.weight[:, :, 0, 0], student.values[b])
            masked = (values + adapter.bias[:, None, None]) * kept[b]
            made = convolved(generator[2], convolved(generator[0], masked).clamp(min=0))
            total = total + ((teacher.values[b] - made) ** 2).sum()
        losses[f"level{i}"] = 2e-5 * total / frames
    return losses


def test_the_teacher_is_generated_from_what_is_left():
    example = scene("maps")
    method = built("mgd", example)
    assert_same(method, example, lambda: reference(method, example))


def test_the_numeric_example(monkeypatch):
    even = (torch.arange(4)[:, None] + torch.arange(5)) % 2 == 0
    monkeypatch.setattr(torch, "rand_like", lambda like: even.to(like).expand_as(like))
    for scale, value in ((1, 44.49484311062915), (2e-5, 0.0008898968622125831)):
        method = numeric.built(f"mgd:scale={scale}")
        method.generators[0] = nn.Identity()
        losses = method(*numeric.maps())
        assert losses["level0"].item() == pytest.approx(value, abs=1e-9)


def test_masked_is_the_share_that_is_dropped():
    method = built("mgd", scene("maps"))
    left = method._drop(torch.ones(4, 3, 100, 100))
    assert left.mean().item() == pytest.approx(0.35, abs=0.02)
    assert torch.equal(left.amax(1), left.amin(1))  # whole cells


def test_points_are_refused():
    with pytest.raises(MethodError, match="no grid"):
        built("mgd", scene("points"), "pointrcnn@8")
