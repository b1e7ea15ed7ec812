"""What a look at a data set found, as tables and as plain values."""

from __future__ import annotations

from typing import Any

import pandas as pd
from tabulate import tabulate

from benchmark.data.errors import grouped
from benchmark.evaluation import validity
from benchmark.evaluation.protocol import DIFFICULTIES
from benchmark.evaluation.survey import SIDES, Survey
from benchmark.evaluation.suspicions import notes, warnings


def as_json(found: Survey) -> dict[str, Any]:
    """Plain values."""
    return {
        "frames": _frames_table(found).to_dict("records"),
        "classes": _classes_table(found).to_dict("records"),
        "notes": notes(found),
        "warnings": warnings(found),
        "problems": list(found.problems),
    }


def as_text(found: Survey) -> str:
    """Tables, warnings and problems."""
    parts = []
    if len(found.frames):
        parts.append(_text(_frames_table(found)))
        parts.append(found.genuine())
    if len(found.objects):
        parts.append(_text(_classes_table(found)))
    parts += [f"note: {told}" for told in notes(found)]
    parts += [f"warning: {told}" for told in warnings(found)]
    parts += grouped(found.problems)
    return "\n\n".join(parts) or f"{found.root}: no frames"


def _frames_table(found: Survey) -> pd.DataFrame:
    by = found.frames.groupby("split", sort=False)
    return pd.DataFrame(
        {
            "frames": by.size(),
            "points read": by["read"].median(),
            "not finite": by["dropped"].sum(),
            "points kept": by["kept"].median(),
            "without a point": by["kept"].agg(lambda kept: int((kept == 0).sum())),
        }
    ).reset_index()


def _classes_table(found: Survey) -> pd.DataFrame:
    rows = []
    for (split, name), part in found.objects.groupby(["split", "class"], sort=True):
        row = {"split": split, "class": name, "objects": len(part)}
        if found.description.by_image:
            row |= {level: int((part["level"] <= i).sum()) for i, level in enumerate(DIFFICULTIES)}
            row |= {reason: int((part["reason"] == reason).sum()) for reason in validity.LIMITS}
        row |= {"out of range": int(part["outside"].sum())}
        row |= {"hold points": int((part["points"] > 0).sum())}
        row |= {side: round(float(part[side].median()), 2) for side in SIDES}
        row |= {"distance": round(float(part["distance"].median()), 1)}
        rows.append(row)
    return pd.DataFrame(rows)


def _text(table: pd.DataFrame) -> str:
    return tabulate(table, headers="keys", showindex=False)  # type: ignore[arg-type]
