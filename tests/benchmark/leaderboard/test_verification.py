"""What a contributed set of records may get wrong."""

import json
from pathlib import Path

import pytest
from in_process import run_matrix

import run_bench
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
    assert verify_records(results).problems == []


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
        ({"provenance__ended": "yesterday"}, "provenance.ended: 'yesterday' does not match"),
        ({"status": "running"}, "'running' is not one of"),
        ({"status": "failed", "reason": ""}, "reason: "),
        ({"weights_sha256": None}, "weights_sha256: None is not of type 'string'"),
        ({"weights_sha256": "0" * 64}, "weights_sha256: '0000"),
        ({"losses_sha256": "0" * 64}, "losses_sha256: '0000"),
        ({"note": "mine"}, "'note' was unexpected"),
        ({"settings__seed": 7}, "its settings belong to cell"),
        ({"precision": "bf16"}, "precision is 'bf16', but 'fp32' in settings"),
        ({"hyperparameters__weight": 9.0}, "hyperparameters is {"),
        ({"ap__Car__3d__R40": [0, 99.5, 0]}, "ap.Car.3d.R40[1] is 99.50, but BEV AP only "),
        ({"ap__Car__aos__R40": [0, 0, 99.5]}, "ap.Car.aos.R40[2] is 99.50, but BBOX AP only "),
        (
            {"ap__Car__bev__R40": [80, 0, 0], "ap__Car__bev__R11": [40, 0, 0]},
            "ap.Car.bev.R40[0] is 80.00, but R11 of 40.00 leaves 34.00 to 44.00",
        ),
        ({"ap__mAP__3d__R40": [50, 50, 50]}, "ap.mAP.3d.R40[0] is 50"),
        ({"provenance__versions__torch": "1.0"}, "records of 2 sets of versions"),
    ],
)
def test_mistakes_are_named(results, fields, message):
    path = change(results, **fields)
    problems = verify_records(results).problems
    assert any(message in problem for problem in problems), problems
    assert any(problem.startswith((str(path), str(results))) for problem in problems)


def test_files_are_named_after_their_cells(results):
    path = change(results)
    path.rename(path.with_name("0123456789abcdef.json"))
    assert "the file's name is not that of its cell" in verify_records(results).problems[0]


def test_a_missing_teacher_is_named(results):
    for path in (results / "records").iterdir():
        record = json.loads(path.read_text())
        if record["student"] == "pointpillars":
            path.unlink()
            break
    assert verify_records(results).problems == [
        f"{results}: no record of teacher {record['cell']}, from which students were distilled; "
        "add the record of its cell"
    ]


def test_a_stale_or_missing_leaderboard_is_named(results):
    (results / "leaderboard.csv").unlink()
    page = results / "leaderboard.md"
    page.write_text(page.read_text().replace("none", "mine"))
    named = [problem.partition(":")[0] for problem in verify_records(results).problems]
    assert named == [str(page), str(results / "leaderboard.csv")]


def test_a_checkpoint_of_other_weights_is_named(trained, results):
    record = json.loads(change(results).read_text())
    names = sorted(path.name for path in (trained / "checkpoints").iterdir())
    for name in names:
        content = (trained / "checkpoints" / name).read_bytes()
        write_atomically(results / "checkpoints" / name, content)
    assert verify_records(results).problems == []
    other = next(name for name in names if name != f"{record['cell']}.pth")
    content = (trained / "checkpoints" / other).read_bytes()
    (results / "checkpoints" / f"{record['cell']}.pth").write_bytes(content)
    (problem,) = verify_records(results).problems
    assert f"its record says {record['weights_sha256']}" in problem


def edit(path, **fields):
    """Change fields of a JSON file, given as path__to__field."""
    content = json.loads(path.read_text())
    for name, value in fields.items():
        *outer, last = name.split("__")
        place = content
        for key in outer:
            place = place[key]
        place[last] = value
    path.write_text(json.dumps(content))


