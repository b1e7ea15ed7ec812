"""The process server: a process that has imported everything, and forks one for each cohort.

A cohort's process so starts as clean as a new one, without seconds of imports. The server itself
does nothing but import: it has no threads and has not initialised CUDA, as no fork could use them.
"""

from __future__ import annotations

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
"""Makes the processes of cohorts; the server starts with the first of them."""
CONTEXT.set_forkserver_preload(["benchmark.running.preloaded"])
