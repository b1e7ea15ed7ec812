"""From a number to all that is behind it, and back."""

import json
import re
import shlex

import pytest
from in_process import run_matrix

from benchmark.config import bundled
from benchmark.config.profile import load_profile
from benchmark.records.store import RecordError, read_all
from benchmark.report.cell import describe_cell, reproduction


@pytest.fixture(scope="module")
def trained(matrix, make_workplace, tmp_path_factory):
    """The workplace of a teacher and two students."""
    workplace = make_workplace(tmp_path_factory.mktemp("shown") / "results")
    run_matrix(matrix(["none", "fitnet"]), workplace)
    return workplace


@pytest.fixture
def fitnet(trained):
    found = read_all(trained.results)
    return next(record for record in found if record["method"] == "fitnet")


def test_all_that_is_behind_a_number_is_shown(trained, fitnet):
    text = describe_cell(trained.results, fitnet["cell"][:8])
    assert text.startswith("pointpillars@4 fitnet seed 0: done")
    for words in (
        fitnet["cell"],
        fitnet["dataset"]["fingerprint"],
        fitnet["settings"]["teacher"],
        fitnet["weights_sha256"],
        fitnet["provenance"]["versions"]["torch"],
        str(fitnet["cost"]["params"]),
        f"checkpoints/{fitnet['cell']}.pth",
        "logs/pointpillars-students-seed-0.log",
        "--methods fitnet",
    ):
        assert words in text, words
    assert f"{fitnet['ap']['Car']['3d']['R40'][1]:.2f}" in text


def options(command):
    """By name."""
    words = shlex.split(re.sub(r"^OMP_NUM_THREADS=\d+ ", "", command))
    return dict(zip(words[3::2], words[4::2], strict=True))


def test_the_command_names_what_makes_the_cell(fitnet):
    command, needs = reproduction(fitnet)
    found = options(command)
    assert found["--students"] == "pointpillars@4"
    assert found["--precision"] == "fp32"
    assert found["--data"] == "synthetic"
    assert found["--profile"] == "tiny.yaml"
    assert needs == ["needs the profile tiny.yaml with which it was trained"]


@pytest.mark.parametrize("name", ["a b", "it's", '"$x" & y;', "日本"])
def test_the_command_can_be_pasted_whatever_the_names(fitnet, name):
    data = {**fitnet["dataset"], "synthetic": False, "name": name}
    profile = {**fitnet["profile"], "name": name}
    command, _ = reproduction({**fitnet, "dataset": data, "profile": profile})
    found = options(command)
    assert (found["--data"], found["--profile"]) == (f"FOLDER/{name}", f"{name}.yaml")


@pytest.mark.parametrize(
    ("machine", "threads", "beginning"),
    [
        ("AMD EPYC (2 cores)", 1, "OMP_NUM_THREADS=1 python run_bench.py run "),
        ("AMD EPYC (96 cores)", 24, "OMP_NUM_THREADS=24 python run_bench.py run "),
        ("NVIDIA H100 80GB HBM3", 24, "python run_bench.py run "),
    ],
)
def test_the_command_holds_the_number_of_threads_on_a_processor(
    fitnet, machine, threads, beginning
):
    made = {**fitnet["provenance"], "machine": machine, "threads": threads}
    assert reproduction(fitnet | {"provenance": made})[0].startswith(beginning)


def test_a_record_made_here_has_it_too(trained, fitnet):
    threads = fitnet["provenance"]["threads"]
    command, _ = reproduction(fitnet)
    assert command.startswith(f"OMP_NUM_THREADS={threads} python run_bench.py run ")
    assert command in describe_cell(trained.results, fitnet["cell"])


def test_the_command_of_a_profile_that_comes_along_gives_the_same_recipe(fitnet):
    recipe = load_profile("mini", epochs=4).recipe("pointpillars").as_json()
    recipe = json.loads(json.dumps(recipe))
    made = fitnet | {
        "profile": {**fitnet["profile"], "name": "mini", "recipe": recipe},
        "dataset": {**fitnet["dataset"], "synthetic": False, "name": "kitti"},
    }
    teacher = {**made, "student": "pointpillars", "settings": {"checkpoint": "abc"}}
    command, needs = reproduction(made, teacher)
    found = options(command)
    assert (found["--profile"], found["--epochs"]) == ("mini", "4")
    assert found["--data"] == "FOLDER/kitti"
    assert found["--teacher"] == "pointpillars=FILE"
    assert [need.partition(" ")[2] for need in needs] == [
        "a FILE whose SHA-256 begins with abc",
        f"a FOLDER of data with fingerprint {fitnet['dataset']['fingerprint']}",
    ]


def test_a_detector_that_is_not_built_in_needs_its_file(fitnet):
    settings = {**fitnet["settings"], "detector": "0123456789abcdef"}
    command, needs = reproduction(fitnet | {"settings": settings, "student": "mine@4"})
    assert "--students mine@4" in command
    assert "--detector mine=FILE" in command
    assert any("the FILE of the detector mine whose hash is 0123456789abcdef" in n for n in needs)


def test_a_method_that_is_not_here_needs_its_plugin(fitnet):
    _, needs = reproduction(fitnet | {"method": "registered_nowhere"})
    assert (
        "needs --plugin with the file that registers the method, or its package installed" in needs
    )
    source = {**fitnet["settings"], "source": "0123456789abcdef"}
    _, needs = reproduction(fitnet | {"settings": source})
    assert any("installed (16 hex digits of its SHA-256: 0123456789abcdef)" in n for n in needs)


@pytest.mark.parametrize("family", ["pointpillars", "second", "pointrcnn"])
@pytest.mark.parametrize("change", [{}, {"learning_rate": 1.0}, {"augmentation": []}])
@pytest.mark.parametrize("name", bundled.names("profiles"))
def test_a_profile_is_told_from_one_of_the_same_name(fitnet, name, family, change):
    recipe = load_profile(name).recipe(family).as_json() | change
    profile = {**fitnet["profile"], "name": name, "recipe": json.loads(json.dumps(recipe))}
    command, needs = reproduction(fitnet | {"student": f"{family}@4", "profile": profile})
    assert options(command)["--profile"] == (f"{name}.yaml" if change else name)
    assert bool(needs) == bool(change)


def test_other_code_is_named(fitnet):
    made = {**fitnet["provenance"], "commit": "0" * 40, "clean": False}
    _, needs = reproduction(fitnet | {"provenance": made})
    assert f"needs the code of commit {'0' * 40}, with changes that were not committed" in needs


def test_cells_that_are_not_there_are_refused(trained):
    with pytest.raises(RecordError, match="no finished cell begins with 'xyz'"):
        describe_cell(trained.results, "xyz")
