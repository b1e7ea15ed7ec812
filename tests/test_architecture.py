"""Imports point one way, from room to room and from module to module."""

import ast
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    {"run_bench"},
    {"benchmark.commands"},
    {"benchmark.report", "benchmark.running"},
    {"benchmark.leaderboard", "benchmark.costs", "benchmark.doctor"},
    {"benchmark.conformance", "benchmark.evaluation"},
    {"benchmark.training"},
    {"benchmark.config"},
    {"benchmark.records", "benchmark.data"},
    {"benchmark.files", "benchmark.device", "benchmark.signals"},
    {"detectors"},
    {"kd_methods"},
]
"""From the top; a room imports only from floors below its own."""
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
LIBRARIES = {
    "run_bench": {"torch", "mmdet3d", "mmdet", "mmcv", "mmengine", "spconv"},
    "benchmark": {"mmdet3d", "mmdet", "mmcv", "spconv"},
    "kd_methods": {"mmdet3d", "mmdet", "mmcv", "mmengine", "spconv"},
}
"""What a package leaves to those below it."""
PACKAGES = ("kd_methods", "detectors", "benchmark")


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = [ROOT / "run_bench.py", *(p for top in PACKAGES for p in (ROOT / top).rglob("*.py"))]
MODULES = {name_of(path): path for path in FILES}


def imported(path):
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def room_of(module):
    return next((room for room in FLOOR if f"{module}.".startswith(f"{room}.")), None)


def test_every_module_is_in_a_room():
    assert [m for m in MODULES if m != "benchmark" and room_of(m) is None] == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module):
    room = room_of(module)
    for name in imported(MODULES[module]):
        other = room_of(name)
        upward = other is not None and other != room and FLOOR[other] <= FLOOR[room]
        assert not upward, f"{module} imports {name}, which is on its floor or above"
    assert not {n.partition(".")[0] for n in imported(MODULES[module])} & LIBRARIES.get(
        module.partition(".")[0], set()
    )


SCRIPTS = sorted((ROOT / "tests" / "perf").glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_what_scripts_import_is_there(path):
    """Nothing else runs them all."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in PACKAGES:
            module = import_module(node.module)
            lacking = [a.name for a in node.names if not hasattr(module, a.name)]
            assert [n for n in lacking if f"{node.module}.{n}" not in MODULES] == []


def test_detectors_know_nothing_of_methods_but_their_core():
    for module, path in MODULES.items():
        if module.startswith("detectors"):
            methods = [name for name in imported(path) if name.startswith("kd_methods")]
            assert all(name.startswith("kd_methods.core") for name in methods), module


def test_no_module_imports_itself_in_a_circle():
    graph = {
        module: {name for name in imported(path) if name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()


def test_only_the_operators_patch_libraries():
    """A user's module is entered by hand, as `importlib` asks for."""
    for module, path in MODULES.items():
        if "operators" not in path.parts and module != "kd_methods.core.user_code":
            assert "sys.modules[" not in path.read_text(), path


def without_encoding(call):
    """Whether a call reads or writes text in whatever encoding the user's shell happens to have."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = {word.arg: word.value for word in call.keywords}
    values = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
    if name == "run":
        return "text" in given
    if name == "open":
        binary = any(isinstance(v, str) and "b" in v and len(v) <= 3 for v in values)
        return not binary and "encoding" not in given and ast.unparse(call.func) != "os.open"
    if isinstance(call.func, ast.Attribute) and name in ("read_text", "write_text"):
        return "encoding" not in given and len(call.args) < (1 if name == "read_text" else 2)
    return False


def test_every_text_has_an_encoding():
    """Without one, LC_ALL=C decides what is read, and what ends in a UnicodeError."""
    found = [
        f"{module}: {ast.unparse(node)}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and without_encoding(node)
    ]
    assert found == []
