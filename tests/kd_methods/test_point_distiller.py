"""PointDistiller, both variants, against the paper's and the released code's formulas."""

import pytest
import torch
from fidelity import assert_same, built, per_frame, scene

from kd_methods import create

NODES, NEIGHBOURS, TEMPERATURES = (3, 6, 100), (1, 4, 7, 100), (0.01, 1.0, 10.0)


def graphs(values, scores, groups, nodes, neighbours):
    """For each group, (centre, its nearest rows); too few rows repeat from the nearest on."""
    degree = min(neighbours, max(len(group) for group in groups))
    found = []
    for group in groups:
        best = sorted(group, key=lambda row: -scores[row])[:nodes]
        stars = []
        for centre in best:
            away = {row: ((values[row] - values[centre]) ** 2).sum().item() for row in group}
            near = sorted(group, key=away.__getitem__)[:degree]
            stars.append((centre, [near[i % len(near)] for i in range(degree)]))
        found.append(stars)
    return found


def edges(layer, values, found):
    """(N, K, C') for all graphs: concatenation, linear map, batch norm over edges, ReLU."""
    stars = [star for group in found for star in group]
    pairs = [torch.cat([values[row], values[centre]]) for centre, near in stars for row in near]
    mapped = torch.stack([layer.linear.weight @ pair for pair in pairs])
    mean = mapped.sum(0) / len(mapped)
    variance = ((mapped - mean) ** 2).sum(0) / len(mapped)
    normal = (mapped - mean) / (variance + 1e-5).sqrt() * layer.scale + layer.shift
    return torch.clamp(normal, min=0).reshape(len(stars), -1, len(mean))


def softmax(values):
    powers = torch.exp(values - values.max())
    return powers / powers.sum()


def groups_of(features):
    rows = features.batch.tolist()
    return [[i for i, b in enumerate(rows) if b == frame] for frame in sorted(set(rows))]


def paper(method, example, points):
    """Equation 2: mean over graphs of weight times distance, frame by frame."""
    teacher, student = example.teacher.local, example.student.local
    if points:
        scores = [max(row) for row in teacher.values.tolist()]
    else:
        scores = teacher.count.tolist()
    found = graphs(teacher.values, scores, groups_of(teacher), method.nodes, method.neighbours)
    target = edges(method.teacher_edges[0], teacher.values, found).max(1).values
    output = edges(method.student_edges[0], student.values, found).max(1).values
    losses, start = [], 0
    for group in found:
        t, s = target[start : start + len(group)], output[start : start + len(group)]
        start += len(group)
        if points:
            importance = t.detach().max(1).values
        else:
            importance = torch.tensor([float(scores[c]) for c, _ in group], dtype=torch.float64)
        weight = len(group) * softmax(importance / method.temperature)
        distance = ((t - s) ** 2).sum(1).sqrt()
        losses.append((weight * distance).sum() / len(group))
    return {"graph": sum(losses) / len(losses)}


def released_pillars(method, example):
    """voxelnet.py: one group of all pillars, edges compared, softmax of capped counts."""
    teacher, student = example.teacher.local, example.student.local
    scores = teacher.capped_count.tolist()
    everything = [list(range(len(scores)))]
    found = graphs(teacher.values, scores, everything, method.nodes, method.neighbours)
    target = edges(method.teacher_edges[0], teacher.values, found)
    output = edges(method.student_edges[0], student.values, found)
    kept = torch.tensor([float(scores[c]) for c, _ in found[0]], dtype=torch.float64)
    weight = len(kept) * softmax(kept / method.released_temperature)
    return {"graph": 2 * (weight[:, None, None] * (target - output) ** 2).mean()}


def released_maps(method, example):
    """voxelnet.py: cells of the two maps, edges compared, weight constant: the batch size."""
    losses = {}
    stages = zip(example.teacher.stages, example.student.stages, strict=True)
    for i, (teacher, student) in enumerate(stages):
        t, s = (torch.cat(per_frame(features)) for features in (teacher, student))
        cells, frames = len(per_frame(teacher)[0]), len(teacher.values)
        every_frame = [list(range(b * cells, (b + 1) * cells)) for b in range(frames)]
        scores = [max(row) for row in t.tolist()]
        found = graphs(t, scores, every_frame, method.nodes, method.neighbours)
        target = edges(method.teacher_edges[i], t, found)
        output = edges(method.student_edges[i], s, found)
        losses[f"stage{i}"] = 2 * frames * ((target - output) ** 2).mean()
    return losses


def released_points(method, example):
    """point_rcnn.py: frame by frame, maximum over edges, no weights."""
    teacher, student = example.teacher.local, example.student.local
    scores = [max(row) for row in teacher.values.tolist()]
    found = graphs(teacher.values, scores, groups_of(teacher), method.nodes, method.neighbours)
    target = edges(method.teacher_edges[0], teacher.values, found).max(1).values
    output = edges(method.student_edges[0], student.values, found).max(1).values
    return {"graph": 2 * ((target - output) ** 2).mean()}


def distiller(example, student, **settings):
    text = ":".join(f"{key}={value}" for key, value in settings.items())
    return built(f"point_distiller:channels=5:{text}", example, student)


@pytest.mark.parametrize("student", ["pointpillars@4", "second@4", "pointrcnn@8"])
@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("neighbours", NEIGHBOURS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_paper(student, nodes, neighbours, temperature):
    example = scene("points", (9, 5, 1))
    method = distiller(
        example, student, nodes=nodes, neighbours=neighbours, temperature=temperature
    )
    points = student.startswith("pointrcnn")
    assert_same(method, example, lambda: paper(method, example, points))


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("neighbours", NEIGHBOURS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_released_code_on_pillars(nodes, neighbours, temperature):
    example = scene("maps", (9, 5))
    method = distiller(
        example,
        "pointpillars@4",
        variant="released",
        nodes=nodes,
        neighbours=neighbours,
        released_temperature=temperature,
    )
    assert_same(method, example, lambda: released_pillars(method, example))


@pytest.mark.parametrize(("nodes", "neighbours"), [(3, 4), (6, 1), (5, 20), (100, 3)])
def test_released_code_on_maps(nodes, neighbours):
    example = scene("maps", (9, 5))
    random = torch.Generator().manual_seed(3)
    for stage in example.teacher.stages:  # no two cells are alike, so no two are equally near
        noise = torch.rand(stage.values.shape, generator=random, dtype=torch.float64)
        stage.values.add_(0.01 * noise)
    method = distiller(example, "second@4", variant="released", nodes=nodes, neighbours=neighbours)
    assert_same(method, example, lambda: released_maps(method, example))


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("neighbours", NEIGHBOURS)
def test_released_code_on_points(nodes, neighbours):
    example = scene("points", (9, 5))
    method = distiller(
        example, "pointrcnn@8", variant="released", nodes=nodes, neighbours=neighbours
    )
    assert_same(method, example, lambda: released_points(method, example))


def test_values_are_those_of_the_released_configs():
    students = {
        "pointpillars@4": (6000, 128),
        "pointpillars@16": (12000, 128),
        "second@4": (256, 256),
        "second@16": (256, 128),
        "pointrcnn@8": (6000, 128),
        "pointrcnn@16": (6000, 128),
    }
    for student, values in students.items():
        method = create("point_distiller:variant=released", student)
        assert (method.nodes, method.neighbours) == values
        assert method.released_temperature == 0.01
    calls = create("point_distiller:variant=released:nodes=6000", "pointpillars@16")
    assert (calls.nodes, calls.neighbours, calls.released_temperature) == (6000, 128, 0.01)
