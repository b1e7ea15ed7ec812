"""What a data set's folder means, read from its file."""

import pytest

from benchmark.data.description import (
    FILE,
    KITTI,
    DescribedClass,
    Description,
    ScanFormat,
    find_description,
    read_description,
)
from benchmark.data.errors import DataError
from benchmark.evaluation.matching import rules_of
from benchmark.evaluation.protocol import STRICT
from detectors import CLASSES
from detectors.core.grid import KITTI_CLASSES

WHOLE = """
classes:
  Car: {size: [4.2, 1.8, 1.6], bottom: -1.7, names: [PassengerCar], neighbours: [Van]}
  Bus: {size: [11, 2.9, 3.2], bottom: -1.7, overlap: 0.6}
  Wheelchair: {size: [1.1, 0.7, 1.4], bottom: -1.7}
layout: openpcdet
points: {format: bin, dtype: float64, fields: 5, reflectance: 255}
view: full
range: [-50, -50, -3, 50, 50, 3]
metric: distance
ignore: Animal
"""


def described(tmp_path, text):
    path = tmp_path / FILE
    path.write_text(text)
    return read_description(path)


def test_every_field_is_read(tmp_path):
    found = described(tmp_path, WHOLE)
    assert found == Description(
        classes={
            "Car": DescribedClass(
                (4.2, 1.8, 1.6), -1.7, names=("PassengerCar",), neighbours=("Van",)
            ),
            "Bus": DescribedClass((11, 2.9, 3.2), -1.7, 0.6),
            "Wheelchair": DescribedClass((1.1, 0.7, 1.4), -1.7),
        },
        layout="openpcdet",
        points=ScanFormat("bin", "float64", 5, 255),
        view="full",
        range=(-50, -50, -3, 50, 50, 3),
        metric="distance",
        ignore=("Animal",),
    )
    assert found.called["PassengerCar"] == "Car"
    assert [each.like for each in found.object_classes] == ["Car", "Car", "Pedestrian"]
    assert found.overlaps == {"Car": 0.7, "Bus": 0.6, "Wheelchair": 0.5}


def test_without_a_file_it_is_kittis(tmp_path):
    assert find_description(tmp_path) == (tmp_path, KITTI)
    assert KITTI.settings() == {}
    assert KITTI.object_classes == KITTI_CLASSES
    assert tuple(KITTI.classes) == CLASSES
    assert rules_of(KITTI) == STRICT


def test_a_file_elsewhere_names_the_folder(tmp_path):
    (tmp_path / "frames").mkdir()
    path = tmp_path / "mine.yaml"
    path.write_text(WHOLE + "folder: frames\n")
    root, found = find_description(path)
    assert root == tmp_path / "frames"
    path.write_text(WHOLE)
    with pytest.raises(DataError, match="mine.yaml: folder is missing; write where the data are"):
        find_description(path)
    path.write_text("")
    with pytest.raises(DataError, match="the file is empty"):
        find_description(path)
    (tmp_path / "d.txt").write_text(WHOLE)
    with pytest.raises(DataError, match="d.txt: not a folder, nor the description"):
        find_description(tmp_path / "d.txt")
    path.write_text(WHOLE + "folder: elsewhere\n")
    with pytest.raises(DataError, match="folder elsewhere does not exist"):
        find_description(path)
    assert "folder" not in found.settings()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("layout: kity", "layout is 'kity', did you mean 'kitti'"),
        ("view: camera", "view is 'camera', which openpcdet has not"),
        ("metric: iou", "metric is 'iou'; use one of kitti, distance"),
        ("range: [0, 0, 0, 0, 1, 1]", "range must be x, y, z minimum"),
        ("range: [0, 1]", "range is .* list of 6 numbers"),
        ("points: {format: las}", "points.format is 'las'"),
        ("points: {fields: 2}", "points.fields is 2; it must be a whole number of at least 3"),
        ("points: {reflectance: 0}", "points.reflectance is 0"),
        ("clases: {}", "clases: unknown field, did you mean 'classes'"),
        ("ignore: [1]", "ignore is .*list of names"),
        ("classes: {}", "classes is {}"),
        ("classes: {Car: {bottom: 1}}", "classes.Car.size is missing; `data describe` measures"),
        ("classes: {mAP: {size: [1, 1, 1], bottom: 0}}", "classes.mAP: a reserved name"),
        (
            "classes: {Bike: {size: [1, 1, 1], bottom: 0}, bike: {size: [1, 1, 1], bottom: 0}}",
            "classes: bike is there in several spellings",
        ),
        ("classes: {A: {size: [1, 1, 1], size: [2, 2, 2], bottom: 0}}", "'size' is on line"),
        ("classes: {a|b: {size: [1, 1, 1], bottom: 0}}", "not a class; use letters"),
        ("classes: {Car: {size: [0, 1, 1], bottom: 0}}", r"classes.Car.size\[0\] is 0"),
        (
            "classes: {A: {size: [1, 1, 1], bottom: 0, names: [x]}, "
            "B: {size: [1, 1, 1], bottom: 0, names: [x]}}",
            "labels x are both A and B",
        ),
        (
            "classes: {A: {size: [1, 1, 1], bottom: 0, neighbours: [B]}, "
            "B: {size: [1, 1, 1], bottom: 0}}",
            "classes.A.neighbours: B is a class of its own",
        ),
        ("classes: [", "line"),
    ],
)
def test_mistakes_are_named_with_their_path(tmp_path, line, told):
    key = line.partition(":")[0]
    kept, within = [], False
    for known in WHOLE.strip().splitlines():
        within = known.startswith(key) or (within and known.startswith(" "))
        if not within:
            kept.append(known)
    with pytest.raises(DataError, match=f"{FILE}: .*{told}"):
        described(tmp_path, "\n".join([*kept, line]))


def test_all_mistakes_are_told_at_once(tmp_path):
    with pytest.raises(DataError) as error:
        described(tmp_path, "layout: x\nview: y\nmetric: z\n")
    assert [word in str(error.value) for word in ("'x'", "'y'", "'z'")] == [True] * 3


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist; give one in KITTI's layout"):
        find_description(tmp_path / "nowhere")
