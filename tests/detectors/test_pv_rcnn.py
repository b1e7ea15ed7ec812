"""PV-RCNN: mmdet3d's network at any width, both stages, also without objects."""

from dataclasses import replace

import pytest
import torch
from frames import GRIDS, batch, with_few_objects
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from detectors import CLASSES, DetectorError, get_family
from detectors.core.flops import count_work
from detectors.parts.proposals import Proposals
from kd_methods import Batch

FAMILY = get_family("pv_rcnn")
GRID = GRIDS["pv_rcnn"]
RATIO = 4


def inputs_of(frames, training=True):
    return FAMILY.voxelizer(GRID, training)(frames)


@pytest.fixture
def plain(model):
    """The same network in mmdet3d's own classes."""
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        plain = MODELS.build(ConfigDict(FAMILY.config(RATIO, GRID)))
    plain.load_state_dict(model.state_dict())
    return plain


@pytest.fixture
def near(model, monkeypatch):
    """Proposals near the objects, as a trained first stage gives them."""

    def near(*maps, batch_input_metas, **settings):
        generator = torch.Generator().manual_seed(3)
        proposed = []
        for frame, _ in enumerate(batch_input_metas):
            boxes = batch().boxes[frame].repeat_interleave(4, dim=0)
            boxes = boxes + 0.05 * torch.randn(boxes.shape, generator=generator)
            labels = batch().labels[frame].repeat_interleave(4)
            proposed.append(Proposals(bboxes_3d=LiDARInstance3DBoxes(boxes), labels_3d=labels))
        return proposed

    monkeypatch.setattr(model.rpn_head, "predict_by_feat", near)


def test_the_whole_network_is_mmdet3ds_on_the_kitti_grid():
    grid = FAMILY.default_grid()
    assert grid.cells == (1408, 1600, 40)
    assert (grid.key_points, grid.proposals, grid.roi_points) == (2048, 100, 216)
    config, plain = FAMILY.config(1, grid), FAMILY.base_config()
    assert config["roi_head"]["semantic_head"].pop("mlp_channels") == (256, 256)  # the default
    for part in ("points_encoder", "neck", "rpn_head", "roi_head", "train_cfg", "test_cfg"):
        assert as_lists(config[part]) == as_lists(plain[part]), part
    assert config["backbone"] == plain["backbone"]
    assert config["middle_encoder"].items() >= plain["middle_encoder"].items()


def as_lists(value):
    """Tuples as lists, all the way down."""
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return [as_lists(item) for item in value] if isinstance(value, list | tuple) else value


def test_the_first_stage_is_seconds(model):
    second = get_family("second").build(RATIO, GRID)
    for part in ("middle_encoder", "backbone", "neck"):
        ours, theirs = (getattr(network, part).state_dict() for network in (model, second))
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_a_ratio_divides_the_widths_of_both_stages(model):
    assert [layer.mlps[0][-1].conv.out_channels for layer in model.points_encoder.voxel_sa_layers] \
        == [8, 16, 32, 32]  # fmt: skip
    assert model.points_encoder.fused_out_channel == 64
    assert model.roi_head.bbox_head.shared_fc_layer[0].conv.weight.shape[:2] == (128, 64 * 8)
    assert model.roi_head.semantic_head.seg_cls_layer[0].weight.shape == (128, 128 + 16 + 176)


def test_a_grid_of_second_gets_mmdet3ds_second_stage():
    grid = GRIDS["second"]
    config = FAMILY.config(4, grid)
    assert config["points_encoder"]["num_keypoints"] == 2048
    assert config["roi_head"]["bbox_roi_extractor"]["grid_size"] == 6
    assert config["test_cfg"] == FAMILY.base_config()["test_cfg"]


def test_proposals_keep_their_proportions():
    config = FAMILY.config(4, replace(GRID, proposals=25))
    assert config["test_cfg"]["rpn"]["nms_post"] == config["test_cfg"]["rpn"]["max_num"] == 25
    assert config["train_cfg"]["rpn_proposal"]["nms_post"] == 128
    assert config["train_cfg"]["rcnn"]["sampler"]["num"] == 32


def test_places_that_are_no_cube_are_refused():
    with pytest.raises(DetectorError, match="roi_points is 100; make it the places of a cube"):
        FAMILY.config(4, replace(GRID, roi_points=100))


