"""A look at a whole data set, on small folders with one thing wrong in each."""

import itertools
import json
import re
import shutil

import numpy as np
import pytest

from benchmark.commands.common import BAD_INPUT, DONE
from benchmark.data.errors import DataError, grouped
from benchmark.evaluation import suspicions
from benchmark.evaluation.class_suspicions import not_held
from benchmark.evaluation.survey import survey
from benchmark.evaluation.survey_text import as_json
from benchmark.evaluation.suspicions import check, fatal, warnings
from detectors import Grid
from run_bench import main

AHEAD = "0 -1 0 0 0 0 -1 0 1 0 0 0"
CALIBRATION = (
    "P2: 700 0 600 0 0 700 180 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: {}\n"
)
OBJECTS = [
    ("Car", 1.5, 1.6, 3.9, 12.0, 3.0),
    ("Car", 1.5, 1.6, 3.9, 20.0, -4.0),
    ("Pedestrian", 1.75, 0.6, 0.8, 9.0, -2.0),
    ("Cyclist", 1.75, 0.6, 1.8, 15.0, 1.0),
]
"""Class, height, width, length, metres ahead and left."""
FRAMES = 42


def line(name, height, width, length, x, y, *, box=None, occluded=0, place=None, sizes=None):
    """A label of an object that heads straight away from the camera."""
    box = box or " ".join(f"{side:.1f}" for side in seen(height, width, length, x, y))
    place = place or f"{-y} 1.7 {x}"
    sizes = sizes or f"{height} {width} {length}"
    alpha = -1.57 - np.arctan2(-y, x)
    return f"{name} 0 {occluded} {alpha:.2f} {box} {sizes} {place} -1.57\n"


def seen(height, width, length, x, y):
    """Left, top, right, bottom around the projected corners of such an object."""
    ends = itertools.product((-y - width / 2, -y + width / 2), (1.7 - height, 1.7))
    corners = [(a, b, x + c * length / 2) for a, b in ends for c in (-1, 1)]
    u, v = np.transpose([(600 + 700 * a / c, 180 + 700 * b / c) for a, b, c in corners])
    return u.min(), v.min(), u.max(), v.max()


def make(root, write=line, calibration=AHEAD, reflectance=0.5, val=None):
    """A folder of frames whose objects hold 40 points each."""
    for name in ("velodyne", "label_2", "calib"):
        (root / "training" / name).mkdir(parents=True)
    (root / "ImageSets").mkdir()
    lists = {"train": range(6), "val": val or range(6, 6 + FRAMES)}
    for split, frames in lists.items():
        (root / "ImageSets" / f"{split}.txt").write_text("".join(f"{i:06d}\n" for i in frames))
    rows = [f"{i:06d},1200,360\n" for i in range(6 + FRAMES)]
    (root / "image_sizes.csv").write_text("frame,width,height\n" + "".join(rows))
    for i in range(6 + FRAMES):
        rng = np.random.default_rng(i)
        points = [
            [x, y, -1.7, 0] + rng.uniform(-0.48, 0.48, (40, 4)) * [length, width, 0, 0]
            + np.outer(rng.uniform(0.05, 0.95, 40), [0, 0, height, 0])
            for _, height, width, length, x, y in OBJECTS
        ]  # fmt: skip
        scan = np.concatenate(points).astype("<f4")
        scan[:, 3] = reflectance * rng.uniform(0.2, 1, len(scan))
        (root / f"training/velodyne/{i:06d}.bin").write_bytes(scan.tobytes())
        text = "".join(write(*one) for one in OBJECTS)
        (root / f"training/label_2/{i:06d}.txt").write_text(text)
        (root / f"training/calib/{i:06d}.txt").write_text(CALIBRATION.format(calibration))
    return root


def test_a_sound_set(tmp_path, capsys):
    root = make(tmp_path / "kitti")
    found = survey(root)
    assert warnings(found) == []
    assert found.problems == []
    assert fatal(found) == ""
    assert (found.frames["kept"] == 160).all()
    assert found.objects["points"].between(20, 40).all()  # those above the ground
    assert (found.objects["in image"] > 0.98).all()
    file = tmp_path / "found.json"
    assert main(["data", "verify", str(root), "--json", str(file)]) == DONE
    assert "usable, 0 warnings" in capsys.readouterr().out
    classes = json.loads(file.read_text())["classes"]
    (cars,) = [row for row in classes if row["class"] == "Car" and row["split"] == "val"]
    assert (cars["objects"], cars["easy"], cars["hold points"]) == (84, 84, 84)
    assert (cars["height"], cars["width"], cars["length"]) == (1.5, 1.6, 3.9)


