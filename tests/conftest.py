"""Fixtures that several test folders share."""

import gc
import os
from contextlib import suppress
from pathlib import Path

# As in run_bench.py, and for the same reason.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import pytest

LONG = (
    "running/test_ray.py", "conformance/test_scaffold.py", "conformance/test_checks.py",
    "running/test_cohort.py", "tests/test_run_bench.py", "running/test_process.py",
    "training/test_lockstep.py", "tests/test_example_package.py", "running/test_sharing.py",
    "running/test_kills.py", "running/test_setups.py", "benchmark/test_signals.py",
    "report/test_page.py", "conformance/test_detector_suite.py",
)  # fmt: skip
"""Files that take longest. They run first, so that no worker waits for one of them at the end."""


def pytest_collection_modifyitems(items):
    rank = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get("/".join(item.path.parts[-2:]), len(LONG)))


def pytest_collection_finish():
    gc.freeze()  # the objects of modules and test items, not to be walked at every collection


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


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """A worker of pytest-xdist that dies ends the whole run, as failed and at once.

    pytest-xdist would go on without the worker, or with another one, and may wait for ever.
    """
    if error:
        running = None
        with suppress(KeyError):  # it died before it collected the tests
            running = node.config.pluginmanager.get_plugin("dsession").sched.remove_node(node)
        where = f"in {running}" if running else "between two tests"
        pytest.exit(f"worker {node.gateway.id} died {where}: {error}", returncode=1)
