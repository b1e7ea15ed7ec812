"""The process server: a process that has imported everything, and forks one for each cohort.

A cohort's process so starts as clean as a new one, without seconds of imports. The server itself
does nothing but import: it has no threads and has not initialised CUDA, as no fork could use them.
Libraries ask while they are imported whether there is CUDA, which initialises it unless PyTorch
asks the driver's management library instead.
"""

from __future__ import annotations

import multiprocessing
import os

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
CONTEXT = multiprocessing.get_context("forkserver")
"""Makes the processes of cohorts; the server starts with the first of them."""
CONTEXT.set_forkserver_preload(["benchmark.running.preloaded"])
