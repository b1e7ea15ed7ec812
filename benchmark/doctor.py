"""What works on this machine, and how to fix the rest."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from benchmark.files import FolderError, in_shell
from benchmark.files.locks import LockError
from benchmark.files.trial import ROOM, try_folder
from benchmark.records.builds import driver, has_kernels, spconv_for
from benchmark.records.provenance import TOOLS, installed, version

LOW_DISK = 10.0
"""Free gigabytes below which there is a warning."""
SIZE = 1024
"""Side of the matrices whose product is timed."""
REPEATS = 5
OTHER_TORCH = (
    "rm -r .venv, then make setup TORCH_INDEX=INDEX with the index that pytorch.org names for this "
    "driver and graphics card"
)
TOO_NEW = (("2.2", "setuptools", "70"), ("2.3", "numpy", "2"))
"""A version of PyTorch, and since when a library cannot be used by those before it."""


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        level: ``ok``; ``warning`` where something optional is missing; ``problem`` where the
            benchmark cannot run, or not correctly.
        subject: what was checked.
        told: what was found.
        remedy: what to do; empty where all is well.
    """

    level: Literal["ok", "warning", "problem"]
    subject: str
    told: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.level:8} {self.subject}: {self.told}"
        return f"{line}\n{'':9}-> {self.remedy}" if self.remedy else line


def examine(
    data: Path | None, folders: Sequence[Path], thorough: bool = False
) -> Iterator[Finding]:
    """Check everything that a run needs, one thing after the other.

    Args:
        data: folder in KITTI's layout to check too.
        folders: whose file systems are tried.
        thorough: also build and run a network of each family, and time precisions.
    """
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("Python", _python),
        ("packages", _packages),
        ("versions", _versions),
        ("mmcv", _mmcv),
        ("PyTorch", _torch),
        ("spconv", _spconv),
        ("operators", _operators),
        ("precision", _timed_precision if thorough else _precision),
        ("detectors", _networks if thorough else _detectors),
        ("Ray", _ray),
        *(("folder", partial(_folder, folder)) for folder in folders),
    ]
    if data is not None:
        checks.append(("data", lambda: _data(data)))
    for subject, check in checks:
        try:
            yield from check()
        except Exception as error:  # a broken installation may raise anything
            told = f"{type(error).__name__}: {error}".splitlines()[0]
            yield Finding("problem", subject, told, "fix the problems above, or reinstall")


def _python() -> Iterator[Finding]:
    fine = (3, 10) <= sys.version_info[:2] < (3, 13)
    remedy = "" if fine else "use Python 3.10, 3.11 or 3.12"
    yield Finding("ok" if fine else "problem", "Python", platform.python_version(), remedy)


def _packages() -> Iterator[Finding]:
    """The installed versions against those that the package asks for."""
    from packaging.requirements import Requirement

    try:
        asked = importlib.metadata.requires(TOOLS[0]) or []
    except importlib.metadata.PackageNotFoundError:
        remedy = "pip install --editable . in the repository"
        yield Finding("warning", "packages", f"{TOOLS[0]} is not installed", remedy)
        return
    wrong = []
    for text in asked:
        need = Requirement(text)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        versions = [version(name) for name in installed(need.name)]
        if not versions:
            wrong.append(f"{need.name} is missing")
        elif not any(need.specifier.contains(version, prereleases=True) for version in versions):
            wrong.append(f"{need.name} is {versions[0]}, not {need.specifier}")
    if wrong:
        remedy = "pip install --constraint constraints.txt --editable ."
        yield Finding("problem", "packages", "; ".join(wrong), remedy)
    else:
        yield Finding("ok", "packages", f"{len(asked)} requirements checked")


def _versions() -> Iterator[Finding]:
    """Libraries that are too new for an old PyTorch, which says so in riddles."""
    from packaging.version import Version

    torch = version("torch")
    for below, name, bound in TOO_NEW:
        found = version(name)
        if not torch or not found or Version(torch) >= Version(below):
            continue
        if Version(found) >= Version(bound):
            told = f"PyTorch {torch} does not work with {name} {found}"
            yield Finding("problem", "versions", told, f"pip install '{name}<{bound}'")


