"""What produced a record: versions, machine and threads, code and time."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.records.builds import PROJECT, SPCONV_FOR_CUDA
from benchmark.records.record import Environment, Provenance

if TYPE_CHECKING:
    import torch  # records are read without it

TOOLS = (PROJECT, "torch", "mmdet3d", "mmdet", "mmengine", "spconv", "numpy")
ALTERNATIVES = {"mmcv-lite": ["mmcv"], "spconv": SPCONV_FOR_CUDA}
"""Distributions that take the place of one, in the same folder."""
CODE = ("benchmark", "detectors", "kd_methods", "run_bench.py", "pyproject.toml")
"""The parts of a checkout that affect results."""


def provenance(device: torch.device) -> Provenance:
    """The provenance of a record that ends now."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    commit, clean = code_version()
    return Provenance(**environment(device), commit=commit, clean=clean, ended=now)


def environment(device: torch.device) -> Environment:
    """Versions, machine and threads: what timings depend on."""
    import torch

    from detectors.operators import sources

    return {
        "versions": {tool: tool_version(tool) for tool in TOOLS},
        "python": platform.python_version(),
        "machine": machine(device),
        "threads": torch.get_num_threads(),
        "operators": sorted(set(sources(device.type).values())),
    }


@cache
def code_version() -> tuple[str | None, bool | None]:
    """The commit that the code of this process is from, and whether nothing in it was changed.

    Both are looked up once for each process, as its code was loaded once. None where the code is
    neither a checkout nor was installed from one.
    """
    root = Path(__file__).parents[2]
    if (root / ".git").exists() and shutil.which("git"):
        try:
            commit = _git(root, "rev-parse", "HEAD")
            return commit, not _git(root, "status", "--porcelain", "--", *CODE)
        except (OSError, subprocess.CalledProcessError):
            return None, None
    return _installed_from(), None


def _git(root: Path, *words: str) -> str:
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *words]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode().strip()


def _installed_from() -> str | None:
    """The commit of an installation from a repository (PEP 610)."""
    try:
        told = importlib.metadata.distribution(TOOLS[0]).read_text("direct_url.json")
        return json.loads(told or "{}").get("vcs_info", {}).get("commit_id")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def machine(device: torch.device) -> str:
    """The processor that runs a device's work, and how many of it."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return f"{_processor()} ({os.cpu_count()} cores)"


def is_processor(name: str) -> bool:
    """Whether the name that :func:`machine` gave is of a processor, not of an accelerator."""
    return re.search(r" \(\d+ cores\)$", name) is not None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def tool_version(tool: str) -> str:
    """The installed version of a distribution or of what takes its place, or ``absent``."""
    return next((version(found) for found in installed(tool)), "absent")


def installed(tool: str) -> list[str]:
    """The distributions of a library that are installed."""
    return [found for found in (tool, *ALTERNATIVES.get(tool, [])) if version(found)]


def version(distribution: str) -> str:
    """The installed version of one distribution, or nothing."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
