"""Fixtures that several test folders share."""

import os
from pathlib import Path

# As in run_bench.py, and for the same reason.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import pytest


@pytest.fixture(scope="session")
def kitti_root() -> Path:
    """The folder of real KITTI frames, or a skip that says where it was looked for."""
    root = Path(
        os.environ.get("POINTKD_KITTI", Path(__file__).parents[2] / "shared" / "kitti")
    ).resolve()
    if not root.is_dir() and os.environ.get("CI") == "true":
        pytest.fail(f"no real KITTI frames in {root}, which CI must have")
    if not root.is_dir():
        pytest.skip(f"no real KITTI frames in {root}; set POINTKD_KITTI to their folder")
    return root
