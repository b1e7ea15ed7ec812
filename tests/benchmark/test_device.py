"""What a machine lacks is told, and where what Numba compiles is kept."""

import os
from pathlib import Path

import pytest
import torch

from benchmark import device
from benchmark.device import SettingError, choose_device, unfit_build

UNFIT = (
    "CUDA error: no kernel image is available for execution on the device\nCompile with ...",
    "CUDA driver version is insufficient for CUDA runtime version",
    "the provided PTX was compiled with an unsupported toolchain.",
)


@pytest.mark.parametrize("said", UNFIT)
def test_a_build_for_other_cards_or_drivers_is_told(monkeypatch, said):
    def fail(*_, **__):
        raise RuntimeError(said)

    monkeypatch.setattr(torch, "zeros", fail)
    with pytest.raises(SettingError, match=f"'cuda' cannot .*{said.splitlines()[0]}: .*doctor"):
        choose_device("cuda")
    assert unfit_build(RuntimeError("CUDA error: out of memory")) == ""


@pytest.mark.parametrize("home", [True, False])
def test_numba_gets_a_folder_where_it_may_write_nowhere_else(monkeypatch, tmp_path, home):
    def no_home():
        raise RuntimeError("could not determine home directory")

    removed = []
    monkeypatch.setattr(device.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(device.atexit, "register", lambda *call, **how: removed.append(call[1]))
    monkeypatch.setattr(device.os, "access", lambda path, mode: False)
    monkeypatch.setattr(Path, "home", (lambda: tmp_path) if home else no_home)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    device.let_numba_cache()
    made = Path(os.environ["NUMBA_CACHE_DIR"])
    assert made.parent == tmp_path
    assert made.stat().st_mode & 0o777 == 0o700  # nobody else can put code there
    device.let_numba_cache()
    assert removed == [str(made)]
    monkeypatch.delenv("NUMBA_CACHE_DIR")


def test_numba_keeps_its_own_places_where_it_can_write(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(device.os, "access", lambda path, mode: True)
    device.let_numba_cache()
    assert "NUMBA_CACHE_DIR" not in os.environ
