"""What a folder's file system can do, tried before hours of work depend on it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark.files import LINKLESS, FolderError, telling_of_writing
from benchmark.files.locks import Lock, has_locks

GIGA = 1e9
NO_DISK = 1.0
"""Free gigabytes below which a run fills the disk."""
ROOM = "free some space, or put --cache and --results on another disk"


@dataclass(frozen=True)
class Trial:
    """What was found in a folder in which files can be written and renamed.

    Attributes:
        folder: the folder; where it is not there yet, the one in which it would be made was tried.
        links: whether it has hard links.
        locks: whether it has file locks.
        free: gigabytes that are left.
    """

    folder: Path
    links: bool
    locks: bool
    free: float

    def __str__(self) -> str:
        able = ["rename", *["link"] * self.links, *["lock"] * self.locks]
        return f"{self.folder}: files can be written ({', '.join(able)}); {self.free:.1f} GB free"

    def lacking(self) -> Iterator[tuple[str, str]]:
        """What is missing, and what to do about it."""
        if not self.locks:
            yield (
                f"{self.folder}: its file system has no file locks, so no other machine may use "
                "the folder at the same time",
                "run on this machine alone, or give each machine --shard I/N and its own folders",
            )
        if self.free < NO_DISK:
            yield f"{self.folder}: {self.free:.1f} GB free", ROOM


def try_folder(folder: Path) -> Trial:
    """Try to write, rename, link and lock files in a folder, and remove them.

    Raises:
        FolderError: no file can be written there, or not by every library; says what to do.
        LockError: neither its files nor others of this machine can be locked; says what to do.
    """
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        raise FolderError(
            f"{folder}: not every library can write where a name is not UTF-8; rename the folder, "
            "or export LC_ALL=C.UTF-8 where the shell does not know its characters"
        ) from None
    with telling_of_writing(folder), _room_in(folder) as own:
        first, second = own / "first", own / "second"
        first.write_bytes(b"x")
        os.replace(first, second)
        links, locks = _has_links(second), has_locks(own)
        with Lock(own / "lock"):  # where the file system has none, one of this machine's
            pass
        return Trial(folder, links, locks, shutil.disk_usage(own).free / GIGA)


@contextmanager
def _room_in(folder: Path) -> Iterator[Path]:
    """A folder for this process alone in another one, or in the first of its parents there is."""
    places = folder.absolute(), *folder.absolute().parents
    place = next(place for place in places if os.path.lexists(place))
    with tempfile.TemporaryDirectory(prefix=".trial-", dir=place) as own:
        yield Path(own)


def _has_links(file: Path) -> bool:
    try:
        os.link(file, file.with_name("link"))
    except OSError as error:
        if error.errno not in LINKLESS:
            raise
        return False
    return True
