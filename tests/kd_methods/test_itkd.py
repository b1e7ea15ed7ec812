"""itKD's two parts against their source."""

from dataclasses import replace

import pytest
import torch
from fidelity import EXTENT, FAMILY, assert_same, built, gradients, per_frame, scene

from kd_methods import BEVMap, HeadOutputs, MethodError, create

OBJECTS = 5


def with_objects(kind, counts, alike=False):
    example = scene(kind, counts, alike=alike)
    boxes = [torch.zeros(0, 7)] * len(counts)
    boxes[0] = torch.tensor(
        [[1.0, -2, 0, 4, 2, 1.5, 0], [11.9, 5.9, 0, 1, 1, 2, 0], [13.0, 0, 0, 1, 1, 1, 0]]
    )
    example.batch = replace(example.batch, boxes=boxes)
    return example


def apply(layers, values):
    """Linear layers with ReLU between them, row by row."""
    linear = [layer for layer in layers if hasattr(layer, "weight")]
    for i, layer in enumerate(linear):
        values = [layer.weight @ value + layer.bias for value in values]
        if i + 1 < len(linear):
            values = [value.clamp(min=0) for value in values]
    return values


def object_rows(features, boxes):
    """Index among all rows of each object's cell or nearest point."""
    found, start = [], 0
    for frame, (values, objects) in enumerate(zip(per_frame(features), boxes, strict=True)):
        for x, y, z, _, _, height, _ in objects.tolist():
            if isinstance(features, BEVMap):
                rows, columns = features.values.shape[2:]
                x0, y0, x1, y1 = EXTENT
                column = int((x - x0) // ((x1 - x0) / columns))
                row = int((y - y0) // ((y1 - y0) / rows))
                if 0 <= column < columns and 0 <= row < rows:
                    found.append(start + row * columns + column)
            else:
                centre = torch.tensor([x, y, z + height / 2]).double()
                places = features.xyz[features.batch == frame]
                distances = [((place - centre) ** 2).sum().item() for place in places]
                found.append(start + distances.index(min(distances)))
        start += len(values)
    return found


def reference(method, example, sample):
    t = [value for frame in per_frame(example.teacher.neck) for value in frame]
    s = [value for frame in per_frame(example.student.neck) for value in frame]
    code_t = apply(method.encoder, t)
    code_s = apply(method.encoder, apply([method.widen], s))
    t_to_s = apply(method.decoder, code_t)
    s_to_t = apply([method.widen], apply(method.decoder, code_s))
    objects = object_rows(example.teacher.neck, example.batch.boxes)
    places = OBJECTS * len(example.batch.boxes)

    def difference(a, b):
        return sum((a[i] - b[i]).abs().mean() for i in sample) / len(sample)

    def at_objects(a, b):
        return sum(((a[i] - b[i]) ** 2).mean() for i in objects) / places

    return {
        "to_teacher": difference(s_to_t, t) + at_objects(s_to_t, t),
        "to_student": difference(t_to_s, s) + at_objects(t_to_s, s),
        "compressed": difference(code_s, code_t),
    }


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("share", [1, 0.4])
@pytest.mark.parametrize("counts", [(9, 5), (7,)])
def test_each_network_reconstructs_the_other(kind, share, counts):
    example = with_objects(kind, counts)
    method = built(f"itkd:objects={OBJECTS}:share={share}", example, FAMILY[kind])
    for parameter in method.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    total = sum(len(frame) for frame in per_frame(example.teacher.neck))

    def expected():
        chosen = torch.randperm(total)[: round(share * total)] if share < 1 else range(total)
        return reference(method, example, [int(i) for i in chosen])

    assert_same(method, example, expected)


@pytest.mark.parametrize("kind", ["maps", "points"])
def test_frames_without_objects_and_an_equal_student_are_fine(kind):
    example = scene(kind, (4,), alike=True)
    method = built("itkd", example, FAMILY[kind])
    losses = method(example.teacher, example.student, example.batch)
    assert all(value.isfinite() for value in losses.values())
    assert all(g.isfinite().all() for g in gradients(losses, example.leaves))


def heat_head(frames, cells, seed, grad):
    random = torch.Generator().manual_seed(seed)
    logits, code = (
        torch.randn(frames, cells, n, generator=random, dtype=torch.float64, requires_grad=grad)
        for n in (3, 7)
    )
    return HeadOutputs(logits, code, None, code, lambda d: d, lambda: None, lambda: None)


def heat_scene(counts):
    example = with_objects("maps", counts)
    cells = example.teacher.neck.values[0, 0].numel()
    example.teacher.__dict__["head"] = heat_head(len(counts), cells, 1, grad=False)
    example.student.__dict__["head"] = ours = heat_head(len(counts), cells, 2, grad=True)
    example.leaves += [ours.class_logits, ours.deltas]
    return example


def channel_attention(values):
    score = (values.T @ values) / OBJECTS**0.5
    weights = score.exp() / score.exp().sum(0, keepdim=True)
    return values @ weights


def attended(method, head, cells):
    """One frame's objects: channels attend to each other, then those of each branch."""
    values = torch.zeros(OBJECTS, 11, dtype=torch.float64)
    for i, cell in enumerate(cells):
        frame, place = divmod(cell, head.deltas.shape[1])
        code = head.deltas[frame, place]
        values[i] = torch.cat(
            [
                1 / (1 + (-head.class_logits[frame, place]).exp()),
                code[:6],
                torch.stack([code[6].sin(), code[6].cos()]),
            ]
        )
    starts = [0, 3, 5, 6, 9, 11]
    branches = [values[:, a:b] for a, b in zip(starts, starts[1:], strict=False)]
    both = torch.cat([channel_attention(values), *map(channel_attention, branches)], dim=1)
    return both @ method.mix.weight.T + method.mix.bias


@pytest.mark.parametrize("counts", [(9, 5), (7,)])
def test_heads_of_heat_maps_attend_alike(counts):
    example = heat_scene(counts)
    method = built(f"itkd:objects={OBJECTS}:share=1", example, "centerpoint_pillar@4")
    for parameter in method.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    neck, total = example.teacher.neck, sum(map(len, per_frame(example.teacher.neck)))

    def expected():
        losses = reference(method, example, range(total))
        difference, objects = 0, 0
        for frame, boxes in enumerate(example.batch.boxes):
            alone = [boxes if i == frame else boxes[:0] for i in range(len(counts))]
            cells = object_rows(neck, alone)
            heads = example.student.head, example.teacher.head
            ours, theirs = (attended(method, head, cells) for head in heads)
            difference = difference + (ours - theirs).abs().sum()
            objects += len(cells)
        return {**losses, "attention": difference / objects}

    assert_same(method, example, expected)


def test_heads_without_objects_attend_to_nothing():
    example = heat_scene((9, 5))
    method = built("itkd", example, "centerpoint_pillar@4")
    example.batch = replace(example.batch, boxes=[torch.zeros(0, 7)] * 2)
    losses = method(example.teacher, example.student, example.batch)
    assert losses["attention"] == 0
    assert all(g.isfinite().all() for g in gradients(losses, example.leaves))


def test_anchors_cannot_attend():
    example = scene("maps")
    method = built("itkd:attention=true", example)
    with pytest.raises(MethodError, match="itkd:attention needs a head of heat maps"):
        method(example.teacher, example.student, example.batch)


def test_the_code_is_narrow():
    example = scene("maps")
    method = create("itkd", "pointpillars@4")
    method.build(*example.specs)
    widths = [layer.weight.shape[0] for layer in method.encoder if hasattr(layer, "weight")]
    assert widths == [128, 64, 32]


def test_a_share_of_nothing_is_refused():
    example = scene("maps")
    with pytest.raises(MethodError, match="share"):
        create("itkd:share=0", "pointpillars@4").build(*example.specs)
