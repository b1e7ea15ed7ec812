"""Which builds of the libraries suit this machine; ``make setup`` installs what it prints.

    python benchmark/records/builds.py [EXTRA ...]

It runs before any library is there: nothing outside Python's own is imported.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator

PROJECT = "pointkd-bench"
SPCONV_FOR_CUDA = [f"spconv-cu{cuda}" for cuda in (113, 114, 116, 117, 118, 120, 121, 124, 126)]
"""Builds of spconv by version of CUDA, times ten; each brings its libraries along."""


def driver() -> int | None:
    """The newest CUDA, times ten, that the NVIDIA driver runs; None where no driver answers."""
    if not (tool := shutil.which("nvidia-smi")):
        return None
    try:
        run = subprocess.run([tool], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(rb"CUDA Version: *(\d+)\.(\d)", run.stdout)
    return 10 * int(found[1]) + int(found[2]) if found else None


def spconv_for(cuda: int | None) -> str:
    """The distribution of spconv for a driver; older than any build, or no driver: the CPU's."""
    fit = [build for build in SPCONV_FOR_CUDA if cuda and int(build[-3:]) <= cuda]
    return fit[-1] if fit else "spconv"


def has_kernels(built: Iterable[str], capability: tuple[int, int]) -> bool:
    """Whether a build's kernels run on a graphics card.

    Args:
        built: architectures as PyTorch names them: ``sm_80`` runs on cards from 8.0 on of the same
            generation, ``compute_80`` is compiled for whatever is newer.
        capability: of the card, e.g. (8, 9).
    """
    for name in built:
        kind, _, number = name.partition("_")
        major, minor = divmod(int(re.sub(r"\D", "", number)), 10)
        if (major, minor) <= capability and (kind == "compute" or major == capability[0]):
            return True
    return False


def requirements(asked: Iterable[str], extras: Iterable[str], spconv: str) -> Iterator[str]:
    """What to install.

    Args:
        asked: as the project's metadata has them, with markers.
        extras: whose requirements are wanted besides.
        spconv: the distribution that takes its place.
    """
    for line in asked:
        need, _, extra = line.partition(" extra == ")
        need = need.rstrip("; ")
        if not extra or extra.strip("\"'") in extras:
            yield re.sub(r"^spconv(?![\w-])", spconv, need)


if __name__ == "__main__":
    asked = importlib.metadata.requires(PROJECT) or []
    print("\n".join(requirements(asked, sys.argv[1:], spconv_for(driver()))))