def copy_cell(results, **settings):
    """The record of `fitnet` as that of another cell, with the identity of its settings."""
    record = json.loads(change(results).read_text())
    record["settings"] |= settings
    record |= {name: value for name, value in settings.items() if name in record}
    record["cell"] = store.identity(record["settings"])
    path = results / "records" / f"{record['cell']}.json"
    path.write_text(json.dumps(record))
    leaderboard.write(results, store.read_all(results))
    return path


def add_seed(results, seed=1):
    """A further seed of `fitnet` with hashes and losses of its own."""
    path = copy_cell(results, seed=seed)
    losses = [{**json.loads(path.read_text())["training"]["losses"][0], "loss_cls": 1.5 + seed}]
    edit(
        path,
        weights_sha256=f"{seed}" * 64,
        losses_sha256=f"{7 + seed}" * 64,
        training__losses=losses,
    )
    leaderboard.write(results, store.read_all(results))
    return path


def test_a_seed_that_every_row_lacks_is_noted(results):
    for path, record in ((p, json.loads(p.read_text())) for p in (results / "records").iterdir()):
        if "@" in record["student"]:
            path.unlink()
            for kind in ("settings", None):
                (record[kind] if kind else record)["seed"] = 1
            record["cell"] = store.identity(record["settings"])
            (path.parent / f"{record['cell']}.json").write_text(json.dumps(record))
    leaderboard.write(results, store.read_all(results))
    found = verify_records(results)
    assert not found.problems
    assert any("table 1 has seeds 1, and no row has 0; run them" in note for note in found.notes)


def test_losses_copied_into_another_seed_are_refused(results):
    """With hashes of their own."""
    path = copy_cell(results, seed=3)
    record = json.loads(path.read_text())
    record |= {"weights_sha256": "1" * 64, "losses_sha256": "2" * 64}
    path.write_text(json.dumps(record))
    leaderboard.write(results, store.read_all(results))
    (problem,) = verify_records(results).problems
    assert "training.losses as in " in problem


def test_a_record_copied_as_another_seed_is_refused(results):
    path = copy_cell(results, seed=3)
    found = verify_records(results).problems
    assert len(found) == 1
    assert "weights_sha256, losses_sha256 and training.losses as in " in found[0]
    assert "another training: one of them is a copy; remove it" in found[0]
    assert path.name in found[0]
    assert "fitnet seed" in found[0]


def test_a_method_that_trains_as_another_is_named(results):
    copy_cell(results, method="crd", hyperparameters={"weight": 0.8})
    found = verify_records(results)
    assert found.problems == []
    (note,) = [note for note in found.notes if "_sha256" in note]
    assert "has no effect of its own; say why in README.md" in note


def test_methods_of_weight_0_may_train_alike(results):
    other = change(results, hyperparameters__weight=0.0, settings__hyperparameters={"weight": 0.0})
    copy_cell(results)
    other.unlink()
    copy_cell(results, method="crd")
    parts = {"fitnet": {"weight": 0.0}, "crd": {"weight": 0.0}}
    copy_cell(results, method="fitnet+crd", hyperparameters=parts)
    found = verify_records(results)
    assert found.problems == []
    assert not [note for note in found.notes if "_sha256" in note]
    parts["crd"]["weight"] = 0.8
    copy_cell(results, method="crd+fitnet", hyperparameters=parts)
    assert [note for note in verify_records(results).notes if "_sha256" in note]


@pytest.mark.parametrize("name", ["params", "flops_paper", "flops_full", "activations"])
def test_counted_costs_of_a_student_are_the_same_in_all_its_cells(results, name):
    change(results, **{f"cost__{name}": 17})
    (problem,) = verify_records(results).problems
    assert f"cost.{name} is " in problem
    assert "17" in problem
    assert problem.endswith("records of pointpillars@4; train the cell again")