def _mmcv() -> Iterator[Finding]:
    found = installed("mmcv-lite")
    if len(found) > 1:
        told = "mmcv and mmcv-lite are installed in one folder and overwrite each other"
        remedy = "pip uninstall --yes mmcv mmcv-lite, then install the one you want"
        yield Finding("problem", "mmcv", told, remedy)
    elif not found:
        yield Finding("problem", "mmcv", "not installed", "pip install 'mmcv-lite>=2.0.0,<2.2'")
    else:
        kind = "compiled" if found == ["mmcv"] else "without compiled operators, which suffices"
        yield Finding("ok", "mmcv", f"{found[0]} {version(found[0])}, {kind}")


def _torch() -> Iterator[Finding]:
    import torch

    told, cuda = f"{torch.__version__}, {torch.get_num_threads()} threads", driver()
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        told += f", CUDA {torch.version.cuda} ({_runs(cuda)}): {', '.join(names)}"
        if lacking := _without_kernels(torch.cuda.get_arch_list()):
            yield Finding("problem", "PyTorch", f"{told}; built {lacking}", OTHER_TORCH)
        else:
            yield Finding("ok", "PyTorch", told)
    elif cuda:
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        remedy = f"{OTHER_TORCH}; or update the driver"
        yield Finding("warning", "PyTorch", f"{told}, built {built}, but {_runs(cuda)}", remedy)
    else:
        yield Finding("ok", "PyTorch", f"{told}, CPU; no NVIDIA driver answers")


def _without_kernels(built: Sequence[str]) -> str:
    """For which architectures something is built, where a graphics card is none of them."""
    import torch

    cards = {
        torch.cuda.get_device_name(i): torch.cuda.get_device_capability(i)
        for i in range(torch.cuda.device_count())
    }
    lacking = [f"{n} (sm_{a}{b})" for n, (a, b) in cards.items() if not has_kernels(built, (a, b))]
    return f"for {', '.join(built)}, not for {', '.join(lacking)}" if lacking else ""


def _runs(cuda: int | None) -> str:
    """What the driver runs, which decides on builds."""
    return f"the driver runs CUDA up to {cuda // 10}.{cuda % 10}" if cuda else "no driver answers"


def _spconv() -> Iterator[Finding]:
    found, best = installed("spconv"), spconv_for(driver())
    told = ", ".join(f"{name} {version(name)}" for name in found)
    if not found:
        remedy = f"pip install {best} on Linux or Windows with x86-64; it has no other wheels"
        yield Finding("warning", "spconv", "not installed: no detector of voxels runs", remedy)
        return
    if len(found) > 1:
        remedy = f"pip uninstall --yes {' '.join(found)}, then pip install {best}"
        yield Finding("problem", "spconv", f"{told} are installed in one folder", remedy)
        return
    importlib.import_module("spconv.pytorch")
    told += f"; {best} suits: {_runs(driver())}"
    compiled = importlib.import_module("spconv.core_cc.cumm.common").CompileInfo
    built = [f"sm_{major}{minor}" for major, minor in compiled.get_compiled_cuda_arch()]
    if built and (lacking := _without_kernels(built)):
        remedy = f"pip install a newer {found[0]}, or train students without voxels"
        yield Finding("problem", "spconv", f"{told}; built {lacking}", remedy)
        return
    if found == ["spconv"] != [best]:
        remedy = f"pip uninstall --yes spconv cumm, then pip install {best}"
        yield Finding("warning", "spconv", f"{told}; SECOND runs on the CPU only", remedy)
    else:
        yield Finding("ok", "spconv", told)


def _operators() -> Iterator[Finding]:
    from benchmark.device import choose_device
    from detectors.operators import sources

    device = choose_device("auto").type
    serving = list(sources(device).values())
    told = ", ".join(f"{serving.count(kind)} {kind}" for kind in sorted(set(serving)))
    yield Finding("ok", "operators", f"{told} on {device}")