def corner_and_size(one):
    """A 2D box as left, top, width, height: on the right, its bottom is above its top."""
    left, top, right, bottom = seen(*one[1:])
    return f"{left:.1f} {top:.1f} {right - left:.1f} {bottom - top:.1f}"


def swapped(one):
    """A 2D box as top, left, bottom, right."""
    left, top, right, bottom = seen(*one[1:])
    return f"{top:.1f} {left:.1f} {bottom:.1f} {right:.1f}"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"calibration": "0 0 1 0 -1 0 0 0 0 -1 0 0"}, "camera 2 sees no point in 48 of 48"),
        ({"reflectance": 0}, "reflectance is 0 of every point"),
        ({"reflectance": 0.01}, r"reflectance is at most 0.01 \(under 0.05\)"),
        ({"val": range(3, 45)}, "3 of 42 validation frames have the name of a training frame"),
        (
            {"write": lambda *one: line("Bus" if one[0] == "Car" else one[0], *one[1:])},
            r"neither trained nor scored: Bus \(96\)",
        ),
        (
            {"write": lambda *one: line(f"Passenger{one[0]}", *one[1:])},
            "PassengerCar looks like Car",
        ),
        ({"write": lambda *one: line("Pedestrain", *one[1:])}, "Pedestrain looks like Pedestrian"),
        ({"write": lambda *one: line(f"parked_{one[0].lower()}", *one[1:])}, "parked_car looks"),
        ({"write": lambda *one: line(*one) if one[0] == "Car" else ""}, "Cyclist: no object"),
        (
            {"write": lambda *one: line(*one, box="0 0 0 0")},
            r"Car: 0 of 84 .* \(84 are lower than 25 px in the image\)",
        ),
        ({"write": lambda *one: line(*one, occluded=3)}, r"\(84 are of occlusion above 2\)"),
        (
            {"write": lambda *one: line(*one, place=f"{one[4]} {one[5]} -1.7")},
            "Car: 0% of the nearer 48 boxes hold a point .* camera's frame",
        ),
        (
            {"write": lambda *one: line(*one, place=f"{-one[5]} {1.7 - one[1] / 2} {one[4]}")},
            r"Pedestrian: the nearer 48 boxes hold \d+ points if moved down by half their height, "
            r"\d+ as they are .* the centre of the bottom, not of the box",
        ),
        (
            {"write": lambda *one: line(*one).replace("-1.57", "0")},
            "Car: .* if turned by a quarter, .* rotation_y .* -pi/2 straight ahead",
        ),
        (
            {"write": lambda *one: line(*one, place=f"{one[5]} 1.7 {one[4]}")},
            "Car: .* if on the other side .* does the camera's x grow to the right",
        ),
        (
            {"write": lambda *one: line(*one, place=f"{-one[4]} 1.7 {one[5]}")},
            "Car: .* if at y, x instead of x, y, 0 as they are .* are locations x right",
        ),
        (
            {"write": lambda *one: line(*one).replace(f"{one[0]} 0", f"{one[0]} 15")},
            "truncation is above 1 for 192 of 192 objects",
        ),
        (
            {"write": lambda *one: 2 * line(*one)},
            "192 of 384 objects are there twice in their frame",
        ),
        (
            {"write": lambda *one: re.sub(r" 0 0 \S+ ", " 0 0 -10 ", line(*one), count=1)},
            "the median alpha is .* AOS will tell nothing",
        ),
        (
            {"write": lambda *one: line(*one, box=corner_and_size(one))},
            "overlap of 2D boxes and projected 3D boxes is 0.* left, top, right, bottom",
        ),
        (
            {"write": lambda *one: line(*one, box=swapped(one))},
            r"overlap of 2D boxes and projected 3D boxes is 0.\d\d .* left, top, right, bottom",
        ),
        (
            {"write": lambda *one: line(*one, sizes=f"{one[1]} {one[3]} {one[2]}")},
            "Car: the median object is wider than long",
        ),
        (
            {"write": lambda *one: line(*one, sizes=f"{one[3]} {one[2]} {one[1]}")},
            "Car: the median object is 3.90 m high, 1.60 m wide, 1.50 m long",
        ),
    ],
)
def test_what_looks_wrong_is_told(tmp_path, settings, told):
    found = survey(make(tmp_path, **settings))
    assert any(re.search(told, one) for one in warnings(found)), warnings(found)
    assert found.problems == []


