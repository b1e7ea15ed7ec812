"""What evaluators share: rules, and frames of objects as arrays for compiled loops."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from benchmark.data.description import Description
from benchmark.data.errors import DataError
from benchmark.data.labels import Labels
from benchmark.evaluation.protocol import STRICT, ClassRule, in_table_order
from benchmark.files.arrays import read_arrays

Rules = Sequence[ClassRule]
Matches = TypeVar("Matches")
Matched = TypeVar("Matched")
Summary = TypeVar("Summary")
Own = TypeVar("Own", bound="Statistics[Any]")


@dataclass(frozen=True, eq=False)
class Statistics(Generic[Matches]):
    """All that resampling frames needs: the matches of every frame, by class.

    Attributes:
        kind: the dataclass of a class's matches, whose fields are arrays.
    """

    kind: ClassVar[type[Any]]
    classes: dict[str, Matches]
    frames: int

    def resampled(
        self, weights: np.ndarray, figure: Callable[[Matches, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """A figure (R, C) of the C classes, frame f counted weights[r, f] times.

        Args:
            weights: (R, frames) whole numbers >= 0, e.g. from `intervals.resample_frames`.
            figure: of a class's matches and some of the weights, (r,).

        Raises:
            ValueError: if the weights are not (R, frames).
        """
        if weights.ndim != 2 or weights.shape[1] != self.frames:
            raise ValueError(f"weights {weights.shape} do not fit {self.frames} frames")
        weights = np.ascontiguousarray(weights, np.int64)
        found = np.empty((len(weights), len(self.classes)))

        def work(begin: int, end: int) -> None:
            for c, one in enumerate(self.classes.values()):
                found[begin:end, c] = figure(one, weights[begin:end])

        in_threads(work, len(weights))
        return found

    def save(self, path: Path) -> None:
        """Write everything to one compressed .npz file, to be resampled later."""
        arrays = {
            f"{name}.{field}": array
            for name, matches in self.classes.items()
            for field, array in vars(matches).items()
        }
        with path.open("wb") as file:
            np.savez_compressed(file, frames=np.array(self.frames), **arrays)

    @classmethod
    def load(cls: type[Own], path: Path) -> Own:
        """Read what `save` wrote; nothing but arrays is read.

        Raises:
            DataError: the file is not a statistics file of this metric.
        """
        try:
            arrays = read_arrays(path)
            names = dict.fromkeys(key.rpartition(".")[0] for key in arrays if "." in key)
            stored = [field.name for field in fields(cls.kind)]
            classes = {
                name: cls.kind(**{field: arrays[f"{name}.{field}"] for field in stored})
                for name in names
            }
            return cls(classes, int(arrays["frames"]))
        except (KeyError, ValueError, TypeError) as error:
            told = f"no statistics of {cls.__name__} ({error}); evaluate again"
            raise DataError(f"{path}: {told}") from error


def rules_of(described: Description) -> Rules:
    """How detections of a data set's classes count, in the order of tables."""
    classes, overlaps = described.classes, described.overlaps
    return tuple(
        ClassRule(name, overlaps[name], overlaps[name], classes[name].neighbours)
        for name in in_table_order(list(classes))
    )


@dataclass(frozen=True, eq=False)
class Scenes:
    """F frames of objects and of what was detected in them, one after the other.

    Attributes:
        gt, det: n objects, m detections.
        gt_offset, det_offset: (F + 1,) where each frame begins.
        ignored: (n,) objects that count neither as detected nor as missed.
        exempt: (m,) detections that are never false positives.
        score, frame: (m,) of the detections.
    """

    gt: Labels
    det: Labels
    gt_offset: np.ndarray
    det_offset: np.ndarray
    ignored: np.ndarray
    exempt: np.ndarray
    score: np.ndarray
    frame: np.ndarray

    def __len__(self) -> int:
        return len(self.det_offset) - 1


def evaluator(
    match: Callable[[Scenes, Rules], Matched], summarise: Callable[[Matched], Summary]
) -> Callable[..., Summary]:
    """A function that evaluates the detections of F frames against their ground truth.

    Its arguments are ``ground_truth`` and ``detections``, one Labels per frame in the same order;
    ``ignored``, per frame a mask (n,) of objects that count neither as detected nor as missed, e.g.
    outside a profile's range; ``exempt``, per frame a mask (n,) of detections that are never false
    positives, e.g. outside that range; ``rules``, how detections of each class count, in the order
    of tables, KITTI's by default. It raises ValueError if the frames do not correspond, a mask does
    not fit its frame, or a detection has no score.
    """

    def evaluate(
        ground_truth: Sequence[Labels],
        detections: Sequence[Labels],
        ignored: Sequence[np.ndarray] | None = None,
        exempt: Sequence[np.ndarray] | None = None,
        rules: Rules = STRICT,
    ) -> Summary:
        return summarise(match(_join(ground_truth, detections, ignored, exempt), rules))

    return evaluate


def _join(
    ground_truth: Sequence[Labels],
    detections: Sequence[Labels],
    ignored: Sequence[np.ndarray] | None,
    exempt: Sequence[np.ndarray] | None,
) -> Scenes:
    _check_frames(ground_truth, detections)
    gt_offset, det_offset = _offsets(ground_truth), _offsets(detections)
    det = Labels.concatenate(detections)
    return Scenes(
        Labels.concatenate(ground_truth),
        det,
        gt_offset,
        det_offset,
        _joined_mask(ignored, gt_offset, "ignored"),
        _joined_mask(exempt, det_offset, "exempt"),
        np.zeros(0) if det.score is None else as_float(det.score),
        np.repeat(np.arange(len(detections)), np.diff(det_offset)),
    )


def _check_frames(ground_truth: Sequence[Labels], detections: Sequence[Labels]) -> None:
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


def _offsets(frames: Sequence[Labels]) -> np.ndarray:
    """(F + 1,) where each frame begins once all are concatenated."""
    return np.concatenate([[0], np.cumsum([len(frame) for frame in frames], dtype=np.int64)])


def _joined_mask(masks: Sequence[np.ndarray] | None, offset: np.ndarray, what: str) -> np.ndarray:
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
