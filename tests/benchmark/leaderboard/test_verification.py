"""What a contributed set of records may get wrong."""

import json
from pathlib import Path

import pytest
from in_process import run_matrix

from benchmark import leaderboard
from benchmark.files import write_atomically
from benchmark.leaderboard.verification import verify_records
from benchmark.records import store


@pytest.fixture(scope="module")
def trained(matrix, make_workplace, tmp_path_factory):
    """The results folder of a teacher and two students."""
    workplace = make_workplace(tmp_path_factory.mktemp("trained") / "results")
    run_matrix(matrix(["none", "fitnet"]), workplace)
    return workplace.results


@pytest.fixture
def results(trained, tmp_path) -> Path:
    """A copy of the records, with their leaderboard."""
    folder = tmp_path / "set"
    for path in (trained / "records").iterdir():
        write_atomically(folder / "records" / path.name, path.read_bytes())
    leaderboard.write(folder, store.read_all(folder))
    return folder


def change(results, **fields):
    """Change fields of the record of `fitnet`, given as path__to__field."""
    for path in sorted((results / "records").iterdir()):
        record = json.loads(path.read_text())
        if record["method"] == "fitnet":
            for name, value in fields.items():
                *outer, last = name.split("__")
                place = record
                for key in outer:
                    place = place[key]
                place[last] = value
            path.write_text(json.dumps(record))
            return path
    raise AssertionError("no fitnet")


def test_what_a_run_leaves_is_sound(results):
    assert verify_records(results) == []


def test_identities_are_the_hash_of_what_the_file_says(results):
    for record in store.read_all(results):
        assert store.identity(record["settings"]) == record["cell"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed": -1}, "seed: -1 is less than the minimum"),
        ({"seed": "0"}, "seed: '0' is not of type 'integer'"),
        ({"ap__Car__bev__R40": [0, 0]}, "ap.Car.bev.R40: [0, 0] is too short"),
        ({"ap__Car__bev__R11": [0, 0, 101]}, "101 is greater than the maximum"),
        ({"status": "running"}, "'running' is not one of"),
        ({"status": "failed", "reason": ""}, "reason: "),
        ({"weights_sha256": None}, "weights_sha256: None is not of type 'string'"),
        ({"note": "mine"}, "'note' was unexpected"),
        ({"settings__seed": 7}, "its settings belong to cell"),
        ({"precision": "bf16"}, "precision is 'bf16', but 'fp32' in settings"),
        ({"hyperparameters__weight": 9.0}, "hyperparameters is {"),
        ({"ap__mAP__3d__R40": [50, 50, 50]}, "ap.mAP.3d.R40[0] is 50"),
        ({"provenance__versions__torch": "1.0"}, "records of 2 sets of versions"),
    ],
)
def test_mistakes_are_named(results, fields, message):
    path = change(results, **fields)
    problems = verify_records(results)
    assert any(message in problem for problem in problems), problems
    assert any(problem.startswith((str(path), str(results))) for problem in problems)


def test_files_are_named_after_their_cells(results):
    path = change(results)
    path.rename(path.with_name("0123456789abcdef.json"))
    assert "the file's name is not that of its cell" in verify_records(results)[0]


def test_a_missing_teacher_is_named(results):
    for path in (results / "records").iterdir():
        record = json.loads(path.read_text())
        if record["student"] == "pointpillars":
            path.unlink()
            break
    assert verify_records(results) == [
        f"{results}: no record of teacher {record['cell']}, from which students were distilled"
    ]


def test_a_stale_or_missing_leaderboard_is_named(results):
    (results / "leaderboard.csv").unlink()
    page = results / "leaderboard.md"
    page.write_text(page.read_text().replace("none", "mine"))
    named = [problem.partition(":")[0] for problem in verify_records(results)]
    assert named == [str(page), str(results / "leaderboard.csv")]


def test_a_checkpoint_of_other_weights_is_named(trained, results):
    record = json.loads(change(results).read_text())
    names = sorted(path.name for path in (trained / "checkpoints").iterdir())
    for name in names:
        content = (trained / "checkpoints" / name).read_bytes()
        write_atomically(results / "checkpoints" / name, content)
    assert verify_records(results) == []
    other = next(name for name in names if name != f"{record['cell']}.pth")
    content = (trained / "checkpoints" / other).read_bytes()
    (results / "checkpoints" / f"{record['cell']}.pth").write_bytes(content)
    (problem,) = verify_records(results)
    assert f"its record says {record['weights_sha256']}" in problem


def test_a_damaged_external_result_is_named(results):
    write_atomically(results / "external" / "x.json", b"{}")
    assert "external/x.json" in verify_records(results)[0]


def test_an_empty_folder_is_no_set(tmp_path):
    assert "no record" in verify_records(tmp_path)[0]
