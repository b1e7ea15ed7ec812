"""Training frames as batches: a function of seed and epoch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.data.augment import ObjectRangeFilter, ObjectSample, RandomFlip
from benchmark.data.batches import TrainingFrames, evaluation_batch, to_batch
from benchmark.data.errors import DataError
from benchmark.data.kitti import KittiDataset
from benchmark.data.objects import load_objects
from benchmark.data.sample import Sample
from detectors import Grid

GRID = Grid((0, -20, -3, 40, 20, 1), num_points=300, sample_range=20.0)


@pytest.fixture
def frames(synthetic_root, cache):
    dataset = KittiDataset(synthetic_root, "train")
    return TrainingFrames(
        dataset=dataset,
        limit=None,
        grid=GRID,
        augmentation=(ObjectSample({"Car": 4}, {}), RandomFlip(), ObjectRangeFilter()),
        objects=load_objects(dataset, cache / "objects"),
        batch_size=1,
        batches_per_update=2,
        seed=0,
        device=torch.device("cpu"),
    )


def contents(batches):
    return [[t.numpy().tobytes() for t in (*b.points, *b.boxes, *b.labels)] for b in batches]


def test_an_epoch_is_a_function_of_seed_and_epoch(frames):
    first = contents(frames.epoch(1))
    assert first == contents(frames.epoch(1))
    assert first == contents(replace(frames).epoch(1))
    assert first != contents(frames.epoch(0))
    assert first != contents(replace(frames, seed=1).epoch(1))


def test_a_frames_augmentation_does_not_depend_on_its_batch(frames):
    """The same frames in batches of one and of three."""
    single = sorted(part for batch in contents(frames.epoch(2)) for part in batch)
    triple = replace(frames, batch_size=3, batches_per_update=1)
    assert single == sorted(part for batch in contents(triple.epoch(2)) for part in batch)


@pytest.mark.parametrize("workers", [1, 4])
def test_batches_do_not_depend_on_who_reads_them(frames, workers):
    """From the first, and from where a run was resumed."""
    expected = contents(frames.epoch(1))
    ahead = replace(frames, workers=workers)
    assert contents(ahead.epoch(1)) == expected
    assert contents(ahead.epoch(1, 2)) == expected[2:]


def test_frames_that_fill_no_update_are_left_out(frames):
    assert (frames.updates, frames.steps) == (3, 6)
    odd = replace(frames, limit=5)
    assert (odd.updates, odd.steps) == (2, 4)
    assert len(list(odd.epoch(0))) == 4
    with pytest.raises(DataError, match="1 training frames are used, but .* takes 2; choose"):
        replace(frames, limit=1)


def test_every_batch_has_the_points_of_a_point_detector(frames):
    for batch in frames.epoch(0):
        assert [tuple(points.shape) for points in batch.points] == [(300, 4)]
    frame = frames.dataset.frame(0)
    one, other = (evaluation_batch(frame, GRID, torch.device("cpu")) for _ in range(2))
    assert torch.equal(one.points[0], other.points[0])
    assert one.points[0].shape == (300, 4)


def test_yaws_are_wrapped_and_empty_frames_pass():
    boxes = np.array([[1, 2, 3, 4, 5, 6, 7.0]], np.float32)
    empty = Sample(np.empty((0, 4), np.float32), boxes[:0], np.empty(0, np.int64))
    full = Sample(np.zeros((2, 4), np.float32), boxes, np.array([1]))
    batch = to_batch([empty, full], GRID, torch.device("cpu"))
    assert [tuple(b.shape) for b in batch.boxes] == [(0, 7), (1, 7)]
    assert batch.boxes[1][0, 6].item() == pytest.approx(7 - 2 * np.pi, abs=1e-6)
    assert boxes[0, 6] == 7
