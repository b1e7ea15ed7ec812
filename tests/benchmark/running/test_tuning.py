"""Settings chosen by equally many trials."""

import shutil
from dataclasses import replace

import pytest
import yaml
from in_process import run_matrix
from torch import nn

from benchmark.config.matrix import describe_data
from benchmark.config.tuned import Choice, TuningError, read_tuned
from benchmark.data.errors import DataError
from benchmark.data.training_part import split_training
from benchmark.leaderboard.tables import make_tables
from benchmark.records.store import read_all
from benchmark.running.matrix_run import all_cells
from benchmark.running.tuning import (
    Trial,
    by_choice,
    choices,
    choose,
    figure,
    outcome,
    trial_matrix,
    write,
)
from benchmark.training.optimizer import make_optimizer
from kd_methods import KDMethod, create, register


def test_the_sources_values_are_tried_first_and_the_space_is_covered_evenly():
    found = choices("fitnet", "pointpillars@4", 16)
    assert found[0] == Choice("fitnet")
    source = create("fitnet", "pointpillars@4").weight
    weights = [create(one.method, "pointpillars@4").weight / source for one in found[1:]]
    assert len(found) == 16
    assert all(0.1 <= weight <= 10 for weight in weights)
    for low, high in ((0.1, 0.316), (0.316, 1), (1, 3.16), (3.16, 10)):  # of a factor of 100
        assert 3 <= sum(low <= weight <= high for weight in weights) <= 5
    assert choices("fitnet", "pointpillars@4", 16) == found


def test_none_varies_its_learning_rate_and_compositions_the_weight_of_each_part():
    rates = [one.rate for one in choices("none", "pointpillars@4", 8)]
    assert rates[0] == 1
    assert len(set(rates)) == 8
    assert all(0.25 <= rate <= 4 for rate in rates)
    for one in choices("point_distiller:variant=released+logit_kd", "second@4", 4)[1:]:
        first, second = create(one.method, "second@4").parts
        assert first.variant == "released"
        assert first.weight != second.weight


def test_a_method_can_say_what_is_tried():
    @register("has_space", paper="a test", year=2026)
    class HasSpace(KDMethod):
        space = {"nodes": (2, 200), "heat": (0.5, 8.0)}
        nodes: int = 10
        heat: float = 1.0

        def needs(self):
            return set()

        def loss(self, teacher, student, batch):
            return {}

    made = [create(one.method, "second@4") for one in choices("has_space", "second@4", 9)]
    assert (made[0].nodes, made[0].heat) == (10, 1.0)
    assert all(2 <= one.nodes <= 200 and 0.5 <= one.heat <= 8 for one in made)
    assert len({one.heat for one in made}) == 9
    assert {one.weight for one in made} == {1.0}


def test_what_the_seeds_cannot_tell_from_the_best_leaves_the_sources_values():
    source, other = Choice("fitnet"), Choice("fitnet:weight=3")
    assert choose([Trial(source, (50, 54)), Trial(other, (52, 54))]) == source
    assert choose([Trial(source, (50.0, 50.2)), Trial(other, (53, 53.1))]) == other
    assert choose([Trial(source, (None, 50)), Trial(other, (3, 4))]) == other
    assert choose([Trial(source, (None,)), Trial(other, (None,))]) == source
    assert choose([Trial(source, (50.0,)), Trial(other, (50.1,))]) == other


def test_the_learning_rate_is_the_recipes_times_the_factor(matrix):
    recipe = matrix(["none"]).cohorts()[0].cells[0].recipe
    optimizer = make_optimizer([nn.Linear(2, 2)], recipe, 3.0)
    assert optimizer.param_groups[0]["lr"] == 3 * recipe.learning_rate


@pytest.fixture(scope="module")
def root(synthetic_root, tmp_path_factory):
    """The small set without its validation frames: whoever reads them fails."""
    folder = tmp_path_factory.mktemp("set") / "trained"
    shutil.copytree(synthetic_root, folder)
    for frame in (folder / "ImageSets" / "val.txt").read_text().split():
        for file in (folder / "training").glob(f"*/{frame}.*"):
            file.unlink()
    return folder


@pytest.fixture(scope="module")
def tuned(root, matrix, make_workplace, tmp_path_factory):
    """Runs what is left of the trials of two methods, and writes what was chosen."""
    folder = tmp_path_factory.mktemp("tuned")
    part = split_training(root, folder / "parts")
    base = matrix(["none", "fitnet"], seeds=(0, 1), epochs=1)
    base = replace(base, data=describe_data(part, synthetic=False))
    of_trials, tried = trial_matrix(base, 2)
    place = replace(make_workplace(folder / "results"), data=part, cache=folder / "cache")

    def run(path):
        run_matrix(of_trials, place)
        cells = [cell for cell in all_cells(of_trials, place) if cell.teacher]
        records = [place.record(cell) for cell in cells]
        write(path, of_trials, 2, outcome(tried, by_choice(cells, records)))
        return place, records

    return run


