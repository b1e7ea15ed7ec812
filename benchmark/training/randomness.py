"""Random streams: every cell draws from its own, so other cells never change its numbers."""

from __future__ import annotations

import hashlib
import random
from types import TracebackType
from typing import Any

import numpy as np
import torch


class RandomStream:
    """Context in which the global generators (python, numpy, torch) are this stream's own.

    On leaving, the outer generators continue as if nothing had been drawn; on entering again,
    this stream continues where it was left.
    """

    def __init__(self, *name: object) -> None:
        """Args: name: what the stream's seed is a function of."""
        digest = hashlib.sha256(repr(name).encode()).digest()
        self._seed = int.from_bytes(digest[:4], "little")
        self._own: Any = None
        self._outer: Any = None

    def __enter__(self) -> RandomStream:
        self._outer = _generator_states()
        if self._own is None:
            random.seed(self._seed)
            np.random.seed(self._seed)
            torch.manual_seed(self._seed)
        else:
            _restore(self._own)
        return self

    def state(self) -> list[Any] | None:
        """The stream's state, as plain values and tensors; None before its first use."""
        if self._own is None:
            return None
        python, (kind, keys, *place), cpu, cuda = self._own
        return [python, [kind, torch.from_numpy(keys.astype(np.int64)), *place], cpu, cuda]

    def restore(self, state: list[Any] | None) -> None:
        """Continue from a :meth:`state`."""
        if state is None:
            self._own = None
            return
        python, (kind, keys, *place), cpu, cuda = state
        self._own = (python, (kind, keys.numpy().astype(np.uint32), *place), cpu, cuda)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._own = _generator_states()
        _restore(self._outer)


def _generator_states() -> Any:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def _restore(states: Any) -> None:
    python, numpy, cpu, cuda = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