def make_turned(root, write):
    """A folder without a camera: a car in every frame, headed anywhere, that holds 60 points."""
    for name in ("points", "labels", "ImageSets"):
        (root / name).mkdir(parents=True)
    (root / "dataset.yaml").write_text(
        "classes: {Car: {size: [4, 1.8, 1.6], bottom: -1.7}}\n"
        "layout: openpcdet\npoints: {format: npy}\nview: full\nmetric: distance\n"
    )
    lists = {"train": range(20), "val": range(20, 80)}
    for split, frames in lists.items():
        (root / "ImageSets" / f"{split}.txt").write_text("".join(f"{i}\n" for i in frames))
    for i in range(80):
        rng = np.random.default_rng(i)
        x, y, yaw = rng.uniform([5, -20, -np.pi], [30, 20, np.pi])
        along, across, up = rng.uniform(-0.49, 0.49, (60, 3)).T * [[4], [1.8], [1.6]]
        cos, sin = np.cos(yaw), np.sin(yaw)
        places = [x + along * cos - across * sin, y + along * sin + across * cos, up - 0.9]
        points = np.stack([*places, rng.uniform(0, 1, 60)], axis=1)
        np.save(root / "points" / f"{i}.npy", points.astype(np.float32))
        (root / "labels" / f"{i}.txt").write_text(write(x, y, -0.9, yaw))
    return root


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda x, y, z, yaw: f"{x} {y} {z} 4 1.8 1.6 {yaw} Car\n", ""),
        (
            lambda x, y, z, yaw: f"{x} {y} {z - 0.8} 4 1.8 1.6 {yaw} Car\n",
            "moved up by half their height, .* is z the centre of the box",
        ),
        (
            lambda x, y, z, yaw: f"{x} {y} {z} 4 1.8 1.6 {yaw + np.pi / 2} Car\n",
            "turned by a quarter.* is the heading 0 along x,.* length and width swapped",
        ),
        (
            lambda x, y, z, yaw: f"{y} {x} {z} 4 1.8 1.6 {np.pi / 2 - yaw} Car\n",
            "if at y, x instead of x, y, .* is x ahead and y to the left",
        ),
        (
            lambda x, y, z, yaw: f"{x} {-y} {z} 4 1.8 1.6 {-yaw} Car\n",
            "if on the other side .* does y grow to the left",
        ),
        (
            lambda x, y, z, yaw: f"{x + 5} {y - 5} {z} 4 1.8 1.6 {yaw} Car\n",
            "of the nearer 40 boxes hold a point .* are they of these frames",
        ),
        (
            lambda x, y, z, yaw: f"{x} {y} {z} 4 1.8 1.6 {-yaw} Car\n",
            "headed the other way round, .* does it grow towards y",
        ),
    ],
)
def test_boxes_that_suit_when_read_otherwise_are_told(tmp_path, write, told):
    found = warnings(survey(make_turned(tmp_path, write)))
    assert len(found) == bool(told), found
    assert not told or re.search(told, found[0])


def test_many_classes_are_told_by_name(tmp_path):
    root = make_turned(tmp_path, lambda x, y, z, yaw: f"{x} {y} {z} 4 1.8 1.6 {yaw} Car\n")
    others = ", ".join(f"Truck{i}: {{size: [9, 2.5, 3], bottom: -1.7}}" for i in range(9))
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(
        text.replace("bottom: -1.7}}", f"bottom: -1.7}}, {others}}}")
    )
    told = warnings(survey(root))
    assert [one.partition(":")[0] for one in told] == [
        "Truck0", "Truck1", "Truck2", "the like of 6 more",
    ]  # fmt: skip
    assert told[3].endswith("Truck3, Truck4, Truck5, Truck6, Truck7, Truck8")
    assert "easy" not in as_json(survey(root))["classes"][0]


