"""What holds for every detector family."""

import gc
from dataclasses import replace

import pytest
import torch
from frames import GRIDS, batch
from mmdet3d.registry import MODELS
from mmengine.registry import DefaultScope

from detectors import get_family
from detectors.core.registry import FAMILIES

NEEDS = {"local", "stages", "neck", "head"}
MILLIONS = {
    ("pointpillars", 1): 4.835, ("pointpillars", 4): 1.217, ("pointpillars", 16): 0.309,
    ("second", 1): 5.326, ("second", 4): 1.343, ("second", 16): 0.341,
    ("pointrcnn", 1): 4.043, ("pointrcnn", 8): 0.518, ("pointrcnn", 16): 0.259,
}  # fmt: skip
"""Parameters of the nine models; docs/protocol.md compares them with the paper's."""


@pytest.fixture(params=sorted(FAMILIES), scope="module")
def family(request):
    return get_family(request.param)


@pytest.fixture(scope="module")
def model(family):
    torch.manual_seed(0)
    model = family.build(FAMILIES[family.name].ratios[0], GRIDS[family.name])
    head = model.roi_head if hasattr(model, "roi_head") else model.bbox_head
    head.test_cfg.score_thr = 0.0
    return model


def inputs_of(family, training):
    grid = GRIDS[family.name]
    return family.voxelizer(grid, training)(batch(points=grid.num_points or 1500))


@pytest.mark.parametrize(("name", "ratio"), MILLIONS)
def test_parameters_on_the_kitti_grid(name, ratio):
    family = get_family(name)
    assert ratio in (1, *FAMILIES[family.name].ratios)
    model = family.build(ratio, family.default_grid())
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert round(millions, 3) == MILLIONS[name, ratio]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["pointpillars", "second"])
def test_voxels_are_those_of_mmdet3ds_preprocessor(name, training):
    family, grid = get_family(name), replace(GRIDS[name], max_voxels=(250, 300))
    frames = batch(frames=3)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        theirs = MODELS.build(family.config(1, grid)["data_preprocessor"]).train(training)
    expected = theirs.voxelize(frames.points, [])
    for kind, found in family.voxelizer(grid, training)(frames).voxels.items():
        assert found.dtype == expected[kind].dtype
        assert torch.equal(found, expected[kind])


def test_specs_tell_the_channels_of_what_is_captured(family, model):
    inputs = inputs_of(family, training=True)
    with family.capture(model.train(), NEEDS, GRIDS[family.name]) as take:
        family.losses(model, inputs)
    spec, outputs = family.spec(model), take(inputs)
    pairs = [
        (spec.local, outputs.local),
        (spec.neck, outputs.neck),
        *zip(spec.stages, outputs.stages, strict=True),
    ]
    for layer, features in pairs:
        assert features.values.shape[1] == layer.channels
        assert hasattr(features, "extent") == layer.dense
        assert features.values.dtype == torch.float32
    head = outputs.head
    assert head.class_logits.shape[2] == spec.classes
    assert head.priors.shape == head.boxes.shape == head.deltas.shape
    assert head.assigned.shape == head.class_logits.shape[:2]


def test_detections_from_captured_outputs_equal_a_prediction(family, model):
    inputs = inputs_of(family, training=False)
    model.eval()
    with torch.no_grad(), family.capture(model, {"head"}, GRIDS[family.name]) as take:
        family.observe(model, inputs)
    predicted = family.predict(model, inputs)
    assert len(predicted) == 2
    for ours, theirs in zip(take(inputs).detections, predicted, strict=True):
        assert len(ours.boxes) > 5
        torch.testing.assert_close(ours.boxes, theirs.boxes)
        torch.testing.assert_close(ours.scores, theirs.scores)
        assert torch.equal(ours.labels, theirs.labels)


def test_a_forward_pass_leaves_its_inputs_alone(family, model):
    inputs = inputs_of(family, training=True)
    given = [*inputs.batch.points, *inputs.batch.boxes, *inputs.batch.labels]
    given += inputs.voxels.values()
    before = [tensor.clone() for tensor in given]
    family.losses(model.train(), inputs)
    family.predict(model.eval(), inputs)
    assert all(torch.equal(was, now) for was, now in zip(before, given, strict=True))


def test_steps_leave_no_tensors_behind(family, model):
    inputs = inputs_of(family, training=True)
    alive = []
    for _ in range(4):
        sum(family.losses(model.train(), inputs).values()).backward()
        gc.collect()
        alive.append(sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects()))
    assert alive[1] == alive[2] == alive[3]
