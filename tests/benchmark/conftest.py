"""A data set and a schedule small enough for tests that train."""

from dataclasses import replace
from pathlib import Path

import mmdet3d
import pytest
import torch
from mmengine import Config

from benchmark.config.matrix import Matrix, describe_data
from benchmark.config.profile import Profile
from benchmark.config.recipe import Recipe
from benchmark.data import synthetic
from benchmark.device import make_deterministic
from benchmark.running.workplace import Workplace
from detectors import Grid

GRID = Grid((0, -7.68, -3, 15.36, 7.68, 1), (0.32, 0.32, 4), (2000, 2000))
RECIPE = Recipe(epochs=2, batch_size=2, micro_batch_size=2, learning_rate=4e-4, grid=GRID)
PROFILE = Profile(
    name="tiny",
    purpose="a test",
    recipes={"pointpillars": RECIPE},
    synthetic={"train": 6, "val": 4, "max_range": 15.0, "seed": 1},
)


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory) -> Path:
    """A small synthetic set."""
    return synthetic.ensure(tmp_path_factory.mktemp("data"), **PROFILE.synthetic)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """Teachers and costs, shared by all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def make_workplace(synthetic_root, cache):
    """Makes a workplace with the shared data and cache from a results folder."""

    def make(results: Path) -> Workplace:
        make_deterministic(torch.device("cpu"))
        return Workplace(
            data=synthetic_root, results=results, cache=cache, device=torch.device("cpu")
        )

    return make


@pytest.fixture
def workplace(make_workplace, tmp_path) -> Workplace:
    """A fresh results folder."""
    return make_workplace(tmp_path / "results")


@pytest.fixture(scope="session")
def matrix(synthetic_root):
    """Makes a matrix over the small set: ``matrix(["none"], seeds=[0], epochs=1)``.

    Further arguments are fields of the recipe.
    """

    def make(methods, seeds=(0,), students=("pointpillars@4",), precision="fp32", **changes):
        recipe = replace(RECIPE, **changes)
        profile = replace(PROFILE, recipes={"pointpillars": recipe})
        data = describe_data(synthetic_root, synthetic=True)
        return Matrix(data, profile, list(students), list(methods), list(seeds), precision)

    return make


@pytest.fixture(scope="session")
def mmdet3d_config():
    """Reads mmdet3d's own KITTI config of a family, as installed with it."""
    folder = Path(mmdet3d.__file__).parent / ".mim" / "configs"
    names = {
        "pointpillars": "pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py",
        "second": "second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py",
        "pointrcnn": "point_rcnn/point-rcnn_8xb2_kitti-3d-3class.py",
        "pv_rcnn": "pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py",
    }
    return lambda family: Config.fromfile(str(folder / names[family]))
