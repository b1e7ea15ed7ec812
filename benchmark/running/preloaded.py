"""What every cohort's process needs: the process server imports this once, see :mod:`.server`.

A library that is not installed is left to the process that needs it, which says so.
"""

import gc
import signal
from contextlib import suppress
from importlib import import_module

from benchmark.device import quiet_libraries
from benchmark.records.provenance import code_version
from benchmark.signals import on_warnings
from detectors.core.registry import FAMILIES

code_version()  # of what is loaded now, whatever becomes of the checkout
on_warnings(signal.SIG_IGN)  # this process must see how those of the cohorts end
quiet_libraries()
for name in (
    "benchmark.running.process",
    "benchmark.evaluation.detector",
    "torch.utils.tensorboard",
    *(family.module for family in FAMILIES.values()),
):
    with suppress(ImportError):
        import_module(name)
gc.freeze()  # half a million objects of modules, not to be walked at every collection
