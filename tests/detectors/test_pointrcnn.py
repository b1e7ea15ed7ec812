"""PointRCNN: mmdet3d's network at the paper's widths, both stages, also without objects."""

from dataclasses import replace

import pytest
import torch
from frames import GRIDS, batch, focal_loss, with_few_objects
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from detectors import CLASSES, DetectorError, Grid, get_family
from detectors.parts.proposals import Proposals
from kd_methods import Batch

FAMILY = get_family("pointrcnn")
GRID = GRIDS["pointrcnn"]
RATIO = 8


def frames(count=2):
    return batch(count, points=GRID.num_points)


def test_the_kitti_grid_and_the_teachers_widths_are_mmdet3ds():
    grid = FAMILY.default_grid()
    assert (grid.num_points, grid.sample_range) == (16384, 40.0)
    config, plain = FAMILY.config(1, grid), FAMILY.base_config()
    for part in ("backbone", "neck", "roi_head", "train_cfg", "test_cfg"):
        assert config[part] == plain[part], part
    assert config["rpn_head"]["pred_layer_cfg"] == plain["rpn_head"]["pred_layer_cfg"]


def test_widths_of_the_papers_student():
    config = FAMILY.config(8, FAMILY.default_grid())
    assert config["backbone"]["sa_channels"][3] == ((91, 91, 182), (91, 137, 182))
    assert config["neck"]["fp_channels"] == (
        (546, 182, 182), (272, 182, 182), (215, 91, 91), (92, 45, 45)
    )  # fmt: skip


def test_mean_sizes_follow_the_classes(model):
    sizes = dict(zip(CLASSES, model.rpn_head.bbox_coder.mean_size.tolist(), strict=True))
    assert sizes["Car"] == pytest.approx([3.9, 1.6, 1.56])
    assert sizes["Pedestrian"] == pytest.approx([0.8, 0.6, 1.73])
    assert sizes["Cyclist"] == pytest.approx([1.76, 0.6, 1.73])


def test_specs_tell_the_shapes_of_what_is_captured(model, captured):
    outputs, _, _ = captured
    spec = FAMILY.spec(model)
    assert outputs.local.values.shape == (2 * 1024, spec.local.channels)
    assert [s.values.shape for s in outputs.stages] == [
        (2 * 1024 // share, layer.channels)
        for share, layer in zip((4, 16, 64, 256), spec.stages, strict=True)
    ]
    assert outputs.head.class_logits.shape == (2, 1024, spec.classes)
    for features in (outputs.local, outputs.neck, *outputs.stages):
        assert features.batch.bincount().tolist() == [len(features.values) // 2] * 2


def test_points_keep_the_order_of_the_frame(captured):
    outputs, inputs, _ = captured
    assert torch.equal(outputs.local.xyz, torch.cat(list(inputs.batch.points))[:, :3])
    assert torch.equal(outputs.stages[0].xyz[0], inputs.batch.points[0][0, :3])


def test_boxes_decode_as_mmdet3ds_coder_does(model, captured):
    outputs, inputs, _ = captured
    with torch.no_grad(), FAMILY.capture(model, {"head"}, GRID) as take:
        FAMILY.observe(model, inputs)
        codes, logits = model.rpn_head(
            {"fp_features": model.extract_feat(inputs.tensors())["fp_features"]}
        )
    head = take(inputs).head
    expected = model.rpn_head.bbox_coder.decode(
        codes[1], inputs.batch.points[1][:, :3], logits[1].argmax(1)
    )
    expected[:, 2] -= expected[:, 5] / 2
    torch.testing.assert_close(head.boxes[1], expected, rtol=1e-4, atol=1e-4)
    assert head.priors.shape == head.boxes.shape


def test_targets_are_those_the_detector_trains_for(model, captured):
    outputs, inputs, losses = captured
    head = outputs.head
    for frame, points in enumerate(inputs.batch.points):
        for box, label in zip(inputs.batch.boxes[frame], inputs.batch.labels[frame], strict=True):
            inside = _inside(points, box, 0.0)
            assert (head.assigned[frame][inside] == label).all()
            ring = _inside(points, box, 0.1) & ~inside
            assert (head.assigned[frame][ring] == -2).all()
    assert losses["rpn_semantic_loss"].item() == pytest.approx(focal_loss(head), rel=1e-4)


def _inside(points, box, margin):
    offset = points[:, :3] - box[:3]
    offset[:, 2] -= box[5] / 2
    cos, sin = box[6].cos(), box[6].sin()
    along = offset[:, 0] * cos + offset[:, 1] * sin
    across = offset[:, 1] * cos - offset[:, 0] * sin
    local = torch.stack([along, across, offset[:, 2]], dim=1).abs()
    return (local <= box[3:6] / 2 + margin).all(1)


def test_losses_are_mmdet3ds_where_there_are_objects(model):
    """The point head differs from mmdet3d's only where mmdet3d's fails."""
    from mmdet3d.models.dense_heads import PointRPNHead

    inputs = FAMILY.voxelizer(GRID, training=True)(frames())
    torch.manual_seed(1)
    codes, logits = torch.randn(2, 1024, 8), torch.randn(2, 1024, 3)
    arguments = (list(inputs.batch.points), [s.gt_instances_3d for s in inputs.samples()])
    ours = model.rpn_head.loss_by_feat(codes, logits, *arguments)
    arguments = (list(inputs.batch.points), [s.gt_instances_3d for s in inputs.samples()])
    theirs = PointRPNHead.loss_by_feat(model.rpn_head, codes, logits, *arguments)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value)


@pytest.mark.parametrize("objects", ["none at all", "none in one frame", "none within reach"])
def test_frames_without_objects_train(model, objects):
    few = with_few_objects(frames(), objects)
    inputs = FAMILY.voxelizer(GRID, training=True)(few)
    model.train().zero_grad(set_to_none=True)
    losses = FAMILY.losses(model, inputs)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad.isfinite().all() for p in model.rpn_head.parameters())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_parameter_is_trained(model, precision):
    inputs = FAMILY.voxelizer(GRID, training=True)(frames())
    model.train().zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        losses = FAMILY.losses(model, inputs)
    sum(losses.values()).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert not {name for name in without if not name.startswith("roi_head.bbox_head.conv_reg")}
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_fresh_second_stage_keeps_its_proposals(monkeypatch):
    """What mmdet3d means by its normal_init, which does nothing: boxes moved by decimetres here."""
    torch.manual_seed(0)
    model = FAMILY.build(8, GRID).eval()
    proposed = []
    whole = model.rpn_head.predict

    def keep(*arguments, **options):
        proposed.extend(whole(*arguments, **options))
        return proposed

    monkeypatch.setattr(model.rpn_head, "predict", keep)
    inputs = FAMILY.voxelizer(GRID, training=False)(frames(1))
    (found,) = FAMILY.predict(model, inputs)
    before = proposed[0].bboxes_3d.tensor
    moved = (found.boxes[:, None] - before).abs().amax(2).amin(1)
    assert len(found.boxes) > 0
    assert moved.max() < 0.02


