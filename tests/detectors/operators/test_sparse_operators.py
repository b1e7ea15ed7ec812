"""spconv's layers on the CPU against dense convolution, values and gradients."""

from inspect import getclosurevars, signature

import pytest
import spconv.pytorch as spconv
import torch
import torch.nn.functional as F
from spconv.pytorch import ops

from detectors.operators.per_batch import Searches, remembering
from detectors.operators.sparse import in_order

SHAPE = (6, 7, 8)


@pytest.fixture
def cells():
    torch.manual_seed(0)
    return torch.nonzero(torch.rand(2, *SHAPE) < 0.3).int().contiguous()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("kind", "stride"), [(spconv.SubMConv3d, 1), (spconv.SparseConv3d, 2), (spconv.SparseConv3d, 1)]
)
def test_a_layer_equals_a_dense_one(cells, kind, stride, bias):
    layer = kind(3, 5, 3, stride=stride, padding=1, bias=bias).double()
    features = torch.randn(len(cells), 3, dtype=torch.double, requires_grad=True)
    made = layer(spconv.SparseConvTensor(features, cells, SHAPE, 2))
    target = torch.randn_like(made.features)
    (made.features * target).sum().backward()
    ours = [features.grad, *(p.grad for p in layer.parameters())]
    features.grad = None
    layer.zero_grad()

    frame, z, y, x = cells.long().T
    dense = torch.zeros(2, *SHAPE, 3, dtype=torch.double).index_put((frame, z, y, x), features)
    weight = layer.weight.permute(0, 4, 1, 2, 3)
    out = F.conv3d(dense.permute(0, 4, 1, 2, 3), weight, layer.bias, stride, padding=1)
    frame, z, y, x = made.indices.long().T
    expected = out[frame, :, z, y, x]
    (expected * target).sum().backward()
    torch.testing.assert_close(made.features, expected)
    theirs = [features.grad, *(p.grad for p in layer.parameters())]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_a_layer_of_a_cuda_build_runs_on_the_cpu(cells):
    """CUDA builds give layers an algorithm that the CPU does not have."""
    layer = spconv.SparseConv3d(2, 3, 3, stride=2, indice_key="d")
    made = spconv.SparseConvTensor(torch.randn(len(cells), 2), cells, SHAPE, 2)
    layer.algo = spconv.ConvAlgo.Native
    expected = layer(made).features
    layer.algo = spconv.ConvAlgo.MaskImplicitGemm
    assert torch.equal(layer(made).features, expected)
    assert layer.algo == spconv.ConvAlgo.MaskImplicitGemm  # as it was for CUDA


def test_an_inverse_layer_has_the_gradients_of_differences(cells):
    down = spconv.SparseConv3d(2, 3, 3, stride=2, padding=1, bias=False, indice_key="d").double()
    up = spconv.SparseInverseConv3d(3, 2, 3, bias=False, indice_key="d").double()

    def apply(features):
        return up(down(spconv.SparseConvTensor(features, cells, SHAPE, 2))).features

    features = torch.randn(len(cells), 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(apply, (features,), fast_mode=True)


def test_sums_do_not_depend_on_threads(cells):
    """spconv's own CPU arithmetic fails this with two threads."""
    layer = spconv.SubMConv3d(4, 16, 3, bias=False)
    features = torch.randn(len(cells), 4)
    threads = torch.get_num_threads()
    try:
        found = []
        for number in (1, 2, 2, 2):
            torch.set_num_threads(number)
            found.append(layer(spconv.SparseConvTensor(features, cells, SHAPE, 2)).features)
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        torch.testing.assert_close(found[0], other)
    assert torch.equal(found[1], found[2])
    assert torch.equal(found[1], found[3])


def test_arithmetic_stays_in_float32_under_autocast(cells):
    layer = spconv.SubMConv3d(4, 16, 3, bias=False)
    features = torch.randn(len(cells), 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(spconv.SparseConvTensor(features, cells, SHAPE, 2)).features
        assert out.dtype == torch.float32
    out.sum().backward()
    assert features.grad.dtype == torch.float32


def test_on_cuda_cells_are_found_in_order_and_once_per_batch(cells):
    calls = []

    def find(*arguments, **named):
        calls.append(named)
        return len(calls)

    found = in_order(find)
    with remembering(Searches()):
        assert found(cells, 1, [4, 4, 4], ksize=[3, 3, 3], alloc=object()) == 1
        assert found(cells, 1, [4, 4, 4], ksize=[3, 3, 3], alloc=object()) == 1
        assert found(cells, 1, [4, 4, 4], ksize=[1, 3, 3], alloc=object()) == 2
        assert found(cells[1:], 1, [4, 4, 4], ksize=[3, 3, 3], alloc=object()) == 3
    assert all(named["direct_table"] is False and "alloc" in named for named in calls)
    assert "direct_table" in signature(unwrapped()).parameters


def unwrapped():
    """spconv's own function, out of what stands in its place."""
    return dict(getclosurevars(ops.get_indice_pairs_implicit_gemm).nonlocals)["find"]
