"""Requests: files and options are read alike, and all that is wrong is told at once."""

from pathlib import Path

import pytest
import yaml

from benchmark.config import bundled
from benchmark.config.request import RequestError, read_request
from benchmark.files.settings import parse_yaml
from detectors.core import registry
from kd_methods import method_names

PLUGIN = """
from kd_methods import KDMethod, register

@register("own_of_request", paper="a test", year=2026)
class Own(KDMethod):
    "A test."

    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        return {}
"""


DETECTOR = """
_base_ = "mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"
model = dict(neck=dict(out_channels=[64, 64, 64]))
"""


def written(tmp_path, **fields):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(fields))
    return str(path)


def test_a_file_and_options_say_the_same(tmp_path):
    file = written(
        tmp_path, profile="mini", epochs=3, students=["pointpillars@4", "second@16"],
        methods=["none", "fitnet:weight=3"], seeds=[0, 2], precision="fp32", weighting="balanced",
        cohort_size=2,
    )  # fmt: skip
    options = {
        "profile": "mini", "epochs": 3, "students": "pointpillars@4, second@16.0",
        "methods": "none,fitnet:weight=3,none", "seeds": "0,2,0", "precision": "fp32",
        "weighting": "balanced", "cohort_size": 2, "results": str(Path("results") / "mine"),
    }  # fmt: skip
    assert read_request(file, {}) == read_request(None, options)
    assert read_request(file, {}).profile.recipe("second").epochs == 3


def test_options_win_over_the_file(tmp_path):
    file = written(tmp_path, students=["pointpillars@4"], seeds=[0])
    request = read_request(file, {"seeds": "1,2", "students": None})
    assert request.seeds == [1, 2]
    assert request.students == ["pointpillars@4"]


def test_all_stands_for_every_method_and_both_variants():
    for options in ({}, {"methods": "all"}):
        methods = read_request(None, options).methods
        assert methods[0] == "none"
        assert {method.partition(":")[0] for method in methods} == {"none", *method_names()}
        assert "point_distiller:variant=released" in methods


@pytest.mark.parametrize("name", bundled.names("matrices"))
def test_the_matrices_that_come_along_are_sound(name, tmp_path):
    data = str(tmp_path) if name.startswith("paper") else None
    request = read_request(name, {"data": data})
    assert request.results == Path("results") / name
    assert "none" in request.methods


def test_paths_are_seen_from_the_file(tmp_path):
    (tmp_path / "own.py").write_text(PLUGIN)
    (tmp_path / "teacher.pth").write_bytes(b"")
    file = written(
        tmp_path, plugins=["own.py"], methods=["own_of_request"],
        teachers={"pointpillars": "teacher.pth"},
    )  # fmt: skip
    request = read_request(file, {})
    assert request.plugins == [tmp_path / "own.py"]
    assert request.teachers == {"pointpillars": tmp_path / "teacher.pth"}
    given = read_request(None, {"teachers": [f"second={tmp_path / 'teacher.pth'}"]})
    assert given.teachers == {"second": tmp_path / "teacher.pth"}


@pytest.fixture
def forgotten(monkeypatch):
    """Lets a test add detectors that are forgotten afterwards."""
    for known in (registry.FAMILIES, registry._added):
        for name in ("slim", "broken"):
            monkeypatch.delitem(known, name, raising=False)


def test_detectors_come_from_files_beside_the_matrix(tmp_path, forgotten):
    (tmp_path / "slim.py").write_text(DETECTOR)
    file = written(tmp_path, detectors={"slim": "slim.py"}, students=["slim@4"])
    request = read_request(file, {})
    assert request.detectors == {"slim": tmp_path / "slim.py"}
    assert request.profile.recipe("slim") == request.profile.recipe("pointpillars")
    given = {"detectors": [f"slim={tmp_path / 'slim.py'}"], "students": "slim@4"}
    assert read_request(None, given).detectors == request.detectors


def test_what_is_wrong_with_a_detector_is_told(tmp_path, forgotten):
    (tmp_path / "broken.py").write_text("model = 1 / 0")
    detectors = {"broken": "broken.py", "absent": "absent.py"}
    file = written(tmp_path, detectors=detectors, students=["broken@4"])
    with pytest.raises(RequestError) as caught:
        read_request(file, {})
    told = str(caught.value)
    assert f"detectors.absent: file {tmp_path / 'absent.py'} does not exist" in told
    assert "detectors: detector broken: " in told
    assert "ZeroDivisionError" in told


