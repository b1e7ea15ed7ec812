"""The process server: a process that has imported everything, and forks one for each cohort.

A cohort's process so starts as clean as a new one, without seconds of imports. The server itself
does nothing but import: it has no threads and has not initialised CUDA, as no fork could use them.
Libraries ask while they are imported whether there is CUDA, which initialises it unless PyTorch
asks the driver's management library instead.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile

from benchmark.device import SettingError

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
ROOM = 70
"""Bytes that the temporary folder's name may have: a socket's path in it has 32 more, and systems
take 103."""
CONTEXT = multiprocessing.get_context("forkserver")
"""Makes the processes of cohorts; the server starts with the first of them."""
CONTEXT.set_forkserver_preload(["benchmark.running.preloaded"])


def check_temporary_folder() -> None:
    """Refuse a temporary folder in which no process server can be reached.

    Raises:
        SettingError: its name is too long; says what to do.
    """
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > ROOM:
        raise SettingError(
            f"temporary folder {folder}: its name is too long for the sockets of processes; "
            "export TMPDIR=/tmp, or another short one"
        )
