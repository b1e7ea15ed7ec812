"""FGD against its formula, cell by cell."""

from dataclasses import replace

import numeric
import pytest
import torch
from fidelity import EXTENT, FAMILY, assert_same, built, per_frame, scene
from test_mimic import BOXES, holds

WEIGHTS = {"foreground": 1e-3, "background": 5e-4, "attention": 5e-4, "relation": 5e-6}


def softmax(values):
    powers = torch.exp(values - values.max())
    return powers / powers.sum()


def attention(rows):
    cells = len(rows) * softmax(rows.abs().mean(1) / 0.5)
    return cells, rows.shape[1] * softmax(rows.abs().mean(0) / 0.5)


def context(block, rows):
    scores = softmax(torch.stack([block.query.weight[0] @ x + block.query.bias[0] for x in rows]))
    pooled = sum(score * x for score, x in zip(scores, rows, strict=True))
    first, norm, _, last = block.transform
    hidden = first.weight @ pooled + first.bias
    variance = ((hidden - hidden.mean()) ** 2).mean()
    hidden = (hidden - hidden.mean()) / (variance + norm.eps) ** 0.5 * norm.weight + norm.bias
    return [x + last.weight @ hidden.clamp(min=0) + last.bias for x in rows]


def centres(features, frame):
    """Where the rows of a frame are."""
    if not hasattr(features, "extent"):
        return features.xyz[features.batch == frame].tolist()
    height, width = features.values.shape[2:]
    x0, y0, x1, y1 = EXTENT
    return [
        (x0 + (i + 0.5) * (x1 - x0) / width, y0 + (j + 0.5) * (y1 - y0) / height)
        for j in range(height)
        for i in range(width)
    ]


def masks(features, frame, boxes):
    places, margin = centres(features, frame), 0.0
    if hasattr(features, "extent"):
        margin = (EXTENT[2] - EXTENT[0]) / features.values.shape[3]
    near = [0.0] * len(places)
    for x, y, z, length, width, height, yaw in boxes.double().tolist():
        larger = x, y, z, length + margin, width + margin, height, yaw
        held = [i for i, place in enumerate(places) if holds(larger, place)]
        for i in held:
            near[i] = max(near[i], 1 / len(held))
    rest = [1.0 if value == 0 else 0.0 for value in near]
    return near, [value / max(sum(rest), 1) for value in rest]


def reference(method, example, tap):
    total = dict.fromkeys(WEIGHTS, 0)
    levels = zip(method.levels, example.teacher.taps(tap), example.student.taps(tap), strict=True)
    for level, teacher, student in levels:
        for b, (t, s) in enumerate(zip(per_frame(teacher), per_frame(student), strict=True)):
            weight = level.adapter.weight.flatten(1)
            s = torch.stack([weight @ x + level.adapter.bias for x in s])
            cells, channels = attention(t)
            others = attention(s)
            near, rest = masks(teacher, b, example.batch.boxes[b])
            for i in range(len(t)):
                error = cells[i] * (channels * (t[i] - s[i]) ** 2).sum()
                total["foreground"] += near[i] * error
                total["background"] += rest[i] * error
            for a, other in zip((cells, channels), others, strict=True):
                total["attention"] += (a - other).abs().sum()
            related = context(level.teacher_block, t), context(level.student_block, s)
            pairs = zip(*related, strict=True)
            total["relation"] += sum(((x - y) ** 2).sum() for x, y in pairs)
    frames = len(example.batch.boxes)
    return {name: WEIGHTS[name] * value / frames for name, value in total.items()}


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("tap", ["neck", "stages"])
def test_objects_background_attention_and_relation(kind, tap):
    example = scene(kind, (20, 15))
    boxes = [torch.tensor(BOXES), torch.tensor(BOXES[1:])]
    example.batch = replace(example.batch, boxes=boxes)
    method = built(f"fgd:tap={tap}", example, FAMILY[kind])
    assert_same(method, example, lambda: reference(method, example, tap))


def test_the_numeric_example():
    unweighted = "fgd:foreground=1:background=1:attention=1:relation=1"
    losses = numeric.built(unweighted)(*numeric.maps())
    expected = {
        "foreground": 0.9658943751457476,
        "background": 3.257072171080459,
        "attention": 4.372150788221511,
        "relation": 58.997800545708664,
    }
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, abs=1e-9)
    total = sum(numeric.built("fgd")(*numeric.maps()).values())
    assert total.item() == pytest.approx(0.005075494857525276, abs=1e-9)
