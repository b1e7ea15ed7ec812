"""The built-in synthetic set: ray-cast street scenes in KITTI's own folder layout, or all around
the sensor in OpenPCDet's.

A 64-beam sensor like KITTI's is simulated in random scenes; what it measures and what camera 2
would show of each object becomes points, labels and calibration that the KITTI reader reads. Every
frame depends on (seed, frame number) alone, so sets of different sizes share their frames.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from benchmark.data.calibration import (
    Calibration,
    camera_corners,
    image_boxes,
    lidar_to_camera_boxes,
    observation_angle,
    write_calibration,
)
from benchmark.data.dataset import NOTE
from benchmark.data.errors import DataError
from benchmark.data.kitti import crop_to_image
from benchmark.data.labels import Labels, write_labels
from benchmark.data.synthetic.raycast import NOTHING, ROAD, Hits, Parts, cast
from benchmark.data.synthetic.scenes import Placed, Scene, random_scene
from benchmark.files import fresh_folder, let_all_read

VERSION = 2  # of the generator; a new one for every change of its output
IMAGE_SIZE = (1242, 375)

_FULL_CIRCLE = 360  # in the seed of frames all around
_FIRST_VAL = 100_000  # number of the first validation frame
_AZIMUTH_STEP = np.radians(0.165)
_RANGE_NOISE = 0.02  # metres
_FAINTEST = 1e-5  # reflectance x cosine / metres^2 at which half of the rays come back
_LOST = 0.005  # share of rays that never come back
_DARK, _FADING = 0.03, 7e-5  # reflectance that reads 0 close by, and its growth per metre^2
_FEWEST_POINTS, _LEAST_SEEN = 4, 0.15  # of a labelled object
_OCCLUSION_LEVELS = (0.92, 0.45)  # seen share above which an object is visible, partly occluded


def ensure(cache_dir: Path | str, seed: int, train: int, val: int, max_range: float = 50.0) -> Path:
    """The folder of a set below `cache_dir`, generated if it is not there yet.

    The folder's name holds all that determines its contents. It appears whole or not at all, even
    if several processes request it at once. Arguments and errors as of `generate`.
    """
    cache_dir = Path(cache_dir)
    root = cache_dir / f"synthetic-v{VERSION}-seed{seed}-{train}+{val}-{float(max_range)}m"
    if root.is_dir():
        return root
    cache_dir.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".synthetic-", dir=cache_dir))
    try:
        generate(draft, seed, train, val, max_range)
        let_all_read(draft, 0o755)
        draft.rename(root)
    except OSError:
        if not root.is_dir():  # another process may have been faster
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return root


def generate(
    root: Path | str,
    seed: int,
    train: int,
    val: int,
    max_range: float = 50.0,
    layout: str = "kitti",
) -> None:
    """Write `train` + `val` frames into a new or empty folder `root`: in KITTI's layout, cropped to
    the image, or in `openpcdet`'s, all around the sensor and without a camera. The lists of frames
    come last: a folder that was not finished cannot be taken for a set.

    seed: chooses the world; equal arguments give equal bytes on one machine, whatever the number
    of threads. max_range: metres from the sensor to the farthest road user; scenery goes on beyond.

    Raises:
        DataError: for a negative seed, no frames, a max_range outside 15 to 75 m, or a folder that
            holds something.
    """
    if seed < 0 or not 1 <= train <= _FIRST_VAL or val < 1 or not 15 <= max_range <= 75:
        raise DataError(
            f"cannot generate seed={seed}, train={train}, val={val}, max_range={max_range}: use a "
            f"seed >= 0, train of 1 to {_FIRST_VAL}, val >= 1, max_range of 15 to 75 m"
        )
    root = Path(root)
    fresh_folder(root, DataError)
    splits = {"train": range(train), "val": range(_FIRST_VAL, _FIRST_VAL + val)}
    write, folders = WRITERS[layout]
    for folder in ("ImageSets", *folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
    numbers = [number for split in splits.values() for number in split]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda number: write(root, seed, number, max_range), numbers):
            pass
    if layout == "kitti":
        sizes = "".join(f"{number:06d},{IMAGE_SIZE[0]},{IMAGE_SIZE[1]}\n" for number in numbers)
        (root / "image_sizes.csv").write_text("frame,width,height\n" + sizes, encoding="utf-8")
    _write_note(root, layout, seed=seed, train=train, val=val, max_range=max_range)
    for name, split in splits.items():
        ids = "".join(f"{number:06d}\n" for number in split)
        (root / "ImageSets" / f"{name}.txt").write_text(ids, encoding="utf-8")


def render(seed: int, number: int, max_range: float) -> tuple[np.ndarray, Labels]:
    """Points (n, 4) float32 and labels of one frame, as they are written."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, number]))
    scene = random_scene(rng, max_range)
    parts = scene.parts()
    directions = _directions(rng)
    hits = cast(directions, rng.random((len(directions), 2)), parts, scene.ground)
    points, part = _measure(rng, directions, hits, parts)
    points, part = _in_image(points, part)
    return points, _label(scene, parts, hits, part)


