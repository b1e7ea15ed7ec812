"""A data set and a schedule small enough for tests that train."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmark.cohort import Workplace
from benchmark.data import synthetic
from benchmark.matrix import Matrix, describe_data
from benchmark.profiles import Profile
from benchmark.training import make_deterministic

GRID = {
    "point_cloud_range": [0, -7.68, -3, 15.36, 7.68, 1],
    "voxel_size": [0.32, 0.32, 4],
    "max_voxels": [2000, 2000],
}
PROFILE = Profile(
    name="tiny",
    purpose="a test",
    epochs=2,
    batch_size=2,
    learning_rate=4e-4,
    synthetic={"train": 6, "val": 4, "max_range": 15.0, "seed": 1},
    grids={"pointpillars": GRID},
)


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory) -> Path:
    """A small embedded set."""
    return synthetic.ensure(tmp_path_factory.mktemp("data"), **PROFILE.synthetic)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """Teachers and costs, shared by all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def workplace(synthetic_root, cache, tmp_path) -> Workplace:
    """A fresh results folder over the shared data and cache."""
    make_deterministic(torch.device("cpu"))
    return Workplace(synthetic_root, tmp_path / "results", cache, torch.device("cpu"))


@pytest.fixture(scope="session")
def matrix(synthetic_root):
    """Makes a matrix over the small set: ``matrix(["none"], seeds=[0], epochs=1)``."""

    def make(methods, seeds=(0,), students=("pointpillars@4",), precision="fp32", **changes):
        profile = replace(PROFILE, **changes)
        data = describe_data(synthetic_root, synthetic=True)
        return Matrix(data, profile, list(students), list(methods), list(seeds), precision)

    return make
