"""Teachers of another family or grid, and students with a config of their own."""

from dataclasses import replace

import pytest
import torch
from in_process import run_matrix

from benchmark.records.store import read_all
from benchmark.running.outcome import load_teacher
from benchmark.running.setups import make_training_setup
from benchmark.training.learner import Learner
from benchmark.training.lockstep import observe_teacher
from detectors import Grid, load_detectors

VOXELS = Grid((0, -7.68, -3, 15.36, 7.68, 1), (0.16, 0.16, 0.125), (2000, 2000))
HALF = """
_base_ = "mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"
model = dict(
    voxel_encoder=dict(feat_channels=[32]),
    backbone=dict(out_channels=[32, 64, 128]),
    neck=dict(out_channels=[64, 64, 64]),
)
"""


@pytest.fixture
def taught_by_second(matrix):
    def make(methods, **changes):
        request = matrix(methods, epochs=1, **changes)
        own = request.profile.recipes["pointpillars"]
        recipes = {"pointpillars": own, "second": replace(own, grid=VOXELS)}
        profile = replace(request.profile, recipes=recipes)
        return replace(request, profile=profile, taught_by={"pointpillars": "second"})

    return make


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A student whose config has the widths of the ratio 4."""
    file = tmp_path_factory.mktemp("configs") / "half.py"
    file.write_text(HALF)
    load_detectors({"pointpillars@half": file})
    return "pointpillars@half"


@pytest.mark.timeout(120)
def test_a_teacher_of_voxels_teaches_pillars(taught_by_second, workplace):
    request = taught_by_second(["none", "fitnet", "sparsekd_label", "logit_kd"])
    records = {(r["student"], r["method"]): r for r in run_matrix(request, workplace)}
    teacher = records["second", "none"]
    assert teacher["status"] == "done"
    students = {method: r for (student, method), r in records.items() if "@" in student}
    assert {r["settings"]["teacher"] for r in students.values()} == {teacher["cell"]}
    assert [students[m]["status"] for m in ("none", "fitnet", "sparsekd_label")] == ["done"] * 3
    assert students["logit_kd"]["status"] == "skipped"
    assert "compared prior by prior" in students["logit_kd"]["reason"]
    assert students["fitnet"]["training"]["extrapolated"]
    assert students["fitnet"]["weights_sha256"] != students["none"]["weights_sha256"]


def test_the_teacher_sees_the_students_batch_in_its_own_voxels(taught_by_second, workplace):
    """What the student is shown is what the teacher alone makes of the same points."""
    request = taught_by_second(["none", "mimic"])
    run_matrix(replace(request, methods=["none"]), workplace)
    cell, taught = request.cohorts()[0].cells[1], request.teacher("pointpillars")
    teacher = load_teacher(taught, workplace)
    setup = make_training_setup(cell, teacher, workplace, teachers=taught)
    batch = next(setup.frames.epoch(0))
    learner = Learner(cell, setup)
    shown = observe_teacher(setup, setup.voxelize(batch), learner.needs).neck
    points = [frame.clone() for frame in batch.points]
    features = teacher.extract_feat(setup.guide.family.voxelizer(VOXELS, True)(batch).tensors())
    alone = torch.nn.functional.interpolate(features[0].detach(), scale_factor=2, mode="bilinear")
    assert shown.values.shape[2:] == (24, 24)
    assert all(map(torch.equal, points, batch.points))
    torch.testing.assert_close(shown.values, alone, rtol=0, atol=1e-4)


def test_a_config_of_its_own_is_as_good_as_a_ratio(half, matrix, workplace):
    request = matrix(["none", "fitnet"], students=["pointpillars@4", half], epochs=1)
    run_matrix(request, workplace)
    found = {(r["student"], r["method"]): r for r in read_all(workplace.results)}
    for method in request.methods:
        ratio, own = (found[student, method] for student in request.students)
        assert ratio["weights_sha256"] == own["weights_sha256"]
        assert ratio["ap"] == own["ap"]
        assert ratio["cell"] != own["cell"]
        assert own["settings"]["detector"]
    assert len({r["settings"].get("teacher") for r in found.values()} - {None}) == 1


@pytest.mark.timeout(120)
def test_coarser_pillars_are_taught_by_finer_ones(matrix, workplace):
    methods = ["none", "fitnet", "sparsekd_tgi", "logit_kd"]
    request = matrix(methods, students=["pointpillars@coarse"], epochs=1)
    run_matrix(request, workplace)
    found = {r["method"]: r for r in read_all(workplace.results) if "@" in r["student"]}
    assert found["fitnet"]["settings"]["grid"]["voxel_size"] == [0.64, 0.64, 4.0]
    assert [found[m]["status"] for m in methods] == ["done", "done", "done", "skipped"]
