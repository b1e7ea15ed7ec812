"""The process server: a process that has imported everything, and forks one for each cohort.

A cohort's process so starts as clean as a new one, without seconds of imports. The server itself
does nothing but import: it has no threads and has not initialised CUDA, as no fork could use them.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver

CONTEXT = multiprocessing.get_context("forkserver")
"""Makes the processes of cohorts."""
CONTEXT.set_forkserver_preload(["benchmark.running.preloaded"])


def start() -> None:
    """Let the server import while this process does other things; it is there when needed."""
    forkserver.ensure_running()
