"""PointPillars: mmdet3d's network at the paper's widths, and its outputs as methods read them."""

import pytest
import torch
from frames import GRIDS, batch, focal_loss
from mmdet3d.models.voxel_encoders import PillarFeatureNet

from detectors import CLASSES, DetectorError, Grid, get_family, parse_student
from detectors.core.family import scaled
from detectors.parts.pillars import PillarEncoder
from kd_methods import Batch
from kd_methods.core.interface import MissingOutputError

FAMILY = get_family("pointpillars")
GRID = GRIDS["pointpillars"]
RATIO = 4


def test_the_kitti_grid_is_mmdet3ds():
    grid = FAMILY.default_grid()
    assert grid.point_cloud_range == (0, -39.68, -3, 69.12, 39.68, 1)
    assert grid.cells == (432, 496, 1)
    assert grid.max_voxels == (16000, 40000)


@pytest.mark.parametrize(
    ("ratio", "widths"),
    [(8, {64: 22, 96: 34, 128: 45, 196: 70, 256: 91, 384: 137, 512: 182, 16: 5}),
     (4, {64: 32, 196: 98}), (16, {196: 49, 64: 16}), (1, {64: 64})],
)  # fmt: skip
def test_widths_are_those_of_the_papers_students(ratio, widths):
    assert {width: scaled(width, ratio) for width in widths} == widths


def test_specs_tell_the_shapes_of_what_is_captured(model, captured):
    outputs, _, _ = captured
    spec = FAMILY.spec(model)
    assert outputs.local.values.shape[1] == spec.local.channels
    assert [s.values.shape[1] for s in outputs.stages] == [s.channels for s in spec.stages]
    assert outputs.neck.values.shape[1] == spec.neck.channels
    assert outputs.head.class_logits.shape[2] == spec.classes
    assert [s.stride for s in outputs.stages] == [2, 4, 8]
    assert outputs.neck.values.shape[-2:] == (16, 16)


def test_pre_activations_precede_the_relu(model, captured):
    outputs, _, _ = captured
    for features in (*outputs.stages, outputs.neck):
        assert torch.equal(features.pre_relu.relu(), features.values)
        assert (features.pre_relu < 0).any()
    weight, bias = FAMILY.spec(model).neck.batch_norm
    assert len(weight) == len(bias) == outputs.neck.values.shape[1]


def test_pillars_know_where_they_are_and_how_many_points_they_hold(captured):
    outputs, inputs, _ = captured
    local = outputs.local
    for frame, points in enumerate(inputs.batch.points):
        for row in torch.nonzero(local.batch == frame).flatten()[::17]:
            offset = (points[:, :2] - local.xyz[row, :2]).abs()
            inside = int((offset <= 0.16 + 1e-4).all(1).sum())
            assert abs(inside - local.count[row].item()) <= 1  # points on an edge
            assert local.capped_count[row] == min(local.count[row].item(), 32)
    assert local.count.sum() <= sum(len(p) for p in inputs.batch.points)


def test_boxes_decode_as_mmdet3ds_coder_does(model, captured):
    outputs, _, _ = captured
    head = outputs.head
    frame = model.bbox_head.bbox_coder.decode(head.priors[1], head.deltas[1])
    torch.testing.assert_close(head.boxes[1], frame)


def test_positives_are_those_the_detector_trains_for(captured):
    outputs, inputs, losses = captured
    head = outputs.head
    assert head.positive.any()
    labels = head.assigned[head.positive]
    assert set(labels.tolist()) == {0, 2}
    for frame, rows in enumerate(head.positive):
        boxes = inputs.batch.boxes[frame]
        distance = torch.cdist(head.priors[frame][rows][:, :2], boxes[:, :2]).amin(1)
        assert distance.max() < 2.0
    assert losses["loss_cls"].item() == pytest.approx(focal_loss(head), rel=1e-4)


