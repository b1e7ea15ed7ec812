"""Feature-based distillation for detectors against its formulas."""

import pytest
import torch
from fidelity import FAMILY, MAPS, assert_same, built, per_frame, scene

from kd_methods import create

STRIDES = (8, 4, 2)


def linear(layer, rows, bias=None):
    bias = layer.bias if bias is None else bias
    return torch.stack([layer.weight @ row + bias for row in rows])


def softmax(values):
    powers = torch.exp(values - values.max())
    return powers / powers.sum()


def pooled(rows, size, stride):
    """Largest value of each whole window of a map, which is no larger than the map."""
    height, width = size
    tall, wide = min(stride, height), min(stride, width)
    grid = rows.reshape(height, width, -1)
    return torch.stack(
        [
            grid[y : y + tall, x : x + wide].reshape(-1, rows.shape[1]).max(0).values
            for y in range(0, height - tall + 1, tall)
            for x in range(0, width - wide + 1, wide)
        ]
    )


def non_local(block, frames, size, stride):
    """Every query with every key, then the outer layer (with a bias) and batch norm."""
    gathered = []
    for rows in frames:
        queries, keys, values = (
            linear(layer, rows) for layer in (block.query, block.key, block.value)
        )
        if size is not None:
            keys, values = pooled(keys, size, stride), pooled(values, size, stride)
        for query in queries:
            total = 0
            for key, value in zip(keys, values, strict=True):
                total = total + (query * key).sum() * value
            gathered.append(total / len(keys))
    mapped = linear(block.out, gathered, bias=torch.tensor(0.7, dtype=torch.float64))
    mean = mapped.mean(0)
    deviation = (((mapped - mean) ** 2).mean(0) + 1e-5).sqrt()
    normal = (mapped - mean) / deviation * block.norm.weight + block.norm.bias
    return torch.cat(frames) + normal


def spatial(layer, frames, size):
    """The adapted mean over channels: 3x3 convolution of a map, or a linear map of points."""
    means = [rows.sum(1) / rows.shape[1] for rows in frames]
    if size is None:
        return torch.cat([layer.weight[0, 0] * mean + layer.bias[0] for mean in means])
    height, width = size
    out = []
    for mean in means:
        grid = mean.reshape(height, width)
        for y in range(height):
            for x in range(width):
                value = layer.bias[0]
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if 0 <= y + dy < height and 0 <= x + dx < width:
                            weight = layer.weight[0, 0, dy + 1, dx + 1]
                            value = value + weight * grid[y + dy, x + dx]
                out.append(value)
    return torch.stack(out)


def norms(level, teacher, student, temperature, share, size, stride):
    feature = channel = 0
    for t, s in zip(teacher, student, strict=True):
        adapted = linear(level.feature, s)
        cells = [len(t) * softmax(a.abs().mean(1) / temperature) for a in (t, s)]
        channels = [t.shape[1] * softmax(a.abs().mean(0) / temperature) for a in (t, adapted)]
        cell_mask = ((cells[0] + share * cells[1]) / (1 + share)).detach()
        channel_mask = ((channels[0] + share * channels[1]) / (1 + share)).detach()
        feature = feature + (cell_mask[:, None] * channel_mask * (t - adapted) ** 2).sum()
        mean = level.channel.weight @ (s.sum(0) / len(s)) + level.channel.bias
        channel = channel + ((t.sum(0) / len(t) - mean) ** 2).sum()
    means = torch.cat([t.sum(1) / t.shape[1] for t in teacher])
    related = linear(level.relation, non_local(level.student_block, student, size, stride))
    relation = non_local(level.teacher_block, teacher, size, stride) - related
    return {
        "feature": feature**0.5,
        "channel": channel**0.5,
        "spatial": ((means - spatial(level.spatial, student, size)) ** 2).sum() ** 0.5,
        "relation": (relation**2).sum() ** 0.5,
    }


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize(("temperature", "share"), [(0.1, 1.0), (2.0, 0.1)])
def test_four_norms_of_every_stage(kind, temperature, share):
    example = scene(kind, (9, 5))
    method = built(f"fbkd:temperature={temperature}:student_share={share}", example, FAMILY[kind])
    weights = {"feature": 4.2e-4, "channel": 2.4e-2, "spatial": 2.4e-2, "relation": 4.2e-4}

    def reference():
        total = dict.fromkeys(weights, 0)
        for i, level in enumerate(method.levels):
            teacher = per_frame(example.teacher.stages[i])
            student = per_frame(example.student.stages[i])
            size = MAPS[i] if kind == "maps" else None
            found = norms(level, teacher, student, temperature, share, size, STRIDES[i])
            total = {name: total[name] + weights[name] * found[name] for name in weights}
        return total

    assert_same(method, example, reference)


def test_temperatures_and_shares_are_the_published_recipe_s():
    students = {
        "pointpillars@4": (0.1, 1.0),
        "pointpillars@16": (1.0, 1.0),
        "second@4": (0.1, 0.1),
        "second@16": (2.0, 1.0),
    }
    for student, values in students.items():
        method = create("fbkd", student)
        assert (method.temperature, method.student_share) == values
