"""Compiled loops of the evaluation by distance: matching, precision at the sampled recalls.

Both release the interpreter lock. Roles of objects are those of `kernels`; VALID is less than
IGNORED.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from benchmark.evaluation.kernels import OTHER


@njit(cache=True, nogil=True)
def match_nearest(
    reach: float,
    gt_offset: np.ndarray,
    gt_place: np.ndarray,
    gt_role: np.ndarray,
    det_offset: np.ndarray,
    det_place: np.ndarray,
    det_class: np.ndarray,
    det_order: np.ndarray,
) -> np.ndarray:
    """The object that each of D detections takes; (D,) its index, -1 for none.

    In its turn a detection takes the nearest valid object of its frame that is free and nearer
    than `reach`; without one, the nearest such ignored object. Classes do not compete for objects.

    Args:
        reach: in metres.
        gt_offset, det_offset: (frames + 1,) where each frame's objects begin in the flat arrays.
        gt_place, det_place: (G, 2), (D, 2) centres in the ground plane, in metres.
        gt_role: (classes, G).
        det_class: (D,) the class of each detection, -1 for one that is not considered.
        det_order: (D,) the detections of frame after frame, those of a frame by falling score.
    """
    partner = np.full(len(det_class), -1, np.int64)
    for frame in range(len(gt_offset) - 1):
        first, end = gt_offset[frame], gt_offset[frame + 1]
        taken = np.zeros((len(gt_role), end - first), np.bool_)
        for d in det_order[det_offset[frame] : det_offset[frame + 1]]:
            c = det_class[d]
            if c < 0:
                continue
            best, least = -1, 0.0
            for g in range(first, end):
                role = gt_role[c, g]
                if role == OTHER or taken[c, g - first]:
                    continue
                dx = gt_place[g, 0] - det_place[d, 0]
                dz = gt_place[g, 1] - det_place[d, 1]
                distance = math.sqrt(dx * dx + dz * dz)
                if not distance < reach:
                    continue
                best_role = gt_role[c, best] if best >= 0 else role
                if best < 0 or role < best_role or (role == best_role and distance < least):
                    best, least = g, distance
            if best >= 0:
                partner[d] = best
                taken[c, best - first] = True
    return partner


@njit(cache=True, nogil=True)
def _extend(
    curve: np.ndarray, recalls: np.ndarray, filled: int, found: int, seen: int, n_objects: int
) -> int:
    """Fill a curve (k,) below the recall of the next true positive; how much of it is filled.

    found, seen: true positives, and true and false ones, before it.
    """
    recall = (found + 1) / n_objects
    if filled == len(recalls) or recalls[filled] >= recall:
        return filled
    value = (found + 1) / (seen + 1)
    old_recall = found / n_objects
    old_value = found / seen if seen > 0 else value
    slope = (value - old_value) / (recall - old_recall)
    while filled < len(recalls) and recalls[filled] < recall:
        curve[filled] = old_value + slope * (recalls[filled] - old_recall)
        filled += 1
    return filled


@njit(cache=True, nogil=True)
def interpolated_precision(
    score: np.ndarray,
    frame: np.ndarray,
    hits: np.ndarray,
    counted: np.ndarray,
    objects: np.ndarray,
    weights: np.ndarray,
    recalls: np.ndarray,
    precision: np.ndarray,
) -> None:
    """Precision at the recalls, linear between those reached; frame f counts weights[r, f] times.

    At a recall reached more than once it is the last precision; below the first, the first; above
    the last, 0.

    Args:
        score, frame, hits, counted: (n,) one class's detections by falling score; detections of a
            frame with equal scores follow each other, and are repeated together.
        objects: (frames,) valid ground-truth objects.
        weights: (resamples, frames) whole numbers >= 0.
        recalls: (k,) rising.
        precision: (resamples, k) out; NaN where a resample holds no valid object.
    """
    n = len(score)
    for r in range(len(weights)):
        n_objects = 0
        for f in range(len(objects)):
            n_objects += weights[r, f] * objects[f]
        if n_objects == 0:
            precision[r] = np.nan
            continue
        curve = precision[r]
        found, seen, filled = 0, 0, 0
        begin = 0
        while begin < n:
            end = begin + 1
            while end < n and score[end] == score[begin] and frame[end] == frame[begin]:
                end += 1
            for _ in range(weights[r, frame[begin]]):
                for i in range(begin, end):
                    if hits[i]:
                        filled = _extend(curve, recalls, filled, found, seen, n_objects)
                        found += 1
                    seen += counted[i]
            begin = end
        for k in range(filled, len(recalls)):
            reached = seen > 0 and recalls[k] <= found / n_objects
            curve[k] = found / seen if reached else 0.0
