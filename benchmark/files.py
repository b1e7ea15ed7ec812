"""Files written whole or not at all."""

from __future__ import annotations

import errno
import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kd_methods.core.errors import PointKDError


class DiskFullError(PointKDError):
    """No space, or no quota, is left to write a file."""


@contextmanager
def telling_of_full_disk(path: Path) -> Iterator[None]:
    """Turn the system's error into :class:`DiskFullError`, which says what to do.

    Args:
        path: what is written inside.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"no space left to write {path}; finished cells and the latest checkpoints are kept: "
            "free some space and run the same command again"
        ) from None


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause Python's collector while millions of plain values are created, which hold no cycles:
    it would walk all of them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file; a reader sees the old or the new contents, never a part.

    Raises:
        DiskFullError: the old contents stay.
    """
    with _written_beside(path, content) as temporary:
        os.replace(temporary, path)


def write_once(path: Path, content: bytes) -> None:
    """Create a file with its whole contents, by only one process however many try.

    Raises:
        FileExistsError: the file exists.
        DiskFullError: nothing is written.
    """
    with _written_beside(path, content) as temporary:
        os.link(temporary, path)


@contextmanager
def _written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """The new contents of a file as a hidden file next to it, which is gone afterwards."""
    with telling_of_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
