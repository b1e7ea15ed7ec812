"""What made a record: versions, machine, threads."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch  # records are read without it

TOOLS = ("pointkd-bench", "torch", "mmdet3d", "mmdet", "mmengine", "spconv", "numpy")


def provenance(device: torch.device) -> dict[str, Any]:
    """Versions, machine and threads behind a record."""
    import torch

    from detectors.operators import sources

    return {
        "versions": {tool: tool_version(tool) for tool in TOOLS},
        "python": platform.python_version(),
        "machine": machine(device),
        "threads": torch.get_num_threads(),
        "operators": sorted(set(sources(device.type).values())),
    }


def machine(device: torch.device) -> str:
    """The processor that runs a device's work, and how many of it."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return f"{_processor()} ({os.cpu_count()} cores)"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def tool_version(tool: str) -> str:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
