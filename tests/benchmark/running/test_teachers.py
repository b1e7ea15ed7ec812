"""Teachers made elsewhere are checked, adopted and named; networks leave as they came."""

from dataclasses import replace

import pytest
import torch
from in_process import run_matrix

from benchmark.records.store import RecordError, read_all
from benchmark.running.export import ExportError, export_cell
from benchmark.running.outcome import TeacherError, load_teacher
from benchmark.running.teachers import check_classes, match
from detectors import CLASSES, Grid
from detectors.core.checkpoints import CheckpointError, state_hash
from kd_methods import Batch
from kd_methods.core.interface import Detections

PEDESTRIAN, CYCLIST, CAR = range(3)


@pytest.fixture(scope="module")
def exported(matrix, make_workplace, tmp_path_factory):
    """A trained teacher, its workplace and its export."""
    folder = tmp_path_factory.mktemp("exported")
    workplace = make_workplace(folder / "results")
    run_matrix(matrix(["none"]), workplace)
    teacher = matrix(["none"]).teacher("pointpillars")
    export_cell(workplace.results, _cell(workplace, "pointpillars@4"), folder / "student")
    export_cell(workplace.for_teachers().results, teacher.identity(), folder / "teacher")
    return folder / "teacher" / "model.pth", load_teacher(teacher, workplace)


def _cell(workplace, student):
    return next(r["cell"] for r in read_all(workplace.results) if r["student"] == student)


@pytest.fixture
def lenient(monkeypatch):
    """A teacher of a few steps detects nothing: let it pass."""
    monkeypatch.setattr(
        "benchmark.running.teachers.check_classes", lambda pairs, names: list(pairs)
    )


def test_an_adopted_teacher_is_the_one_exported(matrix, workplace, exported, lenient):
    path, original = exported
    request = replace(matrix(["none", "fitnet"]), checkpoints={"pointpillars": path})
    found = {r["student"]: r for r in run_matrix(request, workplace)}
    teacher = found["pointpillars"]
    assert teacher["status"] == "done"
    assert "model.pth" in teacher["reason"]
    assert teacher["weights_sha256"] == state_hash(original)
    assert teacher["ap"]["Car"]["bev"]["R40"] is not None
    trained = matrix(["none"]).teacher("pointpillars").identity()
    assert teacher["cell"] != trained
    assert found["pointpillars@4"]["settings"]["teacher"] == teacher["cell"]


def test_a_checkpoint_of_another_width_is_refused(matrix, workplace, exported, lenient):
    student = exported[0].parents[1] / "student" / "model.pth"
    request = replace(matrix(["none"]), checkpoints={"pointpillars": student})
    with pytest.raises(CheckpointError, match="does not fit pointpillars.*in the model"):
        run_matrix(request, workplace)


def test_a_teacher_that_finds_nothing_is_refused(matrix, workplace, exported, tmp_path):
    workplace = replace(workplace, cache=tmp_path / "cache")
    request = replace(matrix(["none"]), checkpoints={"pointpillars": exported[0]})
    with pytest.raises(TeacherError, match=r"model\.pth: it detects none of \d+ objects"):
        run_matrix(request, workplace)


def test_classes_in_another_order_are_named():
    right = [(CAR, CAR)] * 9 + [(PEDESTRIAN, PEDESTRIAN)] * 6 + [(CYCLIST, None)] * 20
    check_classes([*right, (CAR, PEDESTRIAN)], CLASSES)
    check_classes([(CYCLIST, PEDESTRIAN)] * 4 + right, CLASSES)  # too few to conclude
    with pytest.raises(TeacherError, match="predicts Pedestrian for Car, Car for Cyclist"):
        check_classes([(CAR, CYCLIST)] * 9 + [(PEDESTRIAN, CAR)] * 6, CLASSES)


def test_a_teacher_poor_at_a_class_is_taken():
    right = [(CAR, CAR)] * 9 + [(PEDESTRIAN, PEDESTRIAN)] * 6
    check_classes([*right, *[(CYCLIST, PEDESTRIAN)] * 8, *[(CYCLIST, CYCLIST)] * 5], CLASSES)


def test_objects_are_matched_to_the_surest_detection_in_reach():
    grid = Grid((0, -10, -3, 20, 10, 1), (0.5, 0.5, 4), (100, 100))
    boxes = torch.tensor(
        [[5.0, 0, -1, 4, 2, 1, 0], [9, 3, -1, 1, 1, 2, 0], [50, 0, -1, 4, 2, 1, 0]]
    )
    batch = Batch([boxes], [torch.tensor([CAR, CYCLIST, CAR])], [torch.zeros(0, 4)], CLASSES)
    places = torch.tensor([[5.4, 0.1], [5.9, 0.0], [9.0, 4.5]])
    found = Detections(
        torch.cat([places, torch.zeros(3, 5)], dim=1),
        torch.tensor([0.3, 0.6, 0.9]),
        torch.tensor([PEDESTRIAN, CAR, CYCLIST]),
    )
    assert list(match(batch, found, grid)) == [(CAR, CAR), (CYCLIST, None)]
    nothing = Detections(torch.zeros(0, 7), torch.zeros(0), torch.zeros(0))
    assert list(match(batch, nothing, grid)) == [(CAR, None), (CYCLIST, None)]


def test_cells_that_cannot_be_exported_are_refused(tmp_path, exported):
    results = exported[0].parents[1] / "results"
    with pytest.raises(RecordError, match="no finished cell begins with 'xyz'"):
        export_cell(results, "xyz", tmp_path)
    with pytest.raises(RecordError, match="2 cells begin with ''"):
        export_cell(results, "", tmp_path)
    weights = exported[0].read_bytes()
    cell = next(r["cell"] for r in read_all(results) if r["student"] == "pointpillars@4")
    with pytest.raises(ExportError, match="teacher is not empty, .* new or empty folder"):
        export_cell(results, cell, exported[0].parent)
    assert exported[0].read_bytes() == weights