def test_the_same_scans_under_other_names_are_found(tmp_path):
    root = make(tmp_path)
    for i in range(2):
        scan = root / "training" / "velodyne" / f"{i:06d}.bin"
        shutil.copy(scan, scan.with_name(f"{10 + i:06d}.bin"))
    (told,) = warnings(survey(root))
    assert told.startswith("2 of 42 validation frames have the scan of a training frame")


def test_empty_reduced_scans_are_told_apart(tmp_path):
    root = make(tmp_path)
    (root / "training" / "velodyne_reduced").mkdir()
    for file in (root / "training" / "velodyne").iterdir():
        (root / "training" / "velodyne_reduced" / file.name).write_bytes(b"")
    assert warnings(survey(root))[0].startswith("the scan is empty in 48 of 48 frames")
    with pytest.raises(DataError, match="most frames end up without a point"):
        check(root, str)


def test_a_set_without_a_figure_is_refused_before_a_run(tmp_path, capsys):
    root = make(tmp_path / "kitti", write=lambda *one: line(*one, box="-1 -1 -1 -1"))
    told = []
    with pytest.raises(DataError, match="counts at any level and lies in range, so"):
        check(root, told.append)
    assert len(told) == 4
    assert all("`data image-boxes` computes" in one for one in told[:3])
    assert told[3].startswith("no class has 41 valid validation objects")
    words = ["run", "--data", str(root), "--methods", "none", "--dry-run"]
    place = ["--results", str(tmp_path / "r"), "--cache", str(tmp_path / "c")]
    assert main([*words, *place]) == BAD_INPUT
    assert "there would be no figure" in capsys.readouterr().err
    assert main(["data", "verify", str(root)]) == BAD_INPUT
    labels = root / "training" / "label_2"
    assert main(["data", "image-boxes", str(root), str(tmp_path / "boxed")]) == DONE
    labels.rename(tmp_path / "bare")
    (tmp_path / "boxed").rename(labels)
    assert "192 objects got a 2D box" in capsys.readouterr().out
    assert warnings(survey(root)) == []


def test_a_sample_judges_by_its_share(tmp_path, monkeypatch):
    root = make(tmp_path)
    monkeypatch.setattr(suspicions, "SAMPLE", 21)
    assert len(check(root, pytest.fail).frames) == 6 + 21
    assert survey(root, sample=21).share == 0.5


def test_what_cannot_be_read_is_told_once_for_all_files(tmp_path, capsys):
    root = make(tmp_path)
    for i in range(9):
        (root / "training" / "label_2" / f"{i:06d}.txt").write_text(f"Car 0 0 {i}\n")
    (root / "training" / "velodyne" / "000010.bin").write_bytes(b"123")
    assert main(["data", "verify", str(root)]) == BAD_INPUT
    printed = capsys.readouterr().out
    assert printed.count("4 fields; write 15") == 3
    assert "... and 6 more like this" in printed
    assert "000010.bin: 3 bytes" in printed


def test_kinds_are_shown_in_the_order_in_which_they_come():
    lines = [f"a/label_2/{i}.txt:{i}: z is nan" for i in range(5)] + ["a/calib/1.txt: row P2"]
    first, second = grouped(lines)
    assert first.splitlines() == [*lines[:3], "... and 2 more like this"]
    assert second == lines[-1]


def test_real_frames_look_sound(kitti_root):
    found = survey(kitti_root, jobs=2)
    assert len(found.frames) == 237
    assert found.problems == []
    few = [name for name in ("Pedestrian", "Cyclist") for told in warnings(found) if name in told]
    assert len(warnings(found)) == len(few) == 2  # of 100 frames
    assert found.genuine().endswith("237 frames: 237 scans, 237 labels, 237 calibrations")
    assert found.objects["class"].value_counts()[["Car", "Pedestrian", "Cyclist"]].tolist() == [
        1117, 74, 50,
    ]  # fmt: skip


