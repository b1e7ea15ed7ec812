import json
from dataclasses import replace

import numpy as np
import pytest
from kitti_cases import full_split, random_scenes, with_scores

from benchmark.data.errors import DataError
from benchmark.data.labels import LabelError, Labels, read_labels, write_labels
from benchmark.evaluation.command import evaluate_command
from benchmark.evaluation.kitti_ap import evaluate
from benchmark.evaluation.protocol import LOOSE


@pytest.fixture
def folders(tmp_path):
    """Label and result folders of 60 invented frames."""
    gt, det = random_scenes(np.random.default_rng(0), 60)
    for name, frames in (("labels", gt), ("results", det)):
        (tmp_path / name).mkdir()
        for i, frame in enumerate(frames):
            write_labels(tmp_path / name / f"{i:06d}.txt", frame)
    return tmp_path / "labels", tmp_path / "results", gt, det


def test_files_give_exactly_what_arrays_give(folders, tmp_path):
    labels, results, gt, det = folders
    text = evaluate_command(labels, results, json_file=tmp_path / "ap.json")
    written = json.loads((tmp_path / "ap.json").read_text())
    expected = evaluate(gt, det)
    assert written == expected.as_json()
    assert f"{expected.ap()[0, 2, 1]:.2f}" in text
    assert "60 frames" in text


def test_loose_overlaps(folders, tmp_path):
    labels, results, gt, det = folders
    evaluate_command(labels, results, json_file=tmp_path / "ap.json", loose=True)
    expected = evaluate(gt, det, rules=LOOSE).as_json()
    assert json.loads((tmp_path / "ap.json").read_text()) == expected


def test_json_is_strict(folders, tmp_path):
    labels, results, *_ = folders
    for path in labels.glob("*.txt"):
        path.write_text("")
    evaluate_command(labels, results, json_file=tmp_path / "ap.json")
    written = json.loads((tmp_path / "ap.json").read_text(), parse_constant=pytest.fail)
    assert written["Car"]["3d"]["R40"] == [None, None, None]


def test_a_split_chooses_the_frames(folders, tmp_path):
    labels, results, gt, det = folders
    split = tmp_path / "val.txt"
    split.write_text("000004\n000007\n\n000009\n")
    evaluate_command(labels, results, split, tmp_path / "ap.json")
    chosen = [4, 7, 9]
    expected = evaluate([gt[i] for i in chosen], [det[i] for i in chosen]).as_json()
    assert json.loads((tmp_path / "ap.json").read_text()) == expected


def test_a_missing_result_file_is_an_error_unless_allowed(folders, tmp_path):
    labels, results, gt, det = folders
    for i in (3, 8):
        (results / f"{i:06d}.txt").unlink()
    with pytest.raises(DataError, match=r"000003\.txt: no result file .*1 more.*--missing-as"):
        evaluate_command(labels, results)
    evaluate_command(labels, results, json_file=tmp_path / "ap.json", missing_as_empty=True)
    det = [Labels.empty(scored=True) if i in (3, 8) else frame for i, frame in enumerate(det)]
    assert json.loads((tmp_path / "ap.json").read_text()) == evaluate(gt, det).as_json()


def test_an_empty_result_file_is_no_detection(folders):
    labels, results, *_ = folders
    (results / "000003.txt").write_text("")
    evaluate_command(labels, results)


def test_every_malformed_line_of_every_file_is_named(folders):
    labels, results, *_ = folders
    good = (results / "000001.txt").read_text()
    (results / "000001.txt").write_text(good + "Car 1 2 3\n")
    (results / "000002.txt").write_text("7" + " 0" * 15 + "\nCar" + " 0" * 14 + " nan\n")
    (labels / "000005.txt").write_text("Car" + " 0" * 16 + "\n")
    with pytest.raises(LabelError) as error:
        evaluate_command(labels, results)
    lines = str(error.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        f"{labels / '000005.txt'}:1",
        f"{results / '000001.txt'}:{good.count(chr(10)) + 1}",
        f"{results / '000002.txt'}:1",
        f"{results / '000002.txt'}:2",
    ]


def test_very_many_malformed_lines_are_counted(folders):
    labels, results, *_ = folders
    for i in range(9):
        (results / f"00000{i}.txt").write_text("x\n" * 1000)
    with pytest.raises(LabelError) as error:
        evaluate_command(labels, results)
    *shown, more = str(error.value).splitlines()
    assert len(shown) == 3
    assert all("1 fields; write 16" in one and "(and 999 more lines)" in one for one in shown)
    assert more == "... and 6 more like this"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [("", "no frames"), ("000001\n000001\n", "listed twice"), ("123456\n", "no label file")],
)
def test_an_unusable_split_is_named(folders, tmp_path, lines, reason):
    labels, results, *_ = folders
    split = tmp_path / "val.txt"
    split.write_text(lines)
    with pytest.raises(DataError, match=reason):
        evaluate_command(labels, results, split)


def test_missing_folders_are_named(folders, tmp_path):
    labels, results, *_ = folders
    (tmp_path / "empty").mkdir()
    for arguments, reason in (
        ((tmp_path / "no", results), "no: no such folder"),
        ((labels, tmp_path / "no"), "no: no such folder"),
        ((tmp_path / "empty", results), "empty: no label file"),
        ((labels, tmp_path / "empty"), "empty: no result file for any of the 60"),
        ((labels, results, tmp_path / "no.txt"), r"no\.txt: no such file"),
    ):
        with pytest.raises(DataError, match=reason):
            evaluate_command(*arguments)