def test_all_mistakes_are_told_at_once_with_their_path(tmp_path):
    file = written(
        tmp_path, student=["pointpillars@4"], students=["pointpillars@4", "secnd@4", "second"],
        methods=["none", "fitnt"], seeds=[0, -1, "x"], epochs=0, precision="fp8",
        weighting="sorce", data=str(tmp_path / "nowhere"), plugins=["absent.py"],
        teachers={"pointpilars": "absent.pth"}, cohort_size=-1, profile="smok",
    )  # fmt: skip
    with pytest.raises(RequestError) as error:
        read_request(file, {})
    for words in (
        "student: unknown field, did you mean 'students'",
        "students[1]: unknown detector 'secnd', did you mean 'second'",
        "students[2]: student 'second' has no ratio",
        "methods[1]: unknown method 'fitnt', did you mean 'fitnet'",
        "seeds[1]: seed -1 must be",
        "seeds[2]: seed 'x'",
        "epochs is 0; it must be a whole number of at least 1",
        "precision is 'fp8'",
        "weighting is 'sorce', did you mean 'source'",
        "nowhere does not exist",
        "absent.py does not exist",
        "unknown detector 'pointpilars', did you mean 'pointpillars'",
        "absent.pth does not exist",
        "cohort_size is -1",
        "unknown profile 'smok', did you mean 'smoke'",
    ):
        assert words in str(error.value), words


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"students": "pointpilars@4,second"},
            ["--students: unknown detector 'pointpilars'", "second"],
        ),
        ({"students": ""}, ["the list is empty"]),
        ({"methods": "fitnt,logit_kd:x=1"}, ["'fitnt'", "unknown setting 'x'"]),
        ({"seeds": "0,-1,x"}, ["'-1'", "'x'"]),
        ({"teachers": ["second"]}, ["--teacher"]),
    ],
)
def test_mistakes_in_options_name_the_option(options, words):
    with pytest.raises(RequestError) as error:
        read_request(None, options)
    for word in words:
        assert word in str(error.value)


def test_a_constructor_that_raises_is_named(tmp_path):
    plugin = tmp_path / "plugin.py"
    fails = "    def __init__(self, *settings):\n        raise KeyError('depth')\n\n    def needs"
    plugin.write_text(PLUGIN.replace("own_of_request", "fails").replace("    def needs", fails))
    with pytest.raises(RequestError, match="fails: its constructor raises KeyError: 'depth'"):
        read_request(None, {"plugins": [str(plugin)], "methods": "none,fails"})


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ('{"nek"}', "unknown output 'nek', did you mean 'neck'"),
        ("self.built", "needs\\(\\) raises AttributeError"),
    ],
)
def test_outputs_that_no_detector_has_are_told_before_anything_trains(needs, message, tmp_path):
    name = f"asks_{len(needs)}"
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN.replace("own_of_request", name).replace('{"neck"}', needs))
    with pytest.raises(RequestError, match=message):
        read_request(None, {"plugins": [str(plugin)], "methods": f"none,{name}"})


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "mine.yaml"), ("- a\n- b", "must hold 'field: value' pairs"), ("", "must hold")],
)
def test_a_file_that_is_no_mapping_is_refused(text, message, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RequestError, match=message):
        read_request(str(tmp_path / "mine.yaml"), {})


def test_a_matrix_that_is_not_there_is_named():
    with pytest.raises(RequestError, match="did you mean 'smoke'"):
        read_request("smok", {})
    with pytest.raises(RequestError, match="absent.yaml does not exist"):
        read_request("absent.yaml", {})


