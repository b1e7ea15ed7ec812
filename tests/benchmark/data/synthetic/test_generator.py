"""The built-in synthetic set: what the reader gets from it, and what its labels claim."""

import json
import os

import numpy as np
import pytest
from shapely import geometry

from benchmark.data.calibration import wrap_angle
from benchmark.data.errors import DataError
from benchmark.data.kitti import KittiDataset, crop_to_image
from benchmark.data.statistics import BANDS, kitti_summary, measure, summarise
from benchmark.data.synthetic import generator
from benchmark.data.synthetic.raycast import HULL, Ground
from benchmark.data.synthetic.scenes import Scene
from benchmark.data.synthetic.shapes import Part, Surface, assemble, car


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return generator.ensure(tmp_path_factory.mktemp("cache"), seed=0, train=4, val=96)


@pytest.fixture(scope="module")
def frames(root):
    dataset = KittiDataset(root, "val")
    return [dataset.frame(i) for i in range(len(dataset))]


@pytest.fixture(scope="module")
def summary(root):
    return summarise("synthetic", measure(KittiDataset(root, "val")))


def _contents(root):
    return {p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_the_set_is_a_function_of_its_arguments(root, tmp_path, monkeypatch):
    whole = _contents(root)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # one thread instead of all
    generator.generate(tmp_path / "small", seed=0, train=2, val=3)
    small = _contents(tmp_path / "small")
    frames = {path for path in small if path.parts[0] == "training"}
    assert len(frames) == 3 * 5
    for path in frames:
        assert small[path] == whole[path], path
    generator.generate(tmp_path / "other", seed=1, train=2, val=3)
    other = _contents(tmp_path / "other")
    scans = [path for path in frames if path.suffix == ".bin"]
    assert all(other[path] != small[path] for path in scans)
    assert len({small[path] for path in scans}) == 5


def test_the_reader_reads_it_as_it_is(root, frames):
    assert len(KittiDataset(root, "train")) == 4
    assert not set(KittiDataset(root, "train").ids) & set(KittiDataset(root, "val").ids)
    for frame in frames:
        assert frame.image_size == (1242, 375)
        assert 8_000 < len(frame.points) < 23_000
        cropped = crop_to_image(frame.points, frame.calibration, frame.image_size)
        assert len(cropped) == len(frame.points)


def test_the_note_says_what_it_is(root):
    note = json.loads((root / "synthetic.json").read_text())
    assert "Synthetic" in note["note"]
    assert (note["seed"], note["train"], note["val"]) == (0, 4, 96)
    assert note["generator"] == generator.VERSION


def test_worlds_never_share_an_identity(tmp_path, monkeypatch):
    """Not even two versions that differ in nothing which is hashed: in reflectance, say."""

    def fingerprint(version):
        monkeypatch.setattr(generator, "VERSION", version)
        root = generator.ensure(tmp_path, seed=0, train=1, val=1)
        return KittiDataset(root, "train").fingerprint()

    prints = [fingerprint(version) for version in (1, 2, 3)]
    assert len(set(prints)) == 3
    note = tmp_path / "synthetic-v1-seed0-1+1-50.0m" / "synthetic.json"
    first = KittiDataset(note.parent, "train")
    note.write_text("[]")
    with pytest.raises(DataError, match="synthetic.json: does not say which generator"):
        first.fingerprint()
    note.unlink()
    assert first.fingerprint() == prints[0]  # as before worlds had versions


def test_a_set_is_generated_once(root, monkeypatch):
    def fail(*args):
        raise AssertionError("generated again")

    monkeypatch.setattr(generator, "generate", fail)
    assert generator.ensure(root.parent, seed=0, train=4, val=96) == root


def test_a_broken_generation_leaves_nothing(tmp_path, monkeypatch):
    def fail(draft, *args):
        (draft / "half").mkdir()
        raise OSError("disk full")

    monkeypatch.setattr(generator, "generate", fail)
    with pytest.raises(OSError, match="disk full"):
        generator.ensure(tmp_path, seed=0, train=1, val=1)
    assert list(tmp_path.iterdir()) == []


def test_a_faster_process_wins(tmp_path, monkeypatch):
    generate = generator.generate

    def overtaken(draft, *args):
        generate(draft, *args)
        name = "synthetic-v1-seed0-1+1-50.0m"
        generate(draft.parent / name, *args)
        (draft.parent / name / "first").touch()

    monkeypatch.setattr(generator, "generate", overtaken)
    monkeypatch.setattr(generator, "VERSION", 1)
    root = generator.ensure(tmp_path, seed=0, train=1, val=1)
    assert (root / "first").exists()
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"train": 0}, {"val": 0}, {"max_range": 5}, {"max_range": 200}]
)
def test_wrong_arguments(tmp_path, wrong):
    with pytest.raises(DataError, match="cannot generate"):
        generator.generate(tmp_path, **{"seed": 0, "train": 1, "val": 1, **wrong})


