"""Things made ahead of their use by worker processes, in order, whatever happens to a worker.

Each worker has a pipe of its own, whose other end nobody else holds: one that is killed in the
middle of a thing is noticed at once and replaced, and disturbs no other. (Workers that share a
queue, as those of PyTorch's DataLoader and of process pools do, leave all waiting for the rest.)
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

import torch

from benchmark.signals import on_warnings
from kd_methods.core.errors import describe

Made = TypeVar("Made")

DEATHS = 3
"""Deaths of workers in one pass that end it."""
LOOK = 0.5
"""Seconds between a worker's looks for its parent."""
FORK = multiprocessing.get_context("fork")


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
    count = min(workers, end - first)
    crew = [_Worker(make, range(first + i, end, count)) for i in range(count)]
    deaths = 0
    try:
        for index in range(first, end):
            place = (index - first) % count
            while True:
                try:
                    made = crew[place].take()
                    break
                except (EOFError, OSError):  # it died, perhaps in the middle
                    deaths += 1
                    crew[place].end()
                if deaths == DEATHS:
                    raise RuntimeError(
                        f"processes that read frames ahead died {DEATHS} times; fewer --workers "
                        "take less memory"
                    )
                crew[place] = _Worker(make, range(index, end, count))
            if isinstance(made, Exception):
                raise made
            yield made
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """A process that makes things, a few ahead of what is taken.

    Plain objects travel by pipe: tensors would take shared memory, of which containers have little.
    """

    def __init__(self, make: Callable[[int], Any], indices: Sequence[int]) -> None:
        self._receiver, sender = FORK.Pipe(duplex=False)
        ours = self._receiver, os.getpid()
        self._process = FORK.Process(target=_work, args=(make, indices, sender, *ours), daemon=True)
        self._process.start()
        sender.close()

    def take(self) -> Any:
        """The next thing, or the error that was raised in its place.

        Raises:
            EOFError, OSError: the process died.
        """
        return self._receiver.recv()

    def end(self) -> None:
        """End the process, whatever it does."""
        self._receiver.close()
        self._process.kill()
        self._process.join()


def _work(
    make: Callable[[int], Any],
    indices: Sequence[int],
    sender: Connection,
    receiver: Connection,
    parent: int,
) -> None:
    """A worker: it makes a thing while another is ready and a third one on its way.

    It ends when it is told to, whatever its parent does with signals, and with its parent, also
    where its pipe is full.
    """
    receiver.close()
    on_warnings(signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by which multiprocessing ends it at exit
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    ready: queue.Queue[Any] = queue.Queue(1)
    sending = threading.Thread(target=_send, args=(ready, sender))
    sending.start()
    for index in indices:
        ready.put(_packed(make, index))
    ready.put(None)
    sending.join()


def _packed(make: Callable[[int], Any], index: int) -> Any:
    """What is made, or the error that was raised, as it travels."""
    try:
        made = make(index)
    except Exception as error:
        made = error
    try:
        return ForkingPickler.dumps(made)
    except Exception as error:
        return ForkingPickler.dumps(RuntimeError(f"cannot be sent: {describe(error)}"))


def _send(ready: queue.Queue[Any], sender: Connection) -> None:
    """Send all that is ready, until there is no more or nobody to receive it."""
    while (packed := ready.get()) is not None:
        try:
            sender.send_bytes(packed)
        except OSError:
            os._exit(1)


def _end_with(parent: int) -> None:
    """End this process as soon as its parent is gone."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)