@pytest.mark.parametrize(("name", "value"), [("extrapolated", True), ("extra_params", 3)])
def test_what_a_method_adds_is_the_same_in_all_its_seeds(results, name, value):
    add_seed(results, 1)
    path = add_seed(results, 2)
    edit(path, **{f"training__{name}": value})
    problems = verify_records(results).problems
    (problem,) = [problem for problem in problems if "leaderboard" not in problem]
    assert problem.startswith(f"{path}: training.{name} is {value}, but ")
    assert problem.endswith(" in 2 other records of pointpillars@4 fitnet; train the cell again")


@pytest.mark.parametrize(
    ("field", "value", "called"),
    [
        ("machine", "another", "machines"),
        ("python", "2.7", "versions of Python"),
        ("operators", ["theirs"], "sets of operators"),
    ],
)
def test_a_set_is_of_one_environment(results, field, value, called):
    path = change(results, **{f"provenance__{field}": value})
    found = verify_records(results).problems
    assert any(f"records of 2 {called}: " in line and path.name in line for line in found)


def test_several_numbers_of_threads_are_named(results):
    change(results, provenance__threads=64)
    leaderboard.write(results, store.read_all(results))
    found = verify_records(results)
    assert found.problems == []
    assert "records of 2 numbers of threads" in found.notes[0]


def test_several_commits_are_named(results):
    change(results, provenance__commit="d" * 40)
    leaderboard.write(results, store.read_all(results))
    found = verify_records(results)
    assert found.problems == []
    assert "records of 2 commits" in found.notes[0]


def test_latencies_of_a_student_that_lie_far_apart_are_noted(results):
    change(results, cost__latency_ms={"median": 1e-3, "iqr": 0.0})
    leaderboard.write(results, store.read_all(results))
    found = verify_records(results)
    assert found.problems == []
    told = "latencies of pointpillars@4 lie between 0.0 and "
    assert any(told in note for note in found.notes)


def test_losses_of_a_method_in_a_cell_without_one_are_refused(results):
    """As after its training was exchanged with that of a method."""
    for path in (results / "records").iterdir():
        record = json.loads(path.read_text())
        if record["method"] == "none" and "@" in record["student"]:
            edit(path, training__losses=[{"kd.stage0": 1.0, "loss_cls": 1.0}])
    problems = verify_records(results).problems
    assert any("training.losses has kd.stage0, but none has no method" in p for p in problems)


def test_the_detectors_losses_of_another_cell_are_noted(results):
    """As after a method's own were taken out."""
    records = {r["method"]: r for r in store.read_all(results) if "@" in r["student"]}
    losses = records["fitnet"]["training"]["losses"]
    stripped = [{n: v for n, v in e.items() if not n.startswith("kd.")} for e in losses]
    path = results / "records" / f"{records['none']['cell']}.json"
    edit(path, training__losses=stripped)
    leaderboard.write(results, store.read_all(results))
    assert any("training.losses as in " in note for note in verify_records(results).notes)


@pytest.mark.parametrize("fingerprint", ["bbac598b2672efe9", "26a68d0a2fc9ec66"])
def test_generated_frames_are_not_called_real(results, fingerprint):
    for path in (results / "records").iterdir():
        record = json.loads(path.read_text())
        record["dataset"] |= {"fingerprint": fingerprint, "name": "KITTI"}
        record["dataset"]["synthetic"] = False
        record["settings"]["data"] = fingerprint
        path.write_text(json.dumps(record))
    problems = verify_records(results).problems
    assert any("that of profile mini's generated frames; correct it" in p for p in problems)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("commit", None, "do not say which code"), ("clean", False, "uncommitted changes")],
)
def test_code_that_nobody_can_look_up_is_noted(results, field, value, message):
    change(results, **{f"provenance__{field}": value})
    leaderboard.write(results, store.read_all(results))
    assert any(message in note for note in verify_records(results).notes)


