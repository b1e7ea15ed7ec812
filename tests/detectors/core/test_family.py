"""What holds for every detector family, besides what `check-detector` looks at."""

import gc
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from frames import GRIDS, batch
from mmdet3d.registry import MODELS
from mmengine.registry import DefaultScope

from detectors import get_family
from detectors.core.registry import FAMILIES

ROOT = Path(__file__).parents[3]
MILLIONS = {
    ("pointpillars", 1): 4.835, ("pointpillars", 4): 1.217, ("pointpillars", 16): 0.309,
    ("second", 1): 5.326, ("second", 4): 1.343, ("second", 16): 0.341,
    ("centerpoint_pillar", 1): 5.220, ("centerpoint_pillar", 4): 1.308,
    ("centerpoint_pillar", 16): 0.329, ("centerpoint_voxel", 1): 5.775,
    ("centerpoint_voxel", 4): 1.448, ("centerpoint_voxel", 16): 0.364,
    ("pointrcnn", 1): 4.043, ("pointrcnn", 8): 0.518, ("pointrcnn", 16): 0.259,
}  # fmt: skip
"""Parameters of all models; docs/protocol.md compares nine of them with the paper's."""


@pytest.fixture(params=sorted(FAMILIES), scope="module")
def family(request):
    return get_family(request.param)


@pytest.fixture(scope="module")
def model(family):
    torch.manual_seed(0)
    return family.build(FAMILIES[family.name].ratios[0], GRIDS[family.name])


def inputs_of(family, training):
    grid = GRIDS[family.name]
    return family.voxelizer(grid, training)(batch(points=grid.num_points or 1500))


def test_a_family_is_all_that_a_program_needs_to_import():
    """Where mmcv is not compiled, mmdet3d must not be imported before the operators."""
    program = "from detectors import get_family; get_family('pv_rcnn')"
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, cwd=ROOT)


@pytest.mark.parametrize(("name", "ratio"), MILLIONS)
def test_parameters_on_the_kitti_grid(name, ratio):
    family = get_family(name)
    assert ratio in (1, *FAMILIES[family.name].ratios)
    model = family.build(ratio, family.default_grid())
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert round(millions, 3) == MILLIONS[name, ratio]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["pointpillars", "second", "pv_rcnn"])
def test_voxels_are_those_of_mmdet3ds_preprocessor(name, training):
    family, grid = get_family(name), replace(GRIDS[name], max_voxels=(250, 300))
    frames = batch(frames=3)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        theirs = MODELS.build(family.config(1, grid)["data_preprocessor"]).train(training)
    expected = theirs.voxelize(frames.points, [])
    for kind, found in family.voxelizer(grid, training)(frames).voxels.items():
        assert found.dtype == expected[kind].dtype
        assert torch.equal(found, expected[kind])


def test_steps_leave_no_tensors_behind(family, model):
    inputs = inputs_of(family, training=True)
    alive = []
    for _ in range(4):
        sum(family.losses(model.train(), inputs).values()).backward()
        gc.collect()
        alive.append(sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects()))
    assert alive[1] == alive[2] == alive[3]