def test_seeds_may_be_a_span_and_numbers_in_scientific_notation(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seeds: [0-2, 7]\nmethods: [none, fitnet:weight=1e-3]\n")
    request = read_request(str(file), {})
    assert list(request.seeds) == [0, 1, 2, 7]
    assert read_request(None, {"seeds": "3-4,9"}).seeds == [3, 4, 9]
    with pytest.raises(RequestError, match="seed '4-3' must be a whole number"):
        read_request(None, {"seeds": "4-3"})
    assert read_request(None, {"seeds": f"{2**32 - 1}"}).seeds == [2**32 - 1]
    assert parse_yaml("[1e-3, 2E5, -1.5e+2, e3, 1e]") == [0.001, 2e5, -150.0, "e3", "1e"]


@pytest.mark.parametrize("seed", ["4294967296", "9" * 20, "9" * 5000, "\u00b2", "0-10000", "1.0"])
def test_seeds_that_records_or_memory_cannot_hold_are_refused(seed):
    with pytest.raises(RequestError, match="whole number of at least 0 and at most 4294967295"):
        read_request(None, {"seeds": seed})


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_files_in_other_encodings_are_named(tmp_path, encoding):
    file = tmp_path / "mine.yaml"
    file.write_bytes("results: Übung\n".encode(encoding))
    with pytest.raises(RequestError, match=r"mine\.yaml.*not UTF-8"):
        read_request(str(file), {})
    with pytest.raises(RequestError, match=r"mine\.yaml.*not UTF-8"):
        read_request(None, {"profile": str(file)})


def test_patterns_name_methods_and_compositions():
    found = read_request(None, {"methods": "none,sparsekd_*,logit_kd+sparsekd_*,f*net"}).methods
    sparse = [name for name in method_names() if name.startswith("sparsekd_")]
    assert len(sparse) == 3
    assert found == ["none", *sparse, *(f"logit_kd+{name}" for name in sparse), "fitnet"]
    with pytest.raises(RequestError, match=r"no method is like 'fitnet\+f\*net'"):
        read_request(None, {"methods": "fitnet+f*net"})  # nothing beside itself


def test_forms_of_the_same_methods_and_values_are_one_cell():
    forms = "fitnet:weight=1,fitnet:weight=1.0,fitnet:weight=2,fitnet,fitnet+crd,crd+fitnet"
    found = read_request(None, {"methods": forms}).methods
    assert found == ["fitnet:weight=1", "fitnet:weight=2", "fitnet", "fitnet+crd"]


def test_controls_are_named(tmp_path):
    file = tmp_path / "m.yaml"
    file.write_text("controls: [none_twice, teacher_halv]\n")
    with pytest.raises(RequestError, match=r"controls\[1\]: unknown control .*teacher_half"):
        read_request(str(file), {})
    assert read_request(None, {"controls": "none_twice"}).controls == ["none_twice"]


def test_students_are_files_beside_the_matrix(tmp_path, forgotten):
    (tmp_path / "own.py").write_text(DETECTOR)
    (tmp_path / "other.py").write_text(DETECTOR)
    file = written(tmp_path, students=["pointpillars@4", "pointpillars@own.py"])
    request = read_request(file, {})
    assert request.students == ["pointpillars@4", "pointpillars@own"]
    assert request.detectors == {"pointpillars@own": (tmp_path / "own.py").resolve()}
    given = {"students": f"pointpillars@{tmp_path}/other.py"}
    request = read_request(file, given)
    assert request.students == ["pointpillars@other"]
    assert request.detectors == {"pointpillars@other": (tmp_path / "other.py").resolve()}


def test_what_is_wrong_with_a_student_is_told(tmp_path, forgotten):
    (tmp_path / "own.py").write_text(DETECTOR)
    (tmp_path / "4x.py").write_text(DETECTOR)
    (tmp_path / "broken.py").write_text("model = dict(")
    for student, told in (
        ("pointpillars@missing.py", "detectors.pointpillars@missing: file .* does not exist"),
        ("second@own.py", "model.voxel_encoder is of type PillarFeatureNet, that of second of"),
        ("pointrcnn@own.py", "students of pointrcnn are ratios"),
        ("pointpillars@broken.py", "pointpillars@broken: .*broken.py cannot be read"),
        ("pointpillars@4x.py", "'4x' cannot name a student"),
        ("pointpillars@mine", "--detector pointpillars@mine=FILE"),
        (
            "nope@own.py",
            "^matrix .*: detectors: detector nope@own: unknown detector 'nope'[^;]*; [^;]*; [^;]*$",
        ),
    ):
        with pytest.raises(RequestError, match=told):
            read_request(written(tmp_path, students=[student]), {})


def test_two_files_of_one_name_are_refused(tmp_path, forgotten):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(DETECTOR)
    file = written(tmp_path, students=["pointpillars@a/own.py", "pointpillars@b/own.py"])
    with pytest.raises(RequestError, match="pointpillars@own is both .*a/own.py and .*b/own.py"):
        read_request(file, {})
    (tmp_path / "coarse.py").write_text(DETECTOR)
    with pytest.raises(RequestError, match="there is a student 'pointpillars@coarse' already"):
        read_request(written(tmp_path, students=["pointpillars@coarse.py"]), {})


def test_teachers_of_other_families_are_named(tmp_path):
    file = written(tmp_path, teacher_of={"pointpillars": "second"})
    assert read_request(file, {}).teacher_of == {"pointpillars": "second"}
    given = {"teacher_of": ["pointpillars=second"]}
    assert read_request(None, given).teacher_of == {"pointpillars": "second"}
    for pair, told in (
        ("pointpillars=secnd", "did you mean 'second'"),
        ("pointpillars", "write NAME="),
        ("pointpillars=pointrcnn", "pointrcnn reads a sample of each frame's points"),
    ):
        with pytest.raises(RequestError, match=f"--teacher-of: .*{told}"):
            read_request(None, {"teacher_of": [pair]})
    with pytest.raises(RequestError, match="teacher_of.second: no student is of this family"):
        read_request(None, {"teacher_of": ["second=pointpillars"]})
