"""Compiled loops of the KITTI evaluation: overlaps, matching, precision at the sampled recalls.

All of them release the interpreter lock, so that threads may run them on disjoint ranges. They
live in one file because numba's cache notices a change in a function's own file only.

Metrics are numbered 0 bbox, 1 bev, 2 3d. A role says what an object is to one class at one
difficulty: VALID, IGNORED (may be matched, counts neither way) or OTHER (not considered).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

VALID = 0
IGNORED = 1
OTHER = -1


@njit(cache=True, nogil=True)
def _clip(x: np.ndarray, z: np.ndarray, n: int, axis: int, side: float, limit: float) -> int:
    """Keep the part of a convex polygon where side * coordinate <= limit; the corner count.

    x, z: (8,) buffers with n corners, changed in place. Sutherland and Hodgman (1974).
    """
    old_x, old_z = x.copy(), z.copy()
    kept = 0
    for i in range(n):
        j = (i + 1) % n
        a = side * (old_x[i] if axis == 0 else old_z[i]) - limit
        b = side * (old_x[j] if axis == 0 else old_z[j]) - limit
        if a <= 0.0:
            x[kept], z[kept] = old_x[i], old_z[i]
            kept += 1
        if (a < 0.0 < b) or (b < 0.0 < a):
            part = a / (a - b)
            x[kept] = old_x[i] + part * (old_x[j] - old_x[i])
            z[kept] = old_z[i] + part * (old_z[j] - old_z[i])
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def ground_intersection(a: np.ndarray, b: np.ndarray) -> float:
    """Area in m2 common to two boxes seen from above.

    a, b: (7,) x, y, z of the bottom's centre, height, width, length, rotation_y. The second box
    is moved into the frame of the first, where four axis-parallel cuts remain; so identical,
    touching and contained boxes need no special case.
    """
    dx, dz = b[0] - a[0], b[2] - a[2]
    reach = math.hypot(a[4], a[5]) + math.hypot(b[4], b[5])
    if 4.0 * (dx * dx + dz * dz) >= reach * reach:
        return 0.0
    cos_a, sin_a = math.cos(a[6]), math.sin(a[6])
    turn = b[6] - a[6]
    cos_t, sin_t = math.cos(turn), math.sin(turn)
    centre_x = cos_a * dx - sin_a * dz
    centre_z = sin_a * dx + cos_a * dz
    x, z = np.empty(8), np.empty(8)
    for i in range(4):
        along = 0.5 * b[5] * (1.0 if i in (0, 1) else -1.0)
        across = 0.5 * b[4] * (1.0 if i in (0, 3) else -1.0)
        x[i] = centre_x + cos_t * along + sin_t * across
        z[i] = centre_z - sin_t * along + cos_t * across
    n = 4
    for axis in range(2):
        limit = 0.5 * (a[5] if axis == 0 else a[4])
        for side in (-1.0, 1.0):
            n = _clip(x, z, n, axis, side, limit)
    area = 0.0
    for i in range(n):
        j = (i + 1) % n
        area += x[i] * z[j] - x[j] * z[i]
    return 0.5 * abs(area)


@njit(cache=True, nogil=True)
def _image_overlap(det: np.ndarray, gt: np.ndarray, of_detection: bool) -> float:
    """Overlap of two image boxes (4,) over their union, or over the detection alone."""
    width = min(det[2], gt[2]) - max(det[0], gt[0])
    height = min(det[3], gt[3]) - max(det[1], gt[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    common = width * height
    whole = (det[2] - det[0]) * (det[3] - det[1])
    if not of_detection:
        whole += (gt[2] - gt[0]) * (gt[3] - gt[1]) - common
    return common / whole


@njit(cache=True, nogil=True)
def _box_overlaps(det: np.ndarray, gt: np.ndarray, of_detection: bool) -> tuple[float, float]:
    """Overlaps from above and in space of two boxes (7,), as in `ground_intersection`.

    A box without a positive width and length (and height, in space) overlaps nothing.
    """
    if min(det[4], det[5], gt[4], gt[5]) <= 0.0:
        return 0.0, 0.0
    common = ground_intersection(det, gt)
    if common <= 0.0:
        return 0.0, 0.0
    det_area, gt_area = det[4] * det[5], gt[4] * gt[5]
    bev = common / (det_area if of_detection else det_area + gt_area - common)
    height = min(det[1], gt[1]) - max(det[1] - det[3], gt[1] - gt[3])
    if height <= 0.0 or det[3] <= 0.0 or gt[3] <= 0.0:
        return bev, 0.0
    volume = common * height
    whole = det_area * det[3]
    if not of_detection:
        whole += gt_area * gt[3] - volume
    return bev, volume / whole


@njit(cache=True, nogil=True)
def pair_overlaps(
    det_bbox: np.ndarray,
    det_box: np.ndarray,
    gt_bbox: np.ndarray,
    gt_box: np.ndarray,
    of_detection: bool,
) -> np.ndarray:
    """Overlaps (3, m, n) of m ground-truth objects with n detections of one frame.

    Args:
        det_bbox, gt_bbox: (n, 4), (m, 4) left, top, right, bottom in pixels.
        det_box, gt_box: (n, 7), (m, 7) as in `ground_intersection`.
        of_detection: divide by the detection's own area or volume instead of the union's.
    """
    overlaps = np.zeros((3, len(gt_bbox), len(det_bbox)))
    for g in range(len(gt_bbox)):
        for d in range(len(det_bbox)):
            overlaps[0, g, d] = _image_overlap(det_bbox[d], gt_bbox[g], of_detection)
            bev, space = _box_overlaps(det_box[d], gt_box[g], of_detection)
            overlaps[1, g, d] = bev
            overlaps[2, g, d] = space
    return overlaps


@njit(cache=True, nogil=True)
def _match_by_score(
    overlap: np.ndarray,
    least: float,
    gt_role: np.ndarray,
    det_role: np.ndarray,
    score: np.ndarray,
) -> np.ndarray:
    """The devkit's first pass: every object takes its best-scoring free detection; hits (n,)."""
    hit = np.zeros(len(score), np.bool_)
    taken = np.zeros(len(score), np.bool_)
    for g in range(len(gt_role)):
        best = -1
        for d in range(len(score)):
            if taken[d] or det_role[d] == OTHER or overlap[g, d] <= least:
                continue
            if best < 0 or score[d] > score[best]:
                best = d
        if best >= 0:
            taken[best] = True
            hit[best] = gt_role[g] == VALID and det_role[best] == VALID
    return hit


