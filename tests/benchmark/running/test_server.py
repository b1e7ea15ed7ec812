"""The process server."""

import sys
import threading

import torch

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
