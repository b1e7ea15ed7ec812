"""The stand-in for mmcv's extension: which implementation serves a call."""

from types import ModuleType

import pytest
import torch

import detectors.operators
from detectors.operators.extension import OURS, Extension


def test_a_missing_operator_names_itself_and_the_remedy():
    with pytest.raises(detectors.operators.MissingOperatorError, match="carafe_forward.*install"):
        Extension(None).carafe_forward(torch.zeros(1))


def compiled(cuda_version):
    module = ModuleType("compiled")
    module.get_compiling_cuda_version = lambda: cuda_version
    for name in ("nms", "iou3d_nms3d_forward", "carafe_forward"):
        setattr(module, name, lambda *args, name=name, **kwargs: f"compiled {name}")
    return module


def test_compiled_operators_serve_where_they_work():
    without = Extension(compiled("not available"))
    assert without.nms(torch.zeros(1)) == "compiled nms"
    assert without.carafe_forward(torch.zeros(1)) == "compiled carafe_forward"
    assert without.implementation("iou3d_nms3d_forward", "cpu") is OURS["iou3d_nms3d_forward"]
    assert without.implementation("nms", "cuda") is OURS["nms"]
    assert Extension(compiled("12.1")).implementation("nms", "cuda") is not OURS["nms"]


def test_sources_name_every_operator_of_ours():
    assert set(detectors.operators.sources("cpu")) == set(OURS)
