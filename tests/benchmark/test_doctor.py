"""The doctor sees what is wrong with a machine, and says what to do."""

import errno
import fcntl
import importlib.metadata
import os
import shutil
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch

from benchmark import doctor
from benchmark.records.provenance import environment

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def installed(monkeypatch):
    """Pretends that exactly these distributions are installed: ``installed(mmcv="2.1.0")``."""

    def pretend(**versions):
        found = {name.replace("_", "-"): version for name, version in versions.items()}

        def version(name):
            if name not in found:
                raise importlib.metadata.PackageNotFoundError(name)
            return found[name]

        monkeypatch.setattr(importlib.metadata, "version", version)

    return pretend


def test_both_mmcv_in_one_folder_are_a_problem(installed):
    installed(mmcv="2.1.0", mmcv_lite="2.1.0")
    (finding,) = doctor._mmcv()
    assert finding.level == "problem"
    assert "pip uninstall --yes mmcv mmcv-lite" in str(finding)


@pytest.mark.parametrize(
    ("versions", "level", "told"),
    [
        ({"mmcv": "2.1.0"}, "ok", "mmcv 2.1.0, compiled"),
        ({"mmcv_lite": "2.1.0"}, "ok", "mmcv-lite 2.1.0, without compiled operators"),
        ({}, "problem", "not installed"),
    ],
)
def test_one_mmcv_is_enough(installed, versions, level, told):
    installed(**versions)
    (finding,) = doctor._mmcv()
    assert finding.level == level
    assert told in finding.told


def test_two_builds_of_spconv_are_a_problem(installed):
    installed(spconv="2.3.8", spconv_cu120="2.3.8")
    (finding,) = doctor._spconv()
    assert finding.level == "problem"
    assert "spconv 2.3.8, spconv-cu120 2.3.8 are installed in one folder" in finding.told


@pytest.fixture
def new_card(monkeypatch):
    """Pretends that there is a graphics card newer than what PyTorch and spconv are built for."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "NVIDIA X")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: (12, 0))
    monkeypatch.setattr(doctor, "driver", lambda: 130)

    class Compiled:
        get_compiled_cuda_arch = staticmethod(lambda: [(8, 0), (9, 0)])

    module = SimpleNamespace(CompileInfo=Compiled)
    monkeypatch.setattr(doctor.importlib, "import_module", lambda name: module)


@pytest.mark.parametrize(
    ("built", "level"), [(["sm_80", "sm_90"], "problem"), (["sm_90", "sm_120"], "ok")]
)
@pytest.mark.usefixtures("new_card")
def test_a_card_newer_than_pytorch_is_a_problem(monkeypatch, built, level):
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    (finding,) = doctor._torch()
    assert finding.level == level
    if level == "problem":
        assert "built for sm_80, sm_90, not for NVIDIA X (sm_120)" in finding.told
        assert "make setup TORCH_INDEX" in finding.remedy


@pytest.mark.usefixtures("new_card")
def test_a_card_newer_than_spconv_is_a_problem(installed):
    installed(spconv_cu126="2.3.8")
    (finding,) = doctor._spconv()
    assert finding.level == "problem"
    assert "spconv-cu126 2.3.8" in finding.told
    assert "built for sm_80, sm_90, not for NVIDIA X (sm_120)" in finding.told


def test_records_name_the_version_of_a_build_for_cuda(installed):
    installed(spconv_cu126="2.3.8", torch="2.11.0")
    told = environment(torch.device("cpu"))["versions"]
    assert (told["spconv"], told["torch"], told["numpy"]) == ("2.3.8", "2.11.0", "absent")


def test_wrong_versions_are_named(installed, monkeypatch):
    needs = ["torch>=2.1", "mmcv-lite>=2.0.0,<2.2", "absent>=1", 'ray>=2.9; extra == "ray"']
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: needs)
    installed(torch="1.13.0", mmcv="2.1.0")
    (finding,) = doctor._packages()
    assert finding.level == "problem"
    assert finding.told == "torch is 1.13.0, not >=2.1; absent is missing"


@pytest.mark.parametrize(
    ("versions", "remedies"),
    [
        ({"torch": "2.1.2+cu121", "setuptools": "70.1", "numpy": "2.0.2"},
         ["pip install 'setuptools<70'", "pip install 'numpy<2'"]),
        ({"torch": "2.1.2", "setuptools": "69.5", "numpy": "1.26.4"}, []),
        ({"torch": "2.2.2", "setuptools": "79.0.1", "numpy": "2.0.2"}, ["pip install 'numpy<2'"]),
        ({"torch": "2.3.0", "setuptools": "79.0.1", "numpy": "2.0.2"}, []),
        ({}, []),
    ],
)  # fmt: skip
def test_libraries_too_new_for_an_old_pytorch_are_named(installed, versions, remedies):
    installed(**versions)
    assert [finding.remedy for finding in doctor._versions()] == remedies


def test_ray_is_optional(installed):
    installed()
    (finding,) = doctor._ray()
    assert finding.level == "warning"
    assert "pip install 'pointkd-bench[ray]'" in finding.remedy


@pytest.mark.parametrize(("free", "level"), [(50e9, "ok"), (5e9, "warning"), (0.5e9, "problem")])
def test_a_full_disk_is_seen(monkeypatch, tmp_path, free, level):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, free))
    (finding,) = doctor._folder(tmp_path / "not" / "there")
    assert finding.level == level
    assert bool(finding.remedy) == (level != "ok")


def test_a_folder_without_locks_is_a_warning_and_one_to_read_only_a_problem(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmark.files.trial.has_locks", lambda folder: False)
    assert {finding.level for finding in doctor._folder(tmp_path)} == {"warning"}
    (tmp_path / "file").touch()
    (wrong,) = doctor._folder(tmp_path / "file" / "results")
    assert wrong.level == "problem"
    assert "cannot be written" in wrong.told


def test_a_machine_without_any_locks_is_a_problem(monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    (finding,) = doctor._folder(tmp_path)
    assert finding.level == "problem"
    assert "set TMPDIR" in finding.told


def test_a_data_folder_is_looked_at(synthetic_root, tmp_path):
    *warnings, fine = doctor._data(synthetic_root)
    assert {finding.level for finding in warnings} == {"warning"}  # four frames hold few objects
    assert (fine.level, "10 frames read, of both splits" in fine.told) == ("ok", True)
    (wrong,) = doctor._data(tmp_path)
    assert wrong.level == "problem"
    assert str(tmp_path) in wrong.told


def test_what_breaks_is_a_finding_and_the_rest_is_looked_at(monkeypatch, tmp_path):
    for name in ("_packages", "_precision", "_detectors"):
        monkeypatch.setattr(doctor, name, lambda: iter(()))

    def broken():
        raise ImportError("libcudart.so.11 is not there")
        yield

    monkeypatch.setattr(doctor, "_spconv", broken)
    found = {finding.subject: finding for finding in doctor.examine(None, [tmp_path])}
    assert found["spconv"].level == "problem"
    assert "libcudart" in found["spconv"].told
    assert found["folder"].level in ("ok", "warning", "problem")
    assert found["Python"].level == "ok"
