"""The device and precision that networks run with."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kd_methods.core.errors import PointKDError, describe

if TYPE_CHECKING:
    import torch  # loaded where it is used: settings are checked without it

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Names of precisions, and of PyTorch's data types."""
LIBRARIES = ("mmcv", "mmdet", "mmdet3d", "mmengine", "numba", "spconv", "torch")
"""Libraries whose warnings concern their own internals."""

UNFIT = (
    "no kernel image is available",
    "driver version is insufficient",
    "compiled with an unsupported toolchain",
)
"""What CUDA says where a build does not suit the machine."""


class SettingError(PointKDError):
    """A device or precision that this machine does not have."""


def unfit_build(error: BaseException) -> str:
    """What to say of an error that no cell, but a build of PyTorch or spconv is to blame for:
    one that does not know this graphics card or its driver. Nothing of any other error."""
    told = describe(error)
    if not any(sign in told for sign in UNFIT):
        return ""
    return (
        f"{told.splitlines()[0]}: PyTorch or spconv is built for other graphics cards or drivers; "
        "`run_bench.py doctor` names the build and what to do"
    )


def quiet_libraries() -> None:
    """Hide the warnings of libraries, and no others: a user's own method may warn."""
    for name in LIBRARIES:
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
    logging.getLogger("torch.fx").setLevel(logging.ERROR)


def let_numba_cache() -> None:
    """A folder for what Numba compiles, until this process ends, where it may write neither
    beside the code nor into the user's cache: without one it refuses to compile."""
    places = [Path(__file__).parent]
    with suppress(RuntimeError):  # nobody knows of a home
        places.append(Path.home() / ".cache" / "numba")
    if "NUMBA_CACHE_DIR" not in os.environ and not any(map(_writable, places)):
        folder = tempfile.mkdtemp(prefix="pointkd-numba-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["NUMBA_CACHE_DIR"] = folder


def _writable(folder: Path) -> bool:
    """Whether a folder, or the one in which it would be made, can be written."""
    there = next((place for place in (folder, *folder.parents) if os.path.exists(place)), folder)
    return os.access(there, os.W_OK)


def make_deterministic(device: torch.device) -> None:
    """Let PyTorch choose deterministic kernels; on CUDA it warns if there is none.

    cuBLAS reads its variable when it is first used; what the user has set stays.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    if hasattr(torch.utils, "deterministic"):  # PyTorch 2.1 fills nothing
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
        told = unfit_build(error) or str(error).splitlines()[0]
        raise SettingError(f"device {name!r} cannot be used: {told}") from None
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
