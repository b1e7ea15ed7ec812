"""The journal: locks that tell who is at work, checkpoints, entries for those who watch."""

import json
import os
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace

import pytest
import torch
from hostile import damaged
from hypothesis import HealthCheck, given, settings

from benchmark.files.locks import Lock, LockError
from benchmark.running.journal import Journal, JournalError
from benchmark.running.status import describe_cells


@pytest.fixture
def cells(matrix):
    return matrix(["none", "fitnet"]).cohorts()[0].cells


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path)


def test_a_cell_is_free_unless_another_holds_it(journal, cells):
    assert journal.free(cells) == cells
    with journal.holding(cells[0]) as free:
        assert free
        assert journal.free(cells) == cells[1:]
        with journal.holding(cells[0]) as again:
            assert not again
        assert journal.locked(cells[0].identity())
    assert journal.free(cells) == cells


def test_a_checkpoint_comes_back_as_it_was(journal, cells):
    state = {"position": [1, 2], "fields": {}, "weights": torch.arange(3.0)}
    assert not journal.saved(cells[0])
    assert journal.load(cells[0]) is None
    journal.save(cells[0], state)
    assert journal.saved(cells[0])
    assert journal.load(cells[0])["weights"].tolist() == [0, 1, 2]


def test_a_damaged_checkpoint_is_named_with_the_remedy(journal, cells):
    journal.save(cells[0], {"weights": torch.zeros(100)})
    path = journal.folder / f"{cells[0].identity()}.pt"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(JournalError, match=rf"{path.name} cannot be read .*; remove it, and point"):
        journal.load(cells[0])


@pytest.mark.parametrize(
    "state", [[], 3, None, {}, {"position": 1}, {"position": ["a", 0]}, {"position": [1, 2]}]
)
def test_a_checkpoint_of_another_kind_is_named_with_the_remedy(journal, cells, state):
    journal.save(cells[0], state)
    with pytest.raises(JournalError, match="cannot be read .*; remove it, and point"):
        journal.load(cells[0])


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_entry_is_named_with_the_remedy(journal, cells, text):
    journal.request(cells[0])
    path = journal.folder / f"{cells[0].identity()}.json"
    path.write_text(text)
    with pytest.raises(JournalError, match=rf"{path.name}.*; remove the file|{path.name} holds"):
        journal.entries()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "/abs/victim"}, "is the entry of cell /abs/victim"),
        ({"cell": None}, "cell is None; it must be text"),
        ({"seed": "0"}, "seed is '0'; it must be a whole number"),
        ({"updated": []}, "updated is \\[\\]; it must be a number"),
        ({"epoch": "3"}, "epoch is '3'; it must be a whole number"),
    ],
)
def test_an_entry_of_a_wrong_form_is_named_with_the_remedy(
    journal, cells, tmp_path, change, message
):
    journal.request(cells[0])
    path = journal.folder / f"{cells[0].identity()}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(JournalError, match=f"{path}: {message}.*; remove the file"):
        describe_cells(tmp_path)
    path.write_text("[" * 100_000)
    with pytest.raises(JournalError, match=f"{path}: .*; remove the file"):
        describe_cells(tmp_path)


ENTRY = {
    "cell": "a", "student": "pointpillars@4", "method": "none", "weighting": "source",
    "precision": "fp32", "seed": 0, "source": "", "profile": "smoke", "data": "d",
    "updated": 1.0, "status": "running", "reason": "", "epoch": 1, "epochs": 2, "seconds": 3.0,
    "where": "here", "deaths": 1,
}  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(entry=damaged(ENTRY))
def test_a_damaged_entry_is_shown_or_refused(journal, tmp_path, entry):
    journal.folder.mkdir(exist_ok=True)
    (journal.folder / "a.json").write_text(json.dumps(entry))
    (journal.folder / "a.lock").touch()
    for running in (False, True):
        with running_cell(journal.folder / "a.lock", running), suppress(JournalError):
            assert (
                "pointpillars" in describe_cells(tmp_path) or entry["student"] != "pointpillars@4"
            )


@contextmanager
def running_cell(path, running):
    with Lock(path) if running else nullcontext():
        yield


def test_names_that_are_no_text_are_read_back(journal, cells, tmp_path):
    odd = replace(cells[0], data=replace(cells[0].data, name="caf\udce9"))
    journal.request(odd)
    assert journal.entry(odd.identity())["data"] == "caf?"
    assert "pending" in describe_cells(tmp_path)


def test_those_who_may_only_read_see_who_is_at_work(journal, cells):
    with journal.holding(cells[0]):
        path = journal.folder / f"{cells[0].identity()}.lock"
        before = path.stat().st_mtime_ns
        path.chmod(0o444)
        asked = os.open
        with pytest.MonkeyPatch.context() as context:
            context.setattr(os, "open", lambda path, flags, *mode: asked(path, only_read(flags)))
            assert journal.locked(cells[0].identity())
    assert not journal.locked(cells[0].identity())
    assert path.stat().st_mtime_ns == before


def only_read(flags):
    """The flags, refused as for a file of somebody else's if they ask to write."""
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        raise PermissionError(13, "Permission denied")
    return flags


def test_a_link_in_place_of_a_lock_is_refused_and_what_it_leads_to_stays(journal, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    journal.folder.mkdir()
    (journal.folder / "a.lock").symlink_to(victim)
    (journal.folder / "a.json").write_text(json.dumps(ENTRY))
    with pytest.raises(LockError, match=r"a.lock: a link; remove the file"):
        describe_cells(tmp_path)
    assert victim.read_text() == "mine"


def test_a_clock_that_is_ahead_makes_no_negative_age(journal, tmp_path):
    journal.folder.mkdir()
    (journal.folder / "a.json").write_text(json.dumps(ENTRY | {"updated": time.time() + 1e6}))
    with Lock(journal.folder / "a.lock"):
        assert "on here, reported 0 s ago" in describe_cells(tmp_path)


def test_entries_are_of_cells_without_a_record(journal, cells, tmp_path):
    for cell in cells:
        journal.request(cell)
    journal.report(cells[0], epoch=3, epochs=8, status="running")
    assert "3/8" in describe_cells(tmp_path)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / f"{cells[0].identity()}.json").touch()
    assert [entry["cell"] for entry in journal.entries()] == [cells[1].identity()]


def test_versions_of_a_users_code_are_told_apart(journal, cells, tmp_path):
    for hashes in ({}, {"source": "0123456789abcdef"}, {"detector": "fedcba9876543210"}):
        journal.request(replace(cells[0], **hashes))
        assert ("code" in describe_cells(tmp_path)) == bool(hashes)
    told = describe_cells(tmp_path)
    assert "0123456789abcdef" in told
    assert "fedcba9876543210" in told


def test_a_closed_cell_leaves_its_lock_alone(journal, cells):
    journal.save(cells[0], {})
    journal.request(cells[0])
    for kind in ("pt", "json"):
        (journal.folder / f".{cells[0].identity()}.{kind}-x.tmp").touch()  # writes that were killed
    with journal.holding(cells[0]):
        journal.close(cells[0])
    assert [path.name for path in journal.folder.iterdir()] == [f"{cells[0].identity()}.lock"]
