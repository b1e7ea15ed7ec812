"""The operators of PV-RCNN, called as mmcv and mmdet3d call them, against loops in plain Python."""

import math
from itertools import accumulate

import mmcv.ops
import pytest
import torch
from mmdet3d.models.layers.pointnet_modules.stack_point_sa_module import StackQueryAndGroup

from detectors.operators import cpu_searches, stacked, torch_searches
from detectors.operators.per_batch import Searches, remembering

COUNTS, CENTRES = (90, 0, 40), (12, 3, 9)
"""Points and centres of three frames; the second has no points."""


def table(counts, seed):
    """Coordinates (sum of counts, 3) on a coarse lattice, so that many lie at a ball's edge."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 6, (sum(counts), 3), generator=generator) / 2


def numbers(counts):
    return torch.tensor(counts, dtype=torch.int)


def frames_of(counts):
    ends = list(accumulate(counts))
    return [range(end - count, end) for count, end in zip(counts, ends, strict=True)]


def kernel_query(xyz, counts, centres, centre_counts, radius, samples):
    """What mmcv's stack_ball_query_cuda_kernel.cuh does, point by point."""
    rows = []
    for points, around in zip(frames_of(counts), frames_of(centre_counts), strict=True):
        for centre in around:
            row, found = [0] * samples, 0
            for k, point in enumerate(points):
                square = sum((a - b) ** 2 for a, b in zip(centres[centre], xyz[point], strict=True))
                if square < radius**2:
                    if found == 0:
                        row = [k] * samples
                    row[found] = k
                    found += 1
                    if found == samples:
                        break
            if found == 0:
                row[0] = -1
            rows.append(row)
    return rows


@pytest.mark.parametrize("searches", [cpu_searches, torch_searches])
@pytest.mark.parametrize(("radius", "samples"), [(0.5, 4), (0.75, 16), (1.5, 5), (9.0, 100)])
def test_balls_are_those_of_the_kernel(radius, samples, searches, monkeypatch):
    monkeypatch.setattr(stacked, "searches", lambda points: searches)
    xyz, centres = table(COUNTS, 0), table(CENTRES, 1)
    centres[:4] += 0.25
    centres[4] += 99.0
    counts = numbers(COUNTS), numbers(CENTRES)
    found = mmcv.ops.ball_query(0, radius, samples, xyz, centres, *counts)
    assert found.dtype == torch.int32
    told = xyz.tolist(), COUNTS, centres.tolist(), CENTRES
    assert found.tolist() == kernel_query(*told, radius, samples)
    assert found[4].tolist() == found[13].tolist() == [-1] + [0] * (samples - 1)


def test_a_point_at_the_radius_is_outside():
    xyz, counts = torch.tensor([[1.0, 0, 0], [0, 0.5, 0]]), (numbers((2,)), numbers((1,)))
    found = mmcv.ops.ball_query(0, 1.0, 2, xyz, torch.zeros(1, 3), *counts)
    assert found.tolist() == [[1, 1]]


def test_balls_around_what_is_not_finite_are_empty():
    xyz, centres = table(COUNTS, 0), torch.full((sum(CENTRES), 3), math.nan)
    found = mmcv.ops.ball_query(0, 1.0, 3, xyz, centres, numbers(COUNTS), numbers(CENTRES))
    assert found.tolist() == [[-1, 0, 0]] * sum(CENTRES)


def test_the_same_balls_are_searched_once_per_batch(monkeypatch):
    told = numbers(COUNTS), numbers(CENTRES)
    xyz, centres = table(COUNTS, 0), table(CENTRES, 1)
    with remembering(Searches()):
        first = mmcv.ops.ball_query(0, 1.0, 3, xyz, centres, *told)
        monkeypatch.setattr(stacked, "_within", None)
        assert torch.equal(mmcv.ops.ball_query(0, 1.0, 3, xyz, centres, *told), first)
        with pytest.raises(TypeError):
            mmcv.ops.ball_query(0, 1.0, 3, xyz, centres + 1, *told)


def grouped(features, counts, idx, idx_counts):
    """(M, C, S) features by indices within frames, 0 where a frame has no such point."""
    out = torch.zeros(len(idx), features.shape[1], idx.shape[1], dtype=features.dtype)
    for rows, around in zip(frames_of(counts), frames_of(idx_counts), strict=True):
        for m in around:
            for s, k in enumerate(idx[m].tolist()):
                if 0 <= k < len(rows):
                    out[m, :, s] = features[rows[k]]
    return out


def indices(seed=3):
    generator = torch.Generator().manual_seed(seed)
    idx = torch.randint(0, 40, (sum(CENTRES), 5), generator=generator).int()
    idx[CENTRES[0] : CENTRES[0] + CENTRES[1]] = 0  # as mmdet3d leaves them in the empty frame
    return idx


def test_grouping_copies_rows_of_the_own_frame():
    features, idx = torch.randn(sum(COUNTS), 7), indices()
    idx[0, 0], idx[1, 1] = -1, COUNTS[0]
    told = numbers(COUNTS), numbers(CENTRES)
    found = mmcv.ops.grouping_operation(features, idx, *told)
    assert torch.equal(found, grouped(features, COUNTS, idx, CENTRES))
    nothing = mmcv.ops.grouping_operation(features[:0], idx, numbers((0, 0, 0)), told[1])
    assert torch.equal(nothing, torch.zeros(sum(CENTRES), 7, 5))


def test_gradients_of_grouping():
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(sum(COUNTS), 2, dtype=torch.double, generator=generator)
    idx, told = indices(), (numbers(COUNTS), numbers(CENTRES))
    assert torch.autograd.gradcheck(
        lambda x: mmcv.ops.grouping_operation(x, idx, *told), features.requires_grad_()
    )


@pytest.mark.parametrize("dtype", [torch.float, torch.bfloat16])
def test_both_ways_to_add_give_the_same_gradient(dtype, monkeypatch):
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(sum(CENTRES), 6, 5, generator=generator).to(dtype)
    gradients = []
    for way in (stacked._add_in_turn, stacked._add_sorted):
        monkeypatch.setattr(stacked, "_add_in_turn", way)
        features = torch.zeros(sum(COUNTS), 6, dtype=dtype, requires_grad=True)
        out = mmcv.ops.grouping_operation(features, indices(), numbers(COUNTS), numbers(CENTRES))
        (out * weights).sum().backward()
        gradients.append(features.grad)
    assert gradients[0].dtype == dtype
    assert gradients[0].abs().sum() > 0
    assert torch.equal(*gradients)


def test_mmdet3ds_layer_leaves_empty_balls_at_zero():
    xyz, centres = table(COUNTS, 0), table(CENTRES, 1)
    centres[2] += 99
    features = torch.rand(sum(COUNTS), 4) + 1
    values, idx = StackQueryAndGroup(1.0, 8)(
        xyz, numbers(COUNTS), centres, numbers(CENTRES), features
    )
    assert values.shape == (sum(CENTRES), 7, 8)
    told = xyz.tolist(), COUNTS, centres.tolist(), CENTRES
    empty = [row[0] < 0 for row in kernel_query(*told, 1.0, 8)]
    assert (values.abs().amax(dim=(1, 2)) == 0).tolist() == empty
    assert not idx[torch.tensor(empty)].any()
