"""RDD against its equations 2, 5, 8 and 9."""

import pytest
import torch
from fidelity import EXTENT, FAMILY, assert_same, built, gradients, per_frame, scene

from kd_methods import MethodError

GRID, PROPOSALS, TEMPERATURE = 3, 4, 4.0


def bilinear(values, x, y):
    """(C,) features of a map (C, H, W) at a place in metres; beyond the border its value."""
    _, height, width = values.shape
    x0, y0, x1, y1 = EXTENT
    column = min(max((x - x0) / (x1 - x0) * width - 0.5, 0), width - 1)
    row = min(max((y - y0) / (y1 - y0) * height - 0.5, 0), height - 1)
    left, top = int(column), int(row)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = column - left, row - top
    upper = (1 - a) * values[:, top, left] + a * values[:, top, right]
    lower = (1 - a) * values[:, bottom, left] + a * values[:, bottom, right]
    return (1 - b) * upper + b * lower


def cells(net, kind, frame, prior, box):
    """Features (C,) of all cells of a region."""
    if kind == "points":
        return [per_frame(net.neck)[frame][prior]]
    x, y, _, length, width, _, yaw = box.tolist()
    cos, sin = torch.tensor(yaw).double().cos().item(), torch.tensor(yaw).double().sin().item()
    found = []
    for i in range(GRID):
        for j in range(GRID):
            u = ((i + 0.5) / GRID - 0.5) * length
            v = ((j + 0.5) / GRID - 0.5) * width
            place = x + u * cos - v * sin, y + u * sin + v * cos
            found.append(bilinear(net.neck.values[frame], *place))
    return found


def normalised(cell):
    powers = [torch.exp(value / TEMPERATURE) for value in cell]
    return torch.stack([power / sum(powers) for power in powers])


def convolved(all_cells, layers):
    """1x1 convolution, batch norm over all cells of all regions, ReLU."""
    convolution, norm = layers[0], layers[1]
    weight = convolution.weight.flatten(1)
    values = torch.stack([weight @ cell for cell in all_cells])
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    scaled = (values - mean) / (variance + norm.eps) ** 0.5 * norm.weight + norm.bias
    return scaled.clamp(min=0)


def reference(example, method, kind, sparsity):
    teacher, student = example.teacher, example.student
    regions = []
    for net in (teacher, student):
        for frame, logits in enumerate(net.head.class_logits):
            best = sorted(range(len(logits)), key=lambda a: -logits[a].max().item())
            regions += [(frame, a, net.head.deltas[frame, a]) for a in best[:PROPOSALS]]
    theirs = [[normalised(c) for c in cells(teacher, kind, *region)] for region in regions]
    ours = [[normalised(c) for c in cells(student, kind, *region)] for region in regions]
    size = len(ours[0])
    adapted = convolved([cell for region in ours for cell in region], method.adapter)
    feature, logit, kept = 0.0, 0.0, 0
    for i, (frame, a, _) in enumerate(regions):
        target, output = torch.stack(theirs[i]), adapted[i * size : (i + 1) * size]
        distance = ((output - target) ** 2).sum() ** 0.5
        if distance <= sparsity:
            continue
        kept += 1
        p = [1 / (1 + torch.exp(-net.head.class_logits[frame, a])) for net in (student, teacher)]
        code = student.head.deltas[frame, a] - teacher.head.deltas[frame, a]
        box = code[:6].abs().sum() + abs(torch.sin(code[6]))
        feature = feature + distance / len(regions)
        logit = logit + ((p[0] - p[1]).abs().sum() + box) / len(regions)
    return {"feature": 0.2 * feature, "logit": 0.2 * logit}, kept, len(regions)


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize(("share", "sparsity"), [("all", 0.1), ("some", None)])
def test_disparate_regions_follow_the_teacher(kind, frames, share, sparsity):
    example = scene(kind, (10,) * frames)
    if sparsity is None:
        sparsity = {"maps": 9.0, "points": 3.0}[kind]
    text = f"rdd:proposals={PROPOSALS}:sparsity={sparsity}"
    method = built(text, example, FAMILY[kind])
    losses, kept, regions = reference(example, method, kind, sparsity)
    assert kept == regions if share == "all" else 0 < kept < regions
    assert_same(method, example, lambda: losses)


def test_boxes_without_bounds_are_cut_to_the_map():
    example = scene("maps")
    with torch.no_grad():
        example.student.head.deltas[0, :, 3] = torch.inf
        example.teacher.head.deltas[0, :, 0] = torch.inf
    method = built("rdd", example)
    feature = method(example.teacher, example.student, example.batch)["feature"]
    assert feature.isfinite()
    assert all(g.isfinite().all() for g in gradients({"": feature}, [*method.parameters()]))


def test_teacher_as_student_has_finite_gradients():
    example = scene("maps", (5,), alike=True)
    method = built("rdd", example)
    losses = method(example.teacher, example.student, example.batch)
    assert losses["logit"] == 0
    assert all(g.isfinite().all() for g in gradients(losses, example.leaves))


def test_points_need_a_prior_each():
    example = scene("points", (9, 5))
    method = built("rdd", example, "pointrcnn@8")
    with pytest.raises(MethodError, match="one prior per point"):
        method(example.teacher, example.student, example.batch)
