"""Which builds suit a machine, by what a pretended NVIDIA driver says."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import doctor
from benchmark.records import builds

ROOT = Path(__file__).parents[3]
ANSWER = """
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 560.35.03              Driver Version: 560.35.03      CUDA Version: {}     |
|-----------------------------------------+------------------------+----------------------+
"""


@pytest.fixture
def answer(tmp_path, monkeypatch):
    """Pretends that ``nvidia-smi`` prints this and ends so; None takes it away."""

    def pretend(text, code=0):
        monkeypatch.setenv("PATH", str(tmp_path))
        if text is not None:
            program = f"#!{sys.executable}\nprint({text!r})\nraise SystemExit({code})\n"
            (tmp_path / "nvidia-smi").write_text(program)
            (tmp_path / "nvidia-smi").chmod(0o755)

    return pretend


@pytest.mark.parametrize(
    ("cuda", "number", "spconv"),
    [
        ("11.8", 118, "spconv-cu118"),
        ("12.2", 122, "spconv-cu121"),
        ("12.6", 126, "spconv-cu126"),
        ("13.0", 130, "spconv-cu126"),
        ("10.2", 102, "spconv"),
    ],
)
def test_the_newest_build_that_the_driver_runs_is_taken(answer, cuda, number, spconv):
    answer(ANSWER.format(cuda))
    assert builds.driver() == number
    assert builds.spconv_for(builds.driver()) == spconv


@pytest.mark.parametrize(
    ("text", "code"),
    [(None, 0), ("couldn't communicate with the NVIDIA driver", 9), ("No devices were found", 0)],
)
def test_without_a_driver_that_answers_it_is_the_cpus(answer, text, code):
    answer(text, code)
    assert builds.driver() is None
    assert builds.spconv_for(None) == "spconv"


@pytest.mark.parametrize(
    ("extras", "spconv"), [([], "spconv"), ([], "spconv-cu126"), (["dev"], "spconv-cu126")]
)
def test_what_is_installed_is_what_the_project_asks_for(extras, spconv):
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    asked = project["dependencies"] + [
        f'{need}; extra == "{extra}"' for extra, needs in optional.items() for need in needs
    ]
    expected = project["dependencies"] + [need for extra in extras for need in optional[extra]]
    expected = [spconv + need[6:] if need.startswith("spconv") else need for need in expected]
    assert list(builds.requirements(asked, extras, spconv)) == expected
    assert any(need.startswith(spconv + ">=") for need in expected)


def test_it_runs_as_a_script_on_nothing_but_python(answer):
    answer(ANSWER.format("12.4"))
    command = [sys.executable, str(ROOT / "benchmark" / "records" / "builds.py")]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    assert [line for line in told if line.startswith("spconv")][0].startswith("spconv-cu124>=")
    assert any(line.startswith("mmdet3d") for line in told)


def test_the_doctor_says_which_builds_suit_and_why(answer):
    answer(ANSWER.format("12.6"))
    told = "".join(map(str, [*doctor._torch(), *doctor._spconv()]))
    assert told.count("the driver runs CUDA up to 12.6") == 2
    assert "make setup TORCH_INDEX=" in told
    assert "pip install spconv-cu126" in told


@pytest.mark.parametrize(
    ("built", "capability", "runs"),
    [
        (["sm_80", "sm_90"], (8, 9), True),  # a later card of the same generation
        (["sm_80", "sm_90"], (12, 0), False),  # newer than the build
        (["sm_80", "compute_90"], (12, 0), True),  # which is compiled when it is first used
        (["sm_80", "compute_90"], (7, 5), False),  # older than the build
        (["sm_86"], (8, 0), False),
        (["sm_90a", "sm_120"], (12, 0), True),
        ([], (9, 0), False),
    ],
)
def test_a_build_has_kernels_for_a_card_or_not(built, capability, runs):
    assert builds.has_kernels(built, capability) == runs
