"""Fixtures that several test folders share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def kitti_root() -> Path:
    """The folder of real KITTI frames, or a skip that says where it was looked for."""
    root = Path(
        os.environ.get("POINTKD_KITTI", Path(__file__).parents[2] / "shared" / "kitti")
    ).resolve()
    if not root.is_dir():
        pytest.skip(f"no real KITTI frames in {root}; set POINTKD_KITTI to their folder")
    return root
