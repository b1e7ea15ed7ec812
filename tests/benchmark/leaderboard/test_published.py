"""Printed figures: the file's own checks, and how they stand beside measured ones."""

import json
import math

import pandas as pd
import pytest

from benchmark.config.profile import load_profile
from benchmark.leaderboard import make_tables, published


@pytest.fixture
def kitti(record):
    """A record on the papers' data by the papers' protocol."""
    recipe = json.loads(json.dumps(load_profile("kitti").recipe("pointpillars").settings()))

    def make(method="none", **changes):
        made = record(method, mean=60.0, **changes)
        made["dataset"] |= {"train_frames": 3712, "val_frames": 3769}
        made["profile"] |= {"name": "kitti"}
        made["settings"] |= {"recipe": recipe}
        return made

    return make


def beside(records):
    (table,) = make_tables(records)
    return published.beside(table, published.read()).set_index(["method", "source"]), table


def test_the_file_holds_the_papers_tables():
    found = published.read()
    kitti = found[(found["data"] == published.KITTI) & (found["student"] == "pointpillars@4")]
    figures = kitti[kitti["method"] == "point_distiller"].set_index(["source", "table", "metric"])
    zhang = "Zhang et al., CVPR 2023 (arXiv 2205.11098)"
    assert figures.loc[zhang, "3", "3D"]["map"] == 62.1
    assert figures.loc[zhang, "3", "BEV"]["cyclist_hard"] == 62.0
    assert figures.loc["Li et al., ICCV 2023", "4", "3D"]["map"] == 60.0
    assert found.groupby("table").size()["1"] == 15


def test_differences_are_shown_where_data_and_protocol_are_the_papers(kitti):
    lines, table = beside([kitti(), kitti("point_distiller")])
    zhang = lines.loc["point_distiller", "Zhang et al., CVPR 2023 (arXiv 2205.11098)"]
    assert zhang["3D printed"] == 62.1
    assert zhang["3D difference"] == pytest.approx(-2.1)
    assert zhang["table"] == "1, 2, 3, 5"
    assert published.comparability(table).startswith("Same data")
    li = lines.loc["point_distiller", "Li et al., ICCV 2023"]
    assert li["3D difference"] == pytest.approx(0.0)
    assert math.isnan(li["BEV printed"])


@pytest.mark.parametrize(
    ("field", "change", "reason"),
    [
        ("dataset", {"synthetic": True}, "synthetic data"),
        ("dataset", {"train_frames": 16}, "16 train frames, not 3712"),
        ("dataset", {"val_frames": 7}, "7 val frames, not 3769"),
        ("profile", {"reduced": True}, "a reduced grid"),
        ("settings", {"recipe": {"epochs": 2}}, "another training than profile kitti's"),
    ],
)
def test_no_difference_where_they_are_not(kitti, field, change, reason):
    made = kitti()
    made[field] |= change
    lines, table = beside([made])
    assert lines["3D difference"].isna().all()
    assert lines["3D printed"].notna().all()
    assert reason in published.comparability(table)


def test_balanced_methods_are_not_the_papers(kitti):
    lines, _ = beside([kitti(), kitti("fitnet", weighting="balanced")])
    assert set(lines.index.get_level_values("method")) == {"none"}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("car_easy", "x", "car_easy is not a number"),
        ("map", "168.3", "not between 0 and 100"),
        ("map", "65", "not the mean of the classes"),
        ("map", "", "map must be given"),
        ("data", "Waymo", "data must be KITTI val or nuScenes val"),
        ("metric", "bbox", "metric must be BEV or 3D"),
        ("year", "", "year must be given"),
    ],
)
def test_mistakes_are_named_by_line(tmp_path, column, value, message):
    lines = pd.read_csv(published.PATH, dtype=str, keep_default_na=False)
    lines.loc[3, column] = value
    path = tmp_path / "published.csv"
    lines.to_csv(path, index=False)
    with pytest.raises(published.PublishedError, match=f"published.csv:5: .*{message}"):
        published.read(path)


def test_a_source_must_not_contradict_itself(tmp_path):
    lines = pd.read_csv(published.PATH, dtype=str, keep_default_na=False)
    again = lines.iloc[[1]].assign(table="9", car_moderate="", map="60")
    path = tmp_path / "published.csv"
    pd.concat([lines, again]).to_csv(path, index=False)
    with pytest.raises(published.PublishedError, match="a different map for this student"):
        published.read(path)


def test_unknown_columns_are_named(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text("source,yaer\na,2023\n")
    with pytest.raises(published.PublishedError, match="yaer"):
        published.read(path)
