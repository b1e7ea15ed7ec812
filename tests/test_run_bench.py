"""The command line, as users run it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import run_bench
from benchmark.commands.common import BAD_INPUT, CELLS_FAILED, DONE
from benchmark.records.store import read_all

ROOT = Path(__file__).parents[1]
TINY = {
    "purpose": "a test",
    "synthetic": {"train": 4, "val": 3, "max_range": 15.0, "seed": 2},
    "max_frames": {"train": 4, "val": 3},
    "defaults": {
        "epochs": 1,
        "batch_size": 2,
        "micro_batch_size": 2,
        "learning_rate": 0.0004,
        "grid": {
            "point_cloud_range": [0, -7.68, -3, 15.36, 7.68, 1],
            "voxel_size": [0.32, 0.32, 4],
            "max_voxels": [2000, 2000],
        },
    },
}
PLUGIN = """
from kd_methods import KDMethod, register

@register("of_a_stranger", paper="a test", year=2026)
class OfAStranger(KDMethod):
    '''A test.'''

    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        return {"mean": (teacher.neck.values.mean() - student.neck.values.mean()).square()}
"""


DETECTOR = """
_base_ = "mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"
model = dict(neck=dict(out_channels=[64, 64, 64]))
"""


@pytest.fixture
def options(tmp_path):
    """Common options of a small run."""
    profile = tmp_path / "tiny.yaml"
    profile.write_text(yaml.safe_dump(TINY))
    return ["--profile", str(profile), "--results", str(tmp_path / "results"), "--cache",
            str(tmp_path / "cache"), "--precision", "fp32"]  # fmt: skip


def test_a_matrix_from_the_built_in_data_to_a_leaderboard(options, tmp_path, capfd):
    plugin = tmp_path / "stranger.py"
    plugin.write_text(PLUGIN)
    detector = tmp_path / "slim.py"
    detector.write_text(DETECTOR)
    options += ["--detector", f"slim={detector}", "--students", "slim@4"]
    command = ["run", *options, "--methods", "none,of_a_stranger", "--plugin", str(plugin)]
    assert run_bench.main(command) == DONE
    output = capfd.readouterr().out
    for words in ("| slim ", "| slim@4 ", "teacher", "none", "of_a_stranger", "synthetic data"):
        assert words in output
    records = sorted((tmp_path / "results" / "records").glob("*.json"))
    assert len(records) == 3
    before = {path: path.read_bytes() for path in records}

    assert run_bench.main(["run", *options, "--methods", "none"]) == DONE
    assert "epoch" not in capfd.readouterr().out
    assert {path: path.read_bytes() for path in records} == before

    results = ["--results", str(tmp_path / "results")]
    assert run_bench.main(["verify-records", results[1]]) == DONE
    cell = records[0].stem
    assert run_bench.main(["show", cell[:6], *results]) == DONE
    assert f"records/{cell}.json" in capfd.readouterr().out
    records[0].write_text(before[records[0]].decode().replace('"seed": 0', '"seed": 1', 1))
    assert run_bench.main(["verify-records", results[1]]) == BAD_INPUT
    assert f"{cell}.json: seed is 1, but 0 in settings" in capfd.readouterr().out
    records[0].write_bytes(before[records[0]])

    page = tmp_path / "results" / "leaderboard.md"
    made = page.read_bytes()
    page.unlink()
    assert run_bench.main(["leaderboard", "--results", str(tmp_path / "results")]) == 0
    assert page.read_bytes() == made

    assert run_bench.main(["report", "--results", str(tmp_path / "results")]) == 0
    assert "report.html" in capfd.readouterr().out
    report = (tmp_path / "results" / "report.html").read_text()
    assert "of_a_stranger" in report
    assert '"points":[' in report


def test_the_same_on_real_kitti_frames(options, kitti_root, capsys):
    command = ["run", *options, "--here", "--data", str(kitti_root)]
    command += ["--methods", "none,point_distiller"]
    assert run_bench.main(command) == DONE
    output = capsys.readouterr().out
    assert "kitti (real frames, all KITTI's own, 4 training and 3 validation frames" in output
    assert "point_distiller" in output


def test_a_failed_cell_is_named_and_tried_again_on_request(options, tmp_path, capfd):
    plugin = tmp_path / "failing.py"
    plugin.write_text(
        PLUGIN.replace("of_a_stranger", "failing").replace("(teacher", "0 / 0 * (teacher")
    )
    command = ["run", *options, "--methods", "none,failing", "--plugin", str(plugin)]
    assert run_bench.main(command) == CELLS_FAILED
    told = capfd.readouterr().err
    assert "1 of 2 cells have no figure" in told
    reason = (
        r"failed: pointpillars@4 failing seed 0 \(\w{16}\): ZeroDivisionError: division by zero"
    )
    assert re.search(reason, told)
    line = 1 + plugin.read_text().splitlines().index(
        next(text for text in plugin.read_text().splitlines() if "0 / 0" in text)
    )
    assert f"(failing.py:{line} in loss)" in told
    results = tmp_path / "results"
    cell = next(r["cell"] for r in read_all(results) if r["method"] == "failing")
    assert run_bench.main(["show", cell, "--results", str(results)]) == DONE
    shown = capfd.readouterr().out
    assert f"(failing.py:{line} in loss)" in shown
    assert f'File "{plugin}", line {line}, in loss' in shown
    command[command.index("none,failing")] = "failing"
    log = tmp_path / "results" / "logs" / "pointpillars-students-seed-0.log"
    first = log.read_text()
    assert "failing seed 0: failed, epoch 1" in first
    assert run_bench.main(command) == CELLS_FAILED
    assert log.read_text() == first
    run_bench.main([*command, "--retry", "failed"])
    assert "failing seed 0: failed, epoch 1" in log.read_text().removeprefix(first)


def test_an_edited_plugin_trains_anew(options, tmp_path, capfd):
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN.replace("of_a_stranger", "mine"))
    command = ["run", *options, "--methods", "mine", "--plugin", str(plugin), "--here"]
    assert run_bench.main(command) == DONE
    assert run_bench.main(command) == DONE
    assert len([r for r in read_all(tmp_path / "results") if r["method"] == "mine"]) == 1
    plugin.write_text(plugin.read_text() + "\n# another version\n")
    assert run_bench.main(command) == DONE
    found = [r for r in read_all(tmp_path / "results") if r["method"] == "mine"]
    assert len({record["settings"]["source"] for record in found}) == len(found) == 2
    assert "epoch" in capfd.readouterr().out


def test_evaluate_scores_result_files(kitti_root, tmp_path, capsys):
    labels = kitti_root / "training" / "label_2"
    for path in labels.glob("*.txt"):
        lines = [f"{line} 1.0" for line in path.read_text().splitlines() if "DontCare" not in line]
        (tmp_path / path.name).write_text("\n".join(lines))
    out = tmp_path / "out.json"
    command = ["evaluate", "--labels", str(labels), "--detections", str(tmp_path)]
    assert run_bench.main([*command, "--json", str(out)]) == DONE
    assert json.loads(out.read_text())["Car"]["3d"]["R40"] == pytest.approx([100, 100, 100])
    assert "Car" in capsys.readouterr().out


def test_cost_prints_a_table_and_writes_json(options, tmp_path, capsys):
    out = tmp_path / "cost.json"
    place = [options[i] for i in (0, 1, 4, 5)]  # profile and cache
    command = ["cost", "pointpillars@4.0", *place, "--frames", "2", "--json", str(out)]
    assert run_bench.main([*command, "--max-params", "2"]) == DONE
    printed = capsys.readouterr()
    assert "| pointpillars@4 " in printed.out
    assert "params (M) of at most 2: kept by pointpillars@4 (1 of 1 measured)." in printed.out
    assert "pointpillars@4: counting its work (1 of 1)" in printed.err
    assert "frame 2 of 2" in printed.err
    cost = json.loads(out.read_text())
    assert cost["name"] == "pointpillars@4"
    assert cost["params"] == 1_217_352
    assert 0 < cost["activations"] < cost["flops_full"] < cost["flops_paper"] * 2
    assert cost["latency_ms"].keys() == {"median", "iqr", "threads", "load"}
    assert cost["peak_memory_mb"] > 0
    assert run_bench.main([*command[:-2], "--no-latency", "--data", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_data_is_generated_and_checked(tmp_path, capsys):
    root = tmp_path / "set"
    assert run_bench.main(["data", "synthesize", str(root), "--train", "2", "--val", "1"]) == 0
    assert run_bench.main(["data", "verify", str(root)]) == DONE
    scan = next((root / "training" / "velodyne_reduced").iterdir())
    scan.write_bytes(scan.read_bytes()[:-3])
    assert run_bench.main(["data", "verify", str(root)]) == BAD_INPUT
    assert scan.name in capsys.readouterr().out


def test_data_is_prepared_once_and_for_read_only_folders(tmp_path, capsys):
    root, cache = tmp_path / "set", tmp_path / "cache"
    run_bench.main(["data", "synthesize", str(root), "--train", "3", "--val", "1"])
    for path in (*root.rglob("*"), root):
        path.chmod(0o555 if path.is_dir() else 0o444)
    command = ["data", "prepare", str(root), "--cache", str(cache)]
    capsys.readouterr()
    assert run_bench.main(command) == DONE
    first = capsys.readouterr().out
    assert first.startswith("collecting the objects of 3 training frames in ")
    assert "Pedestrian" in first
    assert run_bench.main(command) == DONE
    assert capsys.readouterr().out == first.splitlines()[-1] + "\n"
    (kept,) = (cache / "objects").iterdir()
    kept.write_bytes(kept.read_bytes()[:-40])
    assert run_bench.main(command) == BAD_INPUT
    assert f"{kept}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--students", "pointpilars@4"], "did you mean 'pointpillars'"),
        (["run", "--methods", "fitnt"], "did you mean 'fitnet'"),
        (["run", "--profile", "smok"], "did you mean 'smoke'"),
        (["run", "--data", "/nowhere"], "/nowhere"),
        (["run", "--device", "tpu9"], "device 'tpu9' cannot be used"),
        (["run", "--precision", "fp8"], "--precision is 'fp8'"),
        (["run", "--plugin", "absent.py"], "absent.py does not exist"),
        (["leaderboard", "--results", "/nowhere"], "holds no records"),
        (["show", "abc", "--results", "/nowhere"], "no finished cell begins with 'abc'"),
        (["test", "/nowhere.pth", "--data", "synthetic"], "/nowhere.pth does not exist"),
        (["add-external", "no.yaml", "--results", "r", "--labels", "l"], "no.yaml"),
        (["report", "--results", "/nowhere"], "holds no records"),
        (["cost", "second@4", "--no-latency", "--max-latency", "9"], "--no-latency leaves out"),
        (["evaluate", "--labels", "/nowhere", "--detections", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_ends_with_a_message_and_code_2(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run_bench.main(arguments) == BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error


def test_a_name_that_the_locale_cannot_hold_is_told_with_the_remedy(capsys):
    assert run_bench.main(["data", "synthesize", "caf\ud800"]) == BAD_INPUT
    assert "export LC_ALL=C.UTF-8" in capsys.readouterr().err


def test_a_leaderboard_needs_no_heavy_import(tmp_path):
    (tmp_path / "records").mkdir()
    code = (
        f"import sys, run_bench; run_bench.main(['leaderboard', '--results', {str(tmp_path)!r}])\n"
        "import benchmark.leaderboard; assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)


def test_lists(capsys):
    assert run_bench.main(["list", "methods"]) == 0
    assert run_bench.main(["list", "detectors"]) == 0
    output = capsys.readouterr().out
    assert "Romero et al., ICLR 2015" in output
    assert "pointpillars@16" in output


def test_help_needs_no_heavy_import():
    code = "import sys, run_bench\ntry: run_bench.main(['--help'])\nexcept SystemExit: pass\n"
    check = code + "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", check], check=True, env=environment, capture_output=True)


QUICK = """
import json, sys
import run_bench

for command in json.loads(sys.argv[1]):
    try:
        status = run_bench.main(command)
    except SystemExit as end:
        status = end.code
    assert status == 0, command
    loaded = {"torch", "mmdet3d", "mmengine", "numba"} & sys.modules.keys()
    assert not loaded, (command, loaded)
"""


def test_what_needs_no_network_loads_none(tmp_path):
    shutil.copytree(ROOT / "results" / "contributed" / "smoke", tmp_path / "smoke")
    folder = ["--results", str(tmp_path / "smoke")]
    cell = next((tmp_path / "smoke" / "records").iterdir()).stem
    commands = [
        ["--help"], ["--version"], ["run", "--help"], ["list", "methods"], ["list", "detectors"],
        ["status", *folder], ["show", cell, *folder], ["leaderboard", *folder],
    ]  # fmt: skip
    command = [sys.executable, "-c", QUICK, json.dumps(commands)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_outside_of_its_environment_the_remedy_is_told(tmp_path):
    command = [sys.executable, "-S", str(ROOT / "run_bench.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "source .venv/bin/activate" in done.stderr
    assert "Traceback" not in done.stderr
