"""Results of other code: scored here, shown apart."""

import json
from contextlib import suppress

import pandas as pd
import pytest
import yaml
from hostile import damaged
from hypothesis import HealthCheck, given, settings
from made_records import make_ap, make_record

import run_bench
from benchmark.data.errors import DataError
from benchmark.leaderboard import external, pages, write
from benchmark.leaderboard.verification import verify_records
from benchmark.records.store import publish

CARD = {
    "name": "other-net",
    "paper": "Doe et al., 2027",
    "url": "https://example.org/other_net",
    "data": "KITTI",
    "split": "val",
    "detector": "a net of their own",
    "detections": "found",
    "notes": "two | notes",
    "costs": {"params (M)": 1.3},
}
OBJECT = "Car 0.0 0 0.0 600 150 700 250 1.5 1.6 3.9 {x} 1.7 20.0 0.0"


@pytest.fixture
def place(tmp_path):
    """A card with detections equal to the labels of 50 frames."""
    for folder, ending in (("labels", ""), ("found", " 0.9")):
        (tmp_path / folder).mkdir()
        for frame in range(50):
            text = OBJECT.format(x=frame / 10) + ending
            (tmp_path / folder / f"{frame:06}.txt").write_text(text + "\n")
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(CARD))
    return tmp_path


def add(place, split=None, **options):
    return external.add(place / "card.yaml", place / "results", place / "labels", split, **options)


def change_card(place, **fields):
    (place / "card.yaml").write_text(yaml.safe_dump(CARD | fields))


def test_detections_are_scored_and_stored(place):
    path, table = add(place)
    stored = json.loads(path.read_text())
    assert stored["ap"]["Car"]["3d"]["R40"] == [100, 100, 100]
    assert stored["frames"] == 50
    assert stored["card"]["paper"] == "Doe et al., 2027"
    assert "100.00" in table
    (again,) = external.read_all(place / "results")
    assert again == stored


def test_only_frames_of_the_split_count(place):
    split = place / "split.txt"
    split.write_text("000003\n000007\n")
    whole = json.loads(add(place)[0].read_text())
    part = json.loads(add(place, split, replace=True)[0].read_text())
    assert part["frames"] == 2
    assert part["labels_sha256"] != whole["labels_sha256"]


def test_they_have_a_table_of_their_own_without_a_gain(place, record):
    add(place)
    shown = write(place / "results", [record()])
    own, _, theirs = shown.partition("## External results")
    assert "other-net" not in own
    assert "[other-net](https://example.org/other_net)" in theirs
    assert r"two \| notes" in theirs
    assert "params (M) 1.3" in theirs
    header = next(line for line in theirs.splitlines() if line.startswith("| external"))
    assert "gain" not in header


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../up"}, "name is '../up'"),
        ({"name": "fitnet"}, "name 'fitnet' is a method of this benchmark"),
        ({"url": "javascript:alert(1)"}, "url is"),
        ({"papr": "x"}, "did you mean 'paper'"),
        ({"costs": {"params": "few"}}, "costs is"),
        ({"costs": {"params": 99999999999999999999}}, "costs is"),
        ({"notes": "\ud800"}, "line .*: it is no text: .* halves of characters"),
        ({"detector": 3}, "detector is 3"),
    ],
)
def test_a_wrong_card_is_refused(place, change, message):
    (place / "card.yaml").write_text(yaml.safe_dump(CARD | change))
    with pytest.raises(external.CardError, match="card.yaml: .*" + message.replace("/", ".")):
        add(place)


def test_text_that_needs_quotes_is_named_with_its_place(place):
    (place / "card.yaml").write_text("name: other-net\npaper: A net: of their own\n")
    with pytest.raises(external.CardError, match=r"card.yaml: line 2, column 13: .* into quotes"):
        add(place)


def test_other_frames_than_those_of_the_records_are_noted(place, record):
    publish(place / "results", record())
    _, table = add(place)
    frames = record()["dataset"]["val_frames"]
    note = f"other-net is scored on 50 frames, the folder's records on {frames}"
    assert f"NOTE: {note}" in table


def test_a_budget_leaves_them_out_in_words(place, capsys):
    add(place)
    command = ["leaderboard", "--results", str(place / "results"), "--max-params", "2"]
    assert run_bench.main(command) == 0
    assert "External results state their own costs" in capsys.readouterr().out


def test_missing_detections_are_named(place):
    (place / "found" / "000004.txt").unlink()
    with pytest.raises(DataError, match="000004.txt"):
        add(place)


def test_they_may_be_read_as_empty(place, capsys):
    (place / "found" / "000004.txt").unlink()
    command = ["add-external", str(place / "card.yaml"), "--results", str(place / "results"),
               "--labels", str(place / "labels")]  # fmt: skip
    assert run_bench.main(command) == 2
    assert "--missing-as-empty" in capsys.readouterr().err
    assert run_bench.main([*command, "--missing-as-empty"]) == 0
    (one,) = external.read_all(place / "results")
    (place / "found" / "000004.txt").touch()
    assert add(place)[0].read_text() == json.dumps(one, indent=1) + "\n"


