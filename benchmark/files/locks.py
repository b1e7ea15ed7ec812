"""Locks on files, held by a process and released by the operating system when it ends, however.

A file system may have no locks (some network disks, cloud folders). The locks of its files are then
files in this machine's temporary folder: they work between the processes of one user on one
machine, so a results folder there cannot be shared between machines.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from kd_methods.core.errors import PointKDError

UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What the system answers where a file system cannot do something at all."""
LOOK = 0.02
"""Seconds between two attempts."""


class LockError(PointKDError):
    """A file that cannot be locked."""


class Lock:
    """An exclusive lock on a file, which is made and stays empty.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, -1

    def acquire(self, patience: float = 0.0) -> bool:
        """Take the lock; False if another has it for longer than these seconds.

        Raises:
            LockError: the file cannot be locked; says what to do.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + patience
        while (file := _locked(self._path, fcntl.LOCK_EX)) is None:
            if time.monotonic() >= until:
                return False
            time.sleep(LOOK)
        self._file = file
        return True

    def release(self) -> None:
        """Let go of the lock; nothing happens where it is not held."""
        if self._file >= 0:
            _unlock(self._file)
            self._file = -1

    def __enter__(self) -> Lock:
        self.acquire(float("inf"))
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()


def locked(path: Path) -> bool:
    """Whether a process holds the lock of a file; those who may only read it can ask.

    Raises:
        LockError: the file cannot be asked for; says what to do.
    """
    try:
        file = _locked(path, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    if file is not None:
        _unlock(file)
    return file is None


def has_locks(folder: Path) -> bool:
    """Whether the file system of a folder, in which a file is made for the question, has locks."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            return False
    return True


def _locked(path: Path, kind: int) -> int | None:
    """The descriptor of a file that is locked now; None if another process has the lock."""
    try:
        return _try(path, kind)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    substitute = _substitute(path)
    try:
        return _try(substitute, kind)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise LockError(
            f"neither {path} nor {substitute} can be locked ({error.strerror}); set TMPDIR to a "
            "folder on a disk of this machine"
        ) from None


def _try(path: Path, kind: int) -> int | None:
    """As :func:`_locked`, by the file system of the file itself."""
    flags = os.O_RDONLY if kind == fcntl.LOCK_SH else os.O_RDWR | os.O_CREAT
    try:
        file = os.open(path, flags | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise LockError(f"{path}: a link; remove the file") from None
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except BaseException:
        os.close(file)
        raise
    return file


def _unlock(file: int) -> None:
    """Let go of a lock, also where a process that was forked meanwhile has the file open."""
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def _substitute(path: Path) -> Path:
    """The file in this machine's temporary folder that is locked in place of another."""
    folder = Path(tempfile.gettempdir()) / f"pointkd-locks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise LockError(f"{folder} is somebody else's; set TMPDIR to a folder of yours")
    return folder / hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
