"""AP by distance against nuScenes' evaluator and a plain transcription; what must hold of it."""

import dataclasses
import json

import distance_reference as reference
import numpy as np
import nuscenes_devkit as devkit
import pytest
from hypothesis import given, settings, strategies as st
from kitti_cases import random_scenes, shuffled, with_scores

from benchmark.data.errors import DataError
from benchmark.data.labels import Labels
from benchmark.evaluation import distance_ap, kitti_ap
from benchmark.evaluation.distance_ap import DistanceResult, DistanceStatistics, evaluate
from benchmark.evaluation.protocol import STRICT, ClassRule, scoring_of

seeds = st.integers(0, 10**6)
ALONE = tuple(ClassRule(rule.name, rule.bbox, rule.boxes) for rule in STRICT)
"""KITTI's classes without neighbours, which nuScenes' evaluator does not know."""


def scenes(seed, n=40, ties=False, noise=1.5, **kwargs):
    """Detections off by about a metre; with ties, frames in which many scores are equal."""
    return random_scenes(np.random.default_rng(seed), n, noise=noise, ties=ties, **kwargs)


def masks(frames, rng, part=0.2):
    return [rng.random(len(frame)) < part for frame in frames]


def assert_same(a: DistanceResult, b: DistanceResult):
    np.testing.assert_allclose(a.precision, b.precision, rtol=0, atol=1e-9)
    np.testing.assert_allclose(a.errors, b.errors, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(a.objects, b.objects)


def assert_equals_devkit(gt, det):
    """Scores are raised above 0, which the devkit takes for a recall that is not reached."""
    det = [with_scores(frame, frame.score + 0.1) for frame in det]
    result = evaluate(gt, det, rules=ALONE)
    ap, errors = devkit.evaluate(gt, det)
    some = result.objects > 0
    np.testing.assert_allclose(result.ap()[some, 1:], ap[some], rtol=0, atol=1e-9)
    assert np.isnan(result.ap()[~some]).all()
    assert (ap[~some] == 0).all()
    np.testing.assert_allclose(np.nan_to_num(result.errors, nan=1.0), errors, rtol=0, atol=1e-9)


def test_the_numbers_are_the_devkits():
    config = devkit.CONFIG
    assert config.dist_ths == list(distance_ap.REACHES)
    assert config.dist_th_tp == distance_ap.ERROR_REACH
    assert config.min_recall == distance_ap.LEAST_RECALL
    assert config.min_precision == distance_ap.LEAST_PRECISION


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_equals_the_devkit_on_hundreds_of_invented_frames(ties, noise):
    gt, det = scenes(0, 200, ties, noise)
    assert_equals_devkit(gt, det)
    assert np.isfinite(evaluate(gt, det).errors).all()


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 5), st.booleans(), st.sampled_from([0.3, 1.0, 2.0]))
def test_equals_the_devkit_on_few_crowded_frames(seed, n, ties, noise):
    assert_equals_devkit(*scenes(seed, n, ties, noise, most=20))


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 25))
def test_equals_the_definition_with_neighbours_and_what_is_ignored(seed, n):
    gt, det = scenes(seed, n)
    rng = np.random.default_rng(seed)
    ignored, exempt = masks(gt, rng), masks(det, rng)
    result = evaluate(gt, det, ignored, exempt, STRICT)
    expected = reference.evaluate(gt, det, ignored, exempt, STRICT)
    for c, name in enumerate(result.classes):
        ap, errors = expected[name]
        np.testing.assert_allclose(result.ap()[c, 1:], ap, rtol=0, atol=1e-9)
        np.testing.assert_allclose(result.errors[c], errors, rtol=0, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seeds, st.booleans())
def test_resampled_frames_equal_an_evaluation_of_the_repeated_frames(seed, ties):
    gt, det = scenes(seed, 25, ties)
    rng = np.random.default_rng(seed)
    ignored, exempt = masks(gt, rng), masks(det, rng)
    weights = rng.integers(0, 4, (3, 25))
    found = evaluate(gt, det, ignored, exempt).statistics.average_precision(weights)
    for row, ap in zip(weights, found, strict=True):
        index = np.repeat(np.arange(25), row)
        parts = [[part[i] for i in index] for part in (gt, det, ignored, exempt)]
        np.testing.assert_allclose(ap, evaluate(*parts).ap()[:, 0], rtol=0, atol=1e-9)


