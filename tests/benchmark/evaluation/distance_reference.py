"""AP by distance written out from its definition, slowly, in plain Python.

It shares no code with benchmark/evaluation and none with nuScenes' evaluator, which knows no
ignored objects, no neighbours and no exempt detections.
"""

import math

REACHES = [0.5, 1.0, 2.0, 4.0]


def evaluate(gt, det, ignored, exempt, rules):
    """{class: ([AP in percent at each distance], [translation, scale, orientation error])}."""
    found = {}
    for rule in rules:
        n, curves = 0, []
        for frame, ignore in zip(gt, ignored, strict=True):
            n += sum(x == rule.name and not i for x, i in zip(frame.name, ignore, strict=True))
        for reach in REACHES:
            curves.append(_detections(gt, det, ignored, exempt, rule, reach))
        ap = [_average_precision(curve, n) for curve in curves]
        found[rule.name] = ap, _mean_errors(curves[2], n)
    return found


def _detections(gt, det, ignored, exempt, rule, reach):
    """(score, errors or None) of all that are true or false positives, by falling score."""
    queue = [
        (float(frame.score[d]), f, d)
        for f, frame in enumerate(det)
        for d in range(len(frame))
        if frame.name[d] == rule.name
    ]
    taken, outcomes = set(), []
    for score, f, d in sorted(queue, reverse=True):
        near = []
        for g, name in enumerate(gt[f].name):
            x, _, z = gt[f].location[g] - det[f].location[d]
            distance = math.sqrt(x * x + z * z)
            own = name == rule.name
            if (f, g) not in taken and distance < reach and (own or name in rule.neighbours):
                near.append((not own or bool(ignored[f][g]), distance, g))
        if near:
            void, distance, g = min(near)
            taken.add((f, g))
            if not void:
                outcomes.append((score, [distance, *_shape_errors(gt[f], g, det[f], d)]))
        elif not exempt[f][d]:
            outcomes.append((score, None))
    return outcomes


def _shape_errors(gt, g, det, d):
    common = whole = other = 1.0
    for a, b in zip(gt.dimensions[g], det.dimensions[d], strict=True):
        common, whole, other = common * min(a, b), whole * a, other * b
    turn = math.remainder(gt.rotation_y[g] - det.rotation_y[d], 2 * math.pi)
    return 1 - common / (whole + other - common), abs(turn)


def _points(outcomes, n):
    """(recall, precision, score) after each detection."""
    hits, points = 0, []
    for i, (score, errors) in enumerate(outcomes):
        hits += errors is not None
        points.append((hits / n, hits / (i + 1), score))
    return points


def _between(points, x, what):
    """Number `what` of the points at recall x: linear; the last of several at the same recall."""
    before = [p for p in points if p[0] <= x]
    after = [p for p in points if p[0] > x]
    if not before:
        return after[0][what]
    if before[-1][0] == x or not after:
        return before[-1][what] if before[-1][0] == x else None
    a, b = before[-1], after[0]
    return a[what] + (b[what] - a[what]) * (x - a[0]) / (b[0] - a[0])


def _average_precision(outcomes, n):
    if n == 0:
        return math.nan
    points = _points(outcomes, n)
    total = 0.0
    for k in range(11, 101):
        precision = _between(points, k * 0.01, 1) if points else None
        total += max((precision or 0.0) - 0.1, 0.0)
    return 100 * total / 90 / 0.9


def _mean_errors(outcomes, n):
    """Means of the errors so far at each recall; between true positives linear in the score."""
    points = _points(outcomes, n) if n else []
    scores = [s for k in range(11, 101) if (s := points and _between(points, k * 0.01, 2))]
    if not scores:
        return [math.nan] * 3
    hits = [(score, errors) for score, errors in outcomes if errors is not None]
    means = []
    for e in range(3):
        so_far = [
            (-score, sum(errors[e] for _, errors in hits[: i + 1]) / (i + 1))
            for i, (score, _) in enumerate(hits)
        ]
        means.append(sum(_at_score(so_far, -score) for score in scores) / len(scores))
    return means


def _at_score(so_far, x):
    """so_far: (-score, mean), rising and without ties."""
    before = [p for p in so_far if p[0] <= x]
    after = [p for p in so_far if p[0] > x]
    if not before or not after:
        return (before or after)[-1 if before else 0][1]
    (x0, y0), (x1, y1) = before[-1], after[0]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