def test_specs_tell_the_shapes_of_what_is_captured(model, captured):
    outputs, inputs, _ = captured
    spec = FAMILY.spec(model)
    assert outputs.local.values.shape[1] == spec.local.channels == 32
    assert [s.values.shape[1] for s in outputs.stages] == [s.channels for s in spec.stages]
    assert [s.stride for s in outputs.stages] == [8, 16]
    assert outputs.neck.values.shape[1] == spec.neck.channels
    assert outputs.head.class_logits.shape == (2, 16 * 16 * 6, spec.classes)
    assert torch.equal(outputs.neck.pre_relu.relu(), outputs.neck.values)
    assert set(outputs.head.assigned[outputs.head.positive].tolist()) == {0, 2}


def test_losses_are_mmdet3ds(model, plain):
    """Of one frame (of several, mmdet3d mixes the voxels), from the same random draws."""
    inputs, found = inputs_of(batch(frames=1)), []
    for losses in (
        lambda: FAMILY.losses(model.train(), inputs),
        lambda: plain.train().loss(inputs.tensors(), inputs.samples()),
    ):
        torch.manual_seed(1)
        found.append({k: sum(v) if isinstance(v, list) else v for k, v in losses().items()})
    ours, theirs = found
    assert ours.keys() == theirs.keys()
    assert len(ours) == 7
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("half", [False, True])
def test_every_parameter_of_both_stages_learns_from_proposals_on_objects(model, near, half):
    places = []
    layer = model.roi_head.bbox_roi_extractor.roi_grid_pool_layer
    hook = layer.register_forward_pre_hook(
        lambda layer, args, given: places.append(given["new_xyz"]), with_kwargs=True
    )
    model.train().zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        losses = FAMILY.losses(model, inputs_of(batch()))
    hook.remove()
    assert all(loss.dtype == torch.float32 and loss.isfinite() and loss > 0 for loss in
               losses.values()), losses  # fmt: skip
    assert places[0].dtype == torch.float32
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0 or name.endswith("conv.bias"), name


@pytest.mark.parametrize("objects", ["none at all", "none in one frame", "none within reach"])
def test_frames_without_objects_train(model, objects):
    few = with_few_objects(batch(), objects)
    model.train().zero_grad(set_to_none=True)
    losses = FAMILY.losses(model, inputs_of(few))
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert losses["loss_cls"] > 0
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_a_fresh_second_stage_keeps_its_proposals(near, model):
    """As the authors' does; mmdet3d's moves boxes by decimetres."""
    model.eval().roi_head.test_cfg.score_thr = 0.0
    proposed = torch.cat([one.bboxes_3d.tensor for one in model.rpn_head.predict_by_feat(
        batch_input_metas=[{}] * 2)])  # fmt: skip
    found = FAMILY.predict(model, inputs_of(batch(), training=False))
    assert all(len(frame.boxes) > 0 for frame in found)
    for frame in found:
        moved = (frame.boxes[:, None] - proposed)[..., :6].abs().amax(2).amin(1)
        assert moved.max() < 0.02


def test_frames_do_not_see_each_other(model):
    model.eval().roi_head.test_cfg.score_thr = 0.0
    whole = batch()
    whole.points[1][400:] = whole.points[1][:1]
    inputs = inputs_of(whole, training=False)
    with torch.no_grad(), FAMILY.capture(model, {"head"}, GRID) as take:
        FAMILY.observe(model, inputs)
    together, captured = FAMILY.predict(model, inputs), take(inputs).detections
    for i in range(2):
        one = Batch([whole.boxes[i]], [whole.labels[i]], [whole.points[i]], CLASSES)
        (alone,) = FAMILY.predict(model, inputs_of(one, training=False))
        assert len(alone.boxes) > 0
        for found in (together[i], captured[i]):
            torch.testing.assert_close(found.boxes, alone.boxes, rtol=1e-4, atol=1e-4)
            assert torch.equal(found.labels, alone.labels)


def test_detections_leave_a_training_network_in_training(model):
    inputs = inputs_of(batch())
    with FAMILY.capture(model.train(), {"head"}, GRID) as take:
        FAMILY.losses(model, inputs)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert len(take(inputs).detections) == 2
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())


def test_the_counted_work_depends_on_the_grid_alone(model):
    work = []
    for seed in range(2):
        for parameter in model.rpn_head.parameters():
            parameter.data.normal_(generator=torch.Generator().manual_seed(seed))
        with count_work(model.eval()) as counted:
            FAMILY.dry_run(model, GRID)
        work.append(counted.multiply_accumulates)
    assert work[0] == work[1] > 0
