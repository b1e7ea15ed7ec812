"""LGSD against a literal computation of every edge."""

from dataclasses import replace

import pytest
import torch
from fidelity import assert_same, built, per_frame, scene

from kd_methods import create


def normalised(columns, scale, shift, eps=1e-3):
    """Batch norm of rows with their own statistics, and ReLU."""
    mean = columns.mean(0)
    variance = ((columns - mean) ** 2).mean(0)
    return ((columns - mean) / (variance + eps) ** 0.5 * scale + shift).clamp(min=0)


def edges(layer, rows, centres, neighbours):
    """(N * K, C) edges one by one."""
    offsets = [
        torch.cat([rows[i] - rows[j], rows[i]])
        for i, near in zip(centres, neighbours, strict=True)
        for j in near
    ]
    columns = torch.stack([layer.linear.weight @ x for x in offsets])
    return normalised(columns, layer.scale, layer.shift)


def nearest(rows, group, centre, count):
    distances = [(((rows[centre] - rows[j]) ** 2).sum().item(), j) for j in group]
    return [j for _, j in sorted(distances)[:count]]


def embedded(layers, edges):
    first, norm, _, last = layers
    hidden = normalised(edges @ first.weight.T + first.bias, norm.weight, norm.bias, 1e-5)
    out = hidden @ last.weight.T + last.bias
    return out / (out**2).sum(1, keepdim=True) ** 0.5


def contrast(level, theirs, ours, pairs):
    chosen = torch.randperm(len(theirs))[:pairs]
    wide = ours[chosen] @ level.widen.weight.T + level.widen.bias
    t, s = embedded(level.embed_teacher, theirs[chosen]), embedded(level.embed_student, wide)
    each = []
    for m in range(len(t)):
        exponentials = torch.exp(s @ t[m] / 0.07)
        each.append(-torch.log(exponentials[m] / exponentials.sum()))
    return sum(each) / len(each)


def cosines(rows):
    length = (rows**2).sum(1) ** 0.5 + 1e-5
    return rows @ rows.T / (length[:, None] * length)


def layer(method, level, theirs, ours, score, groups, nodes, degree, shared, pairs):
    """The terms of one layer, and the rows, scores and groups of the next."""
    centres = [sorted(g, key=lambda i: -score[i])[:nodes] for g in groups]
    near = [
        [
            nearest(rows, group, i, degree)
            for group, chosen in zip(groups, centres, strict=True)
            for i in chosen
        ]
        for rows in ((theirs, theirs) if shared else (theirs, ours))
    ]
    flat = [i for chosen in centres for i in chosen]
    target = edges(level.teacher_edges, theirs, flat, near[0])
    output = edges(level.student_edges, ours, flat, near[1])
    linear, norm, _ = level.adapter
    adapted = normalised(target @ linear.weight.T, norm.weight, norm.bias)
    local = ((output - adapted) ** 2).mean()
    told = contrast(level, target, output, pairs) if pairs else None
    theirs, ours = (x.unflatten(0, (len(flat), -1)).mean(1) for x in (target, output))
    relation = (cosines(theirs) - cosines(ours)).abs().mean()
    sizes = [len(chosen) for chosen in centres]
    groups = [list(g) for g in torch.arange(len(flat)).split(sizes)]
    following = theirs, ours, [score[i] for i in flat], [[int(i) for i in g] for g in groups]
    return (local, told, relation), following


def pillars(method, example, shared, pairs):
    theirs, ours = example.teacher.local.values, example.student.local.values
    score = example.teacher.local.capped_count.tolist()
    state = theirs, ours, score, [list(range(len(theirs)))]
    terms = []
    for depth, (nodes, degree) in enumerate([(12, 4), (6, 2)]):
        found, state = layer(
            method, method.levels[0], *state, nodes, degree, shared, pairs if depth else 0
        )
        terms.append(found)
    return {
        "local": terms[0][0] + 0.25 * terms[1][0],
        "contrast": 0.25 * 0.2 * terms[1][1],
        "relation": 0.25 * (terms[0][2] + terms[1][2]),
    }


def maps(method, example, shared, pairs):
    terms = []
    for i, level in enumerate(method.levels):
        frames = [per_frame(n.stages[i]) for n in (example.teacher, example.student)]
        theirs, ours = (torch.cat(f) for f in frames)
        size = len(frames[0][0])
        groups = [list(range(b * size, (b + 1) * size)) for b in range(len(frames[0]))]
        state = theirs, ours, theirs.amax(1).tolist(), groups
        for depth in (i, i + 1):
            found, state = layer(
                method, level, *state, 8 // 2**depth, max(6 // 2**depth, 1), shared, pairs
            )
            terms.append(found)
    local, told, relation = (sum(each) / len(terms) for each in zip(*terms, strict=True))
    return {"local": 0.5 * local, "contrast": 0.1 * told, "relation": 0.5 * relation}


def distinct(example):
    """No two rows alike, which would leave the order of neighbours open."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for network in (example.teacher, example.student):
            for features in (network.local, *network.stages):
                features.values.add_(torch.rand(features.values.shape, generator=random).double())
    return example


@pytest.mark.parametrize("graphs", ["own", "teacher"])
def test_graphs_of_pillars(graphs):
    example = distinct(scene("points", (20, 15)))
    text = f"lgsd:graphs={graphs}:layers=2:nodes=12:neighbours=4:narrowing=2:pairs=7"
    method = built(text, example, "pointpillars@4")
    assert_same(method, example, lambda: pillars(method, example, graphs == "teacher", 7))


@pytest.mark.parametrize("graphs", ["own", "teacher"])
def test_graphs_of_maps(graphs):
    example = distinct(scene("maps"))
    text = f"lgsd:graphs={graphs}:nodes=8:neighbours=6:pairs=5"
    method = built(text, example, "second@4")
    assert_same(method, example, lambda: maps(method, example, graphs == "teacher", 5))


def test_points_are_scored_by_their_largest_channel():
    example = distinct(scene("points", (20, 15)))
    method = built("lgsd:nodes=8", example, "pointrcnn@8")
    changed = replace(example.teacher.local, capped_count=torch.arange(35))
    first = method(example.teacher, example.student, example.batch)["local"]
    example.teacher.local = changed
    assert method(example.teacher, example.student, example.batch)["local"] == first


@pytest.mark.parametrize("student", ["second@4", "second@16"])
def test_edge_cases_on_maps(student):
    example = scene("maps", scale=0)
    losses = built("lgsd", example, student)(example.teacher, example.student, example.batch)
    assert all(loss.isfinite() for loss in losses.values())


def test_one_pillar_has_no_graph():
    example = scene("points", (1,))
    losses = built("lgsd", example)(example.teacher, example.student, example.batch)
    assert all(loss == 0 for loss in losses.values())


@pytest.mark.parametrize(
    ("student", "values"),
    [
        ("pointpillars@4", (3, 2000, 64, 1, 0.25)),
        ("pointpillars@16", (3, 4000, 96, 2, 0.25)),
        ("second@4", (2, 256, 64, 2, 0.5)),
        ("second@16", (2, 256, 48, 2, 0.25)),
    ],
)
def test_values_of_the_configs(student, values):
    method = create("lgsd", student)
    names = ("layers", "nodes", "neighbours", "narrowing", "balance")
    assert tuple(getattr(method, name) for name in names) == values
    assert not method.extrapolated()
