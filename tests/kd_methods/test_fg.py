"""FGFI against its formula."""

from dataclasses import replace

import numeric
import pytest
import torch
from fidelity import EXTENT, FAMILY, MAPS, assert_same, built, per_frame, scene
from test_gid_feature import aligned_iou
from test_mimic import BOXES, holds
from torch import nn


def anchors():
    """(A, 7) two anchors in each cell of the neck's map."""
    height, width = MAPS[0]
    x0, y0, x1, y1 = EXTENT
    return torch.tensor(
        [
            [x0 + (i + 0.5) * (x1 - x0) / width, y0 + (j + 0.5) * (y1 - y0) / height, 0, *size]
            for j in range(height)
            for i in range(width)
            for size in ([3.9, 1.6, 1.5, 0.0], [3.9, 1.6, 1.5, 1.57])
        ],
        dtype=torch.float64,
    )


def with_objects(kind, boxes=BOXES):
    example = scene(kind, (20, 15))
    frames = [torch.tensor(boxes).reshape(-1, 7), torch.tensor(boxes[1:]).reshape(-1, 7)]
    example.batch = replace(example.batch, boxes=frames)
    priors = anchors().expand(2, -1, -1)
    example.student.head = replace(example.student.head, priors=priors)
    return example


def selected(example, kind, frame):
    """Indices of a frame's rows that are imitated."""
    boxes = example.batch.boxes[frame].double()
    if kind == "points":
        features = example.student.neck
        places = features.xyz[features.batch == frame].tolist()
        return [i for i, at in enumerate(places) if any(holds(b, at) for b in boxes.tolist())]
    chosen = set()
    for box in boxes:
        overlaps = [aligned_iou(anchor, box) for anchor in anchors()]
        chosen |= {i // 2 for i, o in enumerate(overlaps) if o > 0.5 * max(overlaps)}
    return sorted(chosen)


def adapted(layer, student, kind, frame, row):
    if kind == "points":
        return (layer.weight @ per_frame(student.neck)[frame][row] + layer.bias).clamp(min=0)
    values, (height, width) = student.neck.values[frame], MAPS[0]
    y, x, out = row // width, row % width, layer.bias
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if 0 <= y + dy < height and 0 <= x + dx < width:
                out = out + layer.weight[:, :, dy + 1, dx + 1] @ values[:, y + dy, x + dx]
    return out.clamp(min=0)


@pytest.mark.parametrize("kind", ["maps", "points"])
def test_features_near_objects_match(kind):
    example = with_objects(kind)
    method = built("fg", example, FAMILY[kind])

    def reference():
        squares, count = 0, 0
        for b in range(2):
            for row in selected(example, kind, b):
                output = adapted(method.adapter[0], example.student, kind, b, row)
                squares = squares + ((per_frame(example.teacher.neck)[b][row] - output) ** 2).sum()
                count += 1
        assert 1 < count < len(per_frame(example.teacher.neck)[0])
        return {"neck": 0.01 * squares / (2 * count)}

    assert_same(method, example, reference)


class Middle(nn.Module):
    """Of a patch, its middle: the map itself."""

    def forward(self, patches):
        return patches[:, :, 1, 1]


def test_the_numeric_example(monkeypatch):
    teacher, student, batch = numeric.maps()
    method = numeric.built("fg:scale=1")
    method.adapter = Middle()
    cells = torch.tensor([5 * y + x for y in (1, 2) for x in (1, 2, 3)])
    chosen = iter([cells, cells[:0]])
    monkeypatch.setattr(method, "_cells", lambda *_: next(chosen))
    priors = torch.zeros(2, 1, 7)
    student.head = replace(numeric.heads(*[torch.zeros(1, 3)] * 2, None)[0].head, priors=priors)
    loss = method(teacher, student, batch)["neck"]
    assert loss.item() == pytest.approx(0.9834002764286547, abs=1e-9)


@pytest.mark.parametrize("boxes", [[], [[500.0, 0, 0, 4, 2, 1, 0]]])
def test_objects_that_no_anchor_touches_select_nothing(boxes):
    example = with_objects("maps", boxes)
    loss = built("fg", example)(example.teacher, example.student, example.batch)["neck"]
    assert loss.item() == 0
    assert loss.requires_grad
