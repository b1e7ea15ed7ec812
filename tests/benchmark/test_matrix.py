"""Cells, their identity, and what users write."""

from dataclasses import replace

import pytest

from benchmark.matrix import Cohort, MatrixError, parse_methods, parse_seeds, parse_students
from kd_methods import method_names


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


def test_identity_changes_with_data_and_schedule(cell):
    others = [
        replace(cell, data=replace(cell.data, fingerprint="other")),
        replace(cell, profile=replace(cell.profile, epochs=99)),
        replace(cell, profile=replace(cell.profile, learning_rate=1.0)),
        replace(cell, profile=replace(cell.profile, max_frames={"train": 3})),
        replace(cell, profile=replace(cell.profile, grids={})),
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


def test_lists_are_parsed_once_each():
    assert parse_students("pointpillars@4, pointpillars@4.0,pointpillars@16") == [
        "pointpillars@4",
        "pointpillars@16",
    ]
    assert parse_seeds("2,0,2") == [2, 0]
    assert parse_methods("none,fitnet:weight=3,none") == ["none", "fitnet:weight=3"]


def test_all_stands_for_every_method_and_both_variants():
    methods = parse_methods("all")
    assert methods[0] == "none"
    assert {method.partition(":")[0] for method in methods} == {"none", *method_names()}
    assert "point_distiller:variant=released" in methods


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (parse_students, "pointpilars@4,second", ["did you mean 'pointpillars'", "second"]),
        (parse_students, "pointpillars", ["has no ratio"]),
        (parse_students, "", ["the list is empty"]),
        (parse_methods, "fitnt,logit_kd:x=1", ["'fitnet'", "unknown setting 'x'"]),
        (parse_seeds, "0,-1,x", ["'-1'", "'x'"]),
    ],
)
def test_all_mistakes_of_a_list_are_reported_at_once(parse, text, words):
    with pytest.raises(MatrixError) as error:
        parse(text)
    for word in words:
        assert word in str(error.value)
