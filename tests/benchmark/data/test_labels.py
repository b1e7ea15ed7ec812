import numpy as np
import pytest

from benchmark.data.labels import (
    LABEL_CLASSES,
    LABEL_COLUMNS,
    LabelError,
    Labels,
    read_labels,
    write_labels,
)

CAR = "Car 0.00 0 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"
AREA = "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10"


@pytest.fixture
def file(tmp_path):
    def write(*lines):
        path = tmp_path / "000001.txt"
        path.write_text("\n".join(lines))
        return path

    return write


def test_columns_are_where_kitti_puts_them(file):
    labels = read_labels(file(CAR, AREA, ""))
    assert labels.name.tolist() == ["Car", "DontCare"]
    assert labels.truncation.tolist() == [0, -1]
    assert labels.occlusion.tolist() == [0, -1]
    assert labels.occlusion.dtype == np.int64
    assert labels.alpha.tolist() == [1.85, -10]
    assert labels.bbox[0].tolist() == [387.63, 181.54, 423.81, 203.12]
    assert labels.dimensions[0].tolist() == [1.67, 1.87, 3.69]
    assert labels.location[0].tolist() == [-16.53, 2.39, 58.49]
    assert labels.rotation_y.tolist() == [1.57, -10]
    assert labels.score is None


def test_results_carry_scores(file):
    assert read_labels(file(CAR + " 0.25", CAR + " -3"), scored=True).score.tolist() == [0.25, -3]


def test_an_empty_file_is_a_frame_without_objects(file):
    assert len(read_labels(file())) == 0
    empty = read_labels(file("", "  "), scored=True)
    assert len(empty) == 0
    assert empty.score is not None


def test_classes_in_small_letters_are_read_as_the_devkit_does(file):
    assert read_labels(file(CAR.replace("Car", "person_sitting"))).name[0] == "Person_sitting"


def test_windows_line_ends(file):
    assert len(read_labels(file(CAR + "\r", CAR + "\r"))) == 2


@pytest.mark.parametrize(
    ("line", "scored", "reason"),
    [
        (CAR + " 0.5 7", False, "17 fields; write 15"),
        (CAR.rsplit(" ", 1)[0], False, "14 fields; write 15"),
        (CAR + " 0.5 7", True, "17 fields; write 16"),
        (CAR, True, "the score is missing"),
        (CAR.replace("Car", "3"), False, "'3' is not a class"),
        ("0 1 " + CAR, False, "looks like KITTI's tracking benchmark"),
        (CAR.replace(" ", ","), False, "fields are separated by commas"),
        (CAR.replace("58.49", "nan"), False, "z is nan"),
        (CAR.replace("387.63", "-inf"), False, "left is -inf"),
        (CAR.replace("3.69", "long"), False, "length 'long' is not a number"),
        (CAR.replace(" 0 ", " 0.5 "), False, "occlusion 0.5 is not a whole number"),
        (CAR + " nan", True, "score is nan"),
        (CAR.replace("58.49", "58,49"), False, "z '58,49' is not a number; write 58.49 with a"),
        (CAR.replace("Car", "Big Car"), False, "class 'Big Car' has a blank; write Big_Car"),
        (
            CAR.rsplit(" ", 1)[0] + " 90",
            False,
            "rotation_y is over two turns (12.6); write radians",
        ),
        (" ".join(LABEL_COLUMNS[:15]), False, "looks like the names of columns; remove the line"),
    ],
)
def test_every_malformed_line_is_named(file, line, scored, reason):
    good = CAR + " 0.5" if scored else CAR
    path = file(good, line, "", good, line)
    with pytest.raises(LabelError) as error:
        read_labels(path, scored)
    told = str(error.value)
    assert told.startswith(f"{path}:2: {reason}")
    assert told.endswith("(and 1 more line)")
    assert "\n" not in told


