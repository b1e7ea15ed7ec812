"""Targets of anchor heads against mmdet3d's own, bit by bit."""

import copy

import pytest
import torch
from frames import GRIDS, draw_objects
from hypothesis import given, settings, strategies as st
from mmdet3d.models.dense_heads import Anchor3DHead
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from detectors import get_family
from detectors.parts.anchor_targets import anchor_targets

FAMILIES = ["pointpillars", "second", "pv_rcnn"]


@pytest.fixture(scope="module", params=FAMILIES)
def head(request):
    family = get_family(request.param)
    return family.head(family.build(4, GRIDS[request.param]))


def make(boxes, labels):
    truth = InstanceData()
    truth.bboxes_3d = LiDARInstance3DBoxes(boxes)
    truth.labels_3d = labels
    return truth


def draw(objects, seed):
    """Objects of all classes about where their anchors are, some of them nearly equal."""
    boxes, labels = draw_objects(objects, seed)
    boxes[1::3] = boxes[: len(boxes[1::3]) * 3 : 3] + 0.01
    return make(boxes, labels)


def both(head, frames, side=(16, 12)):
    """Ours and mmdet3d's, which changes the frames that it is given."""
    anchors = head.prior_generator.grid_anchors([side], device="cpu")
    theirs = Anchor3DHead.anchor_target_3d(
        head, [list(anchors) for _ in frames], copy.deepcopy(frames), [{} for _ in frames],
        num_classes=head.num_classes, label_channels=head.cls_out_channels, sampling=False,
    )  # fmt: skip
    return anchor_targets(head, anchors[0], frames), theirs


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs) == 8
    for mine, other in zip(ours[:6], theirs[:6], strict=True):
        assert mine[0].dtype == other[0].dtype
        assert torch.equal(mine[0], other[0])
    assert ours[6:] == theirs[6:]


@given(st.lists(st.integers(0, 25), min_size=1, max_size=4), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_targets_are_mmdet3ds(head, objects, seed):
    ours, theirs = both(head, [draw(count, seed + i) for i, count in enumerate(objects)])
    assert_equal(ours, theirs)


def test_the_examples_have_every_kind_of_anchor(head):
    (labels, weights, *_, positive, negative), _ = both(head, [draw(20, 0), draw(3, 1)])
    assert set(labels[0].unique().tolist()) == {0, 1, 2, 3}
    assert set(weights[0].unique().tolist()) == {0.0, 1.0}
    assert positive > 10
    assert negative > 100


def test_frames_without_objects_and_objects_far_away(head):
    nothing = make(torch.zeros(0, 7), torch.zeros(0, dtype=torch.long))
    far = make(torch.tensor([[900.0, 0, 0, 4, 2, 1.5, 0]]), torch.tensor([2]))
    for frames in ([nothing], [nothing, far], [far, draw(5, 2), nothing]):
        assert_equal(*both(head, frames))


def test_objects_of_no_class_are_nobodys(head):
    truth = draw(9, 3)
    truth.labels_3d[::2] = -1
    assert_equal(*both(head, [truth, draw(4, 4)]))


def test_objects_that_overlap_equally_go_to_the_last(head):
    twice = draw(6, 5)
    truth = make(twice.bboxes_3d.tensor.repeat(2, 1), twice.labels_3d.repeat(2))
    assert_equal(*both(head, [truth]))
