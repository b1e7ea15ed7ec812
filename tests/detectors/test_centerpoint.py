"""CenterPoint: PointPillars' and SECOND's networks with a head of heat maps."""

import pytest
import torch
from frames import GRIDS, batch, capture
from mmdet3d.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from detectors import get_family

LIKE = {"centerpoint_pillar": "pointpillars", "centerpoint_voxel": "second"}
HEADS = {"local", "stages", "neck", "head"}


@pytest.fixture(scope="module", params=LIKE)
def family(request):
    return get_family(request.param)


@pytest.fixture(scope="module")
def model(family):
    torch.manual_seed(0)
    return family.build(4, GRIDS[family.name])


@pytest.fixture
def captured(family, model):
    return capture(family, model, GRIDS[family.name], batch(), HEADS)


def test_all_but_the_head_is_the_other_familys(family):
    other = get_family(LIKE[family.name])
    assert family.default_grid() == other.default_grid()
    grid = GRIDS[family.name]
    ours, theirs = family.config(4, grid), other.config(4, grid)
    for part in ("data_preprocessor", "voxel_encoder", "middle_encoder", "backbone", "neck"):
        assert ours[part] == theirs[part]
    assert ours["bbox_head"]["in_channels"] == theirs["bbox_head"]["in_channels"]


@torch.no_grad()
def test_boxes_decode_as_mmdet3ds_coder_does(model, captured):
    outputs, inputs, _ = captured
    head = outputs.head
    (maps,) = model.bbox_head(model.extract_feat(inputs.tensors()))[0]
    found = model.bbox_head.bbox_coder.decode(
        maps["heatmap"].sigmoid(), maps["rot"][:, :1], maps["rot"][:, 1:], maps["height"],
        maps["dim"].exp(), None, reg=maps["reg"], task_id=0,
    )  # fmt: skip
    scores = head.class_logits.sigmoid().amax(dim=2)
    for frame, theirs in enumerate(found):
        boxes = theirs["bboxes"].clone()
        boxes[:, 2] -= boxes[:, 5] / 2
        for box, score in zip(boxes[:5], theirs["scores"][:5], strict=True):
            row = (scores[frame] - score).abs().argmin()
            torch.testing.assert_close(head.boxes[frame, row], box, rtol=1e-5, atol=1e-5)


def test_priors_are_boxes_of_a_metre_at_the_corners_of_cells(family, captured):
    outputs, _, _ = captured
    head, neck = outputs.head, outputs.neck
    height, width = neck.values.shape[-2:]
    x0, y0, _, _ = neck.extent
    side = neck.stride * GRIDS[family.name].voxel_size[0]
    prior = head.priors[0].view(height, width, 7)[3, 5]
    expected = torch.tensor([x0 + 5 * side, y0 + 3 * side, -0.5, 1, 1, 1, 0])
    torch.testing.assert_close(prior, expected)


def test_priors_at_objects_centres_are_trained_for_them(captured):
    outputs, inputs, _ = captured
    head = outputs.head
    for frame in range(2):
        rows = head.positive[frame].nonzero().flatten()
        assert sorted(head.assigned[frame, rows].tolist()) == [0, 2]
        for row in rows:
            label = head.assigned[frame, row]
            (mine,) = (inputs.batch.labels[frame] == label).nonzero()[0]
            offset = inputs.batch.boxes[frame][mine, :2] - head.priors[frame, row, :2]
            assert (offset >= -1e-4).all()
            assert (offset < outputs.neck.stride * 0.32 + 1e-4).all()
            assert head.class_targets[frame, row, label] == 1
    assert (head.class_targets > 0).sum() > 2 * head.positive.sum()


def test_an_empty_frame_trains_the_heat_map_alone(family, model):
    empty = batch()
    empty = type(empty)(
        [torch.zeros(0, 7)] * 2, [torch.zeros(0, dtype=torch.long)] * 2, empty.points, empty.classes
    )
    outputs, _, losses = capture(family, model, GRIDS[family.name], empty, HEADS)
    assert losses["loss_heatmap"] > 0
    assert losses["loss_bbox"] == 0
    assert not outputs.head.positive.any()


def test_every_parameter_is_trained_in_either_precision(family, model):
    inputs = family.voxelizer(GRIDS[family.name], training=True)(batch())
    for enabled in (False, True):
        model.train().zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = family.losses(model, inputs)
        assert all(loss.dtype == torch.float32 for loss in losses.values())
        sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_plain_mmdet3d_detects_the_same_boxes(family, model):
    """With its own classes, from the config that is exported."""
    grid = GRIDS[family.name]
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        plain = MODELS.build(ConfigDict(family.config(4, grid))).eval()
    plain.load_state_dict(model.state_dict())
    assert type(plain.bbox_head).__name__ == "CenterHead"
    inputs = family.voxelizer(grid, training=False)(batch())
    for one in (plain, model.eval()):
        one.bbox_head.bbox_coder.score_threshold = one.bbox_head.test_cfg.score_threshold = 0.0
    with torch.no_grad():
        theirs = plain.predict(inputs.tensors(), inputs.samples())
    for ours, other in zip(family.predict(model, inputs), theirs, strict=True):
        found = other.pred_instances_3d
        assert len(ours.boxes) > 5
        torch.testing.assert_close(ours.boxes, found.bboxes_3d.tensor)
        torch.testing.assert_close(ours.scores, found.scores_3d)
