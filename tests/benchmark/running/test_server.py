"""The process server."""

import sys
import tempfile
import threading

import pytest
import torch

from benchmark.device import SettingError
from benchmark.running.executors import Execution, make_executor
from benchmark.running.server import CONTEXT

NEEDED = ("mmdet3d", "benchmark.running.process", "detectors.second", "torch.utils.tensorboard")


def describe(sender):
    """What a process finds when it starts."""
    sender.send(
        {
            "imported": [name for name in NEEDED if name in sys.modules],
            "threads": threading.active_count(),
            "cuda": torch.cuda.is_initialized(),
        }
    )


def test_a_process_starts_with_all_that_a_cohort_imports_and_nothing_else():
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=describe, args=(sender,))
    process.start()
    process.join()
    assert receiver.recv() == {
        "imported": list(NEEDED), "threads": 1, "cuda": False,
    }  # fmt: skip


def asks_the_management_library(results):
    import os

    import torch

    results.put((os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK"), torch.cuda._nvml_based_avail()))


def test_no_import_of_the_server_initialises_cuda():
    results = CONTEXT.SimpleQueue()
    process = CONTEXT.Process(target=asks_the_management_library, args=(results,))
    process.start()
    process.join()
    assert results.get() == ("1", True)


@pytest.mark.parametrize("executor", ["local", "here"])
def test_a_temporary_folder_too_long_for_sockets_is_named_at_once(workplace, monkeypatch, executor):
    monkeypatch.setattr(tempfile, "tempdir", "/" + 80 * "x")
    with pytest.raises(SettingError, match=r"/x+: its name is too long .*; export TMPDIR=/tmp"):
        make_executor(Execution(executor=executor), workplace)
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    assert make_executor(Execution(executor=executor), workplace).slots
