"""Imports point one way, and only where the design allows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "kd_methods": {"detectors", "benchmark", "mmdet3d", "mmdet", "mmcv", "mmengine", "spconv"},
    "detectors": {"benchmark"},
    "benchmark": {"mmdet3d", "mmdet", "mmcv", "spconv", "run_bench"},
}
MODULES = [path for room in FORBIDDEN for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    names = list(imported(path))
    assert not {name.partition(".")[0] for name in names} & FORBIDDEN[room]
    if room == "detectors":
        methods = [name for name in names if name.startswith("kd_methods")]
        assert all(name.startswith("kd_methods.core") for name in methods)


def test_only_the_operators_patch_libraries():
    for path in MODULES:
        if "operators" not in path.parts:
            assert "sys.modules" not in path.read_text(), path
