"""Where a detector is good: AP by distance and by points in the box, precision-recall curves."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmark.data.labels import Labels
from benchmark.evaluation.kitti_ap import Result, Rules, evaluate
from benchmark.evaluation.protocol import DIFFICULTIES, METRICS, RECALL_POSITIONS, STRICT

DISTANCES = (0.0, 30.0, 50.0, np.inf)  # metres
POINT_COUNTS = (0, 10, 50, np.inf)


def by_distance(
    ground_truth: Sequence[Labels],
    detections: Sequence[Labels],
    edges: Sequence[float] = DISTANCES,
    rules: Rules = STRICT,
    ignored: Sequence[np.ndarray] | None = None,
    exempt: Sequence[np.ndarray] | None = None,
) -> list[Result]:
    """One Result for each interval edges[i] <= distance < edges[i + 1].

    Distance is that of the box's centre from the camera on the ground, in metres.

    Args:
        ignored, exempt: what is ignored at any distance, as for `evaluate`.
    """
    return by_value(
        ground_truth,
        detections,
        _distances(ground_truth, ignored),
        _distances(detections, exempt),
        edges,
        rules,
    )


def by_points(
    ground_truth: Sequence[Labels],
    detections: Sequence[Labels],
    points: Callable[[int], np.ndarray],
    edges: Sequence[float] = POINT_COUNTS,
    rules: Rules = STRICT,
) -> list[Result]:
    """One Result for each interval edges[i] <= points in the box < edges[i + 1].

    Args:
        points: gives the points (n, 3) of frame i in the rectified camera frame, in metres.
    """
    counts_gt, counts_det = [], []
    for i, (gt, det) in enumerate(zip(ground_truth, detections, strict=True)):
        scan = points(i)
        counts_gt.append(count_points(scan, gt))
        counts_det.append(count_points(scan, det))
    return by_value(ground_truth, detections, counts_gt, counts_det, edges, rules)


def by_value(
    ground_truth: Sequence[Labels],
    detections: Sequence[Labels],
    gt_values: Sequence[np.ndarray],
    det_values: Sequence[np.ndarray],
    edges: Sequence[float],
    rules: Rules = STRICT,
) -> list[Result]:
    """One Result for each interval edges[i] <= value < edges[i + 1].

    Objects outside the interval are ignored; detections outside it may match an object inside, but
    are not false positives.

    Args:
        gt_values, det_values: per frame one value for each object.
    """
    results = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        ignored = [~((value >= low) & (value < high)) for value in gt_values]
        exempt = [~((value >= low) & (value < high)) for value in det_values]
        results.append(evaluate(ground_truth, detections, ignored, exempt, rules))
    return results


def count_points(points: np.ndarray, labels: Labels) -> np.ndarray:
    """How many points (n, 3) lie in each of m boxes: (m,) int64. All in the camera frame."""
    counts = np.zeros(len(labels), np.int64)
    for i in range(len(labels)):
        height, width, length = labels.dimensions[i]
        near = points - labels.location[i]
        near = near[np.abs(near[:, [0, 2]]).max(1) <= np.hypot(width, length) / 2]
        cos, sin = np.cos(labels.rotation_y[i]), np.sin(labels.rotation_y[i])
        along = cos * near[:, 0] - sin * near[:, 2]
        across = sin * near[:, 0] + cos * near[:, 2]
        inside = (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)
        counts[i] = (inside & (near[:, 1] <= 0) & (near[:, 1] >= -height)).sum()
    return counts


def write_curves_csv(path: Path, result: Result) -> None:
    """The 41 points of every curve: class, metric, difficulty, recall, precision."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "metric", "difficulty", "recall", "precision"])
        for c, name in enumerate(result.classes):
            for m, metric in enumerate(METRICS):
                for level, difficulty in enumerate(DIFFICULTIES):
                    for k, value in enumerate(result.precision[c, m, level]):
                        if np.isfinite(value):
                            writer.writerow(
                                [name, metric, difficulty, k / (RECALL_POSITIONS - 1), value]
                            )


def write_curves_png(path: Path, result: Result) -> None:
    """Precision against recall, one panel for each class and metric."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(METRICS), 2.6 * len(result.classes)), layout="constrained")
    shape = len(result.classes), len(METRICS)
    panels = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False)
    recalls = np.linspace(0, 1, RECALL_POSITIONS)
    for c, name in enumerate(result.classes):
        for m, metric in enumerate(METRICS):
            for level, difficulty in enumerate(DIFFICULTIES):
                panels[c, m].plot(recalls, result.precision[c, m, level], label=difficulty)
            panels[c, m].set_title(f"{name} {metric}", fontsize=9)
            panels[c, m].set(xlim=(0, 1), ylim=(0, 1.02))
            panels[c, m].grid(alpha=0.3)
    panels[0, 0].legend(fontsize=8)
    figure.supxlabel("recall")
    figure.supylabel("precision (aos: orientation similarity)")
    FigureCanvasAgg(figure).print_png(path)


def _distances(frames: Sequence[Labels], left_out: Sequence[np.ndarray] | None) -> list[np.ndarray]:
    """(n,) per frame in metres; NaN, which lies in no interval, for what is left out."""
    distances = [np.hypot(labels.location[:, 0], labels.location[:, 2]) for labels in frames]
    if left_out is None:
        return distances
    return [np.where(out, np.nan, d) for d, out in zip(distances, left_out, strict=True)]