def test_trials_see_training_frames_alone_and_end_in_a_file_that_run_reads(
    tuned, root, matrix, tmp_path
):
    path = tmp_path / "settings.yaml"
    place, records = tuned(path)
    assert len(records) == 2 * 2 * 2
    assert {record["status"] for record in records} == {"done"}
    train = (root / "ImageSets" / "train.txt").read_text().split()
    for split, ids in (("train", train[:5]), ("val", train[5:])):
        assert (place.data / "ImageSets" / f"{split}.txt").read_text().split() == ids
    written = yaml.safe_load(path.read_text())
    for of in written["students"]["pointpillars@4"].values():
        assert [len(trial["mAP"]) for trial in of["trials"]] == [2, 2]
    found = read_tuned(path)
    assert (found.budget.trials, found.budget.seeds) == (2, 2)
    assert found.lacking(["pointpillars@4"], ["none", "fitnet"]) == []
    assert found.lacking(["second@4"], ["none"])[0].startswith("no settings of second@4; there are")
    cells = replace(matrix(["fitnet"]), tuned=found).cohorts()[0].cells
    assert [cell.method for cell in cells] == [found.choices["pointpillars@4"]["fitnet"].method]
    assert cells[0].settings()["tuned"]["hash"] == found.budget.hash
    untuned = matrix(["fitnet"]).cohorts()[0].cells[0]
    assert not {"tuned", "rate"} & untuned.settings().keys()


def test_trials_that_are_run_again_end_in_the_same_file(tuned, tmp_path):
    whole, resumed = tmp_path / "whole.yaml", tmp_path / "resumed.yaml"
    place, records = tuned(whole)
    for record in records[1::3]:
        place.folder.record(record["cell"]).unlink()
    tuned(resumed)
    assert whole.read_bytes() == resumed.read_bytes()


def test_a_trials_figure_is_the_mean_of_the_classes_that_have_one(tuned, tmp_path):
    record = tuned(tmp_path / "settings.yaml")[1][0]
    ap = record["ap"]
    known = [ap[name]["3d"]["R40"][1] for name in ("Car", "Pedestrian", "Cyclist")]
    known = [one for one in known if one is not None]
    assert figure(record) == pytest.approx(sum(known) / len(known))
    assert figure({**record, "status": "failed"}) is None


def test_tuned_rows_stand_in_a_table_of_their_own(
    tuned, tmp_path, matrix, workplace, make_workplace
):
    path = tmp_path / "settings.yaml"
    trials = tuned(path)[0].results
    place = make_workplace(tmp_path / "tables")
    chosen = read_tuned(path)
    run_matrix(replace(matrix(["none", "fitnet"], epochs=1), tuned=chosen), place)
    run_matrix(matrix(["none", "fitnet"], epochs=1), place)
    source, other = make_tables(read_all(place.results))
    assert source.tuned is None
    assert other.tuned == chosen.budget.settings()
    assert other.title == f"{source.title}, tuned"
    for table in (source, other):
        assert {row["student"] for row in table.rows} == {"pointpillars", "pointpillars@4"}
    (tried,) = make_tables(read_all(trials))
    assert [row["method"].partition(" (")[0].partition(":")[0] for row in tried.rows] == [
        "teacher", *sorted(2 * ["fitnet", "none"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        ("students: 3", "students is 3; it must be 'name: ...' pairs"),
        ("trials: x", "trials is 'x'; it must be a whole number"),
        ("students: {second@4: {none: {chosen: {method: none, rate: -1}}}}", "rate is -1"),
        ("students: {second@4: {none: {}}}", r"second@4.none.chosen is empty"),
    ],
)
def test_files_that_tune_did_not_write_are_refused(tmp_path, text, told):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(TuningError, match=told):
        read_tuned(path)
    with pytest.raises(TuningError, match="no such file"):
        read_tuned(tmp_path / "none.yaml")


def test_one_frame_cannot_be_split(root, tmp_path):
    lone = tmp_path / "lone"
    shutil.copytree(root, lone)
    first = (lone / "ImageSets" / "train.txt").read_text().split()[0]
    (lone / "ImageSets" / "train.txt").write_text(first)
    with pytest.raises(DataError, match="one training frame cannot be split"):
        split_training(lone, tmp_path / "parts")


def test_a_cache_that_cannot_hold_links_is_named(root, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    with pytest.raises(DataError, match=r"no link can be made .* put --cache on another disk"):
        split_training(root, tmp_path / "parts")
