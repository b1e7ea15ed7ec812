"""Tables for programs and papers: CSV, JSON, LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pandas as pd
from tabulate import LATEX_ESCAPE_RULES, tabulate

from benchmark.leaderboard.markdown import as_text, caption
from benchmark.leaderboard.tables import Table


def to_csv(tables: Sequence[Table]) -> str:
    """All rows with full precision, their cells' identities, and what each table is about; empty
    where there is no figure."""
    frames = [
        pd.DataFrame(table.rows).assign(
            cells=_cells(table),
            table=number,
            dataset=table.example["dataset"]["name"],
            fingerprint=table.example["dataset"]["fingerprint"],
            synthetic=table.example["dataset"]["synthetic"],
            profile=table.example["profile"]["name"],
            precision=table.example["precision"],
        )
        for number, table in enumerate(tables, 1)
    ]
    return pd.concat(frames).to_csv(index=False, lineterminator="\n") if frames else ""


def to_json(tables: Sequence[Table], external: Sequence[Mapping[str, Any]]) -> str:
    """Everything with full precision; null where there is no figure."""
    content = {"tables": [_plain(table) for table in tables], "external": list(external)}
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(content, option=options).decode()


def to_latex(tables: Sequence[Table]) -> str:
    """The headline tables, for ``booktabs``."""
    parts = ["% \\usepackage{booktabs}"]
    for table in tables:
        body = tabulate(as_text(table, "paper"), "keys", "latex_booktabs", disable_numparse=True)
        told = _latex(f"{table.family} on {caption(table)}")
        parts.append(f"\\begin{{table}}\n\\caption{{{told}}}\n{body}\n\\end{{table}}")
    return "\n\n".join(parts) + "\n"


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
    }


def _latex(text: str) -> str:
    """Plain text in LaTeX."""
    return "".join(LATEX_ESCAPE_RULES.get(character, character) for character in text)
