"""What is kept of a cell for the report."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hostile import damaged
from hypothesis import HealthCheck, given, settings
from in_process import run_matrix
from made_records import make_ap

from benchmark.data.kitti import KittiDataset
from benchmark.evaluation import views
from benchmark.evaluation.detector import Findings
from benchmark.evaluation.kitti_ap import evaluate
from benchmark.records.folder import ResultsFolder
from detectors import CLASSES, Grid

GRID = Grid((0, -7.68, -3, 15.36, 7.68, 1), (0.32, 0.32, 4), (2000, 2000))


@pytest.fixture(scope="module")
def dataset(synthetic_root):
    return KittiDataset(synthetic_root, "val")


@pytest.fixture(scope="module")
def findings(dataset):
    """The objects themselves as detections, the first of each frame with too low a score."""
    frames = [dataset.frame(i) for i in dataset.ids]
    truth = [frame.labels for frame in frames]
    found = []
    for labels in truth:
        known = labels.select(np.isin(labels.name, CLASSES))
        scores = np.where(np.arange(len(known)) == 0, 0.05, np.linspace(0.2, 0.9, len(known)))
        found.append(known.__class__(**{**vars(known), "score": scores}))
    ignored, exempt = ([np.zeros(len(x), bool) for x in group] for group in (truth, found))
    return Findings(dataset.ids, truth, found, ignored, exempt)


@pytest.fixture
def view(tmp_path, dataset, findings):
    views.save(ResultsFolder(tmp_path), "cell", findings, dataset, "print", GRID)
    return views.load(ResultsFolder(tmp_path), "cell")


def test_frames_hold_the_objects_as_the_reader_gives_them(tmp_path, dataset, view):
    with_objects = [i for i in dataset.ids if np.isin(dataset.frame(i).names, CLASSES).any()]
    assert list(view["detections"]) == with_objects[: views.SHOWN_FRAMES]
    for frame_id in view["detections"]:
        scene = views.load_frame(ResultsFolder(tmp_path), "print", frame_id)
        frame = dataset.frame(frame_id)
        known = frame.boxes[np.isin(frame.names, CLASSES)][:, [0, 1, 3, 4, 6]]
        np.testing.assert_allclose([o["box"] for o in scene["objects"]], known, atol=0.006)


def test_detections_are_the_best_ones_above_the_least_score(tmp_path, view):
    for frame_id, boxes in view["detections"].items():
        scores = [box["score"] for box in boxes]
        assert scores == sorted(scores, reverse=True)
        assert all(score >= views.LEAST_SCORE for score in scores)
        objects = views.load_frame(ResultsFolder(tmp_path), "print", frame_id)["objects"]
        assert len(boxes) == len(objects) - 1
        places = [o["box"] for o in objects]
        assert all(box["box"] in places for box in boxes)


def test_what_is_outside_the_grid_counts_at_no_distance(findings):
    outside = [labels.location[:, 2] > 8 for labels in findings.ground_truth]
    exempt = [labels.location[:, 2] > 8 for labels in findings.detections]
    reduced = Findings(findings.ids, findings.ground_truth, findings.detections, outside, exempt)
    whole = evaluate(findings.ground_truth, findings.detections, outside, exempt)
    parts = reduced.by_distance()
    assert sum(part.objects for part in parts).tolist() == whole.objects.tolist()
    assert whole.objects.sum() < findings.evaluate().objects.sum()


def test_points_are_thinned_evenly():
    generator = np.random.default_rng(0)
    points = generator.uniform(0, 40, (50_000, 4)).astype(np.float32)
    thinned = views.thin(points)
    assert thinned.shape == (views.POINTS, 2)
    quarters = np.histogram2d(*thinned.T, bins=2, range=[(0, 40)] * 2)[0]
    assert quarters.min() > 0.8 * views.POINTS / 4
    dense = np.zeros((1000, 4), np.float32)
    assert len(views.thin(dense)) == 1
    assert views.thin(dense[:0]).shape == (0, 2)


def test_three_frames_take_less_than_100_kb(tmp_path, view):
    files = list((tmp_path / "views" / "frames").rglob("*.json"))
    assert len(files) == views.SHOWN_FRAMES
    assert sum(file.stat().st_size for file in files) < 100_000


def test_a_cell_without_views_has_none(tmp_path):
    assert views.load(ResultsFolder(tmp_path), "cell") is None
    assert views.load_frame(ResultsFolder(tmp_path), "print", "000001") is None


def test_frames_may_have_dots_in_their_names(tmp_path, view):
    (path,) = list((tmp_path / "views" / "frames").rglob("*.json"))[:1]
    print_, name = path.parent.name, "1616535.9200"
    path.rename(path.with_name(f"{name}.json"))
    assert views.load_frame(ResultsFolder(tmp_path), print_, name)["points"]


def test_a_name_cannot_lead_out_of_the_folder(tmp_path, view):
    (tmp_path / "views" / "inner").mkdir()
    assert views.load(ResultsFolder(tmp_path / "views" / "inner"), "../../views/cell") is None
    assert views.load_frame(ResultsFolder(tmp_path), "..", "../cell") is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: v.pop("range"),
        lambda v: v.update(range=[0, 1, 2, "</script>"]),
        lambda v: next(iter(v["detections"].values())).append({"class": "Car", "box": [1, 2]}),
        lambda v: next(iter(v["detections"].values()))[0].update({"class": "<img>"}),
        lambda v: v["by_distance"][0]["ap"].pop("Car"),
    ],
)
def test_a_malformed_file_is_named(tmp_path, view, spoil):
    spoil(view)
    path = tmp_path / "views" / "cell.json"
    path.write_text(json.dumps(view))
    with pytest.raises(views.ViewError, match="cell.json"):
        views.load(ResultsFolder(tmp_path), "cell")


def test_a_trained_cell_and_its_teacher_have_views(matrix, workplace):
    for record in run_matrix(matrix(["none"], epochs=1), workplace):
        view = views.load(workplace.folder, record["cell"])
        assert view["range"] == [0, -7.68, 15.36, 7.68]
        for frame in view["detections"]:
            assert views.load_frame(workplace.folder, view["fingerprint"], frame)


VIEW = {
    "range": [0.0, -8.0, 16.0, 8.0],
    "detections": {"000001": [{"class": "Car", "box": [1.0, 2.0, 3.9, 1.6, 0.5], "score": 0.5}]},
    "by_distance": [{"from": 0.0, "ap": make_ap(50.0)}],
}
SCENE = {
    "frame": "000001", "points": [0.0, 1.0],
    "objects": [{"class": "Car", "box": [1.0, 2.0, 3.9, 1.6, 0.5]}],
}  # fmt: skip


def load_written(folder, view, scene):
    for path, content in ((folder.view("cell"), view), (folder.scene("print", "000001"), scene)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return views.load(folder, "cell"), views.load_frame(folder, "print", "000001")


def test_what_is_sound_is_shown(tmp_path):
    assert load_written(ResultsFolder(tmp_path), VIEW, SCENE) == (VIEW, SCENE)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(view=damaged(VIEW), scene=damaged(SCENE))
def test_a_damaged_view_is_shown_or_refused(tmp_path, view, scene):
    for pair in ((view, SCENE), (VIEW, scene)):
        with suppress(views.ViewError):
            load_written(ResultsFolder(tmp_path), *pair)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"range": 1e999}', "", "\udce9"])
def test_a_view_that_is_no_json_is_refused(tmp_path, view, text):
    path = ResultsFolder(tmp_path).view("cell")
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(views.ViewError, match=f"{path}: .*; remove the file to leave out this"):
        views.load(ResultsFolder(tmp_path), "cell")
