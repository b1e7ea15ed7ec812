"""Contrastive representation distillation against its formulas."""

import pytest
import torch
from fidelity import EXTENT, FAMILY, MAPS, assert_same, built, per_frame, scene


def cells_with_points(batch):
    """For each frame, the cells of the neck's map that hold a point, in ascending order."""
    (height, width), (x0, y0, x1, y1) = MAPS[0], EXTENT
    frames = []
    for points in batch.points:
        cells = set()
        for x, y, *_ in points.tolist():
            column = int((x - x0) / ((x1 - x0) / width))
            row = int((y - y0) / ((y1 - y0) / height))
            cells.add(row * width + column)
        frames.append(sorted(cells))
    return frames


def embeddings(features, chosen, layer):
    rows = torch.cat([t[c] for t, c in zip(per_frame(features), chosen, strict=True)])
    mapped = torch.stack([layer.weight @ row + layer.bias for row in rows])
    return torch.stack([row / (row**2).sum().sqrt() for row in mapped])


def contrast(anchors, others, tau, normaliser):
    """Equation 17 with h of equation 18; row i of both is the same cell."""
    negatives = len(anchors) - 1
    total = torch.zeros((), dtype=torch.float64)
    for i, anchor in enumerate(anchors):
        for j, other in enumerate(others):
            score = torch.exp((anchor * other).sum() / tau)
            h = score / (score + negatives * normaliser)
            total = total - torch.log(h if i == j else 1 - h)
    return total / len(anchors)


def reference_loss(method, example, chosen, tau, normaliser=None):
    target = embeddings(example.teacher.neck, chosen, method.embed_teacher)
    output = embeddings(example.student.neck, chosen, method.embed_student)
    if normaliser is None:
        scores = [torch.exp((s * t).sum() / tau) for s in output for t in target]
        normaliser = (sum(scores) / len(scores)).detach()
    of_student = contrast(output, target.detach(), tau, normaliser)
    of_teacher = contrast(target, output.detach(), tau, normaliser)
    assert of_student.item() == pytest.approx(of_teacher.item())
    # The value of one term with the gradients of both.
    return {"contrast": of_student + of_teacher - of_teacher.detach()}, normaliser


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("tau", [0.07, 0.5])
def test_contrast_of_all_cells(kind, tau):
    example = scene(kind, (6, 4))
    method = built(f"crd:temperature={tau}:channels=7", example, FAMILY[kind])
    every = [list(range(6)), list(range(4))]
    chosen = cells_with_points(example.batch) if kind == "maps" else every
    assert_same(method, example, lambda: reference_loss(method, example, chosen, tau)[0])
    _, first = reference_loss(method, example, chosen, tau)
    another = scene(kind, (6, 4), seed=5)
    chosen = cells_with_points(another.batch) if kind == "maps" else every
    assert_same(method, another, lambda: reference_loss(method, another, chosen, tau, first)[0])


def test_contrast_of_a_sample():
    example = scene("points", (9, 5))
    method = built("crd:cells=6:channels=7", example, "pointrcnn@8")

    def reference():
        chosen = [torch.randperm(count).tolist()[:3] for count in (9, 5)]
        return reference_loss(method, example, chosen, 0.07)[0]

    assert_same(method, example, reference)
