"""Records are whole, published once, and refused with a reason when damaged."""

import errno
import json
import os
import shlex
from concurrent.futures import ThreadPoolExecutor

import pytest
from made_records import make_record

from benchmark.files import MOST_BYTES, DiskFullError, FolderError, write_atomically
from benchmark.records.store import FIELDS, RecordError, find, publish, read, read_all


def record(cell="a", status="done", **values):
    return make_record(status=status, **{"cell": cell, **values})


@pytest.fixture(params=["", "EPERM", "EOPNOTSUPP", "ENOSYS"])
def anywhere(request, monkeypatch):
    """As if the file system had no hard links, by what it answers."""

    def refuse(*_):
        code = getattr(errno, request.param)
        raise OSError(code, os.strerror(code))

    if request.param:
        monkeypatch.setattr(os, "link", refuse)


def test_what_is_published_is_read_back(tmp_path):
    path = publish(tmp_path, record(seed=3, mean=0.1))
    assert read(path) == record(seed=3, mean=0.1)
    assert list(json.loads(path.read_text())) == list(FIELDS)


@pytest.mark.usefixtures("anywhere")
def test_a_finished_cell_is_published_once(tmp_path):
    publish(tmp_path, record(seed=1))
    with pytest.raises(RecordError, match="already published"):
        publish(tmp_path, record(seed=2))
    assert read(tmp_path / "records" / "a.json")["seed"] == 1
    left = {path.name for path in (tmp_path / "records").iterdir()}
    assert left - {".publishing"} == {"a.json"}


def test_a_failed_cell_may_be_published_again(tmp_path):
    publish(tmp_path, record(status="failed", reason="out of memory"))
    publish(tmp_path, record(seed=2))
    assert read(tmp_path / "records" / "a.json")["status"] == "done"


@pytest.mark.usefixtures("anywhere")
def test_of_many_writers_exactly_one_publishes(tmp_path):
    def attempt(seed):
        try:
            publish(tmp_path, record(seed=seed))
        except RecordError:
            return None
        return seed

    with ThreadPoolExecutor(8) as pool:
        winners = [seed for seed in pool.map(attempt, range(32)) if seed is not None]
    assert winners == [read(tmp_path / "records" / "a.json")["seed"]]


def test_a_file_system_without_permissions_is_good_enough(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chmod", refuse)
    publish(tmp_path, record(seed=1))
    assert [found["seed"] for found in read_all(tmp_path)] == [1]


def test_a_kill_without_hard_links_leaves_no_half_record(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    child = os.fork()
    if not child:
        monkeypatch.setattr(os, "replace", lambda *_: os._exit(9))
        publish(tmp_path, record(seed=1))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert read_all(tmp_path) == []
    publish(tmp_path, record(seed=2))
    assert [found["seed"] for found in read_all(tmp_path)] == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.json.*remove the file"),
        ("{", "a.json.*remove the file"),
        ("[]", "field 'cell' is missing"),
        ('{"cell": "a"}', "field 'status' is missing"),
        (json.dumps(record(status="finished")), "status 'finished' must be one of"),
    ],
)
def test_a_damaged_record_is_named(tmp_path, text, message):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a.json").write_text(text)
    with pytest.raises(RecordError, match=message):
        read_all(tmp_path)


@pytest.mark.parametrize("cell", ["/abs/model.pth", "../work/x", "**", "\0", "[", "..", "a/../a"])
def test_a_cell_is_not_looked_for_outside(tmp_path, cell):
    publish(tmp_path, record())
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "x.json").write_text("{}")
    with pytest.raises(RecordError, match="no finished cell begins with"):
        find(tmp_path, cell)


def test_the_command_that_lists_cells_can_be_pasted(tmp_path):
    folder = tmp_path / "it's $x; 日本"
    with pytest.raises(RecordError) as refused:
        find(folder, "a")
    command = str(refused.value).split("`")[1]
    assert shlex.split(command) == ["run_bench.py", "status", "--results", str(folder)]


def test_a_figure_that_is_no_number_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        publish(tmp_path, record(mean=float("nan")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "link", "replace"])
def test_a_full_disk_is_named_and_leaves_what_was_there(tmp_path, monkeypatch, code, call):
    def full(*_):
        raise OSError(code, os.strerror(code))

    old = tmp_path / "records" / "old"
    old.parent.mkdir()
    old.write_bytes(b"old")
    with monkeypatch.context() as context:
        context.setattr(os, call, full)
        if call != "replace":
            with pytest.raises(DiskFullError, match=r"write .*a.json; finished .* same command"):
                publish(tmp_path, record())
        if call != "link":
            with pytest.raises(DiskFullError, match="write .*old; finished cells and the latest"):
                write_atomically(old, b"new")
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]
    assert publish(tmp_path, record()).exists()


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EROFS, "make its folder writable, or choose another one"),
        (errno.ESTALE, "restore it and run the same command again"),
    ],
)
@pytest.mark.parametrize("call", ["mkdir", "fsync"])
def test_a_folder_that_is_lost_meanwhile_is_named(tmp_path, monkeypatch, call, code, remedy):
    def lost(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, lost)
    with pytest.raises(FolderError, match=rf"a.json cannot be written \(.*\): .*{remedy}"):
        publish(tmp_path, record())
    assert read_all(tmp_path) == []


def test_other_errors_of_the_disk_stay_as_they_are(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        publish(tmp_path, record())
    assert not list((tmp_path / "records").iterdir())


def _huge(path):
    with open(path, "wb") as file:
        file.truncate(MOST_BYTES + 1)


@pytest.mark.parametrize(
    ("put", "message"), [(os.mkfifo, "no regular file"), (_huge, "File too large")]
)
def test_a_pipe_or_a_huge_file_in_place_of_a_record_is_named(tmp_path, put, message):
    (tmp_path / "records").mkdir()
    put(tmp_path / "records" / "a.json")
    with pytest.raises(RecordError, match=rf"{message}.*a\.json.*; remove the file to run"):
        read_all(tmp_path)


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    (tmp_path / "leaderboard.md").mkdir()
    with pytest.raises(FolderError, match=r"leaderboard\.md cannot .*remove or rename it"):
        write_atomically(tmp_path / "leaderboard.md", b"x")
