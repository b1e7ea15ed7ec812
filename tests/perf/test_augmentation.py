"""Time of a frame's augmentation, against mmdet3d's own test of points in boxes.

Only a ratio is asserted; `pytest tests/perf/test_augmentation.py -s` prints the milliseconds.
"""

import time

import numpy as np
import pytest

from benchmark.config.profile import load_profile
from benchmark.data.augment import ObjectSample, Surroundings, augment
from benchmark.data.box_geometry import first_box
from benchmark.data.kitti import KittiDataset
from benchmark.data.objects import load_objects
from benchmark.data.sample import Sample
from detectors import get_family

POINTS = 120_000


@pytest.fixture(scope="module")
def scene(kitti_root, tmp_path_factory):
    """A frame with the points of a full scan, and the objects of the training frames."""
    dataset = KittiDataset(kitti_root, "train")
    objects = load_objects(dataset, tmp_path_factory.mktemp("objects"))
    sample = Sample.of(dataset.frame(0))
    points = np.resize(sample.points, (POINTS, 4))
    return Sample(points, sample.boxes, sample.labels), objects


def best(work, rounds=5):
    """Least seconds of several runs, after one that is not counted."""
    times = []
    for round_ in range(rounds + 1):
        start = time.perf_counter()
        work(round_)
        times.append(time.perf_counter() - start)
    return min(times[1:])


@pytest.mark.parametrize("name", ["pointpillars", "second", "pointrcnn"])
def test_a_frame_against_mmdet3ds_points_in_boxes(scene, name):
    from mmdet3d.structures.ops.box_np_ops import points_in_rbbox

    sample, objects = scene
    around = Surroundings(get_family(name).default_grid(), objects)
    steps = load_profile("kitti").recipe(name).augmentation
    ours = best(lambda epoch: augment(sample, steps, around, 0, epoch, "000000"))
    paste = next(step for step in steps if isinstance(step, ObjectSample))
    filled = paste(sample, np.random.default_rng(0), around)
    theirs = best(lambda _: points_in_rbbox(sample.points, filled.boxes))
    one = best(lambda _: first_box(sample.points, filled.boxes))
    print(
        f"\n{name}: all steps {1e3 * ours:.0f} ms with {len(filled.boxes)} objects; points in "
        f"boxes {1e3 * one:.1f} ms, mmdet3d's {1e3 * theirs:.1f} ms"
    )
    assert theirs > one
