import csv
import dataclasses

import numpy as np
import pytest
from kitti_cases import random_scenes, with_scores

from benchmark.evaluation.diagnostics import (
    by_distance,
    by_points,
    count_points,
    write_curves_csv,
    write_curves_png,
)
from benchmark.evaluation.kitti_ap import evaluate


@pytest.fixture(scope="module")
def scenes():
    return random_scenes(np.random.default_rng(0), 200)


def test_distances_share_out_the_objects(scenes):
    whole = evaluate(*scenes)
    parts = by_distance(*scenes)
    assert sum(part.objects for part in parts).tolist() == whole.objects.tolist()
    (everything,) = by_distance(*scenes, edges=(0, np.inf))
    np.testing.assert_array_equal(everything.precision, whole.precision)


def test_what_is_far_does_not_change_ap_near(scenes):
    gt, det = scenes
    far = [
        dataclasses.replace(frame, score=np.where(frame.location[:, 2] > 40, 0.0, frame.score))
        for frame in det
    ]
    before, after = by_distance(gt, det)[0], by_distance(gt, far)[0]
    np.testing.assert_allclose(before.ap()[:, 2], after.ap()[:, 2])


def test_points_are_counted_in_turned_boxes(scenes):
    rng = np.random.default_rng(1)
    labels = scenes[0][3].select(scenes[0][3].name != "DontCare")
    assert len(labels)
    inside = []
    for i in range(len(labels)):
        h, w, length = labels.dimensions[i]
        a, b = rng.uniform(-0.49, 0.49, (2, 5 + i))
        ry = labels.rotation_y[i]
        x = np.cos(ry) * a * length + np.sin(ry) * b * w
        z = -np.sin(ry) * a * length + np.cos(ry) * b * w
        y = -rng.uniform(0.01, 0.99, 5 + i) * h
        inside.append(np.stack([x, y, z], 1) + labels.location[i])
    alone = [count_points(points, labels)[i] for i, points in enumerate(inside)]
    assert alone == [5 + i for i in range(len(labels))]
    below = [points + np.array([0, 10.0, 0]) for points in inside]
    assert count_points(np.concatenate(below), labels).sum() == 0
    assert count_points(np.zeros((0, 3)), labels).tolist() == [0] * len(labels)


def test_ap_by_points(scenes):
    gt, _ = scenes
    det = [with_scores(frame, np.ones(len(frame))) for frame in gt]
    clouds = [frame.location - np.array([0, 0.5, 0]) for frame in gt]
    few, many = by_points(gt, det, lambda i: clouds[i], edges=(0, 1, np.inf))
    assert few.objects.sum() == 0
    assert many.objects.tolist() == evaluate(gt, det).objects.tolist()


def test_curves(tmp_path, scenes):
    result = evaluate(*scenes)
    write_curves_csv(tmp_path / "c.csv", result)
    with (tmp_path / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    car = [r for r in rows if (r["class"], r["metric"], r["difficulty"]) == ("Car", "3d", "hard")]
    assert [float(r["recall"]) for r in car] == pytest.approx(np.arange(41) / 40)
    assert [float(r["precision"]) for r in car] == result.precision[0, 2, 2].tolist()
    write_curves_png(tmp_path / "c.png", result)
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
