"""Settings of the process that cells share, which a method must leave as they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from kd_methods import MethodError

_MODES: list[torch.inference_mode] = []
"""What was entered to undo another: a mode ends when nothing refers to it."""


def _flag(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """How to read an attribute, and how to put it back."""
    return partial(getattr, owner, name), partial(setattr, owner, name)


def _enter_inference_mode(enabled: bool) -> None:
    mode = torch.inference_mode(enabled)
    mode.__enter__()
    _MODES.append(mode)


SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "use of deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "precision of matrix products": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "inference mode": (torch.is_inference_mode_enabled, lambda on: _enter_inference_mode(on)),
    "anomaly detection": (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    "use of oneDNN": _flag(torch.backends.mkldnn, "enabled"),
    "use of cuDNN": _flag(torch.backends.cudnn, "enabled"),
    "benchmarks of cuDNN": _flag(torch.backends.cudnn, "benchmark"),
    "determinism of cuDNN": _flag(torch.backends.cudnn, "deterministic"),
    "TF32 of cuDNN": _flag(torch.backends.cudnn, "allow_tf32"),
    "handling of NumPy's errors": (np.geterr, lambda how: np.seterr(**how)),
    "working directory": (os.getcwd, os.chdir),
    "default device": (
        lambda: torch.empty(0).device,
        lambda device: torch.set_default_device(None if device.type == "cpu" else device),
    ),
}
"""How to read each, and how to put it back."""
if hasattr(torch, "get_autocast_dtype"):  # from 2.4 on, autocast is asked for by device
    for device in ("cpu", "cuda"):
        SETTINGS[f"autocast on {device}"] = (
            partial(torch.is_autocast_enabled, device),
            partial(torch.set_autocast_enabled, device),
        )


@contextmanager
def settings_kept(owner: str) -> Iterator[None]:
    """Put back whatever changes inside.

    Args:
        owner: who is blamed for a change.

    Raises:
        MethodError: something changed; names it.
    """
    before = {name: read() for name, (read, _) in SETTINGS.items()}
    try:
        yield
    finally:
        changed = _put_back(before)
    if changed:
        raise MethodError(
            f"{owner} changes the {' and the '.join(changed)}, which other cells share; put it back"
        )


def _put_back(before: dict[str, Any]) -> list[str]:
    """Restore settings; the names of those that had changed."""
    changed = [name for name, (read, _) in SETTINGS.items() if read() != before[name]]
    for name in changed:
        SETTINGS[name][1](before[name])
    return changed
