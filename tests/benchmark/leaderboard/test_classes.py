"""Tables over any classes, by either metric."""

import math

import pytest
from made_records import make_record

from benchmark.config.budget import Budget
from benchmark.evaluation.protocol import BY_DISTANCE, mean_of
from benchmark.leaderboard import make_tables, show_part, to_csv, to_json
from benchmark.leaderboard.classes import ClassError, of_classes
from benchmark.leaderboard.markdown import Page, caption
from benchmark.leaderboard.published import read as read_published
from benchmark.leaderboard.verification import _wrong_ap


def ap_by_distance(**classes):
    """Figures by distance: the mean of each class, with which all distances agree."""
    ap = {
        name: {
            "distance": {"R101": [figure] * 5},
            "errors": {"translation": 0.2, "scale": 0.1, "orientation": None},
            "objects": [0 if figure is None else 7] * 5,
        }
        for name, figure in classes.items()
    }
    ap["mAP"] = {"distance": {"R101": [None] * 5}}
    ap["mAP"] = mean_of(ap, list(classes))
    return ap


def records(ap_of):
    """A teacher, none and fitnet over three seeds."""
    made = [make_record(student="pointpillars", ap=ap_of(60.0))]
    for seed, noise in enumerate((0.0, 1.0, -1.0)):
        made.append(make_record(seed=seed, ap=ap_of(40 + noise)))
        made.append(make_record("fitnet", seed=seed, ap=ap_of(50 - noise / 2)))
    return made


def distance(figure):
    return ap_by_distance(Car=figure, Bus=figure + 10)


def test_by_distance_everything_follows_that_metric():
    (table,) = make_tables(records(distance))
    assert table.scoring == BY_DISTANCE
    assert table.classes == ["Car", "Bus"]
    rows = {row["method"]: row for row in table.rows if row["student"] != "pointpillars"}
    assert rows["none"]["distance mAP"] == pytest.approx(45)
    assert rows["fitnet"]["distance gain"] == pytest.approx(10)
    assert rows["fitnet"]["verdict (distance)"] == "better than none"
    assert rows["fitnet"]["Bus distance 2 m"] == pytest.approx(60)
    assert not any("3D" in name or "BEV" in name for name in rows["none"])
    text = Page("mine", [table], [], read_published()).text()
    assert "AP in percent by distance of centres" in text
    assert "mAP is the mean of Car and Bus" in caption(table)
    assert "### distance AP by class and distance (R101)" in text
    assert "distance mAP" in to_csv([table]).splitlines()[0]
    assert '"distance mAP": 45.0' in to_json([table], [])


def test_metrics_are_never_mixed():
    mixed = [*records(distance), *records(lambda figure: make_record(mean=figure)["ap"])]
    for record in mixed[7:]:  # another metric is another description, and so another fingerprint
        told = {"data": "other"} | (
            {"teacher": "t-other"} if "teacher" in record["settings"] else {}
        )
        record["settings"] = record["settings"] | told
        record["cell"] += "-other"
    tables = make_tables(mixed)
    assert sorted(table.scoring.name for table in tables) == ["distance", "kitti"]


def test_a_class_without_objects_leaves_no_mean():
    ap = ap_by_distance(Car=30.0, Bus=None)
    assert ap["mAP"] == {"distance": {"R101": [None] * 5}}
    (table,) = make_tables([make_record(ap=ap)])
    (row,) = table.rows
    assert row["verdict (distance)"] == "no mAP: a class has too few valid objects"
    (table,) = make_tables(of_classes([make_record(ap=ap)], ["Car"]))
    assert table.rows[0]["distance mAP"] == 30


def test_tables_over_some_classes_rank_by_these(tmp_path):
    def only_cars(figure):
        ap = make_record(mean=figure)["ap"]
        few = make_record(mean=1.0)["ap"]["Car"] | {"objects": [3] * 3}
        ap |= {"Pedestrian": few, "Cyclist": few}
        return ap | {"mAP": mean_of(ap, ["Car", "Pedestrian", "Cyclist"])}

    made = records(only_cars)
    (table,) = make_tables(made)
    assert all(math.isnan(row["3D mAP"]) for row in table.rows)
    (table,) = make_tables(of_classes(made, ["Car"]))
    rows = {row["method"]: row for row in table.rows}
    assert rows["none"]["3D mAP"] == pytest.approx(40)
    assert rows["fitnet"]["rank (3D)"] == 1
    assert not any(name.startswith("Pedestrian") for name in rows["none"])
    shown = show_part(tmp_path, made, Budget({}), ["Car"])
    assert "mAP is the mean of Car" in shown
    assert list(tmp_path.iterdir()) == []
    assert made[0]["ap"]["Pedestrian"]["objects"] == [3] * 3  # the records are as they were


def test_an_unknown_class_is_named():
    with pytest.raises(ClassError, match="no figures of class 'Care', did you mean 'Car'"):
        of_classes(records(distance), ["Care"])


def test_means_by_distance_are_verified():
    ap = distance(30.0)
    assert _wrong_ap(ap) == []
    ap["mAP"]["distance"]["R101"][2] = 36.0
    (problem,) = _wrong_ap(ap)
    assert problem == "ap.mAP.distance.R101[2] is 36.0, but its classes give 35.0"
