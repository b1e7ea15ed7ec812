"""DIST against its formula."""

from dataclasses import replace

import numeric
import pytest
import torch
from fidelity import FAMILY, assert_same, built, scene
from test_bckd import logits

from kd_methods.dist import by_cell, correlations


def pearson(a, b):
    a, b = a - sum(a) / len(a), b - sum(b) / len(b)
    return (a * b).sum() / ((a**2).sum() ** 0.5 * (b**2).sum() ** 0.5 + 1e-8)


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("per_cell", [1, 2])
def test_correlations_of_cells_and_of_anchors(kind, per_cell):
    example = scene(kind)
    priors = torch.zeros(2, 10, 7, dtype=torch.float64)
    priors[..., 0] = torch.arange(10) // per_cell
    for network in (example.teacher, example.student):
        network.head = replace(network.head, priors=priors)
    method = built("dist", example, FAMILY[kind])

    def reference():
        y = []
        for network in (example.student, example.teacher):
            p = 1 / (1 + torch.exp(-network.head.class_logits))
            starts = range(0, 10, per_cell)
            rows = [torch.cat(list(f[i : i + per_cell])) for f in p for i in starts]
            y.append(torch.stack(rows))
        rows = [pearson(a, b) for a, b in zip(*y, strict=True)]
        columns = [pearson(a, b) for a, b in zip(y[0].T, y[1].T, strict=True)]
        return {"rows": 1 - sum(rows) / len(rows), "columns": 1 - sum(columns) / len(columns)}

    assert_same(method, example, reference)


def test_the_numeric_example():
    teacher, student = (x.sigmoid() for x in logits())
    rows, columns = (1 - correlations(student, teacher, dim).mean() for dim in (1, 0))
    assert rows.item() == pytest.approx(0.3448588560193777, abs=1e-9)
    assert columns.item() == pytest.approx(0.0883958865819201, abs=1e-9)


def test_a_cell_s_priors_share_a_centre():
    head = numeric.heads(*logits(), None)[0].head
    assert by_cell(head).shape == (1, 12)
