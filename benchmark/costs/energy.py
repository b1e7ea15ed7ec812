"""Energy counters: NVML's of a GPU, RAPL's of the processor's packages, where they can be read."""

from __future__ import annotations

from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
MICRO, MILLI = 1e-6, 1e-3


def read_joules(device: torch.device, powercap: Path = POWERCAP) -> float | None:
    """Joules that a device has used since some moment, idle power included; None if unreadable.

    A GPU's is NVML's total (package ``nvidia-ml-py``); the processor's is the sum of RAPL's
    packages, which Linux shows to root alone and virtual machines mostly not at all.
    """
    return _gpu(device) if device.type == "cuda" else _packages(powercap)


def _packages(powercap: Path) -> float | None:
    """RAPL's zones are named intel-rapl:PACKAGE; parts of a package have a second number."""
    zones = [zone for zone in powercap.glob("intel-rapl:*") if zone.name.count(":") == 1]
    try:
        counts = [int((zone / "energy_uj").read_text("ascii")) for zone in zones]
    except (OSError, ValueError):
        return None
    return sum(counts) * MICRO if counts else None


def _gpu(device: torch.device) -> float | None:
    try:
        import pynvml
    except ImportError:
        return None
    torch.cuda.synchronize(device)
    try:
        pynvml.nvmlInit()
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        millijoules = pynvml.nvmlDeviceGetTotalEnergyConsumption(
            pynvml.nvmlDeviceGetHandleByUUID(name)
        )
    except (AttributeError, pynvml.NVMLError):
        return None
    return millijoules * MILLI
