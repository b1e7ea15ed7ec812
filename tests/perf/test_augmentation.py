"""Time of a frame's augmentation, against mmdet3d's own test of points in boxes.

Only a ratio is asserted; `pytest tests/perf/test_augmentation.py -s` prints the milliseconds.
"""

import time

import numpy as np
import pytest

from benchmark.config.profile import load_profile
from benchmark.data.augment import ObjectSample, Surroundings, augment
from benchmark.data.box_geometry import first_box
from benchmark.data.kitti import KittiDataset, crop_to_image
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


@pytest.fixture(scope="module")
def scans(kitti_root, tmp_path_factory):
    """Real frames by whether their scans are full, as downloaded, or cropped to the image."""
    root = tmp_path_factory.mktemp("kitti")
    ids = sorted(path.stem for path in (kitti_root / "training" / "velodyne").glob("*.bin"))
    folders = {"full": ("velodyne",), "cropped": ("velodyne_reduced",)}
    for name, scan in folders.items():
        (root / name / "ImageSets").mkdir(parents=True)
        (root / name / "training").mkdir()
        (root / name / "ImageSets" / "train.txt").write_text("\n".join(ids))
        for folder in ("calib", "label_2", *scan):
            place = root / name / "training" / folder
            place.symlink_to(kitti_root / "training" / folder)
    return {name: KittiDataset(root / name, "train") for name in folders}


@pytest.mark.parametrize("name", ["pointpillars", "second", "pointrcnn"])
def test_frames_per_second_of_one_core(scans, scene, name):
    """Read and augmented after the recipe of `kitti`."""
    around = Surroundings(get_family(name).default_grid(), scene[1])
    steps = load_profile("kitti").recipe(name).augmentation
    spent = {}
    for kind, dataset in scans.items():

        def frames(epoch, dataset=dataset):
            for frame_id in dataset.ids:
                frame = dataset.frame(frame_id)
                augment(Sample.of(frame), steps, around, 0, epoch, frame_id)

        spent[kind] = best(frames) / len(dataset.ids)
        print(
            f"\n{name}, {kind} scans: {1e3 * spent[kind]:.1f} ms a frame, {1 / spent[kind]:.0f} "
            f"frames/s of one core, {16 / spent[kind]:.0f} of 16"
        )
    assert spent["cropped"] < spent["full"]


def test_the_crop_against_mmdet3ds(scans):
    from mmdet3d.structures.ops.box_np_ops import remove_outside_points

    frame = scans["full"].frame(0)
    path = scans["full"].root / "training" / "velodyne" / f"{frame.id}.bin"
    points = np.fromfile(path, np.float32).reshape(-1, 4)
    camera, size = frame.calibration, frame.image_size
    square = np.eye(4)
    square[:3, :3] = camera.r0_rect
    velodyne, p2 = (
        np.vstack([camera.tr_velo_to_cam, [0, 0, 0, 1]]),
        np.vstack([camera.p2, [0, 0, 0, 1]]),
    )
    ours = best(lambda _: crop_to_image(points, camera, size))
    theirs = best(lambda _: remove_outside_points(points, square, velodyne, p2, size[::-1]))
    print(
        f"\ncrop of {len(points)} points: ours {1e3 * ours:.1f} ms, mmdet3d's {1e3 * theirs:.1f} ms"
    )
    assert ours < 4 * theirs  # whose frustum is compiled too, and not exact
