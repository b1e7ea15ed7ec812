"""Leaderboards from records alone: tables, and pages in four formats.

:mod:`.tables` makes tables of records, :mod:`.published` sets printed figures beside them,
:mod:`.external` scores what other code detected; :mod:`.markdown` and :mod:`.formats` write.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.files import without_collection, write_atomically
from benchmark.leaderboard import external, published
from benchmark.leaderboard.formats import to_csv, to_json, to_latex
from benchmark.leaderboard.markdown import Page
from benchmark.leaderboard.tables import Record, Table, make_tables

__all__ = ["Page", "Table", "make_tables", "pages", "to_csv", "to_json", "to_latex", "write"]


def write(folder: Path, records: Sequence[Record]) -> str:
    """Write ``leaderboard.md``, ``.csv``, ``.tex`` and ``.json`` into a results folder.

    Returns:
        The headline tables in Markdown, for a terminal.
    """
    page, contents = pages(folder, records)
    for name, text in contents.items():
        write_atomically(folder / name, text.encode())
    return f"{page.headline}\n\nDetails: {folder / 'leaderboard.md'}, and beside it .csv .tex .json"


def pages(folder: Path, records: Sequence[Record]) -> tuple[Page, dict[str, str]]:
    """The page of a results folder, and the text of every leaderboard file by its name."""
    with without_collection():
        tables, found = make_tables(records), external.read_all(folder)
        page = Page(folder.resolve().name, tables, found, published.read())
        return page, {
            "leaderboard.md": page.text(),
            "leaderboard.csv": to_csv(tables),
            "leaderboard.tex": to_latex(tables),
            "leaderboard.json": to_json(tables, found),
        }