@pytest.mark.parametrize("layout", ["kitti", "openpcdet"])
def test_nothing_is_written_over(tmp_path, layout):
    lists = tmp_path / "ImageSets" / "train.txt"
    lists.parent.mkdir()
    lists.write_text("000007\n")
    with pytest.raises(DataError, match=f"{tmp_path} is not empty, .* new or empty folder"):
        generator.generate(tmp_path, seed=0, train=1, val=1, layout=layout)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [lists]
    assert lists.read_text() == "000007\n"


def test_a_generation_that_is_killed_leaves_no_set(tmp_path, monkeypatch):
    def killed(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(generator, "_write_note", killed)  # comes after all frames
    with pytest.raises(KeyboardInterrupt):
        generator.generate(tmp_path, seed=0, train=1, val=1)
    assert not list((tmp_path / "ImageSets").iterdir())


def test_enough_valid_objects_of_every_class(frames):
    """The devkit's AP is bounded below 41 objects; KITTI's rules for Moderate."""
    for name in ("Car", "Pedestrian", "Cyclist"):
        valid = 0
        for frame in frames:
            labels = frame.labels
            height = labels.bbox[:, 3] - labels.bbox[:, 1]
            moderate = (height >= 25) & (labels.occlusion <= 1) & (labels.truncation <= 0.3)
            valid += int((moderate & (labels.name == name)).sum())
        assert valid > 80, name


def test_counts_and_sizes_are_like_kitti(frames):
    names = np.concatenate([frame.names for frame in frames])
    boxes = np.concatenate([frame.boxes for frame in frames])
    # Means per frame, and KITTI's mean length, width and height of a class.
    expected = {
        "Car": (3.5, 6, (3.88, 1.63, 1.53)),
        "Pedestrian": (1.5, 3.2, (0.84, 0.66, 1.76)),
        "Cyclist": (1, 2.2, (1.76, 0.60, 1.74)),
        "Van": (0.15, 0.8, (5.08, 1.90, 2.21)),
    }
    for name, (fewest, most, size) in expected.items():
        ours = boxes[names == name]
        assert fewest < len(ours) / len(frames) < most, name
        np.testing.assert_allclose(ours[:, 3:6].mean(axis=0), size, rtol=0.15)
    assert {"Person_sitting", "DontCare"} <= {n for f in frames for n in f.labels.name}
    distance = np.hypot(boxes[:, 0], boxes[:, 1])
    assert 2 < distance.min() < 4 < 49 < distance.max() < 50.01
    levels = np.concatenate([f.labels.occlusion[f.labels.name == "Car"] for f in frames])
    assert (np.bincount(levels, minlength=3) / len(levels) > 0.08).all()


@pytest.mark.parametrize("name", ["Car", "Pedestrian", "Cyclist"])
def test_objects_hold_as_many_points_as_in_kitti(summary, name):
    """The medians at every distance of which the set has enough objects to tell."""
    ours, kitti = summary.objects[name].bands, kitti_summary().objects[name].bands
    for (low, _), made, real in zip(BANDS, ours, kitti, strict=True):
        if made.count >= 30:
            assert made.points[1] == pytest.approx(real.points[1], rel=0.3), low
    assert sum(made.count >= 30 for made in ours) >= 3


def test_near_cars_are_cut_and_hidden_as_in_kitti(summary):
    near, kitti = (one.objects["Car"].bands[0] for one in (summary, kitti_summary()))
    assert near.truncated == pytest.approx(kitti.truncated, abs=0.15)
    assert near.points[0] < 2 * kitti.points[0]
    visible = [group.occlusion[0] for group in summary.objects["Car"].bands]
    assert visible[0] > visible[1] > visible[2] > 0.3


def test_scans_are_like_kittis(summary):
    ours, kitti = summary.scans, kitti_summary().scans
    assert summary.points[1] == pytest.approx(kitti_summary().points[1], rel=0.12)
    assert ours.reflectance == pytest.approx(kitti.reflectance, abs=0.06)
    assert ours.per_pillar[2] == pytest.approx(kitti.per_pillar[2], rel=0.35)
    assert ours.crowded < 3 * kitti.crowded


def test_labelled_objects_hold_points_and_stand_on_the_ground(frames):
    gaps = []
    for frame in frames:
        for box in frame.boxes:
            # 5 cm for range noise and the hundredths to which labels are rounded.
            assert _inside(frame.points, box, 0.08).sum() >= 4
            offset = np.hypot(frame.points[:, 0] - box[0], frame.points[:, 1] - box[1])
            around = (offset < 1.5 + np.hypot(*box[3:5]) / 2) & ~_inside(frame.points, box, 0.3)
            near = frame.points[around & (np.abs(frame.points[:, 2] - box[2]) < 0.25), 2]
            if len(near) > 20:
                gaps.append(np.median(near) - box[2])
    assert len(gaps) > 100
    # Kerbs of 12 cm and slopes of a few per cent.
    assert abs(np.median(gaps)) < 0.03
    assert np.quantile(np.abs(gaps), 0.95) < 0.16


def test_objects_do_not_touch(frames):
    for frame in frames:
        boxes = frame.boxes.astype(np.float64)
        polygons = []
        for x, y, _, length, width, _, yaw in boxes:
            corners = np.array([1 + 1j, 1 - 1j, -1 - 1j, -1 + 1j])
            turned = (corners.real * length / 2 + 1j * corners.imag * width / 2) * np.exp(1j * yaw)
            polygons.append(geometry.Polygon(np.column_stack([turned.real + x, turned.imag + y])))
        for i, polygon in enumerate(polygons):
            assert not any(polygon.intersects(other) for other in polygons[:i])


def test_image_boxes_alpha_and_truncation_agree_with_the_points(frames):
    for frame in frames:
        objects = frame.labels.select(frame.labels.name != "DontCare")
        pixels = frame.calibration.project_lidar(frame.points[:, :3].astype(np.float64))
        for i, box in enumerate(frame.boxes):
            left, top, right, bottom = objects.bbox[i]
            u, v = pixels[_inside(frame.points, box)][:, :2].T
            assert ((u > left - 4) & (u < right + 4) & (v > top - 4) & (v < bottom + 4)).all()
            at_edge = left <= 0 or right >= 1241 or top <= 0 or bottom >= 374
            assert (objects.truncation[i] > 0) <= at_edge
            x, _, z = objects.location[i]
            difference = objects.alpha[i] - (objects.rotation_y[i] - np.arctan2(x, z))
            assert abs(wrap_angle(difference)) < 0.02


def test_truncation_is_the_share_of_the_box_outside_the_image(frames):
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0, 1)])
    truncated = 0
    for frame in frames:
        objects = frame.labels.select(frame.labels.name != "DontCare")
        for box, claimed in zip(frame.boxes.astype(np.float64), objects.truncation, strict=True):
            local = corners * box[3:6]
            plane = (local[:, 0] + 1j * local[:, 1]) * np.exp(1j * box[6])
            places = np.column_stack([plane.real, plane.imag, local[:, 2]]) + box[:3]
            u, v, depth = frame.calibration.project_lidar(places).T
            if depth.min() < 1:
                continue
            seen = np.ptp(np.clip(u, 0, 1241)) * np.ptp(np.clip(v, 0, 374))
            seen /= np.ptp(u) * np.ptp(v)
            assert claimed == pytest.approx(1 - seen, abs=0.03)
            truncated += claimed > 0.1
    assert truncated > 20


