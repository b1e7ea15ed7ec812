"""The operators of PointNet++, called as mmcv and mmdet3d call them, against brute force."""

import mmcv.ops
import numpy as np
import pytest
import torch
from mmcv.ops.furthest_point_sample import furthest_point_sample_with_dist

from detectors.operators.points import summed_columns, tie_order


def cloud(n, seed=0, frames=2):
    """(frames, n, 3) points on a coarse lattice, so that many coincide or are equally far."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 6, (frames, n, 3), generator=generator) / 2


def squares(a, b):
    """(M, N) squared distances in double precision; exact on the lattice of `cloud`."""
    return ((a[:, None].double() - b[None].double()) ** 2).sum(-1).numpy()


def kernel_sampling(distance, count):
    """What mmcv's CUDA kernel does, thread by thread; distance (n, n)."""
    n = len(distance)
    threads = min(1024, 2 ** int(np.log2(n)))
    nearest = np.full(n, 1e10)
    chosen = [0]
    while len(chosen) < count:
        nearest = np.minimum(nearest, distance[chosen[-1]])
        best = [(-1.0, 0)] * threads
        for k in range(n):
            if nearest[k] > best[k % threads][0]:
                best[k % threads] = (nearest[k], k)
        half = threads // 2
        while half:
            best = [max(best[t], best[t + half], key=lambda pair: pair[0]) for t in range(half)]
            half //= 2
        chosen.append(best[0][1])
    return chosen


@pytest.mark.parametrize(
    ("n", "count"), [(1, 1), (2, 2), (37, 20), (64, 64), (1500, 12), (30, 45), (5, 0)]
)
def test_furthest_points_are_those_of_the_kernel(n, count):
    points = cloud(n)
    if count == 0:
        assert mmcv.ops.furthest_point_sample(points, 0).shape == (2, 0)
        return
    expected = [kernel_sampling(squares(frame, frame), count) for frame in points]
    found = mmcv.ops.furthest_point_sample(points, count)
    assert found.dtype == torch.int32
    assert found.tolist() == expected
    distance = torch.stack([torch.from_numpy(squares(f, f)).float() for f in points])
    assert furthest_point_sample_with_dist(distance, count).tolist() == expected


def test_the_preferred_order_lists_every_point_once_from_the_first():
    for n in (1, 2, 3, 1000, 1024, 5000):
        assert tie_order(n)[0] == 0
        assert torch.equal(tie_order(n).sort().values, torch.arange(n))


def test_sampling_of_nothing_says_so():
    with pytest.raises(ValueError, match=r"\(2, 0, 3\)"):
        mmcv.ops.furthest_point_sample(torch.zeros(2, 0, 3), 4)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.8), (0.5, 1.5), (0.0, 0.01), (0.5, 0.6)])
def test_balls_hold_the_first_points(low, high):
    points = cloud(200, seed=1)
    centres = torch.cat([points[:, :20], cloud(20, seed=2) + 0.25, points[:, :1] + 99], dim=1)
    found = mmcv.ops.ball_query(low, high, 7, points, centres.contiguous())
    for frame in range(2):
        for row, square in zip(found[frame], squares(centres[frame], points[frame]), strict=True):
            hits = np.flatnonzero((square == 0) | ((square >= low**2) & (square < high**2)))[:7]
            hits = hits.tolist() or [0]
            assert row.tolist() == hits + [hits[0]] * (7 - len(hits))


def test_balls_around_no_points_are_zero():
    found = mmcv.ops.ball_query(0.0, 1.0, 4, torch.zeros(1, 0, 3), torch.zeros(1, 3, 3))
    assert found.tolist() == [[[0] * 4] * 3]


@pytest.mark.parametrize("k", [1, 3, 9])
def test_nearest_points_come_in_order_of_distance_then_index(k):
    points, centres = cloud(300, seed=3), cloud(50, seed=4) + 0.25
    square = [squares(c, p) for c, p in zip(centres, points, strict=True)]
    expected = np.stack([np.argsort(s, axis=1, kind="stable")[:, :k] for s in square])
    found = mmcv.ops.knn(k, points, centres)
    assert found.transpose(1, 2).tolist() == expected.tolist()
    turned = [p.transpose(1, 2).contiguous() for p in (points, centres)]
    assert torch.equal(mmcv.ops.knn(k, *turned, True), found)
    assert torch.equal(mmcv.ops.knn(k, points), mmcv.ops.knn(k, points, points))
    if k == 3:
        distance, index = mmcv.ops.three_nn(centres, points)
        assert index.tolist() == expected.tolist()
        near = np.stack(
            [np.take_along_axis(*pair, 1) for pair in zip(square, expected, strict=True)]
        )
        np.testing.assert_allclose(distance.numpy(), np.sqrt(near), rtol=1e-6)


def test_fewer_neighbours_than_wanted():
    distance, index = mmcv.ops.three_nn(torch.zeros(1, 1, 3), torch.ones(1, 1, 3))
    assert index.tolist() == [[[0, 0, 0]]]
    assert distance[0, 0, 0] == pytest.approx(3**0.5)
    assert distance[0, 0, 1:].isinf().all()
    with pytest.raises(ValueError, match="k is 100"):
        mmcv.ops.knn(100, cloud(200))