@njit(cache=True, nogil=True)
def _match_by_overlap(
    overlap: np.ndarray,
    least: float,
    gt_role: np.ndarray,
    candidates: np.ndarray,
    active: np.ndarray,
    partner: np.ndarray,
) -> None:
    """The devkit's second pass: every object takes the free active candidate overlapping most.

    candidates: (k,) detections in file order. partner: (k,) becomes the object taken, or -1.
    Ignored detections are left out: they only make misses ignored, which does not affect precision.
    """
    partner[:] = -1
    for g in range(len(gt_role)):
        best = -1
        most = least
        for k in range(len(candidates)):
            d = candidates[k]
            if active[d] and partner[k] < 0 and overlap[g, d] > most:
                best = k
                most = overlap[g, d]
        if best >= 0:
            partner[best] = g


@njit(cache=True, nogil=True)
def _candidates(overlap: np.ndarray, least: float, det_role: np.ndarray) -> np.ndarray:
    """The valid detections (k,) that overlap some object enough, in file order."""
    found = np.zeros(len(det_role), np.bool_)
    for d in range(len(det_role)):
        if det_role[d] == VALID:
            for g in range(len(overlap)):
                if overlap[g, d] > least:
                    found[d] = True
                    break
    return np.flatnonzero(found)


@njit(cache=True, nogil=True)
def _steps(
    overlap: np.ndarray,
    least: float,
    gt_role: np.ndarray,
    det_role: np.ndarray,
    excused: np.ndarray,
    score: np.ndarray,
    order: np.ndarray,
    similarity: np.ndarray,
) -> np.ndarray:
    """Lower the score threshold through one frame, noting what each detection's entry changes.

    Args:
        overlap, similarity: (m, n) of every pair of object and detection.
        excused: (n,) unmatched detections that do not count as false positives.
        order: (n,) detections by falling score.

    Returns:
        (3, n): the changes of true positives, of their summed similarity, and of true + false
        positives when the threshold falls to a detection's score. Of valid detections with equal
        scores the last in `order` holds the change.
    """
    steps = np.zeros((3, len(score)))
    valid = order[det_role[order] == VALID]
    candidates = _candidates(overlap, least, det_role)
    is_candidate = np.zeros(len(score), np.bool_)
    is_candidate[candidates] = True
    active = np.zeros(len(score), np.bool_)
    partner = np.empty(len(candidates), np.int64)
    before = np.zeros(3)
    matched = np.zeros(3)
    lone = 0.0  # active detections that overlap no object and are false positives
    stale = False
    for i in range(len(valid)):
        d = valid[i]
        active[d] = True
        if is_candidate[d]:
            stale = True
        elif not excused[d]:
            lone += 1.0
        if i + 1 < len(valid) and score[valid[i + 1]] == score[d]:
            continue
        if stale:
            _match_by_overlap(overlap, least, gt_role, candidates, active, partner)
            matched[:] = 0.0
            for k in range(len(candidates)):
                g, c = partner[k], candidates[k]
                if g >= 0 and gt_role[g] == VALID:
                    matched[0] += 1.0
                    matched[1] += similarity[g, c]
                    matched[2] += 1.0
                elif g < 0 and active[c] and not excused[c]:
                    matched[2] += 1.0
            stale = False
        for q in range(3):
            now = matched[q] + (lone if q == 2 else 0.0)
            steps[q, d] = now - before[q]
            before[q] = now
    return steps


