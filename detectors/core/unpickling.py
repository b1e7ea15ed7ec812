"""Reads PyTorch's files without the training log that mmengine keeps next to the weights."""

from __future__ import annotations

import codecs
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

TRAINING_LOG = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "__builtin__.getattr",
    "builtins.getattr",
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)
"""What mmengine's log pickles next to the weights; read as nothing, never called."""


def without_training_log() -> AbstractContextManager[Any]:
    """Lets ``torch.load(..., weights_only=True)`` skip what mmengine's log consists of."""
    if torch.__version__ >= "2.6":  # compared as versions
        return torch.serialization.safe_globals([(_Ignored, name) for name in TRAINING_LOG])
    return _with_our_unpickler()


class _Ignored:
    """Stands in for an object of mmengine's training log, which is never read."""

    def __init__(self, *arguments: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


PLAIN: Any = pickle._Unpickler
"""Written in Python: what it does at one instruction of a pickle can be replaced."""


BYTES = {"_codecs.encode": codecs.encode}
"""How pickles of protocol 2 hold bytes; PyTorch allows it from 2.6 on."""


class _Unpickler(PLAIN):
    """What PyTorch's own allows, and the training log, for which those before 2.6 have no room."""

    dispatch = dict(PLAIN.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if path in TRAINING_LOG:
            return _Ignored
        allowed = torch._weights_only_unpickler._get_allowed_globals() | BYTES
        if path not in allowed:
            raise pickle.UnpicklingError(f"Unsupported global: GLOBAL {path}")
        return allowed[path]

    def load_build(self) -> None:
        if not isinstance(self.stack[-2], (Tensor, OrderedDict, _Ignored)):
            raise pickle.UnpicklingError(f"{self.stack[-2]!r} may not be given a state")
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


@contextmanager
def _with_our_unpickler() -> Iterator[None]:
    """``torch.load`` still checks all else that it does with ``weights_only``."""
    module: Any = torch._weights_only_unpickler
    theirs, module.Unpickler = module.Unpickler, _Unpickler
    try:
        yield
    finally:
        module.Unpickler = theirs
