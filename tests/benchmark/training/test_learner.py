"""An error is told with its place in the method's own code."""

import importlib
import re

import pytest

from benchmark.training.learner import place_of
from kd_methods import create

CORE = """
from kd_methods import KDMethod, register
from {package}.helpers import distance


@register("{package}", paper="a test", year=2026)
class Packaged(KDMethod):
    def needs(self):
        return {{"neck"}}

    def loss(self, teacher, student, batch):
        return {{"distance": distance(teacher, student)}}
"""
HELPERS = """
def distance(teacher, student):
    raise ValueError("too far")
"""


def error_of(method):
    with pytest.raises(ValueError, match="too far") as caught:
        method.loss(None, None, None)
    return caught.value


@pytest.mark.parametrize("form", ["{0}", "{0}+fitnet"])
def test_a_helper_in_another_file_of_a_package_is_named(tmp_path, monkeypatch, form):
    package = f"packaged_kd_{len(form)}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "core.py").write_text(CORE.format(package=package))
    (folder / "helpers.py").write_text(HELPERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module(f"{package}.core")
    error = error_of(create(package, "pointpillars@4"))
    method = create(form.format(package), "pointpillars@4")
    assert place_of(error, method, "loss") == " (helpers.py:3 in distance)"


def test_without_a_line_of_its_own_the_function_that_was_called_is_named():
    place = place_of(ValueError("elsewhere"), create("fitnet", "pointpillars@4"), "needs")
    assert re.fullmatch(r" \(fitnet.py:\d+ in needs\)", place)
