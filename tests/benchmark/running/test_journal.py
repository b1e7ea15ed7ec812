"""The journal: locks that tell who is at work, checkpoints, entries for those who watch."""

from dataclasses import replace

import pytest
import torch

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
    state = {"position": [1, 2], "weights": torch.arange(3.0)}
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


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_entry_is_named_with_the_remedy(journal, cells, text):
    journal.request(cells[0])
    path = journal.folder / f"{cells[0].identity()}.json"
    path.write_text(text)
    with pytest.raises(JournalError, match=rf"{path.name}.*; remove the file|{path.name} holds"):
        journal.entries()


def test_entries_are_of_cells_without_a_record(journal, cells, tmp_path):
    for cell in cells:
        journal.request(cell)
    journal.report(cells[0], epoch=3, epochs=8, status="running")
    assert "3/8" in describe_cells(tmp_path)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / f"{cells[0].identity()}.json").touch()
    assert [entry["cell"] for entry in journal.entries()] == [cells[1].identity()]


def test_versions_of_a_plugins_code_are_told_apart(journal, cells, tmp_path):
    for source in ("", "0123456789abcdef"):
        journal.request(replace(cells[0], source=source))
        assert ("code" in describe_cells(tmp_path)) == bool(source)
    assert "0123456789abcdef" in describe_cells(tmp_path)


def test_a_closed_cell_leaves_its_lock_alone(journal, cells):
    journal.save(cells[0], {})
    journal.request(cells[0])
    for kind in ("pt", "json"):
        (journal.folder / f".{cells[0].identity()}.{kind}-x.tmp").touch()  # writes that were killed
    with journal.holding(cells[0]):
        journal.close(cells[0])
    assert [path.name for path in journal.folder.iterdir()] == [f"{cells[0].identity()}.lock"]