def _precision() -> Iterator[Finding]:
    """What ``--precision auto`` chooses."""
    from benchmark.device import choose_device, choose_precision

    yield Finding("ok", "precision", f"auto is {choose_precision('auto', choose_device('auto'))}")


def _timed_precision() -> Iterator[Finding]:
    """What ``--precision auto`` chooses, and the speed of bf16 relative to fp32."""
    import torch
    from torch.utils.benchmark import Timer

    from benchmark.device import choose_device, choose_precision

    device = choose_device("auto")
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(SIZE, SIZE, dtype=dtype, device=device)
        timer = Timer("m @ m", globals={"m": matrix}, num_threads=torch.get_num_threads())
        timer.timeit(1)
        seconds[dtype] = min(timer.timeit(1).median for _ in range(REPEATS))
    ratio = seconds[torch.float32] / seconds[torch.bfloat16]
    chosen = choose_precision("auto", device)
    told = f"auto is {chosen}; bf16 matrix products are {ratio:.1f} times as fast as fp32's"
    if chosen == "bf16" and ratio < 1:
        remedy = "compare with --precision fp32 before a long run"
        yield Finding("warning", "precision", told, remedy)
    else:
        yield Finding("ok", "precision", told)


def _detectors() -> Iterator[Finding]:
    """Whether the libraries of the detectors can be loaded."""
    import detectors.core.family  # noqa: F401  (the operators, before mmdet3d)

    importlib.import_module("mmdet3d.models")
    yield Finding("ok", "detectors", "mmdet3d loads; --thorough also runs a network of each family")


def _networks() -> Iterator[Finding]:
    """Whether a network of each family can be built and run."""
    from benchmark.config.profile import load_profile
    from detectors import get_family
    from detectors.core.registry import FAMILIES

    for name in FAMILIES:
        family = get_family(name)
        if family.lacking():
            continue  # told of spconv
        grid = load_profile("smoke").grid(family)
        ratio = FAMILIES[name].ratios[-1]
        try:
            family.dry_run(family.build(ratio, grid).eval(), grid)
        except Exception as error:
            told = f"{name} does not run: {type(error).__name__}: {error}".splitlines()[0]
            yield Finding("problem", "detectors", told, "see packages, mmcv and spconv above")
        else:
            yield Finding("ok", "detectors", f"{name}@{ratio:g} runs")


def _ray() -> Iterator[Finding]:
    if ray := version("ray"):
        yield Finding("ok", "Ray", ray)
    else:
        remedy = f"only for --executor ray: pip install '{TOOLS[0]}[ray]'"
        yield Finding("warning", "Ray", "not installed", remedy)


def _folder(folder: Path) -> Iterator[Finding]:
    """What the file system of a folder can do."""
    try:
        found = try_folder(folder)
    except (FolderError, LockError) as error:
        yield Finding("problem", "folder", str(error))
        return
    lacking = list(found.lacking())
    if not lacking:
        tight = found.free < LOW_DISK
        yield Finding("warning" if tight else "ok", "folder", str(found), ROOM if tight else "")
    for told, remedy in lacking:
        yield Finding("problem" if remedy == ROOM else "warning", "folder", told, remedy)


def _data(root: Path) -> Iterator[Finding]:
    from benchmark.data.errors import DataError
    from benchmark.evaluation.suspicions import check, notes

    remedy = f"run_bench.py data verify {in_shell(root)}"
    warnings: list[str] = []
    try:
        found = check(root, warnings.append)
    except DataError as error:
        yield from (Finding("warning", "data", told, remedy) for told in warnings)
        yield Finding("problem", "data", str(error), remedy)
        return
    for told in warnings:
        yield Finding("warning", "data", told, remedy)
    for told in notes(found):
        yield Finding("ok", "data", told)
    frames = f"{len(found.frames)} frames read, of both splits; they are usable"
    yield Finding("ok", "data", f"{root}: {frames}")
