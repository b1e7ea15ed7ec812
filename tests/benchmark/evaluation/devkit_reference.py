"""KITTI's evaluation protocol written out step by step, slowly, in plain Python and shapely.

The independent reference of benchmark/evaluation: it shares no code with it. Every loop is the one
of the development kit's evaluate_object.cpp: per class, difficulty and metric a first pass for
the score thresholds, then a full matching of every frame at each threshold. Two cases that the
kit leaves undefined are settled: 0 / 0 is a precision of 0, and a class without valid objects has
no AP (NaN).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from shapely.geometry import Polygon

CLASSES = ["Car", "Pedestrian", "Cyclist"]
METRICS = ["bbox", "bev", "3d"]
MIN_HEIGHT = [40, 25, 25]
MAX_OCCLUSION = [0, 1, 2]
MAX_TRUNCATION = [0.15, 0.3, 0.5]
STRICT = {"Car": [0.7, 0.7, 0.7], "Pedestrian": [0.5] * 3, "Cyclist": [0.5] * 3}
LOOSE = {
    "Car": [0.7, 0.5, 0.5],
    "Pedestrian": [0.5, 0.25, 0.25],
    "Cyclist": [0.5, 0.25, 0.25],
}
N_SAMPLE_PTS = 41
NO_DETECTION = -10000000.0


@dataclass
class Thing:
    """One line of a label or result file."""

    name: str
    truncation: float
    occlusion: int
    alpha: float
    bbox: list[float]
    h: float
    w: float
    length: float
    x: float
    y: float
    z: float
    ry: float
    score: float = 0.0


@dataclass
class Scene:
    """One frame, with the overlaps found so far."""

    gt: list[Thing]
    det: list[Thing]
    known: dict = field(default_factory=dict)

    def overlap(self, metric, j, i, criterion):
        key = (metric, j, i, criterion)
        if key not in self.known:
            function = [image_overlap, ground_overlap, space_overlap][metric]
            self.known[key] = function(self.det[j], self.gt[i], criterion)
        return self.known[key]


def scene(gt, det):
    """A Scene from any objects with the columns of a label file."""
    return Scene(things(gt), things(det))


def things(labels):
    found = []
    for i in range(len(labels.name)):
        h, w, length = labels.dimensions[i].tolist()
        x, y, z = labels.location[i].tolist()
        found.append(
            Thing(
                str(labels.name[i]),
                float(labels.truncation[i]),
                int(labels.occlusion[i]),
                float(labels.alpha[i]),
                labels.bbox[i].tolist(),
                h,
                w,
                length,
                x,
                y,
                z,
                float(labels.rotation_y[i]),
                0.0 if labels.score is None else float(labels.score[i]),
            )
        )
    return found


def image_overlap(a, b, criterion):
    w = min(a.bbox[2], b.bbox[2]) - max(a.bbox[0], b.bbox[0])
    h = min(a.bbox[3], b.bbox[3]) - max(a.bbox[1], b.bbox[1])
    if w <= 0 or h <= 0:
        return 0.0
    inter = w * h
    a_area = (a.bbox[2] - a.bbox[0]) * (a.bbox[3] - a.bbox[1])
    b_area = (b.bbox[2] - b.bbox[0]) * (b.bbox[3] - b.bbox[1])
    return inter / a_area if criterion == 0 else inter / (a_area + b_area - inter)


def footprint(thing):
    cos, sin = math.cos(thing.ry), math.sin(thing.ry)
    corners = []
    for along, across in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
        a, b = along * thing.length / 2, across * thing.w / 2
        corners.append((cos * a + sin * b + thing.x, -sin * a + cos * b + thing.z))
    return Polygon(corners)


def ground_overlap(a, b, criterion):
    if min(a.w, a.length, b.w, b.length) <= 0:
        return 0.0
    pa, pb = footprint(a), footprint(b)
    inter = pa.intersection(pb).area
    return inter / pa.area if criterion == 0 else inter / (pa.area + pb.area - inter)


def space_overlap(a, b, criterion):
    if min(a.h, a.w, a.length, b.h, b.w, b.length) <= 0:
        return 0.0
    height = max(0.0, min(a.y, b.y) - max(a.y - a.h, b.y - b.h))
    inter = footprint(a).intersection(footprint(b)).area * height
    a_volume, b_volume = a.h * a.w * a.length, b.h * b.w * b.length
    return inter / a_volume if criterion == 0 else inter / (a_volume + b_volume - inter)


def clean_data(name, frame, difficulty):
    ignored_gt, ignored_det, dontcare = [], [], []
    n_gt = 0
    for i, gt in enumerate(frame.gt):
        if gt.name == name:
            valid = 1
        elif (name, gt.name) in (("Pedestrian", "Person_sitting"), ("Car", "Van")):
            valid = 0
        else:
            valid = -1
        ignore = (
            gt.occlusion > MAX_OCCLUSION[difficulty]
            or gt.truncation > MAX_TRUNCATION[difficulty]
            or gt.bbox[3] - gt.bbox[1] <= MIN_HEIGHT[difficulty]
        )
        if valid == 1 and not ignore:
            ignored_gt.append(0)
            n_gt += 1
        elif valid == 0 or (ignore and valid == 1):
            ignored_gt.append(1)
        else:
            ignored_gt.append(-1)
        if gt.name == "DontCare":
            dontcare.append(i)
    for det in frame.det:
        height = int(abs(det.bbox[1] - det.bbox[3]))
        if height < MIN_HEIGHT[difficulty]:
            ignored_det.append(1)
        elif det.name == name:
            ignored_det.append(0)
        else:
            ignored_det.append(-1)
    return ignored_gt, ignored_det, dontcare, n_gt


def compute_statistics(frame, cleaned, metric, least, compute_fp, threshold=0.0):
    ignored_gt, ignored_det, dontcare, _ = cleaned
    n_det = len(frame.det)
    tp = fp = 0
    scores, delta = [], []
    assigned = [False] * n_det
    low = [compute_fp and det.score < threshold for det in frame.det]

    for i in range(len(frame.gt)):
        if ignored_gt[i] == -1:
            continue
        chosen = -1
        valid_detection = NO_DETECTION
        max_overlap = 0.0
        assigned_ignored = False
        for j in range(n_det):
            if ignored_det[j] == -1 or assigned[j] or low[j]:
                continue
            overlap = frame.overlap(metric, j, i, -1)
            if not compute_fp and overlap > least and frame.det[j].score > valid_detection:
                chosen = j
                valid_detection = frame.det[j].score
            elif (
                compute_fp
                and overlap > least
                and (overlap > max_overlap or assigned_ignored)
                and ignored_det[j] == 0
            ):
                max_overlap = overlap
                chosen = j
                valid_detection = 1
                assigned_ignored = False
            elif (
                compute_fp
                and overlap > least
                and valid_detection == NO_DETECTION
                and ignored_det[j] == 1
            ):
                chosen = j
                valid_detection = 1
                assigned_ignored = True
        if valid_detection == NO_DETECTION:
            continue
        assigned[chosen] = True
        if ignored_gt[i] == 0 and ignored_det[chosen] == 0:
            tp += 1
            scores.append(frame.det[chosen].score)
            delta.append(frame.gt[i].alpha - frame.det[chosen].alpha)

    if compute_fp:
        for j in range(n_det):
            if not (assigned[j] or ignored_det[j] != 0 or low[j]):
                fp += 1
        stuff = 0
        for i in dontcare:
            for j in range(n_det):
                if assigned[j] or ignored_det[j] != 0 or low[j]:
                    continue
                if frame.overlap(metric, j, i, 0) > least:
                    assigned[j] = True
                    stuff += 1
        fp -= stuff
    similarity = sum((1.0 + math.cos(d)) / 2.0 for d in delta)
    return tp, fp, similarity, scores


def get_thresholds(scores, n_gt):
    scores = sorted(scores, reverse=True)
    thresholds = []
    recall = 0.0
    for i, score in enumerate(scores):
        last = i == len(scores) - 1
        left = (i + 1) / n_gt
        right = left if last else (i + 2) / n_gt
        if right - recall < recall - left and not last:
            continue
        thresholds.append(score)
        recall += 1.0 / (N_SAMPLE_PTS - 1.0)
    return thresholds


def eval_class(frames, name, difficulty, metric, least):
    """Precision and orientation similarity at the 41 positions, and the number of objects."""
    cleaned = [clean_data(name, frame, difficulty) for frame in frames]
    n_gt = sum(c[3] for c in cleaned)
    if n_gt == 0:
        return [math.nan] * N_SAMPLE_PTS, [math.nan] * N_SAMPLE_PTS, 0
    scores = []
    for frame, clean in zip(frames, cleaned, strict=True):
        scores += compute_statistics(frame, clean, metric, least, False)[3]
    precision, orientation = [0.0] * N_SAMPLE_PTS, [0.0] * N_SAMPLE_PTS
    for t, threshold in enumerate(get_thresholds(scores, n_gt)):
        tp = fp = 0
        similarity = 0.0
        for frame, clean in zip(frames, cleaned, strict=True):
            counts = compute_statistics(frame, clean, metric, least, True, threshold)
            tp += counts[0]
            fp += counts[1]
            similarity += counts[2]
        if tp + fp:
            precision[t] = tp / (tp + fp)
            orientation[t] = similarity / (tp + fp)
    for t in range(N_SAMPLE_PTS):
        precision[t] = max(precision[t:])
        orientation[t] = max(orientation[t:])
    return precision, orientation, n_gt


def evaluate(frames, min_overlap=STRICT):
    """{(class, metric, difficulty): (R40, R11) in percent}, metric aos included, and the counts."""
    ap, objects = {}, {}
    for name in CLASSES:
        for difficulty in range(3):
            for m, metric in enumerate(METRICS):
                precision, orientation, n_gt = eval_class(
                    frames, name, difficulty, m, min_overlap[name][m]
                )
                ap[name, metric, difficulty] = averages(precision)
                objects[name, difficulty] = n_gt
                if metric == "bbox":
                    ap[name, "aos", difficulty] = averages(orientation)
    return ap, objects


def averages(precision):
    r40 = sum(precision[1:]) / 40 * 100
    r11 = sum(precision[0::4]) / 11 * 100
    return r40, r11