def test_files_that_are_not_kittis_are_named(kitti_root, tmp_path):
    ids = (kitti_root / "ImageSets" / "val.txt").read_text().split()[:4]
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "train.txt").write_text("\n".join(ids[:2]))
    (tmp_path / "ImageSets" / "val.txt").write_text("\n".join(ids[2:]))
    for folder, suffix in (("velodyne_reduced", "bin"), ("label_2", "txt"), ("calib", "txt")):
        (tmp_path / "training" / folder).mkdir(parents=True)
        for frame in ids:
            place = f"training/{folder}/{frame}.{suffix}"
            (tmp_path / place).write_bytes((kitti_root / place).read_bytes())
    label = tmp_path / "training" / "label_2" / f"{ids[1]}.txt"
    label.write_text(label.read_text() + "\n")
    found = survey(tmp_path)
    assert found.genuine().endswith("4 frames: 4 scans, 3 labels, 4 calibrations")
    (told,) = [one for one in warnings(found) if "to the bit" in one]
    assert told.startswith(
        f"the label of 1 of 4 frames is not KITTI's own to the bit, as the others are: {ids[1]};"
    )


def test_how_many_objects_a_grid_holds_is_told(kitti_root):
    found = survey(kitti_root, sample=10)
    everything = found.held_by(Grid((-200, -200, -3, 200, 200, 1)))
    count = int(found.objects["class"].isin(["Car", "Pedestrian", "Cyclist"]).sum())
    assert f"holds {count} of {count} objects looked at (" in everything
    near = found.held_by(Grid((0, -12.8, -3, 25.6, 12.8, 1)))
    assert near.startswith("x 0 to 25.6 m, y -12.8 to 12.8 m: holds ")
    assert 0 < int(near.split("holds ")[1].split()[0]) < count
    behind = list(not_held(found, Grid((-25.6, -12.8, -3, 0, 12.8, 1))))
    assert behind[0].startswith("Car: none of the ")
    assert "lies in the x -25.6 to 0 m" in behind[0]
    assert list(not_held(found, Grid((-200, -200, -3, 200, 200, 1)))) == []


def test_points_and_sizes_in_other_units_are_told(tmp_path):
    right = make_turned(tmp_path / "mm", lambda x, y, z, yaw: f"{x} {y} {z} 4 1.8 1.6 {yaw} Car\n")
    for file in (right / "points").iterdir():
        np.save(file, np.load(file) * [1000, 1000, 1000, 1])
    found = survey(right)
    assert re.match(r"the median scan reaches \S+ m \(not 2 to 500\)", warnings(found)[0])
    assert fatal(found).endswith("holds a point, so there is nothing to detect")
    wrong = make_turned(
        tmp_path / "cm", lambda x, y, z, yaw: f"{x} {y} {z} 400 180 160 {yaw} Car\n"
    )
    assert fatal(survey(wrong)).endswith("is 400 m, not 0.05 to 100 m: write sizes in metres")


def test_boxes_beside_their_objects_are_not_called_misread(tmp_path):
    """Two metres off, a few of them hold more points when headed otherwise: by chance."""
    root = make_turned(tmp_path, lambda x, y, z, yaw: f"{x + 2} {y} {z} 4 1.8 1.6 {yaw} Car\n")
    (told,) = warnings(survey(root))
    assert "are they of these frames" in told


def test_boxes_that_are_misread_in_one_split_are_told(tmp_path):
    root = make_turned(tmp_path, lambda x, y, z, yaw: f"{x} {y} {z} 4 1.8 1.6 {yaw} Car\n")
    for i in range(20):
        path = root / "labels" / f"{i}.txt"
        *rest, yaw, name = path.read_text().split()
        path.write_text(" ".join([*rest, str(float(yaw) + np.pi / 2), name]))
    (told,) = warnings(survey(root))
    assert told.startswith("Car: in the train frames, the nearer 10 boxes hold ")
    assert "if turned by a quarter" in told
    for i in range(20):
        path = root / "labels" / f"{i}.txt"
        path.write_text(path.read_text().replace(" 4 1.8 1.6 ", " 1.8 4 1.6 "))
    (told,) = warnings(survey(root))
    assert told.startswith("Car: in the train frames, the median object is wider than long")


