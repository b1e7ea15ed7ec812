"""What a folder's file system cannot do is told before anything depends on it."""

import errno
import fcntl
import os
import shutil
from collections import namedtuple

import pytest

from benchmark.files import FolderError, trial
from benchmark.files.locks import LockError
from benchmark.files.trial import Trial, try_folder

Usage = namedtuple("Usage", "total used free")


def refusing(code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    return refuse


def test_a_folder_is_tried_and_left_as_it_was(tmp_path):
    for folder in (tmp_path, tmp_path / "not" / "there"):
        found = try_folder(folder)
        assert (found.folder, found.links, found.locks) == (folder, True, True)
        assert "(rename, link, lock); " in str(found)
    assert list(found.lacking()) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_folder_without_hard_links_is_good_enough(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "link", refusing(code))
    found = try_folder(tmp_path)
    assert (found.links, list(found.lacking())) == (False, [])
    assert "(rename, lock); " in str(found)


def test_a_folder_without_locks_is_for_one_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "has_locks", lambda folder: False)
    ((told, remedy),) = try_folder(tmp_path).lacking()
    assert str(tmp_path) in told
    assert "no other machine may use" in told
    assert "--shard I/N and its own" in remedy


def test_a_machine_without_any_locks_is_told_before_anything_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOSYS))
    with pytest.raises(LockError, match=rf"neither {tmp_path}.* can be locked .*; set TMPDIR"):
        try_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_nearly_full_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 5e8))
    ((told, remedy),) = try_folder(tmp_path).lacking()
    assert told == f"{tmp_path}: 0.5 GB free"
    assert "free some space" in remedy
    assert not list(Trial(tmp_path, links=True, locks=True, free=1.5).lacking())


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EROFS, "make its folder writable, or choose another"),
        (errno.EACCES, "make its folder writable, or choose another"),
        (errno.ENOSPC, "free some space and run the same command again"),
        (errno.ESTALE, "restore it and run the same command again"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, code, remedy):
    monkeypatch.setattr(os, "mkdir", refusing(code))
    with pytest.raises(FolderError, match=rf"{tmp_path / 'results'}.*{remedy}"):
        try_folder(tmp_path / "results")


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="file/results cannot be written .*Not a directory"):
        try_folder(tmp_path / "file" / "results")


def test_a_name_that_is_no_text_is_refused_before_a_library_does(tmp_path):
    with pytest.raises(FolderError, match="rename the folder, or export LC_ALL=C.UTF-8"):
        try_folder(tmp_path / "caf\udce9")
