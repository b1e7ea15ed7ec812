"""SA-SSD's auxiliary network: what it is taught and what it reads, against brute force in numpy."""

import math

import numpy as np
import pytest
import torch
from frames import GRIDS, batch, capture, draw_objects

from detectors import DetectorError, get_family, load_detectors, parse_student
from detectors.core import registry
from detectors.core.checkpoints import export, load_network
from detectors.core.family import AUXILIARY
from detectors.parts.auxiliary_voxels import interpolate, point_targets
from kd_methods import Batch

CONFIG = '_base_ = "mmdet3d::sassd/sassd_8xb6-80e_kitti-3d-3class.py"\n'
GRID = GRIDS["second"]


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """SA-SSD from mmdet3d's config, forgotten afterwards."""
    known, added = dict(registry.FAMILIES), dict(registry._added)
    file = tmp_path_factory.mktemp("config") / "sassd.py"
    file.write_text(CONFIG)
    load_detectors({"sassd": file})
    yield get_family("sassd")
    for now, before in ((registry.FAMILIES, known), (registry._added, added)):
        now.clear()
        now.update(before)


@pytest.fixture
def model(family):
    torch.manual_seed(0)
    return family.build(4, GRID)


def cloud(counts, seed=0):
    """Points about where draw_objects has objects; the frame of each."""
    generator = torch.Generator().manual_seed(seed)
    size, low = torch.tensor([12.0, 12, 3]), torch.tensor([-1.0, -6, -2.5])
    points = torch.rand(sum(counts), 3, generator=generator) * size + low
    return points, torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def by_hand(point, boxes):
    """Offsets from the centres of the boxes that hold a point."""
    offsets = []
    for x, y, bottom, length, width, height, yaw in boxes:
        offset = point - np.array([x, y, bottom + height / 2])
        along = offset[0] * math.cos(yaw) + offset[1] * math.sin(yaw)
        across = offset[1] * math.cos(yaw) - offset[0] * math.sin(yaw)
        sides = np.abs([along, across, offset[2]]) < np.array([length, width, height]) / 2
        offsets += [offset] if sides.all() else []
    return offsets


def test_points_are_taught_their_objects_centre():
    points, frame = cloud([700, 300, 500])
    boxes = [draw_objects(count, seed)[0] for seed, count in enumerate([9, 0, 5])]
    targets = point_targets(points, frame, boxes)
    holding = [
        by_hand(point, boxes[number].double().numpy())
        for point, number in zip(points.double().numpy(), frame.tolist(), strict=True)
    ]
    assert targets.held.tolist() == [bool(offsets) for offsets in holding]
    assert 20 < targets.held.sum() < 1000
    for found, offsets in zip(targets.offset.numpy(), holding, strict=True):
        choices = offsets or [np.zeros(3)]
        assert any(np.allclose(found, one, atol=1e-5) for one in choices)


@pytest.mark.parametrize("counts", [(50, 1, 30), (2, 40, 3)])
def test_features_come_from_the_three_nearest_places_of_the_frame(counts):
    points, frame = cloud([60, 20, 40])
    places, frames = cloud(counts, seed=1)
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(2))
    places, frames = places[order], frames[order]  # spconv's are in any order
    features = torch.rand(len(places), 5)
    found = interpolate(points, frame, places, frames, features).numpy()
    for row, point, number in zip(found, points.numpy(), frame.numpy(), strict=True):
        theirs = np.flatnonzero(frames.numpy() == number)
        distance = np.linalg.norm(places.numpy()[theirs] - point, axis=1)
        nearest = np.argsort(distance)[:3]
        weight = 1 / distance[nearest]
        values = features.numpy()[theirs[nearest]]
        expected = (weight[:, None] * values).sum(axis=0) / weight.sum()
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)