def test_few_objects_raise_no_suspicion(tmp_path):
    """Two of three pedestrians behind a wall are no reason to doubt the others, nor the frames."""
    root = make_turned(tmp_path, lambda x, y, z, yaw: f"{x} {y} {z} 4 1.8 1.6 {yaw} Car\n")
    path = root / "dataset.yaml"
    path.write_text(
        path.read_text().replace("1.7}}", "1.7}, Walker: {size: [0.8, 0.6, 1.7], bottom: -1.7}}")
    )
    for i in (3, 5, 30):
        label = root / "labels" / f"{i}.txt"
        x, y, z, *_ = label.read_text().split()
        place = f"{x} {y} {z}" if i == 30 else f"{float(x) + 9} {y} {z}"
        label.write_text(label.read_text() + f"{place} 0.8 0.6 1.7 0 Walker\n")
    assert warnings(survey(root)) == []


def test_objects_that_the_scanner_does_not_see_are_asked_about(tmp_path):
    """One car that is seen, and one behind it that is not."""

    def both(x, y, z, yaw):
        return "".join(f"{x} {y + far} {z} 4 1.8 1.6 {yaw} Car\n" for far in (0, 6))

    (told,) = warnings(survey(make_turned(tmp_path, both)))
    assert "are objects labelled that the scanner does not see?" in told


def test_only_the_last_word_of_a_name_is_compared():
    assert suspicions._alike("PassengerCar", ["Car"]) == "Car"
    assert suspicions._alike("Streetcar", ["Car"]) == ""


def test_a_hedge_on_the_other_side_is_no_suspicion(tmp_path):
    root = make_turned(tmp_path, lambda x, y, z, yaw: f"{x} {y} {z} 4 1.8 1.6 {yaw} Car\n")
    for file in (root / "points").iterdir():
        points = np.load(file)
        hedge = np.repeat(points * [1, -1, 1, 1], 3, axis=0)
        np.save(file, np.concatenate([points, hedge]).astype(np.float32))
    assert warnings(survey(root)) == []


def test_points_that_pad_scans_are_told(tmp_path):
    root = make_turned(tmp_path, lambda x, y, z, yaw: f"{x} {y} {z} 4 1.8 1.6 {yaw} Car\n")
    for file in (root / "points").iterdir():
        np.save(file, np.concatenate([np.load(file), np.zeros((5, 4), np.float32)]))
    (told,) = warnings(survey(root))
    assert told.startswith("400 of 5200 points (more than 1%) are at 0, 0, 0: are scans padded?")


def test_a_set_without_objects_is_refused(tmp_path):
    root = make(tmp_path, write=lambda *one: "")
    assert fatal(survey(root)).endswith("the labels of 48 frames hold no object")


def test_names_that_no_label_has_are_told(tmp_path):
    root = make_turned(tmp_path, lambda x, y, z, yaw: f"{x} {y} {z} 4 1.8 1.6 {yaw} Car\n")
    with (root / "dataset.yaml").open("a") as file:
        file.write("ignore: [Deer]\n")
    (told,) = warnings(survey(root))
    assert told == "no label is called as dataset.yaml says in ignore: Deer"


def test_files_that_the_system_does_not_let_be_read_are_named(tmp_path):
    root = make(tmp_path)
    label = root / "training" / "label_2" / "000003.txt"
    label.unlink()
    label.mkdir()
    scan = root / "training" / "velodyne" / "000004.bin"
    scan.unlink()
    scan.symlink_to("nowhere")
    found = survey(root)
    assert [problem.rpartition("/")[2] for problem in found.problems] == [
        "000003.txt: Is a directory; put a file there that can be read",
        "000004.bin: No such file or directory; put a file there that can be read",
    ]
    assert len(found.frames) == 6 + FRAMES - 2
    assert warnings(found) == []


def test_empty_labels_and_scans_of_two_folders_are_noted(tmp_path):
    root = make(tmp_path)
    assert suspicions.notes(survey(root)) == []
    (root / "training" / "label_2" / "000003.txt").write_text("")
    (root / "training" / "velodyne_reduced").mkdir()
    for i in (1, 2):
        scan = root / "training" / "velodyne" / f"{i:06d}.bin"
        (root / "training" / "velodyne_reduced" / scan.name).write_bytes(scan.read_bytes())
    bare, folders = suspicions.notes(survey(root))
    assert bare.startswith("1 of 48 label files are empty: frames without an object, unless a copy")
    assert "46 from velodyne, 2 from velodyne_reduced; is velodyne_reduced complete?" in folders
