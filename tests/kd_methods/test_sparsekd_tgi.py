"""SparseKD's teacher-guided initialisation on PointPillars and on the layers of other families."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from detectors import Grid, get_family
from kd_methods import Batch, MethodError, create

GRID = Grid((0, -2.56, -3, 5.12, 2.56, 1), (0.16, 0.16, 4), (500, 500))
NARROW = {64: 32, 128: 64, 256: 128}
"""Widths of PointPillars and of its student with a quarter of the parameters."""


def pointpillars(ratio, seed, family="pointpillars"):
    torch.manual_seed(seed)
    model = get_family(family).build(ratio, GRID)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def initialise(student, teacher, way="FNAV2", name="pointpillars@4"):
    method = create(f"sparsekd_tgi:way={way}", name)
    method.initialise(student, teacher)


def predictions(model):
    random = torch.Generator().manual_seed(0)
    points = torch.rand(300, 4, generator=random) * torch.tensor([5.1, 5.1, 3, 1])
    points -= torch.tensor([0, 2.55, 2.5, 0])
    batch = Batch([torch.zeros(0, 7)], [torch.zeros(0, dtype=torch.long)], [points], ())
    inputs = get_family("pointpillars").voxelizer(GRID, training=False)(batch)
    with torch.no_grad():
        return model.bbox_head(model.extract_feat(inputs.tensors()))


def silence(model, kept):
    """Let only the kept channels of every batch norm be other than zero after the ReLU."""
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                dead = torch.ones(module.num_features, dtype=torch.bool)
                dead[kept(name, module)] = False
                module.weight[dead] = 0
                module.bias[dead] = 0


def test_a_student_as_wide_as_the_teacher_becomes_the_teacher():
    teacher, student = pointpillars(1, 0), pointpillars(1, 1)
    for way in ("FNAV2", "BN_SCALE", "OFA"):
        initialise(student, teacher, way, "pointpillars")
        for name, value in teacher.state_dict().items():
            assert torch.equal(student.state_dict()[name], value), name


def test_first_channels_of_every_layer_and_of_every_branch():
    teacher, student = pointpillars(1, 0), pointpillars(4, 1)
    initialise(student, teacher)
    wanted = teacher.state_dict()
    branches = [*range(64), *range(128, 192), *range(256, 320)]
    for name, value in student.state_dict().items():
        full = wanted[name]
        if name.startswith("bbox_head.") and name.endswith("weight"):
            expected = full[:, branches]
        else:
            expected = full[tuple(slice(size) for size in value.shape)]
        assert torch.equal(value, expected), name


def as_many_as_the_student(way):
    """Which channels of a teacher's batch norm are kept: the first ones, or any."""
    random = torch.Generator().manual_seed(3)

    def kept(name, norm):
        count = NARROW[norm.num_features] if not name.startswith("neck") else 64
        if way == "FNAV2":
            return torch.arange(count)
        return torch.randperm(norm.num_features, generator=random)[:count]

    return kept


@pytest.mark.parametrize("way", ["FNAV2", "BN_SCALE"])
def test_without_the_channels_that_are_left_out_the_student_is_the_teacher(way):
    teacher, student = pointpillars(1, 0), pointpillars(4, 1)
    silence(teacher, as_many_as_the_student(way))
    initialise(student, teacher, way)
    for theirs, ours in zip(predictions(teacher), predictions(student), strict=True):
        torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=1e-4)
        assert ours[0].std() > 0


@pytest.mark.parametrize("way", ["FNAV2", "BN_SCALE"])
def test_the_same_of_heads_whose_branches_read_one_layer(way):
    """CenterPoint's: the branches for offset, height, size, yaw and heat read the shared layer."""
    teacher, student = (pointpillars(r, i, "centerpoint_pillar") for i, r in enumerate((1, 4)))
    silence(teacher, as_many_as_the_student(way))
    initialise(student, teacher, way, "centerpoint_pillar@4")
    (theirs,), (ours,) = (predictions(model)[0] for model in (teacher, student))
    for name, values in ours.items():
        torch.testing.assert_close(values, theirs[name], rtol=1e-4, atol=1e-4)
        assert values.std() > 0


def test_largest_weights_over_the_channels_that_the_layer_reads():
    teacher, student = pointpillars(1, 0), pointpillars(4, 1)
    initialise(student, teacher, "OFA")
    wanted = teacher.state_dict()
    stage = "backbone.blocks.0"

    def best(importance: Tensor, count: int) -> list[int]:
        order = sorted(range(len(importance)), key=lambda c: -importance[c].item())
        return sorted(order[:count])

    pillar = best(wanted["voxel_encoder.pfn_layers.0.linear.weight"].abs().sum(1), 32)
    first = wanted[f"{stage}.0.weight"][:, pillar]
    kept = best(first.abs().sum((1, 2, 3)), 32)
    assert torch.equal(student.state_dict()[f"{stage}.0.weight"], first[kept])
    assert torch.equal(
        student.state_dict()[f"{stage}.1.running_mean"], wanted[f"{stage}.1.running_mean"][kept]
    )
    second = wanted[f"{stage}.3.weight"][:, kept]
    kept = best(second.abs().sum((1, 2, 3)), 32)
    assert torch.equal(student.state_dict()[f"{stage}.3.weight"], second[kept])


def test_the_teacher_stays_as_it_is():
    teacher, student = pointpillars(1, 0), pointpillars(4, 1)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    initialise(student, teacher)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name])


class Volume(nn.Module):
    """The weights of a sparse convolution, outputs first or last."""

    def __init__(self, inputs: int, outputs: int, outputs_first: bool) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.bias = inputs, outputs, None
        shape = (outputs, 3, 3, 3, inputs) if outputs_first else (3, 3, 3, inputs, outputs)
        self.weight = nn.Parameter(torch.randn(shape))


