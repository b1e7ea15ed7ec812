"""Folders in OpenPCDet's custom layout, against numbers written by hand."""

import numpy as np
import pytest

from benchmark.data.dataset import MissingFilesError, to_labels
from benchmark.data.description import DescribedClass, Description, ScanFormat
from benchmark.data.errors import DataError
from benchmark.data.opening import open_dataset, open_described
from benchmark.data.openpcdet import UPRIGHT
from benchmark.evaluation.kitti_ap import evaluate
from benchmark.evaluation.protocol import ClassRule

POINTS = np.array([[10, 5, -1, 0.5], [-20, -3, 0, 0.25], [0, 30, 1, 1]], np.float32)
LINES = "10 5 -0.9 4 1.8 1.6 0.3 Car\n-20 -3 0 0.8 0.6 1.8 -2.0 walker\n\n0 30 1 9 2.5 3 1.5 Tram\n"
CLASSES = {
    "Car": DescribedClass((4, 1.8, 1.6), -1.7),
    "Pedestrian": DescribedClass((0.8, 0.6, 1.8), -0.9, names=("walker",)),
}
DESCRIPTION = Description(
    classes=CLASSES, layout="openpcdet", points=ScanFormat("npy"), view="full"
)


@pytest.fixture
def folder(tmp_path):
    for name in ("points", "labels", "ImageSets"):
        (tmp_path / name).mkdir()
    (tmp_path / "ImageSets" / "train.txt").write_text("a1\nb2\n")
    for name, text in (("a1", LINES), ("b2", "")):
        np.save(tmp_path / "points" / f"{name}.npy", POINTS)
        (tmp_path / "labels" / f"{name}.txt").write_text(text)
    return tmp_path


def test_boxes_and_points_are_as_written(folder):
    frame = open_described(folder, "train", DESCRIPTION).frame("a1")
    np.testing.assert_array_equal(frame.points, POINTS)
    expected = [
        [10, 5, -1.7, 4, 1.8, 1.6, 0.3],
        [-20, -3, -0.9, 0.8, 0.6, 1.8, -2.0],
        [0, 30, -0.5, 9, 2.5, 3, 1.5],
    ]
    np.testing.assert_allclose(frame.boxes, expected, atol=1e-5)
    assert frame.names.tolist() == ["Car", "Pedestrian", "Tram"]
    assert frame.classes == ("Car", "Pedestrian")
    assert frame.image_size is None
    empty = open_described(folder, "train", DESCRIPTION).frame("b2")
    assert empty.boxes.shape == (0, 7)


def test_every_object_counts_and_no_figure_is_of_an_image(folder):
    frame = open_described(folder, "train", DESCRIPTION).frame("a1")
    scores = np.array([0.9, 0.8])
    found = to_labels(frame.boxes[:2], frame.names[:2], scores, UPRIGHT, None)
    rules = [ClassRule("Car", 0.7, 0.7), ClassRule("Pedestrian", 0.5, 0.5)]
    result = evaluate([frame.labels], [found], rules=rules)
    assert result.objects.tolist() == [[1] * 3] * 2
    ap = result.ap("R11")  # bbox, bev, 3d, aos; one object of each reaches one recall position
    assert np.isnan(ap[:, [0, 3]]).all()
    assert (ap[:, 1:3] > 0).all()
    nothing = evaluate([frame.labels], [to_labels(np.empty((0, 7)), [], [], UPRIGHT, None)])
    assert np.isnan(nothing.ap()[0, [0, 3]]).all()
    assert (nothing.ap()[0, 1:3] == 0).all()


def test_the_description_is_found_in_the_folder(folder):
    (folder / "dataset.yaml").write_text(
        "classes: {Car: {size: [4, 2, 2], bottom: -1}}\nlayout: openpcdet\n"
        "points: {format: npy}\nview: full\n"
    )
    dataset = open_dataset(folder, "train")
    assert dataset.frame("a1").classes == ("Car",)
    assert dataset.fingerprint() != open_described(folder, "train", DESCRIPTION).fingerprint()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("Car 0 0 0 1 2 3 4 5 6 7 8 9 1 2\n", "begins with a class, as KITTI's labels do"),
        ("1,2,3,4,5,6,0,Car\n", "separated by commas"),
        ("1 2 3 4 5 6 Car\n1 2 3 4 5 6 Car\n", r"7 fields; write 8 .* \(and 1 more line\)"),
        ("1 2 3 4 5 6 x Car\n", "heading 'x' is not a number"),
        ("1 2 nan 4 5 6 0 Car\n", "z is nan"),
        ("1 2 3 4 0 6 0 Car\n", "dy is 0; write metres above 0"),
        ("1 2 3 4 5 6 90 Car\n", r"heading is over two turns \(12.6\); write radians"),
        ("1,0 2,0 3,0 4,0 5,0 6,0 0,0 Car\n", "x '1,0' is not a number; write 1.0 with a point"),
        ("1;2;3;4;5;6;0;Car\n", "separated by semicolons"),
        ("nan 2 3 4 5 6 0 Car\n", "x is nan"),
        ("1 2 3 4 5 6 0 Big Car\n", "class 'Big Car' has a blank; write Big_Car"),
        ("x y z dx dy dz heading class\n", "looks like the names of columns; remove the line"),
        ("1 2 3 4 5 6 0 7\n", "class '7' is not a name"),
    ],
)
def test_malformed_lines_are_named(folder, lines, told):
    (folder / "labels" / "a1.txt").write_text(lines)
    with pytest.raises(DataError, match=f"a1.txt:1: .*{told}"):
        open_described(folder, "train", DESCRIPTION).frame("a1")


def test_missing_files_are_listed(folder):
    (folder / "labels" / "a1.txt").unlink()
    (folder / "points" / "b2.npy").unlink()
    with pytest.raises(MissingFilesError) as error:
        open_described(folder, "train", DESCRIPTION)
    assert len(error.value.problems) == 2
    assert "a1.txt: no such file; make an empty file" in error.value.problems[0]
    assert "b2.npy: no such file; add it" in error.value.problems[1]


def test_scans_of_another_format_are_told(folder):
    with pytest.raises(MissingFilesError) as error:
        open_described(folder, "train", Description(CLASSES, "openpcdet", view="full"))
    assert all("a1.bin" in one or "b2.bin" in one for one in error.value.problems)
    assert "write 'points: {format: npy}' in dataset.yaml" in error.value.problems[0]
