"""Set abstraction of stacked frames against mmdet3d's layer."""

import pytest
import torch
from mmdet3d.models.layers.pointnet_modules.stack_point_sa_module import StackedSAModuleMSG

from detectors.parts.set_abstraction import SetAbstraction

COUNTS, CENTRES = (300, 0, 80), (40, 5, 25)


@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_are_mmdet3ds(training):
    torch.manual_seed(0)
    settings = {"in_channels": 6, "radius": (0.5, 1.5), "sample_nums": (4, 16)}
    ours, theirs = (
        layer(**settings, mlp_channels=((8, 5), (7, 9))).train(training)
        for layer in (SetAbstraction, StackedSAModuleMSG)
    )
    theirs.load_state_dict(ours.state_dict())
    xyz, centres = (5 * torch.rand(sum(counts), 3) for counts in (COUNTS, CENTRES))
    centres[3] += 50
    given = {
        "xyz": xyz,
        "xyz_batch_cnt": torch.tensor(COUNTS, dtype=torch.int),
        "new_xyz": centres,
        "new_xyz_batch_cnt": torch.tensor(CENTRES, dtype=torch.int),
    }
    found = []
    for layer in (ours, theirs):
        features = torch.linspace(-1, 1, sum(COUNTS) * 6).view(-1, 6).sin().requires_grad_()
        places, values = layer(**given, features=features)
        assert torch.equal(places, centres)
        (values * torch.linspace(0, 1, values.numel()).view(values.shape)).sum().backward()
        found.append([values, features.grad, *(p.grad for p in layer.parameters())])
    assert found[0][0].shape == (70, 14)
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)
