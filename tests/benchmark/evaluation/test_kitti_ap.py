"""KITTI AP against the protocol written out in plain Python, and what must hold of any AP."""

import dataclasses

import devkit_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from kitti_cases import detect, disturb, random_scenes, shuffled, with_scores

from benchmark.data.errors import DataError
from benchmark.data.labels import Labels
from benchmark.evaluation.kitti_ap import FrameStatistics, Result, evaluate
from benchmark.evaluation.protocol import (
    ENOUGH_OBJECTS,
    LOOSE,
    METRICS,
    RECALLS,
    SCORED_CLASSES,
    STRICT,
)

seeds = st.integers(0, 10**6)


def assert_equals_reference(result: Result, frames, min_overlap=reference.STRICT):
    ap, objects = reference.evaluate(frames, min_overlap)
    for c, name in enumerate(SCORED_CLASSES):
        for level in range(3):
            assert result.objects[c, level] == objects[name, level]
            for m, metric in enumerate(METRICS):
                found = [result.ap(recalls)[c, m, level] for recalls in RECALLS]
                np.testing.assert_allclose(found, ap[name, metric, level], rtol=0, atol=1e-9)


def scenes_of(gt, det):
    return [reference.scene(g, d) for g, d in zip(gt, det, strict=True)]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("ours", "theirs"), [(STRICT, "STRICT"), (LOOSE, "LOOSE")])
def test_equals_the_protocol_on_hundreds_of_invented_frames(seed, ours, theirs):
    gt, det = random_scenes(np.random.default_rng(seed), 250, ties=bool(seed))
    result = evaluate(gt, det, rules=ours)
    assert_equals_reference(result, scenes_of(gt, det), getattr(reference, theirs))


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(1, 6))
def test_equals_the_protocol_on_few_crowded_frames(seed, n):
    gt, det = random_scenes(np.random.default_rng(seed), n, most=20, noise=0.15)
    assert_equals_reference(evaluate(gt, det), scenes_of(gt, det))


def test_equals_the_protocol_on_real_labels(validation):
    gt = validation[::38]
    det = [detect(frame, np.random.default_rng(i)) for i, frame in enumerate(gt)]
    assert_equals_reference(evaluate(gt, det), scenes_of(gt, det))


def test_real_ground_truth_against_itself_is_perfect(validation):
    det = [
        with_scores(own, np.linspace(0.9, 0.1, len(own)))
        for own in (frame.select(frame.name != "DontCare") for frame in validation)
    ]
    result = evaluate(validation, det)
    assert (result.objects >= ENOUGH_OBJECTS).all()
    for recalls in RECALLS:
        np.testing.assert_allclose(result.ap(recalls), 100, atol=1e-9)
        np.testing.assert_allclose(result.mean_ap(recalls), 100, atol=1e-9)


def perfect(n, name="Car"):
    """n objects, one per frame, found exactly."""
    gt = _one_object(name)
    return [gt] * n, [with_scores(gt, np.array([0.9 - 1e-3 * i])) for i in range(n)]


def _one_object(name="Car", x=0.0):
    return Labels(
        name=np.array([name]),
        truncation=np.zeros(1),
        occlusion=np.zeros(1, int),
        alpha=np.zeros(1),
        bbox=np.array([[100.0 + x, 100, 200 + x, 200]]),
        dimensions=np.array([[1.5, 1.6, 3.9]]),
        location=np.array([[x, 1.5, 20.0]]),
        rotation_y=np.zeros(1),
    )


