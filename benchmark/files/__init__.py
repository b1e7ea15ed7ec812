"""Files written whole or not at all, and text read as its authors meant it.

YAML is read in :mod:`.settings`.
"""

from __future__ import annotations

import codecs
import errno
import gc
import os
import shlex
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmark.files.locks import UNSUPPORTED, Lock
from kd_methods.core.errors import PointKDError

MOST_BYTES = 2**26
"""Of a text."""


LINKLESS = (errno.EPERM, *UNSUPPORTED)
"""What the system answers where a file system has no hard links."""
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What it answers where one may only read."""
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ENOTCONN, errno.ESTALE, errno.ENODEV, errno.ENXIO)
"""What it answers where a folder was removed, or its disk."""


class FolderError(PointKDError):
    """A folder that may only be read, or that was removed while something was written there."""


class DiskFullError(FolderError):
    """No space, or no quota, is left to write a file."""


class TextError(PointKDError):
    """A file that is not the text it should be."""


def read_text(path: Path, error: type[PointKDError] = TextError) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark.

    Raises:
        error: it is in another encoding; names the file, the line where known, and what to do.
        OSError: the file cannot be read.
    """
    if (size := path.stat().st_size) > MOST_BYTES:
        raise error(f"{path}: {size:,} bytes are too many for a text; give another file")
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise error(f"{path}: not UTF-8 (looks like UTF-16); save the file as UTF-8")
    if b"\0" in content:
        raise error(f"{path}: not a text file; remove it, or save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        raise error(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None


def read_file(path: Path) -> bytes:
    """The contents of a file that people may have put into a folder of ours.

    Raises:
        OSError: it cannot be read, is a pipe or a device, or has more than :data:`MOST_BYTES`.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    if found.st_size > MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    with open(path, "rb", buffering=0) as file:
        return file.read()


def in_shell(path: Path) -> str:
    """A path as one writes it in a command, whatever its name holds."""
    return shlex.quote(str(path))


def fresh_folder(folder: Path, error: type[PointKDError]) -> None:
    """Make a folder that is written into, so that nothing of the user's is written over.

    Raises:
        error: it holds something; says what to do.
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise error(f"{folder} is not empty, so nothing is written; give a new or empty folder")


def let_all_read(path: Path, mode: int) -> None:
    """Give a file or folder of ours these permissions, where the file system has any."""
    with suppress(PermissionError):  # FAT refuses
        path.chmod(mode)


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
def telling_of_writing(path: Path) -> Iterator[None]:
    """Turn the system's errors into :class:`FolderError`, which says what to do.

    Args:
        path: the only thing that is written inside.
    """
    try:
        with telling_of_full_disk(path):
            yield
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in REFUSED:
            remedy = "make its folder writable, or choose another one"
        elif error.errno in GONE:
            remedy = (
                "its folder is not there, or no longer; restore it and run the same command again"
            )
        elif error.errno == errno.EISDIR:
            remedy = "a folder has its name; remove or rename it, then run the same command again"
        else:
            raise
        raise FolderError(f"{path} cannot be written ({error.strerror}): {remedy}") from None


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
        FolderError: the old contents stay.
    """
    with _written_beside(path, content) as temporary:
        os.replace(temporary, path)


def write_once(path: Path, content: bytes) -> None:
    """Create a file with its whole contents, by only one process however many try.

    Raises:
        FileExistsError: the file exists.
        FolderError: nothing is written.
    """
    with _written_beside(path, content) as temporary:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in LINKLESS:
                raise
            _rename_once(temporary, path)


def _rename_once(temporary: Path, path: Path) -> None:
    """As :func:`write_once`, where there are no hard links: one at a time looks and renames."""
    with Lock(path.parent / ".publishing"):
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        os.replace(temporary, path)


@contextmanager
def _written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """The new contents of a file as a hidden file next to it, which is gone afterwards."""
    with telling_of_writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            let_all_read(temporary, 0o644)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