def test_lines_with_other_faults_are_named_too(file):
    with pytest.raises(LabelError) as error:
        read_labels(file(CAR.replace("58.49", "nan"), CAR, CAR.replace("Car", "3")))
    first, second = str(error.value).splitlines()
    assert ":1: z is nan" in first
    assert ":3: '3' is not a class" in second


def test_other_classes_are_taken_as_they_are(file):
    labels = read_labels(file(CAR.replace("Car", "moped_scooter-2"), CAR.replace("Car", "bus")))
    assert labels.name.tolist() == ["moped_scooter-2", "bus"]


def test_a_score_in_a_label_file_is_ignored(file):
    labels = read_labels(file(CAR + " 0.0000", CAR))
    assert labels.score is None
    assert labels.rotation_y.tolist() == [1.57, 1.57]


@pytest.mark.parametrize("sizes", ["0.0 0.0 0.0", "-1 -1 -1", "1.67 0 3.69"])
def test_objects_without_a_size_are_refused(file, sizes):
    flat = CAR.replace("1.67 1.87 3.69", sizes)
    with pytest.raises(LabelError, match=rf"txt:2: Car has the size {sizes}; write height"):
        read_labels(file(CAR, flat, AREA))
    assert len(read_labels(file(flat + " 0.5"), scored=True)) == 1  # a detector may have none
    assert len(read_labels(file(flat.replace("Car", "sign")))) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (CAR.encode("utf-16"), "looks like UTF-16"),
        (b"\xff\xfe\x00\x01", "looks like UTF-16"),
        (b"\x00\x05\x16\x07Mac OS X", "not a text file"),
        (CAR.encode() + b"\n\xe9t\xe9", r"txt:2: not UTF-8"),
    ],
)
def test_files_in_other_encodings_are_named(tmp_path, content, told):
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    with pytest.raises(LabelError, match=told):
        read_labels(path)


def test_a_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xef\xbb\xbf" + CAR.encode() + b"\r\n")
    assert read_labels(path).name.tolist() == ["Car"]


@pytest.mark.parametrize("scored", [False, True])
def test_writing_loses_nothing(tmp_path, scored):
    rng = np.random.default_rng(0)
    n = 20
    labels = Labels(
        name=rng.choice(LABEL_CLASSES, n),
        truncation=rng.random(n),
        occlusion=rng.integers(-1, 4, n),
        alpha=rng.normal(size=n),
        bbox=rng.normal(0, 1e3, (n, 4)),
        dimensions=rng.uniform(1e-9, 1e-7, (n, 3)),
        location=rng.normal(0, 30, (n, 3)),
        rotation_y=rng.normal(size=n).astype(np.float32).astype(np.float64),
        score=rng.random(n) if scored else None,
    )
    write_labels(tmp_path / "a.txt", labels)
    again = read_labels(tmp_path / "a.txt", scored)
    for name, array in vars(labels).items():
        np.testing.assert_array_equal(getattr(again, name), array)


def test_select_and_concatenate(file):
    labels = read_labels(file(CAR, AREA, CAR))
    cars = labels.select(labels.name == "Car")
    assert len(cars) == 2
    joined = Labels.concatenate([cars, Labels.empty(), labels])
    assert joined.name.tolist() == ["Car", "Car", "Car", "DontCare", "Car"]
    assert joined.location.shape == (5, 3)
    assert len(Labels.concatenate([])) == 0
    with pytest.raises(ValueError, match="cannot join"):
        Labels.concatenate([labels, Labels.empty(scored=True)])


def test_arrays_must_fit_each_other(file):
    labels = read_labels(file(CAR))
    arrays = {**vars(labels), "bbox": labels.bbox[:, :3]}
    with pytest.raises(ValueError, match="bbox of 1 objects has shape"):
        Labels(**arrays)


def test_real_label_files(kitti_root):
    for path in sorted((kitti_root / "training" / "label_2").glob("*.txt")):
        labels = read_labels(path)
        assert len(labels) == len(path.read_text().splitlines())
        assert set(labels.name) <= set(LABEL_CLASSES)
