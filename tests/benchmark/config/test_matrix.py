"""Cells, their identity, and what users write."""

import shutil
from dataclasses import dataclass, replace

import pytest

from benchmark.config.controls import CONTROLS
from benchmark.config.matrix import Cell, Cohort, Data, describe_data
from benchmark.config.profile import load_profile
from benchmark.config.recipe import OneCycle, Recipe
from benchmark.data.augment import RandomFlip
from kd_methods import method_class


@pytest.fixture
def cell(matrix):
    return matrix(["fitnet"]).cohorts()[0].cells[0]


@pytest.mark.parametrize(
    "change",
    [
        {"student": "pointpillars@16"},
        {"method": "fitnet:weight=2"},
        {"seed": 1},
        {"precision": "bf16"},
        {"teacher": "another"},
        {"weighting": "balanced"},
    ],
)
def test_identity_changes_with_every_setting(cell, change):
    assert replace(cell, **change).identity() != cell.identity()


def with_recipe(cell, **changes):
    recipe = replace(cell.profile.recipe(cell.family), **changes)
    return replace(cell, profile=replace(cell.profile, recipes={cell.family: recipe}))


def test_identity_changes_with_data_and_recipe(cell):
    others = [
        replace(cell, data=replace(cell.data, fingerprint="other")),
        replace(cell, profile=replace(cell.profile, max_frames={"train": 3})),
        with_recipe(cell, epochs=99),
        with_recipe(cell, batch_size=4),
        with_recipe(cell, micro_batch_size=1),
        with_recipe(cell, learning_rate=1.0),
        with_recipe(cell, betas=(0.9, 0.99)),
        with_recipe(cell, weight_decay=0.0),
        with_recipe(cell, max_grad_norm=1.0),
        with_recipe(cell, one_cycle=OneCycle(final_momentum=0.9)),
        with_recipe(cell, augmentation=()),
        with_recipe(cell, augmentation=(RandomFlip(),)),
        with_recipe(cell, augmentation=(RandomFlip(0.25),)),
        with_recipe(cell, grid=None),
    ]
    assert len({other.identity() for other in [*others, cell]}) == len(others) + 1


def test_identity_does_not_change_with_names(cell):
    renamed = replace(
        cell,
        profile=replace(cell.profile, name="other", purpose="other"),
        data=replace(cell.data, name="other"),
    )
    assert renamed.identity() == cell.identity()


def test_a_cohort_spans_ratios_and_methods_of_one_family_and_seed(matrix):
    request = matrix(["none", "fitnet"], [0, 1], ["pointpillars@4", "pointpillars@16"])
    cohorts = request.cohorts()
    assert [len(cohort.cells) for cohort in cohorts] == [4, 4]
    assert {c.teacher for cohort in cohorts for c in cohort.cells} == {
        request.teacher("pointpillars").identity()
    }
    with pytest.raises(ValueError, match="must share"):
        Cohort([*cohorts[0].cells, *cohorts[1].cells])


def test_cohorts_are_cut_to_a_size(matrix):
    whole = matrix(["none", "fitnet", "logit_kd"], [0, 1])
    cut = replace(whole, cohort_size=2)
    assert [len(cohort.cells) for cohort in cut.cohorts()] == [2, 1, 2, 1]
    identities = [
        {cell.identity() for cohort in request.cohorts() for cell in cohort.cells}
        for request in (whole, cut)
    ]
    assert identities[0] == identities[1]


def test_another_teacher_makes_other_cells(matrix, tmp_path):
    file = tmp_path / "teacher.pth"
    file.write_bytes(b"weights")
    request = matrix(["none"])
    other = replace(request, checkpoints={"pointpillars": file})
    identities = {m.teacher("pointpillars").identity() for m in (request, other)}
    file.write_bytes(b"other weights")
    identities.add(other.teacher("pointpillars").identity())
    assert len(identities) == 3
    assert request.cohorts()[0].cells[0].identity() != other.cohorts()[0].cells[0].identity()


DATA = Data("a set", False, "0123456789abcdef", 3712, 3769)
GOLDEN = {
    ("kitti", "pointpillars", "none"): "e12b78f72ece2ca0",
    ("kitti", "second@4", "point_distiller"): "1a92c5aa79cf8afb",
    ("kitti", "pointrcnn@8", "fitnet:weight=3"): "1cb624b321db455c",
    ("mini", "pointpillars@4", "logit_kd"): "a47f0dc112cb9b59",
    ("smoke", "second@16", "logit_kd+fitnet"): "7bdc1a2f64293caf",
}
"""Identities that records in the world have. A change here orphans them: give a new setting the
default that stands for how it was before, and a new name to one whose meaning changes."""


