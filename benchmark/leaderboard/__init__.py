"""Leaderboards from records alone: tables, and pages in four formats.

:mod:`.tables` makes tables of records, :mod:`.published` adds printed figures,
:mod:`.external` scores what other code detected; :mod:`.markdown` and :mod:`.formats` write.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.config.budget import Budget
from benchmark.files import without_collection, write_atomically
from benchmark.leaderboard import external, published
from benchmark.leaderboard.budget import within
from benchmark.leaderboard.classes import of_classes
from benchmark.leaderboard.formats import to_csv, to_json, to_latex
from benchmark.leaderboard.markdown import Page
from benchmark.leaderboard.tables import Table, make_tables
from benchmark.records import store
from benchmark.records.folder import ResultsFolder
from benchmark.records.record import Record

__all__ = [
    "Page",
    "Table",
    "make_tables",
    "pages",
    "show_part",
    "to_csv",
    "to_json",
    "to_latex",
    "write",
    "read",
]


def read(folder: Path) -> list[Record]:
    """The records of a results folder, which may have none if it has external results.

    Raises:
        RecordError: it has neither, or a record cannot be read.
    """
    return store.read_all(folder) if external.paths(folder) else store.read_results(folder)


def write(folder: Path, records: Sequence[Record]) -> str:
    """Write ``leaderboard.md``, ``.csv``, ``.tex`` and ``.json`` into a results folder.

    Returns:
        The headline tables in Markdown, for a terminal.
    """
    page, contents = pages(folder, records)
    for path, text in contents.items():
        write_atomically(path, text.encode())
    written = ResultsFolder(folder).leaderboard("md")
    return f"{page.headline}\n\nDetails: {written}, and beside it .csv .tex .json"


def show_part(
    folder: Path, records: Sequence[Record], budget: Budget, classes: Sequence[str] = ()
) -> str:
    """The headline tables of the students that keep to a budget, and over some classes, in
    Markdown; nothing is written.

    Tables without such a student, and limits that no measured figure answers, are said in words.

    Args:
        classes: that means, gains and ranks are over; none stands for all.

    Raises:
        ClassError: no such class.
    """
    if classes:
        records = of_classes(records, classes)
    kept, told = within(make_tables(records), budget)
    part = " and ".join(filter(None, [", ".join(classes), str(budget)]))
    page = Page(f"{folder.resolve().name}: {part}", kept, [], published.read())
    if budget and external.paths(folder):
        told.append("External results state their own costs and are left out here.")
    return "\n\n".join([*([page.headline] if kept else []), *told])


def pages(folder: Path, records: Sequence[Record]) -> tuple[Page, dict[Path, str]]:
    """The page of a results folder, and the text of every leaderboard file by its path."""
    place = ResultsFolder(folder)
    with without_collection():
        tables, found = make_tables(records), external.read_all(folder)
        page = Page(folder.resolve().name, tables, found, published.read())
        return page, {
            place.leaderboard("md"): page.text(),
            place.leaderboard("csv"): to_csv(tables, found),
            place.leaderboard("tex"): to_latex(tables, found),
            place.leaderboard("json"): to_json(tables, found),
        }
