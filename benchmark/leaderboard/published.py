"""Figures printed in papers, next to measured ones.

``results/published.csv`` holds them, one line of a printed table in each row: ``student`` and
``method`` are our names, empty where there is no counterpart here; ``map`` is the mean over classes
at Moderate (KITTI, AP R40) or nuScenes' mAP; ``note`` says what is odd or uncertain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.evaluation.protocol import BY_OVERLAP, DIFFICULTIES, SCORED_CLASSES
from benchmark.leaderboard.tables import Table
from kd_methods.core.errors import PointKDError

PATH = Path(__file__).parents[2] / "results" / "published.csv"
"""Part of the repository, not of an installed package."""
KITTI, NUSCENES = "KITTI val", "nuScenes val"
SPLIT_SIZES = {"train_frames": 3712, "val_frames": 3769}
"""The split that papers use."""
TEXTS = ["source", "table", "data", "metric", "student", "method", "printed_as", "note"]
PERCENTAGES = [
    *(f"{name.lower()}_{difficulty}" for name in SCORED_CLASSES for difficulty in DIFFICULTIES),
    "map", "nds", "mate", "mase", "maoe", "mave", "maae",
]  # fmt: skip
PUBLISHED_COLUMNS = [*TEXTS, "year", *PERCENTAGES, "params_m", "gflops"]
ROUNDING = 0.2
"""Largest deviation of a printed mean from the mean of its printed classes."""


class PublishedError(PointKDError):
    """Published figures that cannot be right; names file and line."""


def read(path: Path = PATH) -> pd.DataFrame:
    """The published figures; none where the file is absent, as in an installed package.

    Raises:
        PublishedError: wrong columns, or a line with a wrong value.
    """
    if not path.exists():
        return pd.DataFrame(columns=PUBLISHED_COLUMNS)
    try:
        texts = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise PublishedError(f"{path}: {error}") from None
    if set(texts.columns) != set(PUBLISHED_COLUMNS):
        odd = sorted(set(texts.columns) ^ set(PUBLISHED_COLUMNS))
        raise PublishedError(f"{path}: columns {', '.join(odd)} are missing or unknown")
    found = texts.copy()
    for column in set(PUBLISHED_COLUMNS) - set(TEXTS):
        found[column] = pd.to_numeric(texts[column].replace("", None), errors="coerce")
        wrong = found[column].isna() & (texts[column] != "")
        if wrong.any():
            raise PublishedError(f"{path}:{_line(wrong)}: {column} is not a number")
    for problem, wrong in _wrong(found).items():
        if wrong.any():
            raise PublishedError(f"{path}:{_line(wrong)}: {problem}")
    return found


def beside(table: Table, printed: pd.DataFrame) -> pd.DataFrame:
    """Published and measured mAP of the rows of a table that a paper has.

    Returns:
        ``student``, ``method``, ``source``, ``year``, ``table``, and for BEV and 3D the figure
        ``printed``, the measured ``mAP`` and their ``difference``, NaN where data or protocol
        differ.
    """
    kitti = dict(list(printed[printed["data"] == KITTI].groupby(["student", "method"])))
    comparable = not differences(table)
    lines: list[dict[str, Any]] = []
    if table.scoring != BY_OVERLAP:
        return pd.DataFrame(lines)  # papers print KITTI's AP
    for row in table.rows:
        same = kitti.get((row["student"], row["method"]))
        for source, group in same.groupby("source") if same is not None else ():
            line = {key: row[key] for key in ("student", "method")} | {
                "source": source,
                "year": group["year"].iloc[0],
                "table": ", ".join(sorted(set(group["table"]))),
            }
            for label in BY_OVERLAP.labels.values():
                figures = group.loc[group["metric"] == label, "map"]
                line[f"{label} printed"] = figures.iloc[0] if len(figures) else math.nan
                line[f"{label} mAP"] = row[f"{label} mAP"]
                difference = row[f"{label} mAP"] - line[f"{label} printed"]
                line[f"{label} difference"] = difference if comparable else math.nan
            lines.append(line)
    return pd.DataFrame(lines)


def comparability(table: Table) -> str:
    """One sentence on whether a table's figures are comparable with published ones."""
    odd = differences(table)
    if odd:
        return f"Not comparable, so without differences: {'; '.join(odd)}."
    return (
        "Same data, split and training protocol. Published figures are single runs, whose spread "
        "over seeds is not known; what else differs is listed in docs/protocol.md."
    )


def differences(table: Table) -> list[str]:
    """What differs between a table and the papers' protocol: KITTI, the split of 3712 and 3769
    frames, mmdet3d's full grid and schedule."""
    example = table.example
    data: Mapping[str, Any] = example["dataset"]
    odd = ["synthetic data"] if data["synthetic"] else []
    odd += [
        f"{data[split]} {split.partition('_')[0]} frames, not {frames}"
        for split, frames in SPLIT_SIZES.items()
        if data[split] != frames
    ]
    if example["profile"]["reduced"]:
        odd.append("a reduced grid")
    if not odd:
        from benchmark.config.profile import load_profile

        recipe = load_profile("kitti").recipe(table.family).settings()
        if example["settings"]["recipe"] != recipe:
            odd.append("another training than profile kitti's")
    return odd


def _wrong(found: pd.DataFrame) -> dict[str, pd.Series]:
    """Which rows break which rule."""
    kitti = found["data"] == KITTI
    moderate = found[[f"{name.lower()}_moderate" for name in SCORED_CLASSES]]
    figures = found[PERCENTAGES]
    key = ["source", "data", "metric", "student", "method"]
    named = found[kitti & (found["student"] != "") & (found["method"] != "")]
    several = named.groupby(key)["map"].transform("nunique") > 1
    return {
        "source, table, printed_as and year must be given": (
            (found[["source", "table", "printed_as"]] == "").any(axis=1) | found["year"].isna()
        ),
        f"data must be {KITTI} or {NUSCENES}": ~found["data"].isin([KITTI, NUSCENES]),
        "metric must be BEV or 3D on KITTI": kitti
        & ~found["metric"].isin(BY_OVERLAP.labels.values()),
        "map must be given": found["map"].isna(),
        "a figure is not between 0 and 100": ((figures < 0) | (figures > 100)).any(axis=1),
        "map is not the mean of the classes at Moderate": (
            moderate.notna().all(axis=1) & ((moderate.mean(axis=1) - found["map"]).abs() > ROUNDING)
        ),
        "the line is a duplicate": found.duplicated([*TEXTS, "year"]),
        "the source also prints a different map for this student and method": several.reindex(
            found.index, fill_value=False
        ),
    }


def _line(wrong: pd.Series) -> int:
    """Number of the first such line of the file."""
    return int(wrong.to_numpy().argmax()) + 2