def test_bounded_figures_are_marked(folders):
    labels, results, *_ = folders
    text = evaluate_command(labels, results)
    assert "* bounded: fewer than 41 valid objects" in text
    assert "mAP" in text


def test_the_mark_is_explained_only_where_it_stands(folders):
    labels, results, *_ = folders
    for path in labels.glob("*.txt"):
        path.write_text("")
    assert "*" not in evaluate_command(labels, results)


def test_what_counts_for_nothing_is_told(folders):
    labels, results, *_ = folders
    for path in results.glob("*.txt"):
        flat = read_labels(path, scored=True)
        flat.bbox[:, 3] = flat.bbox[:, 1] + 20
        flat.name[flat.name == "Pedestrian"] = "person"
        write_labels(path, flat)
    for path in labels.glob("*.txt"):
        hidden = read_labels(path)
        hidden.occlusion[hidden.name == "Car"] = 3
        hidden.bbox[:, 3] = hidden.bbox[:, 1] + 60
        write_labels(path, hidden)
    text = evaluate_command(labels, results)
    assert "Car: none of the" in text
    assert "are of occlusion above 2." in text
    assert "detections are lower than 25 px in the image, by their 2D boxes, and ignored" in text
    assert "detections of classes that are not scored: person (" in text
    assert "Cyclist: none" not in text


def test_hidden_files_are_no_frames(folders):
    labels, results, *_ = folders
    before = evaluate_command(labels, results)
    for folder in (labels, results):
        (folder / "._000001.txt").write_bytes(b"\x00\x05Mac OS X")
    assert evaluate_command(labels, results) == before
    (labels / "classes.txt").write_text("Car\nPedestrian\n")
    with pytest.raises(DataError, match=r"classes\.txt"):
        evaluate_command(labels, results)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_lists_in_the_encodings_of_windows(folders, tmp_path, encoding):
    labels, results, *_ = folders
    split = tmp_path / "val.txt"
    split.write_bytes("000001\r\n000002\r\n".encode(encoding))
    if encoding == "utf-16":
        with pytest.raises(DataError, match=r"looks like UTF-16\); save the file as UTF-8"):
            evaluate_command(labels, results, split)
    else:
        assert "2 frames of" in evaluate_command(labels, results, split)


def test_diagnostics(folders, tmp_path):
    labels, results, *_ = folders
    text = evaluate_command(labels, results, by_distance=True, curves=tmp_path / "curve")
    for interval in ("0-30", "30-50", "50+"):
        assert interval in text
    assert (tmp_path / "curve.csv").stat().st_size > 1000
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_real_frames_with_points(kitti_root, tmp_path):
    training = kitti_root / "training"
    frames = (kitti_root / "ImageSets" / "val.txt").read_text().split()[:20]
    for frame in frames:
        labels = read_labels(training / "label_2" / f"{frame}.txt")
        found = labels.select(labels.name != "DontCare")
        write_labels(tmp_path / f"{frame}.txt", with_scores(found, np.ones(len(found))))
    split = tmp_path / "split.list"
    split.write_text("\n".join(frames))
    text = evaluate_command(training / "label_2", tmp_path, split, points=training)
    rows = [line.split() for line in text.split("points in box")[1].splitlines()]
    cars = {row[-7]: [int(n) for n in row[-3:]] for row in rows[2:5]}
    assert list(cars) == ["0-10", "10-50", "50+"]
    evaluate_command(training / "label_2", tmp_path, split, tmp_path / "ap.json")
    total = json.loads((tmp_path / "ap.json").read_text())["Car"]["objects"]
    assert np.sum(list(cars.values()), axis=0).tolist() == total


def test_all_labels_with_the_standard_split(kitti_root, all_labels, tmp_path):
    """The folder of 7,481 labels as unpacked; frames outside the split need no result file."""
    frames = full_split(kitti_root, "val")[:300]
    split = tmp_path / "split.list"
    split.write_text("\n".join(frames))
    results = tmp_path / "results"
    results.mkdir()
    for frame in frames:
        labels = read_labels(all_labels / f"{frame}.txt")
        found = labels.select(labels.name != "DontCare")
        write_labels(results / f"{frame}.txt", with_scores(found, np.ones(len(found))))
    evaluate_command(all_labels, results, split, tmp_path / "ap.json")
    assert json.loads((tmp_path / "ap.json").read_text())["Car"]["3d"]["R40"] == [100, 100, 100]


def test_by_distance_every_class_of_the_labels_is_scored(folders, tmp_path):
    labels, detections, *_ = folders
    path = tmp_path / "ap.json"
    text = evaluate_command(labels, detections, json_file=path, metric="distance")
    assert "nuScenes' AP, centres at most 0.5, 1, 2 or 4 m apart" in text
    ap = json.loads(path.read_text())
    assert {"Car", "Pedestrian", "mAP"} <= ap.keys()
    assert "DontCare" not in ap
    assert ap["Car"]["distance"]["R101"][4] >= ap["Car"]["distance"]["R101"][1]


def test_degrees_swapped_folders_and_unlisted_frames_are_told(folders, tmp_path):
    labels, results, gt, det = folders
    split = tmp_path / "val.txt"
    split.write_text("000004\n000007\n")
    assert "58 result files of other frames are left out" in evaluate_command(
        labels, results, split
    )
    with pytest.raises(LabelError, match="were the two folders swapped?"):
        evaluate_command(results, labels)
    for i, frame in enumerate(det):
        turned = replace(frame, rotation_y=np.degrees(frame.rotation_y))
        write_labels(results / f"{i:06d}.txt", turned)
    assert "detections is beyond a full turn; write radians" in evaluate_command(labels, results)
