"""SECOND: mmdet3d's network at the paper's widths; its sparse encoder against dense convolution."""

import pytest
import torch
import torch.nn.functional as F
from frames import GRIDS, batch

from detectors import DetectorError, Grid, get_family

FAMILY = get_family("second")
GRID = GRIDS["second"]
RATIO = 4


def test_the_kitti_grid_and_encoder_are_mmdet3ds():
    grid = FAMILY.default_grid()
    assert grid.cells == (1408, 1600, 40)
    assert grid.max_voxels == (16000, 40000)
    config, plain = FAMILY.config(1, grid), FAMILY.base_config()
    encoder = FAMILY.build(1, grid).middle_encoder
    assert encoder.sparse_shape == plain["middle_encoder"]["sparse_shape"]
    for part in ("backbone", "neck"):
        assert config[part] == plain[part]
    assert config["bbox_head"]["in_channels"] == plain["bbox_head"]["in_channels"]


def test_widths_default_to_mmdet3ds():
    from mmdet3d.models.middle_encoders import SparseEncoder

    plain = SparseEncoder(in_channels=4, sparse_shape=[41, 64, 64])
    ours = FAMILY.build(1, GRID).middle_encoder
    assert ours.base_channels == plain.base_channels
    assert ours.encoder_channels == plain.encoder_channels
    assert ours.output_channels == plain.output_channels


def test_specs_tell_the_shapes_of_what_is_captured(model, captured):
    outputs, _, _ = captured
    spec = FAMILY.spec(model)
    assert outputs.local.values.shape[1] == spec.local.channels == 32
    assert [s.values.shape[1] for s in outputs.stages] == [s.channels for s in spec.stages]
    assert outputs.neck.values.shape[1] == spec.neck.channels
    assert outputs.head.class_logits.shape[2] == spec.classes
    assert [s.stride for s in outputs.stages] == [8, 16]
    for features in (*outputs.stages, outputs.neck):
        assert torch.equal(features.pre_relu.relu(), features.values)


def test_cells_know_where_they_are_and_how_many_points_they_hold(captured):
    outputs, inputs, _ = captured
    local, size = outputs.local, torch.tensor([1.28, 1.28, 0.8])
    assert (local.batch.diff() >= 0).all()
    assert inputs.voxels["coors"].is_contiguous()  # spconv misreads others without a word
    for row in range(0, len(local.batch), 7):
        frame = local.batch[row]
        offset = (inputs.batch.points[frame][:, :3] - local.xyz[row]).abs()
        inside = int((offset <= size / 2 + 1e-5).all(1).sum())
        assert abs(inside - local.count[row].item()) <= 1  # points on an edge
        mine = inputs.voxels["coors"][:, 0] == frame
        centres = inputs.voxels["voxel_centers"][mine]
        held = ((centres - local.xyz[row]).abs() <= size / 2).all(1)
        assert local.capped_count[row] == inputs.voxels["num_points"][mine][held].sum()
    assert (local.capped_count <= local.count).all()


def test_teacher_and_student_see_the_same_cells(model, captured):
    outputs, inputs, _ = captured
    teacher = FAMILY.build(1, GRID).eval()
    with torch.no_grad(), FAMILY.capture(teacher, {"local"}, GRID) as take:
        FAMILY.observe(teacher, inputs)
    assert torch.equal(take(inputs).local.xyz, outputs.local.xyz)
    assert torch.equal(take(inputs).local.batch, outputs.local.batch)


def test_every_parameter_is_trained_in_either_precision(model):
    inputs = FAMILY.voxelizer(GRID, training=True)(batch())
    for enabled in (False, True):
        model.train().zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = FAMILY.losses(model, inputs)
        sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("upper", "message"),
    [(0.9, "39 cells along z.*multiple of 0.8 m"), (-1.4, "16 cells along z.*three times")],
)
def test_a_height_that_the_encoder_cannot_halve_is_refused(upper, message):
    with pytest.raises(DetectorError, match=message):
        FAMILY.build(4, Grid((0, -5.12, -3, 10.24, 5.12, upper), GRID.voxel_size, GRID.max_voxels))


def test_the_sparse_encoder_equals_dense_convolution():
    """Submanifold and strided layers, values, gradients of weights and of inputs."""
    torch.manual_seed(0)
    grid = Grid((0, 0, -3, 1.6, 1.6, -0.6), (0.1, 0.1, 0.1), (100, 100))
    encoder = FAMILY.build(16, grid).middle_encoder.double().eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    shape = encoder.sparse_shape
    cells = torch.nonzero(torch.rand(2, *shape) < 0.03)
    features = torch.randn(len(cells), 4, dtype=torch.double, requires_grad=True)
    out = encoder(features, cells.int().contiguous(), 2)
    target = torch.randn_like(out)
    (out * target).sum().backward()
    weights = {name: p.grad.clone() for name, p in encoder.named_parameters()}
    inputs = features.grad.clone()

    encoder.zero_grad()
    features.grad = None
    values = torch.zeros(2, *shape, 4, dtype=torch.double)
    dense = values.index_put(tuple(cells.T), features).permute(0, 4, 1, 2, 3)
    active = torch.zeros(2, 1, *shape, dtype=torch.double)
    active[cells[:, 0], 0, cells[:, 1], cells[:, 2], cells[:, 3]] = 1
    expected = _dense_encoder(encoder, dense, active).flatten(1, 2)
    (expected * target).sum().backward()
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(inputs, features.grad, rtol=1e-9, atol=1e-9)
    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(weights[name], parameter.grad, rtol=1e-8, atol=1e-8)


def _dense_encoder(encoder, values, active):
    """The encoder with conv3d over all cells; inactive cells are held at zero."""
    stages = [encoder.conv_input, *encoder.encoder_layers.children(), encoder.conv_out]
    modules = [m for stage in stages for m in stage.modules() if not list(m.children())]
    for module in modules:
        if isinstance(module, torch.nn.BatchNorm1d):
            scale = module.weight / (module.running_var + module.eps).sqrt()
            shift = module.bias - module.running_mean * scale
            values = values * scale.view(1, -1, 1, 1, 1) + shift.view(1, -1, 1, 1, 1)
        elif isinstance(module, torch.nn.ReLU):
            values = values.relu()
        else:
            weight = module.weight.permute(0, 4, 1, 2, 3)
            values = F.conv3d(values, weight, stride=module.stride, padding=module.padding)
            if not module.subm:
                kernel = torch.ones(1, 1, *module.kernel_size, dtype=torch.double)
                active = F.conv3d(active, kernel, stride=module.stride, padding=module.padding)
                active = (active > 0).double()
        values = values * active
    return values