def test_stages_lie_where_their_cells_do(family, model):
    """With features that are the cells' places, points read about their own place."""
    inputs = family.voxelizer(GRID, training=True)(batch())
    seen, auxiliary = [], model.auxiliary
    auxiliary.register_forward_hook(lambda module, given, output: seen.append(given))
    family.losses(model, inputs)
    ((points, frame, stages),) = seen
    low, size = (torch.tensor(v) for v in (GRID.point_cloud_range[:3], GRID.voxel_size))
    sides = [stride * size for stride in (2, 4, 8)]
    placed = [
        stage.replace_feature(low + (stage.indices[:, [3, 2, 1]] + 0.5) * side)
        for stage, side in zip(stages, sides, strict=True)
    ]
    auxiliary.point_fc = auxiliary.point_cls = auxiliary.point_reg = torch.nn.Identity()
    read, _ = auxiliary(points, frame, placed)
    for found, side in zip(read.split(3, dim=1), sides, strict=True):
        assert (found - points).abs().mean(dim=0).le(0.7 * side).all()


def test_it_is_in_the_losses_and_reaches_every_weight(family, model):
    _, _, losses = capture(family, model, GRID, batch(), {"local", "head"})
    assert {"aux_loss_cls", "aux_loss_reg"} < losses.keys()
    (losses["aux_loss_cls"] + losses["aux_loss_reg"]).backward(retain_graph=True)
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {n for n, _ in model.auxiliary.named_parameters(AUXILIARY)} <= reached
    last = "middle_encoder.encoder_layers.encoder_layer4.2.0.weight"
    assert {last, "middle_encoder.conv_input.0.weight"} <= reached
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_losses_are_the_formulas(family, model):
    inputs = family.voxelizer(GRID, training=True)(batch())
    read = []
    model.auxiliary.register_forward_hook(
        lambda module, given, output: read.append((given, output))
    )
    losses = family.losses(model, inputs)
    (((points, frame, _), (logits, offsets)),) = read
    held, offset = point_targets(points, frame, inputs.batch.boxes)
    count = 2 * held.sum()  # points times frames
    probability = torch.where(held, logits[:, 0].sigmoid(), 1 - logits[:, 0].sigmoid())
    alpha = torch.where(held, 0.25, 0.75)
    focal = -(alpha * (1 - probability) ** 2 * probability.log()).sum() / count
    error = (offsets - offset)[held].abs()
    smooth = torch.where(error < 1 / 9, 4.5 * error**2, error - 1 / 18).sum() / count
    torch.testing.assert_close(losses["aux_loss_cls"], focal, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses["aux_loss_reg"], smooth, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("autocast", [False, True])
def test_frames_without_objects_teach_little(family, model, autocast):
    full = batch()
    nothing = [torch.zeros(0, 7)] * 2, [torch.zeros(0, dtype=torch.long)] * 2
    empty = Batch(*nothing, full.points, GRID.class_names)
    inputs = family.voxelizer(GRID, training=True)(empty)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = family.losses(model.train(), inputs)
    assert losses["aux_loss_cls"].dtype == losses["aux_loss_reg"].dtype == torch.float32
    assert 0 < losses["aux_loss_cls"] < 1
    assert losses["aux_loss_reg"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_what_is_deployed_is_seconds_network(family, model, tmp_path):
    second = get_family("second").build(4, GRID)
    lean = family.deployed(model)
    assert {n: p.shape for n, p in lean.named_parameters()} == {
        n: p.shape for n, p in second.named_parameters()
    }
    assert lean.backbone is model.backbone
    assert hasattr(model, AUXILIARY)
    export(model, parse_student("sassd@4"), GRID, tmp_path)
    assert "SASSD" not in (tmp_path / "config.py").read_text().partition("model = ")[2]
    loaded = load_network("sassd@4", GRID, tmp_path / "model.pth")
    inputs = family.voxelizer(GRID, training=False)(batch())
    for mine, theirs in zip(
        family.predict(model.eval(), inputs), family.predict(loaded, inputs), strict=True
    ):
        torch.testing.assert_close(mine.boxes, theirs.boxes)


def test_a_student_of_another_encoder_is_refused(family, tmp_path):
    file = tmp_path / "plain.py"
    file.write_text(CONFIG + 'model = dict(middle_encoder=dict(type="SparseEncoder"))')
    with pytest.raises(DetectorError, match=r"middle_encoder is of type SparseEncoder, that of"):
        load_detectors({"sassd@plain": file})