@njit(cache=True, nogil=True)
def match_frames(
    begin: int,
    end: int,
    gt_offset: np.ndarray,
    gt_bbox: np.ndarray,
    gt_box: np.ndarray,
    gt_alpha: np.ndarray,
    gt_role: np.ndarray,
    gt_dontcare: np.ndarray,
    det_offset: np.ndarray,
    det_bbox: np.ndarray,
    det_box: np.ndarray,
    det_alpha: np.ndarray,
    det_role: np.ndarray,
    det_exempt: np.ndarray,
    det_score: np.ndarray,
    det_order: np.ndarray,
    min_overlap: np.ndarray,
    first: np.ndarray,
    hits: np.ndarray,
    counted: np.ndarray,
) -> None:
    """Match the frames begin <= f < end of every class, metric and difficulty.

    Args:
        gt_offset, det_offset: (frames + 1,) where each frame's objects begin in the flat arrays.
        gt_bbox, gt_box, gt_alpha: (G, 4), (G, 7), (G,); likewise for the D detections.
        gt_role, det_role: (classes, difficulties, G), (classes, difficulties, D).
        gt_dontcare: (G,) regions in which unmatched detections are not false positives.
        det_exempt: (D,) detections that are never false positives.
        det_order: (D,) every frame's detections by falling score.
        min_overlap: (classes, 3) an overlap must be larger.
        first: (3, difficulties, D) out; hits of the first pass.
        hits: (4, difficulties, D) out; true positives by metric, then the similarity of bbox.
        counted: (3, difficulties, D) out; true + false positives. Both as changes, see `_steps`.
    """
    for frame in range(begin, end):
        gts = np.arange(gt_offset[frame], gt_offset[frame + 1])
        dets = np.arange(det_offset[frame], det_offset[frame + 1])
        stuff = gts[gt_dontcare[gts]]
        for c in range(len(min_overlap)):
            g_in = gts[gt_role[c, 0][gts] != OTHER]
            d_in = dets[det_role[c, 0][dets] != OTHER]
            if len(d_in) == 0:
                continue
            order = det_order[dets]
            order = np.searchsorted(d_in, order[det_role[c, 0][order] != OTHER])
            score = det_score[d_in]
            bbox, box = det_bbox[d_in], det_box[d_in]
            overlaps = pair_overlaps(bbox, box, gt_bbox[g_in], gt_box[g_in], False)
            in_stuff = pair_overlaps(bbox, box, gt_bbox[stuff], gt_box[stuff], True)
            similarity = np.empty((len(g_in), len(d_in)))
            for g in range(len(g_in)):
                for d in range(len(d_in)):
                    turn = gt_alpha[g_in[g]] - det_alpha[d_in[d]]
                    similarity[g, d] = (1.0 + math.cos(turn)) / 2.0
            for m in range(3):
                least = min_overlap[c, m]
                excused = det_exempt[d_in]
                for s in range(len(stuff)):
                    excused |= in_stuff[m, s] > least
                for level in range(gt_role.shape[1]):
                    g_role, d_role = gt_role[c, level][g_in], det_role[c, level][d_in]
                    hit = _match_by_score(overlaps[m], least, g_role, d_role, score)
                    step = _steps(
                        overlaps[m], least, g_role, d_role, excused, score, order, similarity
                    )
                    for d in np.flatnonzero(d_role == VALID):
                        first[m, level, d_in[d]] = hit[d]
                        hits[m, level, d_in[d]] = step[0, d]
                        counted[m, level, d_in[d]] = step[2, d]
                        if m == 0:
                            hits[3, level, d_in[d]] = step[1, d]