def test_frames_of_weight_one_or_none_are_as_evaluated():
    gt, det = scenes(2)
    result = evaluate(gt, det)
    weights = np.stack([np.ones(40), np.zeros(40)]).astype(int)
    found = result.statistics.average_precision(weights)
    np.testing.assert_array_equal(found[0], result.ap()[:, 0])
    assert np.isnan(found[1]).all()
    assert result.statistics.average_precision(weights[:0]).shape == (0, 3)


def test_weights_must_fit_the_frames():
    with pytest.raises(ValueError, match="do not fit 40 frames"):
        evaluate(*scenes(0)).statistics.average_precision(np.ones((2, 41), int))


def test_statistics_are_stored_whole(tmp_path):
    statistics = evaluate(*scenes(1)).statistics
    statistics.save(tmp_path / "s.npz")
    loaded = DistanceStatistics.load(tmp_path / "s.npz")
    assert loaded.frames == statistics.frames
    assert list(loaded.classes) == list(statistics.classes)
    for name, matches in statistics.classes.items():
        for field, array in vars(matches).items():
            np.testing.assert_array_equal(getattr(loaded.classes[name], field), array)
    weights = np.random.default_rng(1).integers(0, 4, (20, 40))
    np.testing.assert_array_equal(
        loaded.average_precision(weights), statistics.average_precision(weights)
    )


def test_a_file_without_these_statistics_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "text.npz").write_text("PK")
    by_overlap = kitti_ap.ClassStatistics(*[np.zeros(1)] * 7)
    kitti_ap.FrameStatistics({"Car": by_overlap}, 1).save(tmp_path / "kitti.npz")
    for name in ("other.npz", "text.npz", "kitti.npz"):
        with pytest.raises(DataError, match="evaluate again"):
            DistanceStatistics.load(tmp_path / name)


def row_of(x, name="Car", yaw=0.0, score=None):
    """Objects of one class at z = 20 m and these x, one frame; detections with these scores."""
    n = len(x)
    labels = Labels(
        name=np.array([name] * n, np.str_),
        truncation=np.zeros(n),
        occlusion=np.zeros(n, int),
        alpha=np.zeros(n),
        bbox=np.full((n, 4), 100.0),
        dimensions=np.tile([1.5, 1.6, 3.9], (n, 1)),
        location=np.stack([np.array(x, float), np.full(n, 1.5), np.full(n, 20.0)], 1),
        rotation_y=np.full(n, yaw),
    )
    return labels if score is None else with_scores(labels, np.array(score, float))


def test_ground_truth_against_itself_is_perfect():
    gt, _ = scenes(0, 100)
    det = [with_scores(frame, np.linspace(0.9, 0.1, len(frame))) for frame in gt]
    result = evaluate(gt, det)
    np.testing.assert_allclose(result.ap(), 100, atol=1e-9)
    np.testing.assert_allclose(result.errors, 0, atol=1e-9)


def test_a_match_is_strictly_nearer_than_the_distance():
    gt = [row_of([0, 50, 100])]
    exactly = evaluate(gt, [row_of([2, 52, 102], score=[0.9, 0.8, 0.7])])
    assert exactly.ap()[0].tolist() == pytest.approx([25, 0, 0, 0, 100])
    assert np.isnan(exactly.errors[0]).all()
    nearer = evaluate(gt, [row_of([1.75, 51.75, 101.75], score=[0.9, 0.8, 0.7])])
    assert nearer.ap()[0].tolist() == pytest.approx([50, 0, 0, 100, 100])
    assert nearer.errors[0].tolist() == pytest.approx([1.75, 0, 0])


def test_the_more_confident_detection_takes_the_object_not_the_nearer_one():
    result = evaluate([row_of([0])], [row_of([1.5, 0.1], score=[0.9, 0.8])])
    assert result.errors[0, 0] == pytest.approx(1.5)
    assert result.ap()[0, 3] > 99
    assert result.ap()[0, 1] < 50


