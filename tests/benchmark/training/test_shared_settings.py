"""What a method changes of its process is put back, and named."""

import os

import numpy as np
import pytest
import torch

from benchmark.training.shared_settings import SETTINGS, settings_kept
from kd_methods import MethodError

LEFT_OPEN = []
CHANGES = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "gradient mode": lambda: torch.set_grad_enabled(False),
    "number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "autocast on cpu": lambda: torch.set_autocast_enabled("cpu", True),
    "autocast on cuda": lambda: torch.set_autocast_enabled("cuda", True),
    "use of deterministic algorithms": lambda: torch.use_deterministic_algorithms(
        not torch.are_deterministic_algorithms_enabled()
    ),
    "precision of matrix products": lambda: torch.set_float32_matmul_precision("medium"),
    "inference mode": lambda: LEFT_OPEN.append(torch.inference_mode()) or LEFT_OPEN[-1].__enter__(),
    "anomaly detection": lambda: torch.set_anomaly_enabled(True),
    "use of oneDNN": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "use of cuDNN": lambda: setattr(torch.backends.cudnn, "enabled", False),
    "benchmarks of cuDNN": lambda: setattr(
        torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark
    ),
    "determinism of cuDNN": lambda: setattr(
        torch.backends.cudnn, "deterministic", not torch.backends.cudnn.deterministic
    ),
    "TF32 of cuDNN": lambda: setattr(
        torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32
    ),
    "default device": lambda: torch.set_default_device("meta"),
    "handling of NumPy's errors": lambda: np.seterr(all="ignore"),
    "working directory": lambda: os.chdir("/"),
}


def values():
    return {name: read() for name, (read, _) in SETTINGS.items()}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_change_is_put_back_and_named(name):
    before = values()
    told = f"somebody changes the (.* and the )?{name}"
    with pytest.raises(MethodError, match=told), settings_kept("somebody"):
        CHANGES[name]()
    assert values() == before


def test_a_change_is_put_back_where_there_is_an_error_of_its_own():
    before = values()
    with pytest.raises(ZeroDivisionError), settings_kept("somebody"):
        raise ZeroDivisionError(torch.set_default_dtype(torch.float64))
    assert values() == before


def test_what_changes_for_a_while_is_fine():
    with settings_kept("somebody"), torch.no_grad():
        torch.zeros(1)