def test_an_output_that_was_not_asked_for_names_itself(model):
    inputs = FAMILY.voxelizer(GRID, training=True)(batch())
    with FAMILY.capture(model, {"neck"}, GRID) as take:
        FAMILY.observe(model, inputs)
    with pytest.raises(MissingOutputError, match="'head'.*needs"):
        take(inputs).head  # noqa: B018


def test_training_and_evaluation_have_their_own_voxel_limits():
    counts = [
        torch.bincount(FAMILY.voxelizer(GRID, training)(batch()).voxels["coors"][:, 0]).tolist()
        for training in (True, False)
    ]
    assert counts[0] == [300, 300]
    assert all(300 < count <= 400 for count in counts[1])


@pytest.mark.parametrize("last_is_empty", [False, True])
def test_frames_without_points_count_as_frames(model, last_is_empty):
    full, nothing = batch(1).points[0], torch.zeros(0, 4)
    points = [full, nothing] if last_is_empty else [nothing, nothing]
    both = batch()
    inputs = FAMILY.voxelizer(GRID, training=True)(Batch(both.boxes, both.labels, points, CLASSES))
    assert len(FAMILY.predict(model.eval(), inputs)) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pointpilars@4", "did you mean 'pointpillars'"),
        ("pointpillars@zero", "number of at least 1"),
        ("pointpillars@0.5", "number of at least 1"),
        ("pointpillars@", "number of at least 1"),
        ("pointpillars@1.0000001", "of six digits at most"),
        ("pointpillars@1234567.8", "of six digits at most"),
        ("pointpillars@1e9", "of six digits at most"),
        ("pointpillars@inf", "of six digits at most"),
    ],
)
def test_wrong_students_are_refused(text, message):
    with pytest.raises(DetectorError, match=message):
        parse_student(text)


def test_student_names_have_one_spelling():
    assert parse_student("pointpillars@4.0").name == "pointpillars@4"
    assert parse_student("pointpillars@1").name == "pointpillars"


def test_a_grid_that_the_network_cannot_halve_is_refused():
    with pytest.raises(DetectorError, match="33 cells along x.*multiple of 2.56 m"):
        FAMILY.build(4, Grid((0, -5.12, -3, 10.56, 5.12, 1), (0.32, 0.32, 4), (300, 400)))


@pytest.fixture
def encoders():
    """mmdet3d's encoder and ours with the same weights, in double precision."""
    torch.manual_seed(0)
    size = {"voxel_size": [0.32, 0.32, 4], "point_cloud_range": [0, -5.12, -3, 10.24, 5.12, 1]}
    theirs = PillarFeatureNet(feat_channels=[8], **size).double()
    with torch.no_grad():
        theirs.pfn_layers[0].norm.weight.normal_()
        theirs.pfn_layers[0].norm.bias.normal_()
    ours = PillarEncoder(feat_channels=[8], **size).double()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def pillars():
    """Points of 60 pillars with room for 32, some of them full; theirs and cells."""
    counts = torch.tensor([1, 2, 5, 31, 32, 3] * 10)
    points = torch.randn(60, 32, 4, dtype=torch.double)
    points[torch.arange(32) >= counts[:, None]] = 0
    cells = torch.stack([torch.zeros(60, dtype=torch.long), *torch.randint(0, 30, (3, 60))], 1)
    return points, counts, cells


@pytest.mark.parametrize("training", [True, False])
def test_the_pillar_encoder_is_mmdet3ds(encoders, training):
    """Without the padding: features, gradients and running statistics."""
    points, counts, cells = pillars()
    for encoder in encoders:
        encoder.train()(points.clone(), counts, cells)  # statistics to evaluate with
        encoder.train(training)
    theirs, ours = (encoder(points.clone(), counts, cells) for encoder in encoders)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(theirs)
    for output in (theirs, ours):
        (output * weight).sum().backward()
    theirs, ours = encoders
    for our_weight, their_weight in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(our_weight.grad, their_weight.grad)
    torch.testing.assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()))