def test_height_counts_in_the_scale_only():
    gt, det = scenes(3)
    raised = [dataclasses.replace(d, location=d.location + np.array([0, 9.0, 0])) for d in det]
    assert_same(evaluate(gt, det), evaluate(gt, raised))
    low = [row_of([0])]
    det = [row_of([0], score=[0.5])]
    det[0].dimensions[0, 0] /= 2
    assert evaluate(low, det).errors[0].tolist() == pytest.approx([0, 0.5, 0])


@pytest.mark.parametrize("size", [0.0, -1.0])
def test_boxes_without_a_size_have_the_largest_scale_error(size):
    gt, det = row_of([0]), row_of([0], score=[0.5])
    det.dimensions[:] = size
    assert evaluate([gt], [det]).errors[0, 1] == 1
    gt.dimensions[:] = size
    assert evaluate([gt], [det]).errors[0, 1] == 1


@pytest.mark.parametrize(
    ("yaw", "found", "error"),
    [(3.1, -3.1, 2 * np.pi - 6.2), (0.2, 0.2 + 6 * np.pi, 0), (0, np.pi, np.pi), (-1, 1, 2)],
)
def test_orientation_errors_wrap_after_a_whole_turn(yaw, found, error):
    for a, b in ((yaw, found), (found, yaw)):
        result = evaluate([row_of([0], yaw=a)], [row_of([0], yaw=b, score=[0.5])])
        assert result.errors[0, 2] == pytest.approx(error, abs=1e-9)


def test_valid_objects_come_before_nearer_ignored_ones():
    gt, det = [row_of([0, 1.5])], [row_of([0.1], score=[0.9])]
    result = evaluate(gt, det, ignored=[np.array([True, False])])
    assert result.objects[0] == 1
    assert result.ap()[0].tolist() == pytest.approx([50, 0, 0, 100, 100])


def test_an_ignored_object_absorbs_one_detection():
    gt, det = [row_of([0, 50])], [row_of([0, 0.1, 50], score=[0.9, 0.8, 0.7])]
    ignored = [np.array([True, False])]
    alone = evaluate(gt, [det[0].select(np.array([0, 2]))], ignored)
    assert alone.ap()[0] == pytest.approx(100)
    assert evaluate(gt, det, ignored).ap()[0, 0] < 60


def test_neighbours_of_one_class_are_valid_in_another():
    gt = [Labels.concatenate([row_of([0]), row_of([20], "Van")])]
    cars = row_of([20, 0], score=[0.9, 0.8])
    vans = row_of([20], "Van", score=[0.7])
    rules = (ClassRule("Car", 0.7, 0.7, ("Van",)), ClassRule("Van", 0.7, 0.7))
    result = evaluate(gt, [Labels.concatenate([cars, vans])], rules=rules)
    np.testing.assert_allclose(result.ap(), 100)
    assert result.classes == ["Car", "Van"]
    strangers = evaluate(gt, [cars], rules=ALONE)
    assert strangers.ap()[0, 0] < 60


def test_exempt_detections_may_be_found_but_are_never_false():
    gt, det = [row_of([0])], [row_of([30, 0], score=[0.9, 0.8])]
    exempt = [np.array([True, True])]
    assert evaluate(gt, det).ap()[0, 0] < 60
    assert evaluate(gt, det, exempt=exempt).ap()[0] == pytest.approx(100)


def test_no_detections_score_zero_and_no_objects_score_nothing():
    gt, none = [row_of([0, 9])] * 3, [Labels.empty(scored=True)] * 3
    result = evaluate(gt, none)
    assert (result.ap()[0] == 0).all()
    assert np.isnan(result.ap()[1:]).all()
    assert np.isnan(result.errors).all()
    false = evaluate([Labels.empty()], [row_of([0], score=[0.5])])
    assert np.isnan(false.ap()).all()
    assert evaluate([], []).objects.tolist() == [0, 0, 0]


def test_errors_need_a_recall_above_the_least():
    """Of 10 objects the first is a recall of 0.1, up to which nothing counts."""
    gt = [row_of(np.arange(10) * 20)]
    one = evaluate(gt, [row_of([0.5], score=[0.9])])
    two = evaluate(gt, [row_of([0.5, 20.5], score=[0.9, 0.8])])
    assert np.isnan(one.errors[0]).all()
    assert one.ap()[0, 0] == 0
    assert two.errors[0, 0] == pytest.approx(0.5)


