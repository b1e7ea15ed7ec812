"""Methods by name, their settings, and plugins."""

from typing import Literal

import pytest
import torch

from kd_methods import KDMethod, MethodError, create, load_plugin, method_class, method_names
from kd_methods.core import registry
from kd_methods.core.catalogue import BUILT_IN
from kd_methods.core.registry import register, source_files, source_hash

PLUGIN = """
from kd_methods import KDMethod, register

@register("{name}", paper="a test", year=2026)
class Plugin(KDMethod):
    '''A test.'''
    scale: float = 2.0

    def needs(self):
        return {{"neck"}}

    def loss(self, teacher, student, batch):
        return {{"loss": self.scale * student.neck.values.mean()}}
"""


@register("many_settings", paper="a test", year=2026)
class ManySettings(KDMethod):
    """Has a setting of every type."""

    mode: Literal["a", "b"] = "a"
    count: int = 3
    rate: float = 0.5
    flag: bool = False
    power: Literal[1, 2] = 2
    limit: float | None = None
    table = {"second": {"count": 4, "rate": 0.1}, "second@4": {"count": 5}}
    lidar_source = ("second@4",)

    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        return {"loss": torch.ones(()), "other": torch.ones(())}


def test_every_method_of_ours_registers_under_its_name():
    assert set(BUILT_IN) <= set(method_names())
    for name in BUILT_IN:
        cls = method_class(name)
        assert cls.name == name
        assert cls.paper
        assert 2010 < cls.year < 2030
        assert cls.__doc__


def test_settings_are_converted_to_the_type_of_their_default():
    text = "many_settings:mode=b:count=7:rate=1e-3:flag=true:weight=2:power=1:limit=0.5"
    method = create(text, "pointpillars@4")
    assert method.hyperparameters() == {
        "weight": 2.0, "mode": "b", "count": 7, "rate": 0.001, "flag": True, "power": 1,
        "limit": 0.5,
    }  # fmt: skip
    assert create("many_settings:limit=none", "pointpillars@4").limit is None


def test_a_student_overrides_its_family_and_a_user_overrides_both():
    def values(text, student):
        method = create(text, student)
        return method.count, method.rate, method.extrapolated()

    assert values("many_settings", "pointpillars@4") == (3, 0.5, True)
    assert values("many_settings", "second@16") == (4, 0.1, True)
    assert values("many_settings", "second@4") == (5, 0.1, False)
    assert values("many_settings:count=9", "second@4")[0] == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fitnt", "unknown method 'fitnt', did you mean 'fitnet'"),
        ("many_settings:cuont=1", "unknown setting 'cuont', did you mean 'count'"),
        ("many_settings:count=x", "many_settings:count is 'x'; it must be of type int"),
        ("many_settings:rate=nan", "many_settings:rate is 'nan'"),
        ("many_settings:flag=maybe", "use true or false"),
        ("many_settings:mode=c", "use one of a, b"),
        ("many_settings:power=3", "use one of 1, 2"),
        ("many_settings:limit=x", "many_settings:limit is 'x'; it must be of type float"),
        ("many_settings:count", "setting 'count' must be key=value"),
        ("fitnet+fitnet", "contains a method twice"),
        ("many_settings:mode=\u202eb", "write methods and settings in plain ASCII"),
        ("many_settings:mode=\x1b[2J", "write methods and settings in plain ASCII"),
    ],
)
def test_wrong_names_and_settings_are_explained(text, message):
    with pytest.raises(MethodError, match=message):
        create(text, "pointpillars@4")


def test_weight_multiplies_every_loss():
    losses = create("many_settings:weight=3", "pointpillars@4")(None, None, None)
    assert {name: value.item() for name, value in losses.items()} == {"loss": 3, "other": 3}


def test_a_composition_adds_its_parts_each_with_its_own_weight():
    method = create("many_settings:weight=3+fitnet:weight=2", "pointpillars@4")
    assert method.needs() == {"neck", "stages"}
    assert method.hyperparameters() == {
        "many_settings": create("many_settings:weight=3", "pointpillars@4").hyperparameters(),
        "fitnet": {"weight": 2.0},
    }
    assert method.extrapolated()
    alone = create("many_settings:weight=3+logit_kd", "pointpillars@4")._parts()[0]
    assert alone(None, None, None)["loss"].item() == 3


def test_a_plugin_file_adds_its_methods(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(name="from_a_file"))
    assert load_plugin(path) == ["from_a_file"]
    assert "from_a_file" in method_names()
    assert create("from_a_file:scale=5", "pointpillars@4").scale == 5.0