@njit(cache=True, nogil=True)
def sampled_precision(
    score: np.ndarray,
    frame: np.ndarray,
    first: np.ndarray,
    hits: np.ndarray,
    counted: np.ndarray,
    objects: np.ndarray,
    weights: np.ndarray,
    precision: np.ndarray,
) -> None:
    """Precision at the 41 recall positions, frame f counted weights[r, f] times.

    Args:
        score, frame, first, hits, counted: (n,) one class's detections by falling score.
        objects: (frames,) valid ground-truth objects.
        weights: (resamples, frames) whole numbers >= 0.
        precision: (resamples, 41) out; NaN where a resample holds no valid object.
    """
    positions = precision.shape[1]
    for r in range(len(weights)):
        weight = weights[r]
        n_objects, n_first = 0, 0
        for f in range(len(objects)):
            n_objects += weight[f] * objects[f]
        if n_objects == 0:
            precision[r] = np.nan
            continue
        for i in range(len(score)):
            n_first += weight[frame[i]] * first[i]
        precision[r] = 0.0
        summed_hits, summed_counted, seen, reached, filled = 0.0, 0, 0, 0, 0
        recall = 0.0
        for i in range(len(score)):
            copies = weight[frame[i]]
            summed_hits += copies * hits[i]
            summed_counted += copies * counted[i]
            for _ in range(copies * first[i]):
                seen += 1
                left = seen / n_objects
                right = (seen + 1) / n_objects
                if seen < n_first and right - recall < recall - left:
                    continue
                reached += 1
                recall += 1.0 / (positions - 1.0)
            if reached > filled and (i + 1 == len(score) or score[i + 1] != score[i]):
                value = summed_hits / summed_counted if summed_counted > 0 else 0.0
                precision[r, filled:reached] = value
                filled = reached
        for k in range(positions - 2, -1, -1):
            precision[r, k] = max(precision[r, k], precision[r, k + 1])