def test_gathering_and_grouping_copy_columns():
    features = torch.randn(2, 5, 12)
    one, two = torch.randint(0, 12, (2, 7)).int(), torch.randint(0, 12, (2, 4, 3)).int()
    gathered = mmcv.ops.gather_points(features, one)
    grouped = mmcv.ops.grouping_operation(features, two)
    for frame in range(2):
        assert torch.equal(gathered[frame], features[frame][:, one[frame].long()])
        assert torch.equal(grouped[frame], features[frame][:, two[frame].long()])


def test_interpolation_is_a_weighted_sum():
    features, weight = torch.randn(2, 5, 12), torch.rand(2, 9, 3)
    index = torch.randint(0, 12, (2, 9, 3)).int()
    found = mmcv.ops.three_interpolate(features, index, weight)
    for frame in range(2):
        columns = features[frame][:, index[frame].long()]
        torch.testing.assert_close(found[frame], (columns * weight[frame]).sum(-1))


def test_gradients():
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(2, 3, 6, dtype=torch.double, generator=generator).requires_grad_()
    one = torch.randint(0, 6, (2, 4), generator=generator).int()
    two = torch.randint(0, 6, (2, 4, 3), generator=generator).int()
    weight = torch.rand(2, 4, 3, dtype=torch.double, generator=generator)
    for function, arguments in (
        (mmcv.ops.gather_points, (one,)),
        (mmcv.ops.grouping_operation, (two,)),
        (mmcv.ops.three_interpolate, (two, weight)),
    ):
        assert torch.autograd.gradcheck(lambda x, f=function, a=arguments: f(x, *a), features)


@pytest.mark.parametrize(("frames", "count", "columns"), [(2, 50, 400), (3, 700, 6000), (2, 5, 0)])
def test_columns_summed_in_order_are_those_of_scatter_add(frames, count, columns):
    generator = torch.Generator().manual_seed(count)
    idx = torch.randint(0, count, (frames, columns), generator=generator)
    idx[:, : columns // 3] = 0  # as where a ball is empty
    values = torch.randn(frames, 4, columns, generator=generator)
    expected = torch.zeros(frames, 4, count)
    expected.scatter_add_(2, idx[:, None].expand(-1, 4, -1), values)
    assert torch.equal(summed_columns(idx, values, count), expected)


def test_half_precision_features_keep_their_type():
    features = torch.randn(1, 3, 6, dtype=torch.bfloat16, requires_grad=True)
    index = torch.randint(0, 6, (1, 4, 3)).int()
    out = mmcv.ops.three_interpolate(features, index, torch.rand(1, 4, 3))
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert features.grad.dtype == torch.bfloat16
    assert torch.equal(
        mmcv.ops.ball_query(0.0, 1.0, 3, cloud(20).half(), cloud(5).half()),
        mmcv.ops.ball_query(0.0, 1.0, 3, cloud(20), cloud(5)),
    )


def test_points_and_boxes_that_carry_gradients_are_accepted():
    points = cloud(50, seed=6).requires_grad_()
    boxes = torch.rand(2, 4, 7).requires_grad_()
    centres = points[:, :9].contiguous()
    found = [
        mmcv.ops.furthest_point_sample(points, 5),
        mmcv.ops.ball_query(0.0, 1.0, 4, points, centres),
        mmcv.ops.three_nn(centres, points)[1],
        mmcv.ops.knn(3, points, centres),
        mmcv.ops.points_in_boxes_part(points, boxes),
        mmcv.ops.points_in_boxes_all(points, boxes),
        mmcv.ops.nms3d(boxes[0], torch.arange(4.0), 0.5),
    ]
    assert not any(index.requires_grad for index in found)
    pooled, empty = mmcv.ops.RoIPointPool3d(8)(points, points * 2, boxes)
    assert pooled.shape == (2, 4, 8, 6)
    assert not empty.is_floating_point()


def pool(points, features, boxes, samples):
    """RoI pooling of one frame from which points lie in which boxes."""
    held = mmcv.ops.points_in_boxes_all(points[None], boxes[None])[0].bool()
    pooled = torch.zeros(len(boxes), samples, 3 + features.shape[1])
    for box, column in enumerate(held.T):
        found = torch.nonzero(column).flatten().tolist()[:samples]
        for place in range(samples if found else 0):
            point = found[place % len(found)]
            pooled[box, place] = torch.cat([points[point], features[point]])
    return pooled, (~held.any(dim=0)).int()


def test_roi_pooling_takes_the_first_points_and_starts_again():
    generator = torch.Generator().manual_seed(7)
    points = 10 * torch.rand(2, 400, 3, generator=generator)
    features = torch.randn(2, 400, 5, generator=generator)
    boxes = torch.rand(2, 30, 7, generator=generator) * torch.tensor([10, 10, 5, 6, 6, 6, 6.0])
    boxes[:, :3, 3:6] = 0.01
    pooled, empty = mmcv.ops.RoIPointPool3d(16)(points, features, boxes)
    counts = mmcv.ops.points_in_boxes_all(points, boxes).sum(1)
    assert (counts == 0).any()
    assert (counts > 16).any()
    assert ((counts > 0) & (counts < 16)).any()
    for frame in range(2):
        expected = pool(points[frame], features[frame], boxes[frame], 16)
        assert torch.equal(pooled[frame], expected[0])
        assert torch.equal(empty[frame], expected[1])


def test_roi_pooling_into_no_boxes():
    pooled, empty = mmcv.ops.RoIPointPool3d(4)(cloud(9), cloud(9), torch.zeros(2, 0, 7))
    assert pooled.shape == (2, 0, 4, 6)
    assert empty.shape == (2, 0)
