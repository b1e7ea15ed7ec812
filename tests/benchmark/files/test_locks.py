"""Locks that end with their process, also where the file system has none."""

import errno
import fcntl
import multiprocessing
import os
import tempfile

import pytest

from benchmark.files.locks import Lock, LockError, has_locks, locked

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A file to be locked; what this machine keeps instead lies beside it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "work" / "a.lock"


@pytest.fixture(params=["", "ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def anywhere(request, path, monkeypatch):
    """As if the file system had no locks, by what it answers."""
    if request.param:
        without_locks(monkeypatch, path.parent, getattr(errno, request.param))


def without_locks(monkeypatch, folder, code):
    """Let files in a folder have no locks."""
    flock = fcntl.flock

    def refuse(file, kind):
        inside = [path.stat() for path in folder.rglob("*")]
        if any(os.path.samestat(os.fstat(file), one) for one in inside):
            raise OSError(code, os.strerror(code))
        flock(file, kind)

    monkeypatch.setattr(fcntl, "flock", refuse)


def hold(path, sender):
    lock = Lock(path)
    sender.send(lock.acquire())
    sender.recv()


@pytest.mark.usefixtures("anywhere")
def test_a_lock_is_held_by_one_until_it_lets_go(path):
    assert not locked(path)
    first, second = Lock(path), Lock(path)
    assert first.acquire()
    assert (locked(path), second.acquire(patience=0.03)) == (True, False)
    first.release()
    first.release()
    assert (locked(path), second.acquire()) == (False, True)
    second.release()


@pytest.mark.usefixtures("anywhere")
def test_a_lock_ends_with_its_process_however_that_ends(path):
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=hold, args=(path, theirs))
    process.start()
    assert ours.recv()
    assert locked(path)
    process.kill()
    process.join()
    assert not locked(path)
    with Lock(path):
        assert locked(path)


def test_what_an_older_version_left_is_no_lock(path):
    path.parent.mkdir()
    path.write_text("12345\nsome-host\n")
    assert not locked(path)
    with Lock(path):
        assert path.read_text() == "12345\nsome-host\n"


def test_a_link_in_place_of_a_lock_is_refused(path):
    path.parent.mkdir()
    path.symlink_to("/etc/hostname")
    for ask in (locked, lambda path: Lock(path).acquire()):
        with pytest.raises(LockError, match=r"a.lock: a link; remove the file"):
            ask(path)


def test_where_nothing_has_locks_the_remedy_is_told(path, monkeypatch):
    without_locks(monkeypatch, path.parents[1], errno.ENOLCK)
    with pytest.raises(
        LockError, match=r"neither .*a.lock nor .* set TMPDIR to a folder on a disk"
    ):
        Lock(path).acquire()


def test_the_folder_of_somebody_else_is_not_used(path, monkeypatch):
    without_locks(monkeypatch, path.parent, errno.ENOLCK)
    somebody = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    with pytest.raises(LockError, match="somebody else's; set TMPDIR"):
        Lock(path).acquire()


def test_other_errors_stay_as_they_are(path, monkeypatch):
    without_locks(monkeypatch, path.parent, errno.EIO)
    path.parent.mkdir()
    path.touch()
    with pytest.raises(OSError, match="Input/output error"):
        locked(path)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EIO])
def test_a_folder_is_asked_for_its_locks(tmp_path, monkeypatch, code):
    def refuse(file, kind):
        raise OSError(code, os.strerror(code))

    assert has_locks(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refuse)
    if code == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            has_locks(tmp_path)
    else:
        assert not has_locks(tmp_path)
    assert list(tmp_path.iterdir()) == []
