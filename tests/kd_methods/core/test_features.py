"""Shapes and selections that methods share."""

import pytest
import torch

from kd_methods import BEVMap, Points
from kd_methods.core.features import nearest, occupied, rows, sample, sizes, tables, unit


def points(batch):
    count = torch.ones(len(batch), dtype=torch.long)
    values = torch.arange(2.0 * len(batch)).reshape(-1, 2)
    return Points(values, torch.tensor(batch), torch.zeros(len(batch), 3), count, count)


def test_tables_of_a_map_are_its_rows_frame_by_frame():
    features = BEVMap(torch.randn(2, 3, 4, 5), 1, (0, 0, 5, 4))
    assert sizes(features) == [20, 20]
    assert torch.equal(torch.cat(list(tables(features))), rows(features))
    assert torch.equal(tables(features)[1][7], features.values[1, :, 1, 2])


def test_tables_of_points_leave_out_frames_without_any():
    features = points([1, 1, 3])
    assert sizes(features) == [2, 1]
    assert [table.tolist() for table in tables(features)] == [[[0, 1], [2, 3]], [[4, 5]]]


def test_occupied_cells_lie_along_x_then_y_and_points_outside_do_not_count():
    features = BEVMap(torch.zeros(2, 1, 2, 3), 1, (0.0, -1.0, 6.0, 1.0))
    inside = torch.tensor(
        [[0.0, -1.0, 0, 0], [5.9, 0.9, 0, 0], [5.9, 0.1, 0, 0], [2.1, -0.1, 0, 0]]
    )
    outside = torch.tensor([[6.0, 0, 0, 0], [-0.1, 0, 0, 0], [1, 1, 0, 0], [1, -1.1, 0, 0]])
    found = occupied(features, [torch.cat([inside, outside]), outside])
    assert [cells.tolist() for cells in found] == [[0, 1, 5], []]


def test_sample_has_no_repeats_and_at_most_what_there_is():
    assert sorted(sample(5, 9, torch.device("cpu")).tolist()) == [0, 1, 2, 3, 4]
    assert len(set(sample(100, 30, torch.device("cpu")).tolist())) == 30


def test_unit_leaves_zero_at_zero_without_gradient():
    values = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-9, 0.0]], requires_grad=True)
    directions = unit(values, dim=1)
    torch.testing.assert_close(directions, torch.tensor([[0.6, 0.8], [0, 0], [0, 0]]))
    (gradient,) = torch.autograd.grad(directions.sum(), values)
    assert not gradient[1:].any()


def test_nearest_in_order():
    key = torch.tensor([[0.0], [10.0], [3.0], [1.0]])
    found = nearest(torch.tensor([[0.4], [9.0]]), key, 3, ordered=True)
    assert found.tolist() == [[0, 3, 2], [1, 2, 3]]


@pytest.mark.parametrize("count", [5, 40, 203, 1000])
@pytest.mark.parametrize("ordered", [True, False])
def test_nearest_of_many_are_those_of_a_sort(count, ordered):
    random = torch.Generator().manual_seed(count)
    query, key = (torch.randn(n, 3, generator=random) for n in (30, count))
    found = nearest(query, key, 5, ordered=ordered, chunk=7)
    wanted = torch.cdist(query, key).sort(1).indices[:, :5]
    if not ordered:
        found, wanted = found.sort(1).values, wanted.sort(1).values
    assert torch.equal(found, wanted)
