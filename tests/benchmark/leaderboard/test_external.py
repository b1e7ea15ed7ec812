"""Results of other code: scored here, shown apart."""

import json

import pytest
import yaml

from benchmark.data.errors import DataError
from benchmark.leaderboard import external, write

CARD = {
    "name": "other-net",
    "paper": "Doe et al., 2027",
    "url": "https://example.org/other_net",
    "data": "KITTI",
    "split": "16 frames of val",
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


def add(place, split=None):
    return external.add(place / "card.yaml", place / "results", place / "labels", split)


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
    part = json.loads(add(place, split)[0].read_text())
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
        ({"url": "javascript:alert(1)"}, "url is"),
        ({"papr": "x"}, "did you mean 'paper'"),
        ({"costs": {"params": "few"}}, "costs is"),
        ({"detector": 3}, "detector is 3"),
    ],
)
def test_a_wrong_card_is_refused(place, change, message):
    (place / "card.yaml").write_text(yaml.safe_dump(CARD | change))
    with pytest.raises(external.CardError, match="card.yaml: .*" + message.replace("/", ".")):
        add(place)


def test_missing_detections_are_named(place):
    (place / "found" / "000004.txt").unlink()
    with pytest.raises(DataError, match="000004.txt"):
        add(place)


def test_a_damaged_result_is_named(place):
    path, _ = add(place)
    path.write_text('{"card": {}}')
    with pytest.raises(external.CardError, match="other-net.json"):
        external.read_all(place / "results")
