"""What evaluators share: rules, and frames of objects as arrays for compiled loops."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmark.data.description import Description
from benchmark.data.labels import Labels
from benchmark.evaluation.protocol import ClassRule, in_table_order

Rules = Sequence[ClassRule]


def rules_of(described: Description) -> Rules:
    """How detections of a data set's classes count, in the order of tables."""
    classes, overlaps = described.classes, described.overlaps
    return tuple(
        ClassRule(name, overlaps[name], overlaps[name], classes[name].neighbours)
        for name in in_table_order(list(classes))
    )


def check_frames(ground_truth: Sequence[Labels], detections: Sequence[Labels]) -> None:
    if len(ground_truth) != len(detections):
        raise ValueError(
            f"{len(ground_truth)} frames of ground truth, but {len(detections)} of detections; "
            "give one Labels for every frame, an empty one where nothing was detected"
        )
    for i, frame in enumerate(detections):
        if frame.score is None:
            raise ValueError(f"the detections of frame {i} (from 0) have no scores; give a score")


def as_float(array: np.ndarray) -> np.ndarray:
    """The array type that the compiled loops expect."""
    return np.ascontiguousarray(array, np.float64)


def offsets(frames: Sequence[Labels]) -> np.ndarray:
    """(F + 1,) where each frame begins once all are concatenated."""
    return np.concatenate([[0], np.cumsum([len(frame) for frame in frames], dtype=np.int64)])


def joined_mask(masks: Sequence[np.ndarray] | None, offset: np.ndarray, what: str) -> np.ndarray:
    """One mask (n,) from a mask per frame; all False without any."""
    if masks is None:
        return np.zeros(offset[-1], np.bool_)
    if [len(mask) for mask in masks] != np.diff(offset).tolist():
        raise ValueError(f"`{what}` needs one mask per frame, as long as the frame has objects")
    return np.concatenate([np.zeros(0, np.bool_), *masks]).astype(np.bool_)


def per_frame(flags: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """(difficulties, F) how many of (difficulties, n) flags each frame holds."""
    before = np.concatenate([np.zeros((len(flags), 1), np.int64), flags.cumsum(1)], axis=1)
    return np.diff(before[:, offset])


def numbers(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def in_threads(work: Callable[[int, int], None], n: int) -> None:
    """Run work(begin, end) over 0..n in chunks, one thread for each processor we may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    threads = len(affinity(0)) if affinity else os.cpu_count() or 1
    edges = np.linspace(0, n, min(n, 4 * threads) + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))
