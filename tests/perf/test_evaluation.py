"""Time of the evaluations at full size: KITTI's on its real labels, by distance on invented ones.

Only ratios are asserted; `pytest tests/perf/test_evaluation.py -s` prints the seconds.
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmark" / "evaluation"))
import devkit_reference
from kitti_cases import detect, disturb, full_split, scored, unpack_labels

from benchmark.data.labels import Labels, read_labels, write_labels
from benchmark.evaluation import distance_ap
from benchmark.evaluation.intervals import resample_frames
from benchmark.evaluation.kitti_ap import evaluate

COMMAND = (
    "import sys; from pathlib import Path; "
    "from benchmark.evaluation.command import evaluate_command; "
    "print(evaluate_command(*map(Path, sys.argv[1:5])))"
)


@pytest.fixture(scope="module")
def labels_folder(kitti_root, tmp_path_factory):
    return unpack_labels(kitti_root, tmp_path_factory.mktemp("labels"))


@pytest.fixture(scope="module")
def full_size(kitti_root, labels_folder):
    """The validation split and about 75,000 detections around its labels."""
    frames = full_split(kitti_root, "val")
    gt = [read_labels(labels_folder / f"{frame}.txt") for frame in frames]
    det = [detect(frame, np.random.default_rng(i), 0.5) for i, frame in enumerate(gt)]
    assert len(gt) == 3769
    assert 70_000 < sum(map(len, det)) < 85_000
    return frames, gt, det


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_against_the_protocol_written_out(full_size, benchmark):
    """The plain transcription runs on every 20th frame; its time grows with the frames."""
    _, gt, det = full_size
    evaluate(gt, det)
    benchmark.pedantic(evaluate, (gt, det), rounds=5)
    scenes = [devkit_reference.scene(*pair) for pair in zip(gt[::20], det[::20], strict=True)]
    plain = 20 * seconds(lambda: devkit_reference.evaluate(scenes))
    ours = min(seconds(lambda: evaluate(gt, det)) for _ in range(3))
    print(
        f"\n{len(gt):,} frames, {sum(map(len, det)):,} detections, everything: {ours:.3f} s; "
        f"plain Python, from 1/20: {plain:.0f} s; ratio {plain / ours:.0f}"
    )
    assert plain / ours > 50


def test_resampling_against_evaluating_anew(full_size, benchmark):
    _, gt, det = full_size
    statistics = evaluate(gt, det).statistics
    weights = resample_frames(len(gt), 1000)
    resampled = benchmark.pedantic(statistics.average_precision, (weights,), rounds=3)
    assert resampled.shape == (1000, 3)
    ours = seconds(lambda: statistics.average_precision(weights))
    everything = seconds(
        lambda: [
            statistics.average_precision(weights, metric, difficulty)
            for metric in ("bbox", "bev", "3d", "aos")
            for difficulty in ("easy", "moderate", "hard")
        ]
    )
    anew = 1000 * seconds(lambda: evaluate(gt, det))
    print(
        f"\n1,000 resamples of {len(gt):,} frames: {ours:.2f} s for one metric and difficulty, "
        f"{everything:.2f} s for all twelve; evaluated anew: {anew:.0f} s"
    )
    assert anew / everything > 10


def test_the_whole_command_against_its_evaluation(
    full_size, labels_folder, kitti_root, tmp_path, benchmark
):
    """A second process, from text files: start, reading, evaluation and table."""
    frames, gt, det = full_size
    for frame, labels in zip(frames, det, strict=True):
        write_labels(tmp_path / f"{frame}.txt", labels)
    split = kitti_root / "ImageSets" / "full" / "val.txt"
    json_file = tmp_path / "ap.json"
    command = [sys.executable, "-c", COMMAND, labels_folder, tmp_path, split, json_file]

    def run():
        subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])

    run()
    benchmark.pedantic(run, rounds=3)
    ours, inner = seconds(run), seconds(lambda: evaluate(gt, det))
    print(f"\nthe whole command: {ours:.2f} s, of which evaluation {inner:.2f} s")
    assert json_file.is_file()


@pytest.fixture(scope="module")
def invented():
    """4,000 frames with 10 objects and about 30 detections each, of KITTI's three classes."""
    rng = np.random.default_rng(0)
    gt, det = [], []
    for _ in range(4000):
        objects = _scattered(rng, 10)
        found = objects.select(rng.random(10) < 0.9)
        gt.append(objects)
        det.append(scored(disturb(Labels.concatenate([found, _scattered(rng, 21)]), rng, 1.0), rng))
    return gt, det


def _scattered(rng, n):
    return Labels(
        name=rng.choice(["Car", "Pedestrian", "Cyclist"], n),
        truncation=np.zeros(n),
        occlusion=np.zeros(n, int),
        alpha=np.zeros(n),
        bbox=np.zeros((n, 4)),
        dimensions=rng.uniform(1, 4, (n, 3)),
        location=rng.uniform(-50, 50, (n, 3)),
        rotation_y=rng.uniform(-np.pi, np.pi, n),
    )


def test_by_distance_against_nuscenes_own(invented, benchmark):
    """The devkit runs on every 40th frame; its time grows with the frames."""
    import nuscenes_devkit

    gt, det = invented
    distance_ap.evaluate(gt, det)
    benchmark.pedantic(distance_ap.evaluate, (gt, det), rounds=5)
    devkit = 40 * seconds(lambda: nuscenes_devkit.evaluate(gt[::40], det[::40]))
    ours = min(seconds(lambda: distance_ap.evaluate(gt, det)) for _ in range(3))
    print(
        f"\n{len(gt):,} frames, {sum(map(len, det)):,} detections, by distance: {ours:.3f} s; "
        f"nuscenes-devkit, from 1/40: {devkit:.0f} s; ratio {devkit / ours:.0f}"
    )
    assert devkit / ours > 20


def test_resampling_by_distance_against_evaluating_anew(invented, benchmark):
    gt, det = invented
    statistics = distance_ap.evaluate(gt, det).statistics
    weights = resample_frames(len(gt), 1000)
    statistics.average_precision(weights[:2])
    benchmark.pedantic(statistics.average_precision, (weights,), rounds=2)
    ours = seconds(lambda: statistics.average_precision(weights))
    anew = 1000 * seconds(lambda: distance_ap.evaluate(gt, det))
    print(
        f"\n1,000 resamples of {len(gt):,} frames by distance: {ours:.2f} s; "
        f"evaluated anew: {anew:.0f} s"
    )
    assert anew / ours > 10
