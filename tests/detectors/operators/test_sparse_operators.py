"""spconv's backward without CUDA."""

import pytest
import spconv.pytorch as spconv
import torch
import torch.nn.functional as F


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_submanifold_convolution_has_the_gradients_of_a_dense_one():
    torch.manual_seed(0)
    shape, channels = (6, 7, 8), (3, 5)
    occupied = torch.nonzero(torch.rand(shape) < 0.3)
    index = torch.cat([torch.zeros(len(occupied), 1), occupied], dim=1).int()
    features = torch.randn(len(index), channels[0], requires_grad=True)
    layer = spconv.SubMConv3d(*channels, 3, padding=1, bias=False)
    out = layer(spconv.SparseConvTensor(features, index, shape, 1)).features
    target = torch.randn_like(out)
    (out * target).sum().backward()

    z, y, x = occupied.T
    dense = torch.zeros(1, channels[0], *shape)
    dense[0, :, z, y, x] = features.detach().T
    dense.requires_grad_()
    weight = layer.weight.detach().permute(0, 4, 1, 2, 3).clone().requires_grad_()
    expected = F.conv3d(dense, weight, padding=1)[0, :, z, y, x].T
    (expected * target).sum().backward()
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        layer.weight.grad.permute(0, 4, 1, 2, 3), weight.grad, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(features.grad, dense.grad[0, :, z, y, x].T, rtol=1e-4, atol=1e-4)