def test_losses_of_other_names_than_those_of_other_seeds_are_noted(results):
    edit(add_seed(results), training__losses=[{"kd.graph": 1.0}])
    leaderboard.write(results, store.read_all(results))
    notes = verify_records(results).notes
    assert any("fitnet seed" in note and "in 1 others of the same" in note for note in notes)


def test_seeds_that_a_row_lacks_are_named(results, capsys):
    add_seed(results)
    found = verify_records(results)
    assert found.problems == []
    told = "pointpillars@4 none has no record of seed 1, which other rows of table 1 have"
    assert any(told in note for note in found.notes)
    assert run_bench.main(["verify-records", str(results)]) == 0
    printed = capsys.readouterr().out.splitlines()
    notes = [f"NOTE: {note}" for note in found.notes]
    assert printed == [*notes, f"{results}: no problems found"]


@pytest.fixture
def external_result(results):
    """The path of an external result of the records' data set, sound."""
    record = json.loads(change(results).read_text())
    card = {
        "name": "their-net", "paper": "Doe", "url": "https://example.org", "split": "val",
        "data": record["dataset"]["name"].upper(), "detector": "theirs", "costs": {"GFLOPs": 1.5},
        "detections": ".", "notes": "",
    }  # fmt: skip
    stored = {
        "card": card, "frames": 8, "labels_sha256": "a" * 64, "detections_sha256": "b" * 64,
        "evaluator": "pointkd-bench 0.1.0", "ap": record["ap"],
    }  # fmt: skip
    path = results / "external" / "their-net.json"
    write_atomically(path, json.dumps(stored).encode())
    leaderboard.write(results, store.read_all(results))
    assert verify_records(results).problems == []
    return path


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ap__Car__3d__R40": [0, 0, 101]}, "R40[2]: 101 is greater than the maximum"),
        ({"ap__Car__aos__R40": [0, 0, 99.5]}, "ap.Car.aos.R40[2] is 99.50, but BBOX AP only "),
        (
            {"ap__Car__bev__R40": [80, 0, 0], "ap__Car__bev__R11": [40, 0, 0]},
            "ap.Car.bev.R40[0] is 80.00, but R11 of 40.00 leaves 34.00 to 44.00",
        ),
        ({"ap__mAP__3d__R40": [50, 99.9, 50]}, "ap.mAP.3d.R40[0] is 50, but its classes give"),
        ({"ap__mAP": None}, "ap.mAP: None is not of type 'object'"),
        ({"ap": None}, "ap: None is not of type 'object'"),
        ({"labels_sha256": "abc"}, "labels_sha256: 'abc' does not match"),
        ({"detections_sha256": None}, "detections_sha256: None is not of type 'string'"),
        ({"card__costs": {"GFLOPs": "few"}}, "card.costs is {'GFLOPs': 'few'}"),
        ({"card__url": "javascript:alert(1)"}, "card.url is "),
        ({"card__name": "other"}, "the file's name is not that of its card, other"),
        ({"card__data": "Waymo"}, "data is 'Waymo', but the folder's records are of "),
        ({"card__split": "val (3769 frames)"}, "but 8 frames are scored"),
        ({"frames": 0}, "frames: 0 is less than the minimum of 1"),
        ({"mine": 1}, "'mine' was unexpected"),
    ],
)
def test_mistakes_of_external_results_are_named(results, external_result, fields, message):
    edit(external_result, **fields)
    found = verify_records(results).problems
    assert any(message in problem for problem in found), found
    assert found[0].startswith(f"{external_result}: ")
    assert found[0].endswith("add the external result again with --replace")


def test_a_damaged_external_result_is_named(results):
    write_atomically(results / "external" / "x.json", b"{}")
    assert "external/x.json" in verify_records(results).problems[0]


def test_an_empty_folder_is_no_set(tmp_path):
    assert "no record" in verify_records(tmp_path).problems[0]