class Encoder(nn.Module):
    def __init__(self, width: int, outputs_first: bool, depth: int = 2) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(2 * width * depth, 3, 1))
        self.middle_encoder = nn.Sequential(
            Volume(4, width, outputs_first),
            nn.BatchNorm1d(width),
            Volume(width, 2 * width, outputs_first),
            nn.BatchNorm1d(2 * width),
        )


@pytest.mark.parametrize("outputs_first", [True, False])
def test_a_map_made_from_a_sparse_volume(outputs_first):
    teacher, student = Encoder(8, outputs_first), Encoder(4, outputs_first)
    with torch.no_grad():
        teacher.middle_encoder[1].weight.copy_(torch.tensor([9.0, 1, -8, 1, 7, 1, 1, 6]))
        scale = torch.ones(16)
        scale[[1, 4, 5, 7, 8, 11, 14, 15]] = 5
        teacher.middle_encoder[3].weight.copy_(scale)
    initialise(student, teacher, "BN_SCALE", "second@4")
    narrow, wide = [0, 2, 4, 7], [1, 4, 5, 7, 8, 11, 14, 15]
    theirs, ours = (net.middle_encoder[2].weight for net in (teacher, student))
    if outputs_first:
        expected = theirs[wide][..., narrow]
    else:
        expected = theirs[..., narrow, :][..., wide]
    assert torch.equal(ours, expected)
    flattened = [2 * channel + depth for channel in wide for depth in (0, 1)]
    assert torch.equal(student.backbone[0].weight, teacher.backbone[0].weight[:, flattened])


@pytest.mark.parametrize("outputs_first", [True, False])
def test_sparse_layers_are_scored_over_all_inputs(outputs_first):
    """The inputs that are left out decide which outputs of the second layer are kept."""
    teacher, student = Encoder(8, outputs_first), Encoder(4, outputs_first)
    first, second = teacher.middle_encoder[0].weight, teacher.middle_encoder[2].weight
    with torch.no_grad():
        first.fill_(1.0)
        (first[:4] if outputs_first else first[..., :4]).fill_(2.0)  # these outputs are kept
        second.fill_(0.1)
        chosen = second[8:] if outputs_first else second[..., 8:]
        (chosen[..., 4:] if outputs_first else chosen[..., 4:, :]).fill_(5.0)
        (chosen[..., :4] if outputs_first else chosen[..., :4, :]).fill_(0.0)
    initialise(student, teacher, "OFA", "second@4")
    ours = student.middle_encoder[2].weight
    assert ours.unique().tolist() == [0.0]  # by kept inputs it would be 0.1


class PointNet(nn.Module):
    """Two levels of set abstraction with two branches each, then feature propagation."""

    def __init__(self, c: int) -> None:
        super().__init__()

        def branches(inputs: int, *outputs: int) -> nn.Module:
            level = nn.Module()
            level.mlps = nn.ModuleList(nn.Sequential(nn.Linear(inputs, o)) for o in outputs)
            return level

        self.backbone = nn.Module()
        self.backbone.levels = nn.ModuleList(
            [branches(4, c, 2 * c), branches(3 + 3 * c, 4 * c, 4 * c)]
        )
        self.neck = nn.Module()
        self.neck.steps = nn.ModuleList(
            [nn.Sequential(nn.Linear(8 * c + 3 * c, 5 * c)), nn.Sequential(nn.Linear(5 * c + 1, 6))]
        )


def test_points_with_coordinates_branches_and_skips():
    teacher, student = PointNet(4), PointNet(2)
    initialise(student, teacher, name="pointrcnn@8")
    first_level = [0, 1, 4, 5, 6, 7]
    second_level = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]
    grouped = [0, 1, 2, *(3 + c for c in first_level)]
    skipped = [*second_level, *(32 + c for c in first_level)]
    for i in range(2):
        theirs, ours = (net.backbone.levels[1].mlps[i][0].weight for net in (teacher, student))
        assert torch.equal(ours, theirs[:8, grouped])
    theirs, ours = (net.neck.steps[0][0].weight for net in (teacher, student))
    assert torch.equal(ours, theirs[:10, skipped])
    theirs, ours = (net.neck.steps[1][0].weight for net in (teacher, student))
    assert torch.equal(ours, theirs[:, [*range(10), 20]])


def test_the_layers_of_pointrcnn_itself():
    family = get_family("pointrcnn")
    grid = replace(family.default_grid(), num_points=1024, proposals=40, roi_points=64)
    teacher, student, narrow = (family.build(ratio, grid) for ratio in (1, 1, 8))
    initialise(student, teacher, name="pointrcnn")
    assert all(map(torch.equal, student.state_dict().values(), teacher.state_dict().values()))
    initialise(narrow, teacher, name="pointrcnn@8")
    name = "backbone.SA_modules.0.mlps.0.layer0.conv.weight"
    theirs, ours = (network.state_dict()[name] for network in (teacher, narrow))
    assert torch.equal(ours, theirs[: len(ours)])


def test_pairs_that_do_not_suit_are_refused():
    with pytest.raises(MethodError, match="have different layers"):
        initialise(PointNet(2), nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(MethodError, match="wider"):
        initialise(PointNet(4), PointNet(2))
    with pytest.raises(MethodError, match="which layers 1 reads"):
        initialise(
            nn.Sequential(nn.Linear(4, 2), nn.Linear(3, 1)),
            nn.Sequential(nn.Linear(4, 4), nn.Linear(9, 1)),
        )
    with pytest.raises(MethodError, match="use FNAV2"):
        create("sparsekd_tgi:way=OFA", "pointrcnn@8").build(None, None)
