"""The rows of leaderboards whose students keep to a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmark.config.budget import Budget
from benchmark.leaderboard.tables import Table


def within(tables: Sequence[Table], budget: Budget) -> tuple[list[Table], list[str]]:
    """Tables with the rows whose students keep to a budget.

    Returns:
        The tables that have such rows; for each of the others, in words, why it has none.
    """
    kept, told = [], []
    for table in tables:
        rows = [row for row in table.rows if budget.keeps(row)]
        if rows:
            kept.append(replace(table, rows=rows))
        else:
            told.append(f"{table.title}: {budget.unanswered(_students(table))}")
    return kept, told


def _students(table: Table) -> dict[str, Mapping[str, Any]]:
    """A row with figures of each student, as its methods do not change what it costs."""
    return {row["student"]: row for row in sorted(table.rows, key=lambda row: row["seeds"])}