@pytest.mark.parametrize("chosen", [[0, 0, 0], [1, 0, 1], [1, 1, 1]])
def test_proposals_are_taken_as_mmengine_takes_them(chosen):
    boxes = LiDARInstance3DBoxes(torch.arange(21.0).view(3, 7))
    fields = {"bboxes_3d": boxes, "labels_3d": torch.tensor([2, 0, 1])}
    mask = torch.tensor(chosen, dtype=torch.bool)
    for item in (mask, mask.nonzero()[:, 0], slice(0, sum(chosen))):
        ours, theirs = Proposals(**fields)[item], InstanceData(**fields)[item]
        assert torch.equal(ours.bboxes_3d.tensor, theirs.bboxes_3d.tensor)
        assert torch.equal(ours.labels_3d, theirs.labels_3d)
        assert len(ours) == sum(chosen)


def test_frames_do_not_share_proposals(model):
    """mmdet3d splits proposals evenly, also where suppression leaves frames with unequal ones."""
    model.eval()
    model.roi_head.test_cfg.score_thr = 0.0
    whole = frames()
    whole.points[1][:, :2] *= 0.05  # boxes on top of each other: few proposals are left
    inputs = FAMILY.voxelizer(GRID, training=False)(whole)
    with torch.no_grad(), FAMILY.capture(model, {"head"}, GRID) as take:
        FAMILY.observe(model, inputs)
    together = FAMILY.predict(model, inputs)
    captured = take(inputs).detections
    for i in range(2):
        one = Batch([whole.boxes[i]], [whole.labels[i]], [whole.points[i]], CLASSES)
        (alone,) = FAMILY.predict(model, FAMILY.voxelizer(GRID, training=False)(one))
        for found in (together[i], captured[i]):
            torch.testing.assert_close(found.boxes, alone.boxes, rtol=1e-4, atol=1e-4)


def test_predictions_repeat_to_the_bit(model):
    inputs = FAMILY.voxelizer(GRID, training=False)(frames())
    first, second = (FAMILY.predict(model.eval(), inputs) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.scores, other.scores)


def test_pre_activations_are_refused_with_the_reason(model):
    with pytest.raises(DetectorError, match="no pre-activations"):
        FAMILY.taps(model, {"stages", "stages:pre_relu"})


def test_frames_of_another_size_are_refused():
    with pytest.raises(DetectorError, match="frame 0 of the batch has 500 points.*1024"):
        FAMILY.voxelizer(GRID, training=True)(batch(2, points=500))


def test_a_number_of_points_that_cannot_be_quartered_is_refused():
    with pytest.raises(DetectorError, match="num_points is 1000.*multiple of 256"):
        FAMILY.config(8, Grid(GRID.point_cloud_range, num_points=1000))


@pytest.mark.parametrize(("field", "message"), [("proposals", "of 4"), ("roi_points", "of 16")])
def test_second_stages_that_cannot_be_built_are_refused(field, message):
    with pytest.raises(DetectorError, match=f"{field} is 10; make it a multiple {message}"):
        FAMILY.config(8, replace(GRID, **{field: 10}))