def test_numbers_are_rounded_as_in_kitti(frames):
    points = np.concatenate([frame.points for frame in frames]).astype(np.float64)
    np.testing.assert_allclose(points[:, :3] * 1000, np.round(points[:, :3] * 1000), atol=0.01)
    np.testing.assert_allclose(points[:, 3] * 100, np.round(points[:, 3] * 100), atol=1e-4)
    assert 0 <= points[:, 3].min() < 0.1 < 0.7 < points[:, 3].max() < 1


@pytest.mark.parametrize(
    ("share", "level"), [(0.0, 0), (0.05, 0), (0.35, 1), (0.75, 2), (0.97, None)]
)
def test_occlusion_is_the_hidden_share(share, level):
    """A wall hides a share of a car that stands across the road."""
    scene = Scene(Ground(-1.73, 0, 0, 0, 0, 0, 50, -50, 0))
    shape = car(np.random.default_rng(0))
    scene.place("Car", shape, 20.0, 0.0, np.pi / 2, 0.0)
    edge = shape.size[0] / 2
    hidden = -edge + share * 2 * edge  # the wall covers y < hidden at the car's front
    front = 20 - shape.size[1] / 2
    centre = np.array([0.0, 0.0, 1.5])
    wall = Part(HULL, centre, np.array([0.05, 10.0, 1.5]), Surface(0.5))
    scene.place("", assemble([wall]), 10.0, hidden * 10 / front - 10, 0.0, 0.0)
    labels = _labels(scene)
    if level is None:
        assert labels.name.tolist() == ["DontCare"]
    else:
        assert labels.name.tolist() == ["Car"]
        assert labels.occlusion.tolist() == [level]


def _labels(scene):
    rng, parts = np.random.default_rng(0), scene.parts()
    directions = generator._directions(rng)
    hits = generator.cast(directions, rng.random((len(directions), 2)), parts, scene.ground)
    _, part = generator._measure(rng, directions, hits, parts)
    return generator._label(scene, parts, hits, part)


def _inside(points, box, margin=0.0):
    """Which points lie in a box widened by `margin` all around."""
    x, y, z, length, width, height, yaw = box.astype(np.float64)
    offset = ((points[:, 0] - x) + 1j * (points[:, 1] - y)) * np.exp(-1j * yaw)
    flat = np.abs(offset.real) <= length / 2 + margin
    flat &= np.abs(offset.imag) <= width / 2 + margin
    above = points[:, 2] - z
    return flat & (above >= -margin) & (above <= height + margin)
