"""Counted work against hand counts, brute force, PyTorch's own counter and the paper's figures."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from frames import batch
from spconv.pytorch import SparseConv3d, SparseConvTensor, SparseInverseConv3d, SubMConv3d
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from detectors import DetectorError, Grid, get_family, parse_student
from detectors.core.flops import count_work, index_pairs

SMALL = {
    "pointpillars": Grid((0, -5.12, -3, 10.24, 5.12, 1), (0.16, 0.16, 4), (500, 500)),
    "second": Grid((0, -5.12, -3, 10.24, 5.12, 1), (0.16, 0.16, 0.1), (1500, 1500)),
    "pointrcnn": Grid((0, -5.12, -3, 10.24, 5.12, 1), num_points=1024, proposals=8, roi_points=32),
}
PRINTED = {
    "pointpillars": 34.3,
    "pointpillars@4": 9.0,
    "pointpillars@16": 2.5,
    "second": 69.8,
    "second@4": 17.8,
    "second@16": 4.6,
    "pointrcnn": 104.9,
    "pointrcnn@8": 13.7,
    "pointrcnn@16": 7.1,
}
"""GFLOPs of PointDistiller's table 1."""

LAYERS = {
    "convolution": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 7), 2 * 6 * 5 * 4 * 4 * 9),
    "grouped": (nn.Conv2d(4, 6, (3, 1), groups=2), (1, 4, 5, 5), 6 * 3 * 5 * 2 * 3),
    "transposed": (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 3, 5), 4 * 3 * 5 * 6 * 4),
    "on points": (nn.Conv1d(4, 6, 1), (2, 4, 10), 2 * 10 * 4 * 6),
    "linear": (nn.Linear(4, 6), (2, 10, 4), 2 * 10 * 4 * 6),
}


@pytest.mark.parametrize("name", LAYERS)
def test_dense_layers_equal_a_hand_count_and_pytorch(name):
    layer, shape, expected = LAYERS[name]
    with count_work(layer) as work, FlopCounterMode(display=False) as counter:
        result = layer(torch.zeros(shape))
    assert work.multiply_accumulates == expected == counter.get_total_flops() // 2
    assert work.activations == result.numel()


def test_mmcv_counts_biases_norms_and_activations_too():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(100, 3)
    )
    with count_work(model.eval()) as work:
        model(torch.zeros(1, 2, 5, 5))
    convolution, linear = 25 * 4 * 2 * 9, 300
    assert work.multiply_accumulates == convolution + linear
    assert work.mmcv_flops == convolution + 100 + 2 * 100 + 100 + linear


def sparse(cells, shape, channels=3):
    """A sparse tensor of two frames."""
    return SparseConvTensor(torch.rand(len(cells), channels), cells, shape, 2)


def cells_of(shape, count, seed):
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(2 * shape[0] * shape[1] * shape[2], generator=generator)[:count]
    return torch.from_numpy(np.stack(np.unravel_index(chosen.numpy(), (2, *shape)), axis=1)).int()


def pairs_by_brute_force(layer, given, result):
    """Every output cell and kernel position, in plain Python."""
    geometry = list(
        zip(layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True)
    )
    if layer.subm:
        geometry = [(size, 1, size // 2 * step, step) for size, _, _, step in geometry]
    present = {tuple(cell) for cell in given.indices.tolist()}
    pairs = 0
    for frame, *cell in result.indices.tolist():
        for position in itertools.product(*map(range, layer.kernel_size)):
            axes = zip(cell, position, geometry, strict=True)
            read = (c * stride - pad + k * step for c, k, (_, stride, pad, step) in axes)
            pairs += (frame, *read) in present
    return pairs


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "layer",
    [
        SubMConv3d(3, 5, 3, padding=1, indice_key="a"),
        SubMConv3d(3, 5, 3, dilation=2, indice_key="a"),
        SparseConv3d(3, 5, 3, stride=2, padding=1, indice_key="a"),
        SparseConv3d(3, 5, 3, stride=2, padding=[0, 1, 1], indice_key="a"),
        SparseConv3d(3, 5, (3, 1, 1), stride=(2, 1, 1), indice_key="a"),
    ],
    ids=lambda layer: f"{type(layer).__name__}{layer.kernel_size}{layer.stride}{layer.padding}",
)
def test_index_pairs_equal_brute_force_and_the_rulebook(layer, seed):
    shape = [5, 8, 7]
    given = sparse(cells_of(shape, 90, seed), shape)
    with count_work(layer) as work:
        result = layer(given)
    pairs = index_pairs(layer, given, result)
    assert pairs == pairs_by_brute_force(layer, given, result)
    assert pairs == (result.indice_dict["a"].indice_pairs[0] >= 0).sum()
    assert work.multiply_accumulates == pairs * 3 * 5
    assert work.activations == len(result.features) * 5
    assert work.mmcv_flops == 0


class Scale(nn.Module):
    """A layer that nobody knows."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, values):
        return self.factor * values


def test_an_unknown_layer_is_an_error_that_names_it():
    model = nn.Sequential(nn.Linear(2, 2), Scale())
    with pytest.raises(DetectorError, match=r"1 \(Scale\)"), count_work(model):
        model(torch.zeros(1, 2))


def test_a_layer_whose_weights_others_use_is_an_error():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(DetectorError, match="1 never ran"), count_work(model):
        nn.functional.linear(model[0](torch.zeros(1, 2)), model[1].weight)


def test_an_inverse_sparse_convolution_is_an_error():
    down = SparseConv3d(3, 5, 3, stride=2, padding=1, indice_key="a")
    up = SparseInverseConv3d(5, 3, 3, indice_key="a")
    given = sparse(cells_of([4, 4, 4], 20, 0), [4, 4, 4])
    with pytest.raises(DetectorError, match="inverse"), count_work(up):
        up(down(given))


@pytest.mark.parametrize("name", SMALL)
def test_a_family_equals_what_pytorch_counts(name):
    """On the CPU spconv multiplies gathered rows by PyTorch's mm, one row per pair."""
    family, grid = get_family(name), SMALL[name]
    torch.manual_seed(0)
    model = family.build(16, grid).eval()
    inputs = family.voxelizer(grid, training=False)(batch(frames=1, points=1024))
    with count_work(model) as work, FlopCounterMode(display=False) as counter:
        family.predict(model, inputs)
    found = {str(name): n // 2 for name, n in counter.get_flop_counts()["Global"].items()}
    rotations = found.pop("aten.bmm", 0)
    assert found.keys() <= {"aten.convolution", "aten.mm", "aten.addmm"}
    assert work.multiply_accumulates == sum(found.values())
    assert rotations < 0.01 * work.multiply_accumulates


def gigaflops(family, model, grid):
    with count_work(model) as work:
        family.dry_run(model, grid)
    return work.mmcv_flops / 1e9


@pytest.mark.parametrize("student", PRINTED)
def test_flops_at_mmdet3ds_grid_are_those_of_the_paper(student):
    _, family, ratio = parse_student(student)
    grid = family.default_grid()
    model = family.build(ratio, grid).eval()
    if student in ("pointrcnn", "pointrcnn@8"):  # linear in the proposals; all 512 take long
        few, more = (gigaflops(family, model, replace(grid, proposals=n)) for n in (4, 8))
        found = few + (more - few) * (grid.proposals - 4) / 4
    else:
        found = gigaflops(family, model, grid)
    assert round(found, 1) == PRINTED[student]
