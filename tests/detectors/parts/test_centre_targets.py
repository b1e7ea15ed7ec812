"""Targets and losses of heat-map heads against mmdet3d's own, which know boxes with velocities."""

import copy

import pytest
import torch
from frames import GRIDS, draw_objects
from mmdet3d.models.dense_heads import CenterHead
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from detectors import get_family


@pytest.fixture(scope="module", params=["centerpoint_pillar", "centerpoint_voxel"])
def head(request):
    return get_family(request.param).build(4, GRIDS[request.param]).bbox_head


def draw(objects, seed):
    """Objects of all classes, some of them outside the grid, some with the same centre."""
    boxes, labels = draw_objects(objects, seed)
    boxes[1::3, :2] = boxes[: len(boxes[1::3]) * 3 : 3, :2]
    corner = torch.tensor([0.0, -5.12])
    outside = boxes[:, :2] < corner  # by less than a cell: theirs takes it for inside
    boxes[:, :2] -= 2 * outside
    return boxes, labels


def make(boxes, labels):
    truth = InstanceData()
    truth.bboxes_3d = LiDARInstance3DBoxes(boxes, box_dim=boxes.shape[1])
    truth.labels_3d = labels
    return truth


def with_velocity(boxes, labels):
    return make(torch.cat([boxes, torch.zeros(len(boxes), 2)], dim=1), labels)


FRAMES = [(6, 0), (0, 1), (12, 2), (1, 3)]
"""Objects and seed of each frame of a batch."""


def test_they_are_mmdet3ds(head):
    frames = [draw(*frame) for frame in FRAMES]
    ours = head.targets([make(*frame) for frame in frames])
    heat, codes, cells, masks = (
        part[0] for part in CenterHead.get_targets(head, [with_velocity(*f) for f in frames])
    )
    torch.testing.assert_close(ours.heat, heat, rtol=1e-6, atol=1e-7)
    assert torch.equal(ours.heat == 1, heat == 1)
    frame, place = masks.nonzero().T
    theirs = torch.cat([frame[:, None], cells[masks > 0][:, None], codes[frame, place, :8]], dim=1)
    mine = torch.cat([ours.frame[:, None], ours.cell[:, None], ours.code], dim=1)
    assert 5 < len(mine) < sum(count for count, _ in FRAMES)  # the others are outside
    order = [sorted(rows.tolist()) for rows in (mine, theirs)]
    torch.testing.assert_close(*map(torch.tensor, order), rtol=1e-5, atol=1e-5)


def test_so_are_losses_and_gradients(head):
    frames = [draw(*frame) for frame in FRAMES]
    generator = torch.Generator().manual_seed(0)
    height, width = (int(side) // head.train_cfg["out_size_factor"]
                     for side in head.train_cfg["grid_size"][1::-1])  # fmt: skip
    shapes = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "heatmap": 3, "vel": 2}
    maps = {
        name: torch.randn(4, count, height, width, generator=generator)
        for name, count in shapes.items()
    }
    given = [{k: v.clone().requires_grad_() for k, v in maps.items()} for _ in range(2)]
    theirs = copy.deepcopy(head)
    theirs.train_cfg["code_weights"] = [1.0] * 8 + [0.0] * 2
    scaled = [{k: v * 1 for k, v in one.items()} for one in given]  # theirs writes over them
    mine = head.loss_by_feat(([scaled[0]],), [make(*f) for f in frames])
    others = CenterHead.loss_by_feat(
        _as_original(theirs), ([scaled[1]],), [with_velocity(*f) for f in frames]
    )
    for name in ("loss_heatmap", "loss_bbox"):
        torch.testing.assert_close(mine[name], others[f"task0.{name}"], rtol=1e-5, atol=1e-6)
    sum(mine.values()).backward()
    sum(others.values()).backward()
    for name in shapes.keys() - {"vel"}:
        torch.testing.assert_close(given[0][name].grad, given[1][name].grad, rtol=1e-4, atol=1e-7)
    assert torch.equal(scaled[0]["heatmap"], maps["heatmap"])
    assert not torch.equal(scaled[1]["heatmap"], maps["heatmap"])  # what ours is there for


def _as_original(head):
    """The head as mmdet3d's own class, whose methods call each other."""
    head.__class__ = CenterHead
    return head