def test_json_layout():
    gt, det = [row_of([0, 20, 40])], [row_of([0.7, 20.7, 40.7], score=[0.9, 0.8, 0.7])]
    layout = evaluate(gt, det).as_json()
    assert list(layout) == ["Car", "Pedestrian", "Cyclist", "mAP"]
    assert layout["Car"]["distance"] == {"R101": pytest.approx([75, 0, 100, 100, 100])}
    assert layout["Car"]["errors"] == pytest.approx(
        {"translation": 0.7, "scale": 0, "orientation": 0}, abs=1e-9
    )
    assert layout["Car"]["objects"] == [3] * 5
    nothing = {"translation": None, "scale": None, "orientation": None}
    assert layout["Cyclist"] == {
        "distance": {"R101": [None] * 5},
        "errors": nothing,
        "objects": [0] * 5,
    }
    assert layout["mAP"] == {"distance": {"R101": [None] * 5}}
    json.dumps(layout, allow_nan=False)
    scoring = scoring_of(layout)
    assert scoring.figure(layout, "Car", scoring.headline, scoring.levels.index("1 m")) == 100
    assert scoring.mean(layout, scoring.headline) is None


def test_means_are_over_every_class():
    result = evaluate(*scenes(4, 100))
    layout = result.as_json()
    expected = np.mean([layout[name]["distance"]["R101"] for name in result.classes], 0)
    np.testing.assert_allclose(layout["mAP"]["distance"]["R101"], expected)
    for name in result.classes:
        mean, *each = layout[name]["distance"]["R101"]
        assert mean == pytest.approx(np.mean(each))


@settings(max_examples=10, deadline=None)
@given(seeds, st.floats(-np.pi, np.pi))
def test_moving_and_turning_everything_changes_nothing(seed, turn):
    cos, sin = np.cos(turn), np.sin(turn)
    about_y = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])

    def moved(frame):
        location = frame.location @ about_y.T + np.array([50.0, 3.0, -20.0])
        return dataclasses.replace(frame, location=location, rotation_y=frame.rotation_y + turn)

    gt, det = scenes(seed)
    assert_same(evaluate(gt, det), evaluate([moved(f) for f in gt], [moved(f) for f in det]))


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_the_order_of_detections_and_frames_changes_nothing(seed):
    gt, det = scenes(seed)
    assert_same(evaluate(gt, det), evaluate(*shuffled(gt, det, seed)))


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_only_the_order_of_scores_counts_for_ap(seed):
    gt, det = scenes(seed, ties=True)
    mapped = [with_scores(frame, 7 * frame.score**3 - 1000) for frame in det]
    before, after = evaluate(gt, det), evaluate(gt, mapped)
    np.testing.assert_allclose(before.precision, after.precision, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(np.isnan(before.errors), np.isnan(after.errors))


@settings(max_examples=10, deadline=None)
@given(seeds, st.floats(0, 1))
def test_a_false_positive_never_raises_ap(seed, score):
    gt, det = scenes(seed)
    gt, det = [*gt, Labels.empty()], [*det, Labels.empty(scored=True)]
    before = evaluate(gt, det).ap()
    det[-1] = row_of([0], score=[score])
    assert not (evaluate(gt, det).ap() > before + 1e-9).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda gt, det: (gt, det[:-1]), "40 frames of ground truth, but 39 of detections"),
        (lambda gt, det: (gt, [*det[:-1], gt[0]]), "frame 39 .* no scores"),
        (lambda gt, det: (gt, det, [np.zeros(99, bool)] * 40), "`ignored` needs one mask"),
        (lambda gt, det: (gt, det, None, [np.zeros(99, bool)] * 40), "`exempt` needs one mask"),
    ],
)
def test_input_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(*change(*scenes(0)))


def test_input_arrays_are_left_alone():
    gt, det = scenes(3, 5)
    before = [{k: None if v is None else v.copy() for k, v in vars(f).items()} for f in gt + det]
    evaluate(gt, det)
    for frame, copies in zip(gt + det, before, strict=True):
        for name, array in copies.items():
            np.testing.assert_array_equal(getattr(frame, name), array)
