"""Every method of ours passes the checks, and the checks find what is wrong."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.conformance import checks
from benchmark.conformance.checks import CHECKS, method_checks, run_checks
from kd_methods import (
    KDMethod,
    MethodError,
    create,
    load_plugin,
    register,
    written_forms,
)
from kd_methods.core.catalogue import BUILT_IN

OURS = [form for name in sorted(BUILT_IN) for form in written_forms(name)]
STUDENT = "pointpillars@4"


@pytest.mark.parametrize("method", [*OURS, "sparsekd_logit+sparsekd_label+sparsekd_tgi"])
def test_every_method_of_ours_conforms(method, monkeypatch):
    once = partial(checks._step_seconds, steps=1)  # the check of costs never fails
    monkeypatch.setattr(checks, "_step_seconds", once)
    outcomes = list(run_checks(method, [STUDENT]))
    assert [outcome.check for outcome in outcomes] == list(CHECKS)
    assert {o.status for o in outcomes if o.check != "cost"} == {"passed"}
    assert outcomes[-1].status in ("passed", "warning")


def test_families_that_lack_spconv_are_left_out(monkeypatch):
    monkeypatch.setattr("detectors.operators.sparse.available", lambda: False)
    families = {student.split("@")[0] for student in checks.default_students()}
    assert families == {"pointpillars", "centerpoint_pillar", "pointrcnn"}


OLD_PLUGIN = '''"""OldKd: what `new-method` wrote in version 0.1."""
{future}
from typing import Literal

from kd_methods import Boxes, Dense, KDMethod, register
from kd_methods.core.features import adapter


@register("{name}", paper="Author et al., Venue", year=2026)
class OldKd(KDMethod):
    """The student's neck features, through an adapter, follow the teacher's.

    Source: paper, section, equation.
    """

    power: int = 2
    mode: Literal["mean", "sum"] = "mean"

    def needs(self):
        return {{"neck"}}

    def build(self, teacher, student):
        self.adapter = adapter(student.neck, teacher.neck)

    def loss(self, teacher, student, batch):
        neck: Dense = student.neck
        difference = self.adapter(neck.values) - teacher.neck.values
        return {{"neck": getattr(difference.abs().pow(self.power), self.mode)()}}
'''


@pytest.mark.parametrize("future", ["", "from __future__ import annotations"])
def test_plugins_of_version_0_1_conform_unchanged(tmp_path, monkeypatch, future):
    name = f"old_kd_{len(future)}"
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(OLD_PLUGIN.format(name=name, future=future))
    assert load_plugin(plugin) == [name]
    assert create(f"{name}:mode=sum", STUDENT).mode == "sum"
    with pytest.raises(MethodError, match="use one of mean, sum"):
        create(f"{name}:mode=max", STUDENT)
    some = ("documented", "finite", "gradients", "deterministic", "state_dict", "learns")
    monkeypatch.setattr(checks, "CHECKS", {check: CHECKS[check] for check in some})
    assert [o.status for o in run_checks(name, [STUDENT])] == ["passed"] * len(some)


class Plain(KDMethod):
    """Does nothing wrong.

    Source: none, a test.
    """

    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        return {"mean": (student.neck.values.mean() - teacher.neck.values.mean()).square()}


@register("ok_method", paper="a test", year=2026)
class OkMethod(Plain):
    """Does nothing wrong.

    Source: none, a test.
    """

    def loss(self, teacher, student, batch):
        return super().loss(teacher, student, batch)


def broken(name, check):
    """Decorator that registers a method which must fail one check."""

    def decorate(cls):
        cls.fails = check
        BROKEN[name] = check
        return register(name, paper="a test", year=2026)(cls)

    return decorate


BROKEN: dict[str, str] = {}


@broken("bad_docstring", "documented")
class BadDocstring(Plain):
    """Says nothing of where it comes from."""

    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        return super().loss(teacher, student, batch)


@broken("bad_value", "finite")
class BadValue(Plain):
    """Source: a test."""

    def loss(self, teacher, student, batch):
        return {"log": student.neck.values.min().log() - torch.inf}


@broken("bad_direction", "gradients")
class BadDirection(Plain):
    """Source: a test."""

    def loss(self, teacher, student, batch):
        return {"mean": teacher.neck.values.mean() - student.neck.values.mean().detach()}


@broken("bad_writer", "no_mutation")
class BadWriter(Plain):
    """Source: a test."""

    def loss(self, teacher, student, batch):
        teacher.neck.values.mul_(2)
        return super().loss(teacher, student, batch)


@broken("bad_noise", "deterministic")
class BadNoise(Plain):
    """Source: a test."""

    generator = np.random.default_rng(0)

    def loss(self, teacher, student, batch):
        noise = float(self.generator.normal())
        return {"noise": noise * student.neck.values.mean()}


@broken("bad_count", "sparse_frames")
class BadCount(Plain):
    """Source: a test."""

    def loss(self, teacher, student, batch):
        objects = sum(len(boxes) for boxes in batch.boxes)
        return {"per_object": student.neck.values.mean() / objects}


@broken("bad_dtype", "global_state")
class BadDtype(Plain):
    """Source: a test."""

    def build(self, teacher, student):
        torch.set_default_dtype(torch.float64)

    def loss(self, teacher, student, batch):
        return super().loss(teacher, student, batch)


@broken("bad_memory", "no_leak")
class BadMemory(Plain):
    """Source: a test."""

    def loss(self, teacher, student, batch):
        self.__dict__["last"] = teacher.neck.values
        return super().loss(teacher, student, batch)


@broken("bad_guest", "deployed_student")
class BadGuest(Plain):
    """Source: a test."""

    def initialise(self, student, teacher):
        student.guest = nn.Linear(3, 3)

    def loss(self, teacher, student, batch):
        return super().loss(teacher, student, batch)


@broken("bad_sign", "learns")
class BadSign(Plain):
    """Source: a test."""

    def loss(self, teacher, student, batch):
        return {"constant": 1 + 0 * student.neck.values.mean()}


@broken("bad_weight", "weight_zero")
class BadWeight(Plain):
    """Source: a test."""

    def loss(self, teacher, student, batch):
        student.neck.values.retain_grad()
        student.neck.values.register_hook(lambda gradient: 2 * gradient)
        return super().loss(teacher, student, batch)


@broken("bad_state", "state_dict")
class BadState(Plain):
    """Source: a test."""

    def build(self, teacher, student):
        self.__dict__["steps"] = [0]

    def loss(self, teacher, student, batch):
        self.steps[0] += 1
        return {"grows": self.steps[0] * student.neck.values.mean().square()}


@pytest.mark.parametrize("method", list(BROKEN))
def test_each_fault_is_found_by_its_check(method, monkeypatch):
    monkeypatch.setattr(checks, "CHECKS", {BROKEN[method]: CHECKS[BROKEN[method]]})
    (outcome,) = run_checks(method, [STUDENT])
    assert outcome.status == "failed"
    assert outcome.remark
    assert torch.get_default_dtype() == torch.float32


def test_a_method_that_suits_no_family_is_skipped_with_its_reason():
    @register("suits_nothing", paper="a test", year=2026)
    class SuitsNothing(Plain):
        """Source: a test."""

        def build(self, teacher, student):
            raise MethodError("suits_nothing: it asks for 1000 channels")

    assert checks.suitability(STUDENT, "suits_nothing") == "does not fit"
    outcomes = list(run_checks("suits_nothing", [STUDENT]))
    assert {outcome.status for outcome in outcomes} == {"skipped"}
    assert "1000 channels" in outcomes[0].remark


def test_a_method_that_suits_is_told_with_its_cost_and_source(monkeypatch):
    seconds = iter([1.0, 1.25, 2.0, 1.9])
    monkeypatch.setattr(checks, "_step_seconds", lambda bench, method: next(seconds))
    assert checks.suitability(STUDENT, "fitnet") == "+25%, source"
    assert checks.suitability(STUDENT, "logit_kd") == "-5%, extrapolated"


def test_an_error_is_told_once_with_its_place_and_the_rest_is_not_run():
    @register("asks_for_neks", paper="a test", year=2026)
    class AsksForNeks(Plain):
        """Source: a test."""

        def needs(self):
            return {"neks"}

    @register("divides", paper="a test", year=2026)
    class Divides(Plain):
        """Source: a test."""

        def loss(self, teacher, student, batch):
            return {"mean": student.neck.values.mean() * (1 / 0)}

    told = {"asks_for_neks": "did you mean 'neck'", "divides": "ZeroDivisionError"}
    for method, words in told.items():
        documented, finite, *rest = run_checks(method, [STUDENT])
        assert (documented.status, finite.status) == ("passed", "failed")
        assert words in finite.remark
        assert "(test_checks.py:" in finite.remark
        assert {outcome.status for outcome in rest} == {"not run"}


def test_a_costly_method_is_a_warning(monkeypatch):
    seconds = iter([1.0, 1.5])
    monkeypatch.setattr(checks, "_step_seconds", lambda bench, method: next(seconds))
    monkeypatch.setattr(checks, "CHECKS", {"cost": CHECKS["cost"]})
    (outcome,) = run_checks("ok_method", [STUDENT])
    assert (outcome.status, outcome.remark.startswith("+50%")) == ("warning", True)


@method_checks("ok_method", [STUDENT], expected_failures={"learns": "a test of declared failures"})
def test_strangers_can_declare_a_failure(check, request):
    if "learns" in request.node.name:
        raise AssertionError
    check()


def test_an_unknown_check_cannot_be_declared():
    with pytest.raises(ValueError, match="unknown check 'lerns'"):
        method_checks("ok_method", expected_failures={"lerns": "x"})
