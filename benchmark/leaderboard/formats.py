"""Tables for programs and papers: CSV, JSON, LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pandas as pd
from tabulate import LATEX_ESCAPE_RULES, tabulate

from benchmark.leaderboard import external
from benchmark.leaderboard.markdown import EXTERNAL, as_text, caption, external_text
from benchmark.leaderboard.tables import Table
from kd_methods.core.errors import visible


def to_csv(tables: Sequence[Table], found: Sequence[Mapping[str, Any]] = ()) -> str:
    """All rows with full precision, their cells' identities, and what each table is about; empty
    where there is no figure. External results come last, as the table ``external``."""
    frames = [
        pd.DataFrame(map(_without_formulas, table.rows)).assign(
            cells=_cells(table), table=number, **_without_formulas(_about(table))
        )
        for number, table in enumerate(tables, 1)
    ]
    if found:
        rows = pd.DataFrame(
            [_without_formulas(_external_row(external.row(stored))) for stored in found]
        )
        frames = [frame.astype(object) for frame in (*frames, rows)]  # whole numbers stay whole
    if not frames:
        return ""
    return pd.concat(frames).to_csv(index=False, lineterminator="\n")


def _about(table: Table) -> dict[str, Any]:
    """What a table is about."""
    dataset = table.example["dataset"]
    return {
        "dataset": dataset["name"],
        "fingerprint": dataset["fingerprint"],
        "synthetic": dataset["synthetic"],
        "profile": table.example["profile"]["name"],
        "precision": table.example["precision"],
    }


def _without_formulas(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose texts are one line each, and such as no spreadsheet takes for a formula."""
    return {key: _no_formula(v) if isinstance(v, str) else v for key, v in row.items()}


def _no_formula(text: str) -> str:
    line = _one_line(text)
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


def _external_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Under the columns of the tables where these say the same."""
    names = {"detector": "student", "name": "method", "data": "dataset"}
    return {"table": "external", **{names.get(key, key): value for key, value in row.items()}}


def to_json(tables: Sequence[Table], found: Sequence[Mapping[str, Any]]) -> str:
    """Everything with full precision; null where there is no figure."""
    content = {"tables": [_plain(table) for table in tables], "external": list(found)}
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(content, option=options).decode()


def to_latex(tables: Sequence[Table], found: Sequence[Mapping[str, Any]] = ()) -> str:
    """The headline tables and one of external results, for ``booktabs``."""
    parts = ["% \\usepackage{booktabs}"]
    for table in tables:
        told = f"{table.network} on {caption(table)}"
        parts.append(_latex_table(told, as_text(table, "paper")))
    if found:
        rows = [external_text(external.row(stored)) for stored in found]
        parts.append(_latex_table(f"External results. {EXTERNAL}", rows))
    return "\n\n".join(parts) + "\n"


def _latex_table(told: str, rows: Sequence[Mapping[str, str]]) -> str:
    shown = [{name: _one_line(text) for name, text in row.items()} for row in rows]
    body = tabulate(shown, "keys", "latex_booktabs", disable_numparse=True)
    return f"\\begin{{table}}\n\\caption{{{_latex(told)}}}\n{body}\n\\end{{table}}"


def _cells(table: Table) -> list[str]:
    """For each row the identities of its cells as SEED:CELL."""
    found: dict[tuple[str, str], list[str]] = {}
    for cell in table.cells:
        if cell["cell"]:
            key = cell["student"], cell["method"]
            found.setdefault(key, []).append(f"{cell['seed']}:{cell['cell']}")
    return [" ".join(found.get((row["student"], row["method"]), [])) for row in table.rows]


def _plain(table: Table) -> dict[str, Any]:
    example = table.example
    return {
        "family": table.family,
        "dataset": example["dataset"],
        "profile": example["profile"],
        "precision": example["precision"],
        "teacher": example["settings"].get("teacher") or example["cell"],
        "versions": example["provenance"]["versions"],
        "machines": table.machines,
        "commits": table.commits,
        "seeds": table.seeds,
        "rows": table.rows,
        "pairs": table.pairs,
        "cells": table.cells,
        "controls": table.controls,
    }


def _latex(text: str) -> str:
    """Plain text in LaTeX, where an empty line would end a caption."""
    return "".join(LATEX_ESCAPE_RULES.get(character, character) for character in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(visible(text).split())
