"""What is read of damaged and forged records: shown by every command, or refused with its file."""

import json
from contextlib import suppress

import pytest
from hostile import damaged
from hypothesis import HealthCheck, given, settings
from made_records import make_record

from benchmark import leaderboard
from benchmark.leaderboard.verification import verify_records
from benchmark.records import store
from benchmark.records.store import RecordError, publish, read_all
from benchmark.report.cell import describe_cell
from benchmark.report.page import make_content, render
from benchmark.running.status import describe_cells

EXAMPLES = 60


def make_forged():
    """Everything that a record may hold."""
    record = make_record("fitnet", 0, mean=60.0)
    latency = {"median": 7.0, "iqr": 0.5, "threads": 1, "load": 0.5, "in_turns": True}
    record["cost"] |= {"latency_ms": latency, "frames": ["000001"], "energy_j": 0.1}
    record["training"]["losses"] = [{"loss_cls": 0.5, "kd.x": 0.1}, {"loss_cls": 0.4, "kd.x": 0.1}]
    record["hyperparameters"] = {"weight": 3.0}
    record["profile"]["recipe"] = {"epochs": 1, "batch_size": 2}
    record["dataset"] |= {"shared_frames": 0, "genuine": False, "description": {"metric": "kitti"}}
    tuned = {"hash": "h", "trials": 2, "seeds": 2}
    record["settings"] |= {
        "hyperparameters": {"weight": 3.0}, "source": "s", "checkpoint": "c", "detector": "d",
        "control": "none_twice", "rate": 2.0, "tuned": tuned, "max_frames": {"val": 3},
    }  # fmt: skip
    return record


FORGED = make_forged()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sound records of a teacher and a student."""
    results = tmp_path_factory.mktemp("forged")
    for seed in (0, 1):
        publish(results, make_record("none", seed))
    publish(results, make_record(student="pointpillars"))
    return results


def show(results, cell):
    """What the commands on a results folder do."""
    records = read_all(results)
    describe_cell(results, cell)
    describe_cells(results)
    leaderboard.pages(results, records)
    render(make_content(results, records))


def test_the_sound_record_is_shown(folder):
    path = publish(folder, FORGED)
    assert path.stem == FORGED["cell"]
    show(folder, FORGED["cell"])
    path.unlink()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(record=damaged(FORGED) | damaged(make_record("fitnet", 0)))
def test_a_damaged_record_is_shown_or_refused(folder, record):
    path = folder / "records" / f"{FORGED['cell']}.json"
    path.write_text(json.dumps(record))
    assert all(problem.strip() for problem in verify_records(folder).problems)
    with suppress(RecordError):
        show(folder, FORGED["cell"])


def test_what_does_not_read_back_is_never_published(tmp_path):
    training = {**FORGED["training"], "extrapolated": "yes"}
    with pytest.raises(ValueError, match=r"training.extrapolated must be boolean"):
        publish(tmp_path, make_record(training=training))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ap": None}, "ap must be object"),
        ({"profile": None}, "profile must be object"),
        ({"hyperparameters": [1]}, "hyperparameters must be object"),
        ({"student": "../../../../TRAV/evil@16"}, "student must match pattern"),
        ({"method": "\x1b[2J=1+1"}, "method must match pattern"),
        ({"method": "=HYPERLINK(1)"}, "method must match pattern"),
        ({"seed": "0"}, "seed must be integer"),
        ({"cell": "other"}, "is the record of cell other; rename it to that"),
    ],
)
def test_a_record_of_a_wrong_form_is_refused(tmp_path, fields, message):
    path = publish(tmp_path, make_record())
    path.write_text(json.dumps({**make_record(), **fields}))
    with pytest.raises(RecordError, match=rf"{path}: .*{message}.*remove"):
        read_all(tmp_path)
    with pytest.raises(RecordError, match=message):
        describe_cells(tmp_path)


def test_texts_are_written_as_every_program_reads_them(tmp_path):
    path = publish(tmp_path, make_record(status="failed", reason="caf\udce9 \x1b[2Jred \u202e"))
    assert store.read(path)["reason"] == "caf? [2Jred "
