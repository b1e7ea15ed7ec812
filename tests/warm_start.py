"""Processes that have imported all that a cohort needs when they start.

They are forked off a server that does nothing but import, so that each starts as clean as one that
`multiprocessing` spawns, in no time.
"""

import multiprocessing
from types import SimpleNamespace

from benchmark.evaluation import detector
from benchmark.running import process
from detectors import pointpillars

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        *(module.__name__ for module in (process, detector, pointpillars)),
        "torch.utils.tensorboard",
    ]
)


def stand_in(context=SERVER):
    """What `benchmark.running.process` may have in place of `multiprocessing`."""
    return SimpleNamespace(
        get_context=lambda method: context, parent_process=multiprocessing.parent_process
    )
