"""What is searched in a batch, once for all networks that see it.

Furthest points, neighbours within a radius, nearest points and the pairs of sparse cells depend
on coordinates alone: teacher and students search the same. What they search among is compared,
so a search among other points (the second stage's) is simply done. The same holds of anchors'
targets, which depend on anchors and objects.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor

Found = TypeVar("Found")


class Searches:
    """What was found in one batch, the first result of every kind of search."""

    def __init__(self) -> None:
        self._found: dict[Hashable, tuple[tuple[Tensor, ...], object]] = {}

    def once(self, kind: Hashable, among: tuple[Tensor, ...], search: Callable[[], Found]) -> Found:
        """The result of a search, from before if it was among equal tensors.

        Args:
            kind: what is searched, with all settings.
            among: the tensors that the result depends on.
        """
        kind = (kind, *(tensor.shape for tensor in among))
        if kind not in self._found:
            found = search()
            self._found[kind] = tuple(tensor.clone() for tensor in among), found
            return found
        known, found = self._found[kind]  # type: ignore[assignment]
        return found if all(map(torch.equal, known, among)) else search()


_current: ContextVar[Searches | None] = ContextVar("searches", default=None)


@contextmanager
def remembering(searches: Searches) -> Iterator[None]:
    """Let :func:`once` look into ``searches`` while the context lasts."""
    token = _current.set(searches)
    try:
        yield
    finally:
        _current.reset(token)


def once(kind: Hashable, among: tuple[Tensor, ...], search: Callable[[], Found]) -> Found:
    """:meth:`Searches.once` of the current batch; outside a batch, simply the search."""
    searches = _current.get()
    return search() if searches is None else searches.once(kind, among, search)