@pytest.mark.parametrize("n", [1, 15, 40, 41, 80])
def test_few_objects_bound_the_ap(n):
    result = evaluate(*perfect(n))
    np.testing.assert_allclose(result.ap("R40")[0], min(n - 1, 40) / 40 * 100)
    np.testing.assert_allclose(result.ap("R11")[0], min((n + 3) // 4, 11) / 11 * 100)
    assert np.isnan(result.ap()[1:]).all()
    assert np.isnan(result.mean_ap()).all()


def test_means_need_every_class_unbounded():
    frames = [perfect(n, name) for name, n in zip(SCORED_CLASSES, (50, 41, 40), strict=True)]
    bounded = evaluate(*(sum(part, []) for part in zip(*frames, strict=True)))
    assert np.isfinite(bounded.ap()).all()
    assert np.isnan(bounded.mean_ap()).all()
    frames[2] = perfect(41, "Cyclist")
    whole = evaluate(*(sum(part, []) for part in zip(*frames, strict=True)))
    np.testing.assert_allclose(whole.mean_ap(), 100)


@pytest.mark.parametrize(("height", "objects"), [(40.0, [0, 50, 50]), (25.0, [0, 0, 0])])
def test_objects_of_exactly_the_least_height_are_ignored(height, objects):
    gt, det = perfect(50)
    for frame in (gt[0], *det):
        frame.bbox[0, 3] = frame.bbox[0, 1] + height
    assert evaluate(gt, det).objects[0].tolist() == objects


def test_detections_of_exactly_the_least_height_count():
    gt, det = perfect(50)
    false = [_one_object(x=30.0) for _ in det]
    for frame in false:
        frame.bbox[0, 3] = frame.bbox[0, 1] + 40
    det = [
        Labels.concatenate([d, with_scores(f, d.score)]) for d, f in zip(det, false, strict=True)
    ]
    assert evaluate(gt, det).ap()[0, 2].max() < 60
    for frame in det:
        frame.bbox[1, 3] -= 0.001
    assert evaluate(gt, det).ap()[0, 2, 0] == pytest.approx(100)


def test_a_wrong_yaw_sign_costs_ap(validation):
    gt = validation[::20]
    det = [with_scores(f.select(f.name == "Car"), np.ones((f.name == "Car").sum())) for f in gt]
    right = evaluate(gt, det)
    wrong = evaluate(gt, [dataclasses.replace(d, rotation_y=-d.rotation_y) for d in det])
    assert wrong.ap()[0, 2, 1] < right.ap()[0, 2, 1] - 1
    np.testing.assert_array_equal(wrong.ap()[0, 0], right.ap()[0, 0])


def case(seed, **kwargs):
    return random_scenes(np.random.default_rng(seed), 40, ties=False, **kwargs)


def assert_same(a: Result, b: Result):
    np.testing.assert_allclose(a.precision, b.precision, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_half_turns_and_translations_change_nothing(seed):
    gt, det = case(seed)
    moved = []
    for frames, turn in ((gt, 0.0), (det, np.pi)):
        moved.append(
            [
                dataclasses.replace(
                    frame,
                    location=frame.location + np.array([50.0, 3.0, -20.0]),
                    rotation_y=frame.rotation_y + turn,
                )
                for frame in frames
            ]
        )
    assert_same(evaluate(gt, det), evaluate(*moved))


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_the_order_of_detections_and_frames_changes_nothing(seed):
    gt, det = case(seed)
    assert_same(evaluate(gt, det), evaluate(*shuffled(gt, det, seed)))


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_only_the_order_of_scores_counts(seed):
    gt, det = random_scenes(np.random.default_rng(seed), 40)
    mapped = [with_scores(frame, 7 * frame.score**3 - 1000) for frame in det]
    assert_same(evaluate(gt, det), evaluate(gt, mapped))


@settings(max_examples=10, deadline=None)
@given(seeds, st.floats(0, 1))
def test_a_false_positive_never_raises_ap(seed, score):
    gt, det = case(seed)
    gt, det = gt + [Labels.empty()], det + [Labels.empty(scored=True)]
    before = evaluate(gt, det)
    found = Labels.concatenate([_one_object(name, 300.0) for name in SCORED_CLASSES])
    det[-1] = with_scores(found, np.full(3, score))
    after = evaluate(gt, det)
    assert not (after.precision > before.precision + 1e-12).any()
    if score > 0.99:
        assert (after.precision[0, 2, 2, 0] < 1) or np.isnan(before.precision[0, 2, 2, 0])


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_resampled_frames_equal_an_evaluation_of_the_repeated_frames(seed):
    gt, det = random_scenes(np.random.default_rng(seed), 30)
    weights = np.random.default_rng(seed).integers(0, 4, (3, 30))
    statistics = evaluate(gt, det).statistics
    for metric, level, recalls in (("3d", 1, "R40"), ("aos", 2, "R11"), ("bbox", 0, "R40")):
        difficulty = ("easy", "moderate", "hard")[level]
        found = statistics.average_precision(weights, metric, difficulty, recalls)
        for r, row in enumerate(weights):
            index = np.repeat(np.arange(30), row)
            repeated = evaluate([gt[i] for i in index], [det[i] for i in index])
            expected = repeated.ap(recalls)[:, METRICS.index(metric), level]
            np.testing.assert_allclose(found[r], expected, atol=1e-9)


def test_frame_statistics_are_stored_whole(tmp_path):
    gt, det = random_scenes(np.random.default_rng(1), 30)
    statistics = evaluate(gt, det).statistics
    statistics.save(tmp_path / "s.npz")
    weights = np.random.default_rng(1).integers(0, 4, (20, 30))
    np.testing.assert_array_equal(
        FrameStatistics.load(tmp_path / "s.npz").average_precision(weights, "aos"),
        statistics.average_precision(weights, "aos"),
    )


def test_a_file_without_frame_statistics_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "text.npz").write_text("PK")
    for name in ("other.npz", "text.npz"):
        with pytest.raises(DataError):
            FrameStatistics.load(tmp_path / name)


def test_weights_must_fit_the_frames():
    with pytest.raises(ValueError, match="do not fit 3 frames"):
        evaluate(*perfect(3)).statistics.average_precision(np.ones((2, 4), int))


def test_ignored_objects_are_neither_found_nor_missed():
    gt, det = perfect(60)
    found, lost = with_scores(gt[0], np.ones(1)), Labels.empty(scored=True)
    det = [lost if i % 2 else found for i in range(60)]
    ignored = [np.array([i % 2 == 1]) for i in range(60)]
    assert evaluate(gt, det).ap()[0, 2, 0] < 60
    result = evaluate(gt, det, ignored=ignored)
    assert result.objects[0].tolist() == [30, 30, 30]
    assert result.ap()[0, 2, 0] == pytest.approx(29 / 40 * 100)
    everything_found = evaluate(gt, [found] * 60, ignored=ignored)
    assert_same(everything_found, result)


def test_exempt_detections_are_never_false_positives():
    gt, det = perfect(60)
    false = with_scores(_one_object(x=50.0), np.array([0.99]))
    both = [Labels.concatenate([frame, false]) for frame in det]
    exempt = [np.array([True, True])] * 60
    assert evaluate(gt, both).ap()[0, 2, 0] == pytest.approx(50, abs=2)
    assert_same(evaluate(gt, both, exempt=exempt), evaluate(gt, det))


def test_no_detections_score_zero_and_no_objects_score_nothing():
    gt, _ = perfect(50)
    result = evaluate(gt, [Labels.empty(scored=True)] * 50)
    assert (result.ap()[0] == 0).all()
    assert np.isnan(result.ap()[1:]).all()
    assert evaluate([], []).objects.sum() == 0


def test_what_the_results_do_not_hold_is_undefined():
    gt, det = perfect(50)
    angleless = [dataclasses.replace(frame, alpha=np.array([-10.0])) for frame in det]
    result = evaluate(gt, angleless)
    assert np.isnan(result.ap()[0, 3]).all()
    assert result.ap()[0, 2, 0] == pytest.approx(100)
    flat = [
        dataclasses.replace(frame, dimensions=-np.ones((1, 3)), location=np.full((1, 3), -1000.0))
        for frame in det
    ]
    result = evaluate(gt, flat)
    assert np.isnan(result.ap()[0, 1:3]).all()
    assert result.ap()[0, 0, 0] == pytest.approx(100)


def test_json_layout():
    gt, det = perfect(50)
    layout = evaluate(gt, det).as_json()
    assert list(layout) == ["Car", "Pedestrian", "Cyclist", "mAP"]
    assert set(layout["Car"]) == {"bbox", "bev", "3d", "aos", "objects"}
    assert layout["Car"]["objects"] == [50, 50, 50]
    assert layout["Car"]["3d"]["R40"] == pytest.approx([100, 100, 100])
    assert layout["Pedestrian"]["3d"]["R11"] == [None, None, None]
    assert layout["mAP"]["3d"] == {"R40": [None] * 3, "R11": [None] * 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda gt, det: (gt, det[:-1]), "3 frames of ground truth, but 2 of detections"),
        (lambda gt, det: (gt, [*det[:-1], gt[0]]), "frame 2 .* no scores"),
    ],
)
def test_input_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(*change(*perfect(3)))


def test_masks_must_fit_the_frames():
    with pytest.raises(ValueError, match="one mask per frame"):
        evaluate(*perfect(3), ignored=[np.zeros(2, bool)] * 3)


def test_input_arrays_are_left_alone():
    gt, det = random_scenes(np.random.default_rng(3), 5)
    before = [{k: None if v is None else v.copy() for k, v in vars(f).items()} for f in gt + det]
    evaluate(gt, det)
    for frame, copies in zip(gt + det, before, strict=True):
        for name, array in copies.items():
            np.testing.assert_array_equal(getattr(frame, name), array)


def test_disturbing_more_lowers_ap():
    gt = [_one_object(x=float(i % 7)) for i in range(100)]
    ap = []
    for noise in (0.05, 0.3, 0.9):
        rng = np.random.default_rng(0)
        det = [with_scores(disturb(frame, rng, noise), rng.random(1)) for frame in gt]
        ap.append(evaluate(gt, det).ap()[0, 2, 0])
    assert ap[0] > ap[1] > ap[2]
