"""Ground truth and detections to evaluate: invented scenes, and detections around real labels."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from benchmark.data.labels import Labels

SIZES = {
    "Car": (1.5, 1.6, 3.9),
    "Van": (2.2, 1.9, 5.0),
    "Truck": (3.2, 2.6, 10.0),
    "Pedestrian": (1.7, 0.6, 0.8),
    "Person_sitting": (1.3, 0.6, 0.8),
    "Cyclist": (1.7, 0.6, 1.8),
}
NAMES = np.array(list(SIZES))
FIELDS = (
    "name",
    "truncation",
    "occlusion",
    "alpha",
    "bbox",
    "dimensions",
    "location",
    "rotation_y",
)
DETECTED_AS = {"Van": "Car", "Truck": "Car", "Person_sitting": "Pedestrian"}


def random_scenes(rng, n_frames, most=8, noise=0.25, ties=True):
    """Frames with every trait the protocol treats: neighbours, DontCare, low, hidden, cut boxes.

    Some objects are found twice and some detections sit on nothing. With `ties`, scores are
    rounded until many are equal, some detections are twins of others but for their angle, some
    are low, lie in a DontCare region or carry another class.
    """
    pairs = [_random_scene(rng, most, noise, ties) for _ in range(n_frames)]
    return [gt for gt, _ in pairs], [det for _, det in pairs]


def _random_scene(rng, most, noise, ties):
    objects = _objects(rng, rng.integers(0, most))
    regions = _dontcare(rng, rng.integers(0, 3))
    gt = Labels.concatenate([objects, regions])
    copies = objects.select(rng.permutation(np.repeat(np.arange(len(objects)), 2)))
    copies = copies.select(rng.random(len(copies)) < 0.7)
    det = Labels.concatenate([disturb(copies, rng, noise), _objects(rng, rng.integers(0, 5))])
    if not ties:
        return gt, scored(det, rng)
    twins = det.select(rng.random(len(det)) < 0.15)
    twins.alpha[:] += 1.0
    det = Labels.concatenate([det, twins])
    low = rng.random(len(det)) < 0.15
    det.bbox[low, 3] = det.bbox[low, 1] + rng.choice([20.0, 30.0], low.sum())
    other = rng.random(len(det)) < np.where(low, 0.6, 0.1)
    det.name[other] = rng.choice(NAMES, other.sum())
    in_region = np.flatnonzero(rng.random(len(det)) < 0.15)
    if len(regions) and len(in_region):
        det.bbox[in_region] = regions.bbox[rng.integers(0, len(regions), len(in_region))] + 1.0
    return gt, scored(det, rng, 1)


def _objects(rng, n):
    name = rng.choice(NAMES, n)
    location = np.stack([rng.uniform(-12, 12, n), rng.uniform(1.2, 2, n), rng.uniform(5, 50, n)], 1)
    left, top = rng.uniform(0, 1000, n), rng.uniform(100, 200, n)
    height = rng.choice([20.0, 25.0, 33.0, 40.0, 41.0, 70.0, 120.0], n)
    return Labels(
        name=name.astype("<U14"),
        truncation=rng.choice([0.0, 0.1, 0.2, 0.4, 0.8], n, p=[0.6, 0.1, 0.1, 0.1, 0.1]),
        occlusion=rng.choice([0, 1, 2, 3], n, p=[0.6, 0.2, 0.1, 0.1]),
        alpha=rng.uniform(-np.pi, np.pi, n),
        bbox=np.stack([left, top, left + 1.4 * height, top + height], 1),
        dimensions=np.array([SIZES[key] for key in name]).reshape(n, 3),
        location=location,
        rotation_y=rng.uniform(-np.pi, np.pi, n),
    )


def _dontcare(rng, n):
    left, top = rng.uniform(0, 1000, n), rng.uniform(100, 200, n)
    return Labels(
        name=np.full(n, "DontCare", "<U14"),
        truncation=np.full(n, -1.0),
        occlusion=np.full(n, -1),
        alpha=np.full(n, -10.0),
        bbox=np.stack([left, top, left + 200, top + 100], 1),
        dimensions=np.full((n, 3), -1.0),
        location=np.full((n, 3), -1000.0),
        rotation_y=np.full(n, -10.0),
    )


def disturb(labels, rng, noise):
    """The objects moved, resized and turned a little, as a detector would find them."""
    n = len(labels)
    name = [DETECTED_AS.get(str(key), str(key)) for key in labels.name]
    return Labels(
        name=np.array(name, "<U14"),
        truncation=np.zeros(n),
        occlusion=np.zeros(n, np.int64),
        alpha=labels.alpha + rng.normal(0, 0.4 * noise, n),
        bbox=labels.bbox + rng.normal(0, 12 * noise, (n, 4)),
        dimensions=labels.dimensions * rng.uniform(1 - noise / 3, 1 + noise / 3, (n, 3)),
        location=labels.location + rng.normal(0, 0.6 * noise, (n, 3)),
        rotation_y=labels.rotation_y
        + rng.normal(0, 0.4 * noise, n)
        + np.pi * (rng.random(n) < 0.1),
    )


def scored(labels, rng, digits=9):
    return with_scores(labels, rng.beta(2, 2, len(labels)).round(digits))


def with_scores(labels, score):
    """Labels as detections with these scores (n,)."""
    return Labels(*(getattr(labels, name) for name in FIELDS), score=score)


def unpack_labels(kitti_root: Path, folder: Path) -> Path:
    """The folder with all 7,481 real label files, unpacked into `folder`."""
    with tarfile.open(kitti_root / "label_2_all.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "label_2"


def full_split(kitti_root: Path, split: str) -> list[str]:
    """The frames of a standard split."""
    return (kitti_root / "ImageSets" / "full" / f"{split}.txt").read_text().split()


def detect(gt: Labels, rng: np.random.Generator, doubles: float = 0.6, false: int = 14) -> Labels:
    """Detections around one real frame: most objects found, some twice, and false ones added."""
    found = gt.select(np.isin(gt.name, [*SIZES]))
    copies = (rng.random(len(found)) < 0.92).astype(int) + (rng.random(len(found)) < doubles)
    hits = disturb(found.select(np.repeat(np.arange(len(found)), copies)), rng, 0.2)
    misses = _objects(rng, rng.integers(false // 2, false * 3 // 2 + 1))
    misses = disturb(misses, rng, 0.2)
    score = np.concatenate([rng.beta(4, 2, len(hits)), rng.beta(1.5, 5, len(misses))]).round(4)
    return with_scores(Labels.concatenate([hits, misses]), score)


def shuffled(gt, det, seed):
    """The same frames in another order, and in each the same detections in another order."""
    rng = np.random.default_rng(seed)
    mixed = [frame.select(rng.permutation(len(frame))) for frame in det]
    order = rng.permutation(len(gt))
    return [gt[i] for i in order], [mixed[i] for i in order]
