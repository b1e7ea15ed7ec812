"""Box operators, called as mmcv and mmdet3d call them, against brute force and shapely."""

import math

import mmcv.ops
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes
from shapely import affinity
from shapely.geometry import box as rectangle


def clustered_boxes(n, seed):
    """(n, 5) boxes around a few places, and distinct scores (n,)."""
    generator = torch.Generator().manual_seed(seed)
    place = 20 * torch.randint(0, 4, (n, 2), generator=generator)
    centre = place + 2 * torch.rand(n, 2, generator=generator)
    size = 1 + 3 * torch.rand(n, 2, generator=generator)
    angle = 6 * torch.rand(n, 1, generator=generator) - 3
    return torch.cat([centre, size, angle], dim=1), torch.randperm(n, generator=generator) / n


def shape(x, y, length, width, angle):
    upright = rectangle(x - length / 2, y - width / 2, x + length / 2, y + width / 2)
    return affinity.rotate(upright, angle, use_radians=True)


def greedy(shapes, scores, threshold):
    """Indices kept by non-maximum suppression, best first, straight from its definition."""
    kept = []
    for i in sorted(range(len(shapes)), key=lambda i: -scores[i]):
        overlaps = [
            shapes[i].intersection(shapes[j]).area / shapes[i].union(shapes[j]).area for j in kept
        ]
        if all(overlap <= threshold for overlap in overlaps):
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.7])
def test_rotated_nms_keeps_what_its_definition_keeps(threshold):
    boxes, scores = clustered_boxes(60, 0)
    expected = greedy([shape(*b) for b in boxes.tolist()], scores.tolist(), threshold)
    dets, keep = mmcv.ops.nms_rotated(boxes, scores, threshold)
    assert keep.tolist() == expected
    torch.testing.assert_close(dets, torch.cat([boxes, scores[:, None]], dim=1)[keep])


def test_rotated_nms_within_labels():
    boxes, scores = clustered_boxes(60, 1)
    labels = torch.arange(60) % 3
    shapes = [shape(*b) for b in boxes.tolist()]
    expected = set()
    for label in range(3):
        own = [i for i in range(60) if i % 3 == label]
        kept = greedy([shapes[i] for i in own], [scores[i].item() for i in own], 0.2)
        expected |= {own[k] for k in kept}
    keep = mmcv.ops.nms_rotated(boxes, scores, 0.2, labels.float())[1]
    assert set(keep.tolist()) == expected


def test_upright_nms_keeps_what_its_definition_keeps():
    boxes, scores = clustered_boxes(60, 2)
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], 1)
    expected = greedy([rectangle(*c) for c in corners.tolist()], scores.tolist(), 0.4)
    assert mmcv.ops.nms(corners, scores, 0.4)[1].tolist() == expected


@pytest.mark.parametrize("upright", [False, True])
def test_3d_nms_compares_bird_eye_views(upright):
    boxes, scores = clustered_boxes(40, 3)
    yaw = torch.zeros(40, 1) if upright else boxes[:, 4:]
    flat = [shape(*b) for b in torch.cat([boxes[:, :4], yaw], dim=1).tolist()]
    height = torch.arange(40)[:, None].float()
    solid = torch.cat([boxes[:, :2], height, boxes[:, 2:4], height + 1, boxes[:, 4:]], dim=1)
    nms = mmcv.ops.nms3d_normal if upright else mmcv.ops.nms3d
    assert nms(solid, scores, 0.3).tolist() == greedy(flat, scores.tolist(), 0.3)


def test_suppression_of_nothing():
    assert mmcv.ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)[1].tolist() == []


@pytest.mark.parametrize("mode", ["iou", "iof"])
@pytest.mark.parametrize("aligned", [False, True])
def test_rotated_overlap_equals_shapely(mode, aligned):
    a, b = clustered_boxes(30, 4)[0], clustered_boxes(30, 5)[0]
    found = mmcv.ops.box_iou_rotated(a, b, mode=mode, aligned=aligned)
    for i, p in enumerate(shape(*x) for x in a.tolist()):
        for j, q in enumerate(shape(*x) for x in b.tolist()):
            if aligned and i != j:
                continue
            whole = p.area if mode == "iof" else p.union(q).area
            expected = p.intersection(q).area / whole
            assert (found[i] if aligned else found[i, j]).item() == pytest.approx(
                expected, abs=1e-5
            )


def test_mmdet3d_box_overlap_of_ground_truth_with_itself_is_one():
    boxes, _ = clustered_boxes(50, 6)
    solid = torch.cat([boxes[:, :2], torch.zeros(50, 1), boxes[:, 2:4], torch.ones(50, 1),
                       boxes[:, 4:]], dim=1)  # fmt: skip
    boxes3d = LiDARInstance3DBoxes(solid)
    diagonal = LiDARInstance3DBoxes.overlaps(boxes3d, boxes3d).diagonal()
    torch.testing.assert_close(diagonal, torch.ones(50), rtol=0, atol=1e-5)


def boxes_and_points(seed=7):
    boxes, _ = clustered_boxes(12, seed)
    solid = torch.cat([boxes[:, :2], torch.full((12, 1), -1.0), boxes[:, 2:4],
                       torch.full((12, 1), 1.5), boxes[:, 4:]], dim=1)  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    near = solid[torch.randint(0, 12, (400,), generator=generator), :3]
    return solid, near + 3 * torch.rand(400, 3, generator=generator) - 1.5


def holds(box, point):
    x, y, z, length, width, height, yaw = box.tolist()
    dx, dy, dz = point[0].item() - x, point[1].item() - y, point[2].item() - z
    u = dx * math.cos(yaw) + dy * math.sin(yaw)
    v = dy * math.cos(yaw) - dx * math.sin(yaw)
    return abs(u) < length / 2 and abs(v) < width / 2 and 0 <= dz <= height


def test_points_in_boxes_equal_brute_force():
    boxes, points = boxes_and_points()
    expected = torch.tensor([[holds(b, p) for b in boxes] for p in points])
    every = LiDARInstance3DBoxes(boxes).points_in_boxes_all(points)
    assert torch.equal(every.bool(), expected)
    assert torch.equal(mmcv.ops.points_in_boxes_cpu(points[None], boxes[None])[0].bool(), expected)
    first = [row.index(True) if any(row) else -1 for row in expected.tolist()]
    part = LiDARInstance3DBoxes(boxes).points_in_boxes_part(points)
    assert part.tolist() == first
    assert 50 < sum(i >= 0 for i in first) < 350


def test_points_in_no_boxes():
    _, points = boxes_and_points()
    part = mmcv.ops.points_in_boxes_part(points[None], torch.zeros(1, 0, 7))
    assert part.unique().tolist() == [-1]
