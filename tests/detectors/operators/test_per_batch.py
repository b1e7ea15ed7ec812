"""Searches are done once per batch, and only for equal points."""

from dataclasses import replace

import pytest
import spconv.pytorch.ops as spconv
import torch
from frames import GRIDS, batch

from detectors import get_family
from detectors.operators import cpu_searches
from detectors.operators.per_batch import Searches, once, remembering
from detectors.parts import anchors


def test_equal_tensors_are_searched_once_and_others_anew():
    searches, calls = Searches(), []

    def search(points, kind="sum"):
        return searches.once(kind, (points,), lambda: calls.append(kind) or points.sum().item())

    points = torch.tensor([1.0, 2.0])
    assert [search(points), search(points.clone())] == [3, 3]
    assert len(calls) == 1
    assert search(points + 1) == 5
    assert search(points[:1]) == 1
    assert search(points, "other") == 3
    assert len(calls) == 4
    assert search(points) == 3
    assert len(calls) == 4


def test_a_changed_tensor_is_not_mistaken_for_what_it_was():
    searches, points = Searches(), torch.ones(3)
    assert searches.once("sum", (points,), lambda: points.sum().item()) == 3
    points += 1
    assert searches.once("sum", (points,), lambda: points.sum().item()) == 6


def test_nothing_is_remembered_outside_of_a_batch():
    calls = []
    for _ in range(2):
        once("kind", (torch.ones(1),), lambda: calls.append(1))
    assert len(calls) == 2
    with remembering(Searches()):
        for _ in range(2):
            once("kind", (torch.ones(1),), lambda: calls.append(1))
    assert len(calls) == 3


SEARCH = {
    "second": (spconv.SpconvOps, "get_indice_pairs"),
    "pointrcnn": (cpu_searches, "nearest"),
    "pv_rcnn": (spconv.SpconvOps, "get_indice_pairs"),
}
"""What does a family's work, where a test can take it away."""


def learn(family, grid, inputs):
    """Losses and gradients of a student."""
    torch.manual_seed(1)
    student = family.build(16, grid).train()
    losses = family.losses(student, inputs)
    sum(losses.values()).backward()
    return [*losses.values(), *(p.grad for p in student.parameters())]


def refuse(*arguments, **settings):
    raise AssertionError("searched again")


@pytest.mark.parametrize("name", list(SEARCH))
def test_students_use_what_the_teacher_found_and_learn_the_same(name, monkeypatch):
    family, grid = get_family(name), GRIDS[name]
    voxelize = family.voxelizer(grid, training=True)
    frames = batch(points=grid.num_points or 1500)
    alone, inputs = learn(family, grid, voxelize(frames)), voxelize(frames)
    with torch.no_grad():
        family.observe(family.build(4, grid).eval(), inputs)
    monkeypatch.setattr(*SEARCH[name], refuse)
    together = learn(family, grid, inputs)
    assert all(map(torch.equal, alone, together))
    with pytest.raises(AssertionError, match="searched again"):
        learn(family, grid, voxelize(frames))


@pytest.mark.parametrize("name", ["pointpillars", "second", "pv_rcnn"])
def test_targets_are_made_once_for_equal_objects(name, monkeypatch):
    family, grid = get_family(name), GRIDS[name]
    inputs = family.voxelizer(grid, training=True)(batch())
    model = family.build(4, grid).train()
    with family.capture(model, {"head"}, grid) as take:
        family.losses(model, inputs)
    alone = learn(family, grid, replace(inputs, searches=Searches()))
    monkeypatch.setattr(anchors, "anchor_targets", refuse)
    assert all(map(torch.equal, alone, learn(family, grid, inputs)))
    assert take(inputs).head.positive.any()
    moved = replace(inputs.batch, boxes=[boxes + 0.1 for boxes in inputs.batch.boxes])
    with pytest.raises(AssertionError, match="searched again"):
        learn(family, grid, inputs.with_targets(moved))
