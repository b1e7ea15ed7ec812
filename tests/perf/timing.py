"""How the suites of this folder time things."""

import time
from contextlib import contextmanager

import torch


@contextmanager
def one_thread():
    """Run on one thread: so ratios hardly depend on what else the machine does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def least_seconds(work, rounds=3):
    """The quickest of several calls, which other work on the machine disturbs least."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