def render_around(
    seed: int, number: int, max_range: float
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Points (n, 4) float32 all around the sensor; boxes (k, 7) in its frame as in
    `dataset.Frame`, and classes of the road users that it measured."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, number, _FULL_CIRCLE]))
    scene = random_scene(rng, max_range, around=True)
    parts = scene.parts()
    azimuth, elevation = _all_beams()
    directions = _unit(azimuth + rng.uniform(-0.5, 0.5) * _AZIMUTH_STEP, elevation)
    hits = cast(directions, rng.random((len(directions), 2)), parts, scene.ground)
    points, part = _measure(rng, directions, hits, parts)
    users = np.array([i for i, placed in enumerate(scene.objects) if placed.name], np.int64)
    found = [scene.objects[i] for i in users[_clear(users, parts, hits, part)]]
    boxes = np.array([placed.box() for placed in found]).reshape(-1, 7)
    return points, boxes, [placed.name for placed in found]


@cache
def calibration() -> Calibration:
    """A camera like KITTI's: 0.27 m ahead of and 0.08 m below the sensor, slightly turned."""
    r0_rect = _rotation(0.004, -0.008, 0.009)
    axes = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    turn = r0_rect.T @ _rotation(-0.002, 0.003, 0.001) @ axes
    return Calibration(
        p2=np.array([[720.0, 0, 610.0, 45.0], [0, 720.0, 173.0, 0.2], [0, 0, 1, 0.003]]),
        r0_rect=r0_rect,
        tr_velo_to_cam=np.column_stack([turn, [-0.003, -0.075, -0.27]]),
    )


def _write_kitti(root: Path, seed: int, number: int, max_range: float) -> None:
    points, labels = render(seed, number, max_range)
    training = root / "training"
    (training / "velodyne_reduced" / f"{number:06d}.bin").write_bytes(
        points.astype("<f4").tobytes()
    )
    write_labels(training / "label_2" / f"{number:06d}.txt", labels)
    write_calibration(training / "calib" / f"{number:06d}.txt", calibration())


def _write_openpcdet(root: Path, seed: int, number: int, max_range: float) -> None:
    points, boxes, names = render_around(seed, number, max_range)
    np.save(root / "points" / f"{number:06d}.npy", points)
    boxes[:, 2] += boxes[:, 5] / 2
    lines = (
        f"{' '.join(f'{value:.3f}' for value in box)} {name}\n"
        for box, name in zip(boxes, names, strict=True)
    )
    (root / "labels" / f"{number:06d}.txt").write_text("".join(lines), encoding="utf-8")


WRITERS = {
    "kitti": (_write_kitti, [f"training/{n}" for n in ("velodyne_reduced", "label_2", "calib")]),
    "openpcdet": (_write_openpcdet, ["points", "labels"]),
}
"""What writes a frame in a layout, and the folders that it needs."""


def _write_note(root: Path, layout: str, **settings: float) -> None:
    note = {
        "note": f"Synthetic frames in {layout}'s folder layout, generated by PointKD-Bench. Not "
        "measured.",
        "generator": VERSION,
        **settings,
    }
    (root / NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def _rotation(x: float, y: float, z: float) -> np.ndarray:
    """Rotation by small angles about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos([x, y, z]), np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@cache
def _beams() -> tuple[np.ndarray, np.ndarray]:
    """Azimuth and elevation (r,) of the rays that can meet something in the image.

    Two blocks of 32 beams as in KITTI's sensor: +2 to -8.33 degrees a third apart, -8.87 to -24.8
    degrees half apart; the beams are a little off their nominal angles, always by the same amount.
    """
    azimuth, elevation = _sweep(np.radians(47))
    width, height = IMAGE_SIZE
    seen = np.zeros(len(azimuth), bool)
    for distance in (2.5, 4.0, 10.0, 100.0):
        u, v, depth = calibration().project_lidar(distance * _unit(azimuth, elevation)).T
        seen |= (depth > 0) & (u > -8) & (u < width + 8) & (v > -8) & (v < height + 8)
    return azimuth[seen], elevation[seen]


@cache
def _all_beams() -> tuple[np.ndarray, np.ndarray]:
    """Azimuth and elevation (r,) of all rays of a turn."""
    return _sweep(np.pi)


def _sweep(half: float) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth and elevation (r,) of the rays on `half` radians to each side."""
    rng = np.random.default_rng(64)
    upper, lower = np.linspace(2.3, -8.33, 32), np.linspace(-8.87, -24.8, 32)
    beams = np.radians(np.concatenate([upper, lower]) + rng.normal(0, 0.03, 64))
    azimuth = np.arange(-half, half, _AZIMUTH_STEP)
    azimuth = azimuth[:, None] + rng.uniform(0, 1, 64) * _AZIMUTH_STEP
    elevation = np.broadcast_to(beams, azimuth.shape)
    return azimuth.ravel(), elevation.ravel()


def _unit(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    flat = np.cos(elevation)
    return np.column_stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])


def _directions(rng: np.random.Generator) -> np.ndarray:
    azimuth, elevation = _beams()
    return _unit(azimuth + rng.uniform(-0.5, 0.5) * _AZIMUTH_STEP, elevation)


def _measure(
    rng: np.random.Generator, directions: np.ndarray, hits: Hits, parts: Parts
) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 4) and the part (n,) each of them lies on."""
    asphalt, verge = rng.uniform(0.44, 0.62), rng.uniform(0.48, 0.72)
    rays = len(directions)
    on_road, on_ground = hits.part == ROAD, hits.part < NOTHING
    surface = np.append(parts.surface, [[0.0, 0.0, 1.0]], axis=0)[np.maximum(hits.part, -1)]
    reflectance, gloss = surface[:, 0], surface[:, 1]
    reflectance = np.where(on_ground, np.where(on_road, asphalt, verge), reflectance)
    reflectance = reflectance * np.exp(rng.normal(0, 0.25, rays))
    cosine = np.where(on_ground, np.sqrt(hits.cosine), hits.cosine)  # rough ground faces all ways
    power = reflectance * cosine / hits.distance**2
    back = rng.random(rays) < (1 - _LOST) / (1 + (_FAINTEST / np.maximum(power, 1e-12)) ** 1.5)
    mirrored = rng.random(rays) < gloss * (1 - hits.cosine**2)
    back &= (hits.part != NOTHING) & ~mirrored
    roughness = np.where(on_road, 0.004, 0.012) * on_ground
    rough = rng.normal(0, 1, rays) * roughness / np.maximum(hits.cosine, 0.1)
    distance = hits.distance + rng.normal(0, _RANGE_NOISE, rays) + rough
    intensity = _intensity(reflectance, hits)
    xyz = (directions * distance[:, None])[back].round(3)
    points = np.column_stack([xyz, intensity[back].round(2)]).astype(np.float32)
    return points, hits.part[back]


def _intensity(reflectance: np.ndarray, hits: Hits) -> np.ndarray:
    """(r,) what the sensor reports of a surface, 0 to 0.99: nothing of a dark or far one."""
    slant = 1 - hits.cosine
    floor = _DARK + _FADING * hits.distance**2 * (1 + 1.3 * slant)
    return np.clip(reflectance * (1 - 0.5 * slant) - floor, 0, 0.99)


def _in_image(points: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points (n, 4), with their parts (n,), that camera 2 sees."""
    both = np.column_stack([points, part]).astype(np.float32)
    both = crop_to_image(both, calibration(), IMAGE_SIZE)
    return both[:, :4], both[:, 4].astype(np.int64)


