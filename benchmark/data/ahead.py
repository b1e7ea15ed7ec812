"""Things made ahead of their use by worker processes, in order, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

Made = TypeVar("Made")

DEATHS = 3
"""Deaths of workers in one pass that end it."""
AHEAD = 2
"""Things that each worker has ready."""
LOOK = 0.5
"""Seconds between a worker's looks for its parent."""


def make_ahead(make: Callable[[int], Made], first: int, end: int, workers: int) -> Iterator[Made]:
    """``make(first)`` to ``make(end - 1)``, in turn.

    Args:
        make: a function of its argument alone, so that a worker that dies can be replaced.
        workers: processes that are ahead; 0 makes each thing when it is asked for.

    Raises:
        RuntimeError: workers die again and again.
        Exception: what ``make`` raises, as it raised it.
    """
    if not workers:
        yield from map(make, range(first, end))
        return
    for deaths in range(1, DEATHS + 1):
        try:
            for made in _iterate(_load(make, first, end, workers)):
                if isinstance(made, Exception):
                    raise made
                yield made
                first += 1
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error) or deaths == DEATHS:
                raise


def _iterate(loader: DataLoader[Any]) -> Iterator[Any]:
    """What is loaded. A worker that dies raises an error where the next thing is asked for.

    PyTorch's handler of dead children would raise it wherever this process happens to be: in the
    step of a cell, which would be blamed.
    """
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        return iter(loader)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler)


def _load(make: Callable[[int], Any], first: int, end: int, workers: int) -> DataLoader[Any]:
    """Plain objects travel by pipe: tensors would take shared memory, of which containers have
    little. The generator of its own leaves PyTorch's global one, which cells use, as it is."""
    return DataLoader(
        _Things(make),
        batch_size=None,
        sampler=range(first, end),
        num_workers=workers,
        prefetch_factor=AHEAD,
        collate_fn=_unchanged,
        worker_init_fn=_begin,
        generator=torch.Generator(),
        multiprocessing_context="fork",
    )


class _Things(Dataset[Any]):
    """What is made, or the error that was raised: PyTorch would change its text."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make = make

    def __getitem__(self, index: int) -> Any:
        try:
            return self._make(index)
        except Exception as error:
            return error


def _unchanged(made: Any) -> Any:
    return made


def _begin(worker: int) -> None:
    """A worker ends when it is told to, whatever its parent does with signals, and with its parent.

    PyTorch's own watch over the parent does not suffice: a worker whose pipe is full waits for ever
    for a parent that was killed, and whoever waits for that parent waits too, as the worker has
    inherited the pipe whose closing would tell.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process as soon as its parent is gone."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)
