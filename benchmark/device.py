"""The device and precision that networks run with."""

from __future__ import annotations

import logging
import os
import warnings
from typing import TYPE_CHECKING

from kd_methods.core.errors import PointKDError

if TYPE_CHECKING:
    import torch  # loaded where it is used: settings are checked without it

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Names of precisions, and of PyTorch's data types."""
LIBRARIES = ("mmcv", "mmdet", "mmdet3d", "mmengine", "numba", "spconv", "torch")
"""Libraries whose warnings concern their own internals."""


class SettingError(PointKDError):
    """A device or precision that this machine does not have."""


def quiet_libraries() -> None:
    """Hide the warnings of libraries, and no others: a user's own method may warn."""
    for name in LIBRARIES:
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
    logging.getLogger("torch.fx").setLevel(logging.ERROR)


def make_deterministic(device: torch.device) -> None:
    """Let PyTorch choose deterministic kernels; on CUDA it warns if there is none.

    cuBLAS reads its variable when it is first used; what the user has set stays.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` chooses CUDA if available.

    Raises:
        SettingError: no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise SettingError(
            f"device {name!r} cannot be used: {str(error).splitlines()[0]}"
        ) from None
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """The precision of that name; ``auto`` chooses bf16 if the device has units for it.

    Raises:
        SettingError: no such precision.
    """
    if name == "auto":
        return "bf16" if _fast_bf16(device) else "fp32"
    if name not in PRECISIONS:
        raise SettingError(
            f"unknown precision {name!r}; use auto or one of {', '.join(PRECISIONS)}"
        )
    if name == "fp16" and device.type != "cuda":
        raise SettingError("precision 'fp16' needs a CUDA device; use bf16 or fp32 here")
    return name


def _fast_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 instructions (on x86: AVX-512 BF16 or AMX)."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