def _clear(users: np.ndarray, parts: Parts, hits: Hits, part: np.ndarray) -> np.ndarray:
    """(k,) which objects are measured well enough to be labelled."""
    seen = _count(hits.part, parts)[users] / np.maximum(hits.possible[users], 1)
    return (_count(part, parts)[users] >= _FEWEST_POINTS) & (seen >= _LEAST_SEEN)


def _label(scene: Scene, parts: Parts, hits: Hits, part: np.ndarray) -> Labels:
    """Labels of all road users in the image; those hardly measured or seen become DontCare."""
    index = np.array([i for i, placed in enumerate(scene.objects) if placed.name], np.int64)
    seen = _count(hits.part, parts)[index] / np.maximum(hits.possible[index], 1)
    labels = _annotate([scene.objects[i] for i in index], seen)
    clear = _clear(index, parts, hits, part)
    in_image = (labels.bbox[:, :2] < labels.bbox[:, 2:]).all(axis=1)
    vague = _dont_care(labels.bbox[in_image & ~clear])
    return Labels.concatenate([labels.select(in_image & clear), vague])


def _annotate(users: list[Placed], seen: np.ndarray) -> Labels:
    """What a label file says about objects of which camera 2 sees the shares `seen`."""
    if not users:
        return Labels.empty()
    boxes = np.stack([placed.box() for placed in users])
    dimensions, location, rotation_y = lidar_to_camera_boxes(boxes, calibration())
    full = image_boxes(camera_corners(dimensions, location, rotation_y), calibration())
    width, height = IMAGE_SIZE
    bbox = np.clip(full, 0, np.array([width - 1, height - 1, width - 1, height - 1]))
    level = sum((seen < share).astype(np.int64) for share in _OCCLUSION_LEVELS)
    return Labels(
        name=np.array([placed.name for placed in users]),
        truncation=(1 - _area(bbox) / _area(full)).round(2),
        occlusion=np.asarray(level),
        alpha=observation_angle(location, rotation_y).round(2),
        bbox=bbox.round(2),
        dimensions=dimensions.round(2),
        location=location.round(2),
        rotation_y=rotation_y.round(2),
    )


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _dont_care(bbox: np.ndarray) -> Labels:
    """KITTI's marks for places (n, 4) in the image that evaluation must leave out."""
    n = len(bbox)
    return Labels(
        name=np.full(n, "DontCare"),
        truncation=np.full(n, -1.0),
        occlusion=np.full(n, -1),
        alpha=np.full(n, -10.0),
        bbox=bbox,
        dimensions=np.full((n, 3), -1.0),
        location=np.full((n, 3), -1000.0),
        rotation_y=np.full(n, -10.0),
    )


def _count(part: np.ndarray, parts: Parts) -> np.ndarray:
    """(n,) how often a part of each object occurs in `part`."""
    per_part = np.bincount(part[part >= 0], minlength=len(parts.kind))
    total = np.concatenate([[0], np.cumsum(per_part)])
    return np.diff(total[parts.first])