@pytest.mark.parametrize(("profile", "student", "method"), GOLDEN)
def test_identities_stay(profile, student, method):
    cell = Cell(DATA, load_profile(profile), student, method, 1, "fp32")
    assert cell.identity() == GOLDEN[profile, student, method]


def test_a_setting_added_with_its_default_changes_no_identity(cell):
    @dataclass(frozen=True)
    class LaterRecipe(Recipe):
        averaged_weights: bool = False
        start: str = ""

    def later(**changes):
        now = vars(cell.profile.recipe(cell.family))
        recipes = {cell.family: LaterRecipe(**now, **changes)}
        return replace(cell, profile=replace(cell.profile, recipes=recipes))

    assert later().identity() == cell.identity()
    assert later(start="weights.pth").identity() != cell.identity()


def test_a_hyperparameter_added_at_its_neutral_value_changes_no_identity(cell, monkeypatch):
    method, before = method_class("fitnet"), cell.identity()
    monkeypatch.setitem(method.__annotations__, "later", float)
    monkeypatch.setattr(method, "later", 1.0, raising=False)
    assert cell.identity() != before
    monkeypatch.setattr(method, "neutral", {**method.neutral, "later": 1.0})
    assert cell.identity() == before
    assert cell.hyperparameters()["later"] == 1.0
    assert replace(cell, method="fitnet:later=2").identity() != before


def test_frames_in_both_splits_and_kittis_own_are_known(kitti_root, tmp_path):
    real = describe_data(kitti_root, synthetic=False)
    assert (real.genuine, real.shared_frames) == (True, 0)
    ids = (kitti_root / "ImageSets" / "val.txt").read_text().split()[:4]
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "train.txt").write_text("\n".join([*ids[:2], "copy"]))
    (tmp_path / "ImageSets" / "val.txt").write_text("\n".join(ids[1:]))
    for folder, suffix in (("velodyne_reduced", "bin"), ("label_2", "txt"), ("calib", "txt")):
        (tmp_path / "training" / folder).mkdir(parents=True)
        for name, frame in [*zip(ids, ids, strict=True), ("copy", ids[3])]:
            source = kitti_root / "training" / folder / f"{frame}.{suffix}"
            shutil.copy(source, tmp_path / "training" / folder / f"{name}.{suffix}")
    mixed = describe_data(tmp_path, synthetic=False)
    assert (mixed.genuine, mixed.shared_frames) == (False, 2)


def test_controls_have_cohorts_and_teachers_of_their_own(matrix):
    students = ("pointpillars@4", "pointpillars@16")
    plain = matrix(["none", "fitnet"], students=students, epochs=4)
    request = replace(plain, controls=list(CONTROLS))
    first, *others = request.cohorts()
    assert [c.identity() for c in first.cells] == [c.identity() for c in plain.cohorts()[0].cells]
    main = request.teacher("pointpillars")
    told = [
        (cells[0].control, [(c.student, c.method) for c in cells], cells[0].recipe.epochs)
        for cells in (cohort.cells for cohort in others)
    ]
    fitnet = [(student, "fitnet") for student in students]
    assert told == [
        ("none_twice", [(student, "none") for student in students], 8),
        ("teacher_half", fitnet, 4),
        ("teacher_narrow", fitnet[:1], 4),
        ("teacher_narrow", fitnet[1:], 4),
        ("teacher_seed", fitnet, 4),
    ]
    cells = [cell for cohort in request.cohorts() for cell in cohort.cells]
    assert len({cell.identity() for cell in cells}) == len(cells) == 12
    assert all(cell.beside == main.identity() for cohort in others for cell in cohort.cells)
    teachers = {
        (one.student, one.seed, one.recipe.epochs): one.identity() for one in request.teachers()
    }
    assert list(teachers) == [
        ("pointpillars", 0, 4),
        ("pointpillars", 0, 2),
        ("pointpillars@4", 1000, 4),
        ("pointpillars@16", 1000, 4),
        ("pointpillars", 1000, 4),
    ]
    for cell in cells:
        teacher = request.teacher_of(cell.student, cell.control)
        assert cell.teacher == teacher.identity() in teachers.values()