def test_a_folder_without_records_has_a_leaderboard_of_them(place, capsys):
    add(place)
    results = place / "results"
    assert run_bench.main(["leaderboard", "--results", str(results)]) == 0
    shown = capsys.readouterr().out
    assert "AP in percent, R40, Moderate" in shown
    assert "[other-net](https://example.org/other_net)" in shown
    assert verify_records(results).problems == []


def test_another_result_of_the_same_name_is_kept_unless_it_is_replaced(place):
    path, _ = add(place)
    before = path.read_bytes()
    add(place)
    change_card(place, notes="corrected")
    with pytest.raises(external.CardError, match="other-net.json: .*--replace"):
        add(place)
    assert path.read_bytes() == before
    add(place, replace=True)
    assert json.loads(path.read_text())["card"]["notes"] == "corrected"


def test_a_card_of_another_data_set_is_refused(place, record):
    named = {**record()["dataset"], "name": "kitti"}
    publish(place / "results", record(dataset=named))
    add(place)  # KITTI, written otherwise
    change_card(place, data="the built-in set")
    with pytest.raises(external.CardError, match="records are of kitti; use another results"):
        add(place)


@pytest.mark.parametrize(
    ("split", "shown"),
    [
        ("val", "val (50 frames)"),
        ("val (50 frames)", "val (50 frames)"),
        ("50 frames", "50 frames"),
    ],
)
def test_the_number_of_frames_is_said_once(place, split, shown):
    change_card(place, split=split)
    add(place)
    assert f"| KITTI, {shown} |" in write(place / "results", [])


@pytest.mark.parametrize("split", ["val (3769 frames)", "3,769 frames of val", "1 frame"])
def test_another_number_of_frames_is_refused(place, split):
    change_card(place, split=split)
    with pytest.raises(external.CardError, match="card.yaml: split is .* 50 frames are scored"):
        add(place)
    assert not (place / "results").exists()


def test_they_are_in_every_file_of_the_leaderboard(place, record):
    add(place)
    write(place / "results", [record(seed=s) for s in (0, 1)])
    place = place / "results"
    table = pd.read_csv(place / "leaderboard.csv", dtype=str)
    ours, theirs = table.iloc[0], table.iloc[-1]
    assert (ours["seeds"], ours["table"]) == ("2", "1")
    assert theirs["table"] == "external"
    assert theirs["method"] == "other-net"
    assert float(theirs["Car 3D moderate"]) == 100
    assert theirs["split"] == "val (50 frames)"
    latex = (place / "leaderboard.tex").read_text().partition("External results")[2]
    assert "two | notes" in latex
    assert "other-net" in latex
    (stored,) = json.loads((place / "leaderboard.json").read_text())["external"]
    assert stored["card"]["name"] == "other-net"


def test_a_damaged_result_is_named(place):
    path, _ = add(place)
    path.write_text('{"card": {}}')
    with pytest.raises(external.CardError, match="other-net.json"):
        external.read_all(place / "results")


STORED = {
    "card": CARD, "frames": 50, "labels_sha256": "a" * 64, "detections_sha256": "b" * 64,
    "evaluator": "a test", "ap": make_ap(12.3),
}  # fmt: skip


def store(folder, stored):
    path = folder / "external" / "other-net.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(stored))
    return path


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ap": {}}, "ap must contain"),
        ({"ap": []}, "ap must be object"),
        ({"card": CARD | {"url": "javascript:alert(document.cookie)"}}, "card.url is 'javascript:"),
        ({"card": CARD | {"notes": 3}}, "card.notes is 3"),
        ({"card": CARD | {"costs": {"params": 10**20}}}, "card.costs is"),
        ({"frames": "50"}, "frames must be integer"),
    ],
)
def test_a_stored_result_of_a_wrong_form_is_refused(tmp_path, fields, message):
    path = store(tmp_path, STORED | fields)
    with pytest.raises(external.CardError, match=f"{path}: {message}.*--replace"):
        write(tmp_path, [])
    assert any(str(path) in problem for problem in verify_records(tmp_path).problems)
    assert not list(tmp_path.glob("leaderboard.*"))


def test_a_result_nested_without_end_is_refused(tmp_path):
    path = store(tmp_path, {})
    path.write_text("[" * 100_000)
    with pytest.raises(external.CardError, match=f"{path}: .*--replace"):
        external.read_all(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(stored=damaged(STORED))
def test_a_damaged_stored_result_is_shown_or_refused(tmp_path, stored):
    store(tmp_path, stored)
    verify_records(tmp_path)
    with suppress(external.CardError):
        pages(tmp_path, [make_record()])