@pytest.mark.parametrize("folder", ["it's $x", "日本", "caf\udce9"])
def test_a_plugin_is_loaded_whatever_its_path(tmp_path, folder):
    name = f"from_{folder.encode(errors='replace').hex()}"
    path = tmp_path / folder / "ö plugin.py"
    path.parent.mkdir()
    path.write_text(PLUGIN.format(name=name))
    assert load_plugin(path) == [name]
    assert source_hash(name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module", r"bad.py:1: ModuleNotFoundError.*no_such_module"),
        ("import sys; sys.exit()", r"bad.py:1: SystemExit"),
        ("import torch\ntorch.nn.Linear(-1, 2)", r"bad.py:2: RuntimeError"),
        ("x = 1\ndef f(:\n", r"bad.py.*SyntaxError"),
        ("x = 1", "registers no method; decorate a class with @register"),
        (PLUGIN.format(name="fitnet"), "'fitnet' is taken by kd_methods.fitnet"),
        (PLUGIN.format(name="none"), "'none' is taken"),
        (PLUGIN.format(name="all"), "'all' is taken"),
        (PLUGIN.format(name="teacher"), "'teacher' is taken"),
        (PLUGIN.format(name="missing"), "'missing' is taken"),
        (PLUGIN.format(name="composition"), "'composition' is taken"),
        (PLUGIN.format(name="\uff4e\uff4f\uff4e\uff45"), "not a valid method name"),
        (PLUGIN.format(name="many_settings"), "'many_settings' is taken"),
        (PLUGIN.format(name="two words"), "not a valid method name"),
        (PLUGIN.format(name="bad1").replace("(KDMethod)", ""), "subclass of kd_methods.KDM"),
        (PLUGIN.format(name="bad2").replace("def needs", "def nedes"), "must define needs"),
        (
            PLUGIN.format(name="bad3").replace("student, batch", "student"),
            r"bad.py: Plugin.loss must be loss\(self, teacher, student, batch\)",
        ),
    ],
)
def test_a_bad_plugin_says_what_is_wrong(tmp_path, source, message):
    path = tmp_path / "bad.py"
    path.write_text(source)
    with pytest.raises(MethodError, match=message):
        load_plugin(path)


@pytest.mark.parametrize(
    ("annotated", "message"),
    [
        ("float = float('inf')", "odd_default:scale is inf; it must be of type float"),
        ("float = float('nan')", "odd_default:scale is nan; it must be of type float"),
        ("int = float('inf')", "odd_default:scale is inf; it must be of type int"),
        ("set = set()", "odd_default:scale is annotated <class 'set'>; use bool, int"),
        ("int | str = 1", "odd_default:scale has several types"),
    ],
)
def test_a_default_that_no_record_can_hold_is_refused(tmp_path, annotated, message):
    path = tmp_path / f"odd{abs(hash(annotated))}.py"
    source = PLUGIN.format(name="odd_default").replace("float = 2.0", annotated)
    path.write_text(source)
    try:
        load_plugin(path)
        with pytest.raises(MethodError, match=message):
            create("odd_default", "pointpillars@4")
    finally:
        registry._registered.pop("odd_default", None)


def test_a_default_of_numpy_becomes_plain(tmp_path):
    path = tmp_path / "of_numpy.py"
    path.write_text(
        "import numpy\n" + PLUGIN.format(name="of_numpy").replace("2.0", "numpy.float32(2)")
    )
    load_plugin(path)
    assert type(create("of_numpy", "pointpillars@4").scale) is float


def test_postponed_annotations_are_looked_up_in_the_plugin(tmp_path):
    path = tmp_path / "postponed.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from typing import Literal as Word\n"
        "@dataclass\nclass Pair:\n    first: int = 1\n"
        + PLUGIN.format(name="postponed").replace("scale: float = 2.0", "scale: Word[2, 3] = 2")
    )
    load_plugin(path)
    assert create("postponed:scale=3", "pointpillars@4").scale == 3


def test_the_source_of_a_plugin_is_all_that_it_imports_and_nobody_installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    helper, inner = tmp_path / "kd_test_helper.py", tmp_path / "kd_test_inner" / "deep.py"
    inner.parent.mkdir()
    (inner.parent / "__init__.py").write_text("from . import deep\n")
    inner.write_text("x = 1\n")
    helper.write_text("import kd_test_inner\n")
    path = tmp_path / "with_helper.py"
    lazy = "        import numpy, kd_test_helper\n        return {{"
    path.write_text(PLUGIN.replace("        return {{", lazy).format(name="with_helper"))
    load_plugin(path)
    files = {file.name for file in source_files(method_class("with_helper"))}
    assert files == {"with_helper.py", "kd_test_helper.py", "__init__.py", "deep.py"}
    before = source_hash("with_helper")
    for file in (helper, inner):
        file.write_text(file.read_text() + "# edited\n")
        assert source_hash("with_helper") != before
        before = source_hash("with_helper")


def test_a_file_that_is_no_python_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(MethodError, match="notes.txt is no Python file: it does not end in .py"):
        load_plugin(tmp_path / "notes.txt")


def test_a_missing_plugin_file_is_named(tmp_path):
    with pytest.raises(MethodError, match="absent.py does not exist"):
        load_plugin(tmp_path / "absent.py")
