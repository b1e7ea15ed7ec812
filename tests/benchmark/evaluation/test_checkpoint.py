"""A trained network, run again: the figures of its record, and files with the same detections."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from in_process import run_matrix

from benchmark.data.batches import evaluation_batch
from benchmark.data.errors import DataError
from benchmark.data.labels import read_labels
from benchmark.evaluation.checkpoint import (
    find_network,
    score_network,
    write_detections,
)
from benchmark.evaluation.detector import detect, detect_all
from benchmark.records.record import describe_training
from benchmark.records.store import RecordError, read_all
from benchmark.running.export import export_cell
from detectors import DetectorError, read_grid
from detectors.core.checkpoints import CheckpointError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(matrix, make_workplace, tmp_path_factory):
    """A workplace with a student, exported into the folder `student` beside its results."""
    workplace = make_workplace(tmp_path_factory.mktemp("scored") / "results")
    run_matrix(matrix(["none"]), workplace)
    record = next(r for r in read_all(workplace.results) if "@" in r["student"])
    export_cell(workplace.results, record["cell"], workplace.results.parent / "student")
    return workplace, record


def test_a_cell_scores_as_its_record_says(trained):
    workplace, record = trained
    network = find_network(record["cell"][:9], workplace.results, None)
    text = score_network(network, str(workplace.data), workplace.cache, CPU, None)
    assert text.endswith("\n\nsame as in its record")
    wrong = {**record, "ap": {**record["ap"], "Car": {}}}
    text = score_network(
        replace(network, record=wrong), str(workplace.data), workplace.cache, CPU, None
    )
    assert text.endswith("NOT the same as in its record")


def test_frames_of_a_profile_from_a_file_must_be_given(trained):
    workplace, record = trained  # of the profile "tiny", which does not come along
    network = find_network(record["cell"], workplace.results, None)
    with pytest.raises(DataError, match="profile tiny is from a file.* --data"):
        score_network(network, "synthetic", workplace.cache, CPU, None)


def test_an_exported_network_knows_what_it_is(trained):
    workplace, record = trained
    network = find_network(str(workplace.results.parent / "student"), None, None)
    assert network.student == "pointpillars@4"
    assert network.grid == read_grid(record["settings"]["grid"])
    text = score_network(network, str(workplace.data), workplace.cache, CPU, None)
    assert "record" not in text
    assert f"none, seed 0, {describe_training(record)}" in text.splitlines()[0]
    assert "synthetic data" in text.splitlines()[0]


def test_result_files_hold_the_detections(trained, tmp_path):
    workplace, _ = trained
    network = find_network(str(workplace.results.parent / "student"), None, None)
    text = score_network(network, str(workplace.data), workplace.cache, CPU, tmp_path)
    assert text.endswith(f"wrote 4 result files to {tmp_path}")
    with pytest.raises(DataError, match=f"{tmp_path} is not empty, .* new or empty folder"):
        score_network(network, str(workplace.data), workplace.cache, CPU, tmp_path)
    setup, frames, model = network.setup(CPU), network.frames(workplace.data), network.load(CPU)
    model.bbox_head.test_cfg.score_thr = 0.0  # so little trained, it is sure of nothing
    write_detections(detect_all({"network": model}, setup, frames)["network"], tmp_path)
    voxelize = setup.family.voxelizer(setup.grid, training=False)
    for frame in frames:
        inputs = voxelize(evaluation_batch(frame, setup.grid, CPU))
        found = detect(model, setup, inputs, frame)
        written = read_labels(tmp_path / f"{frame.id}.txt", scored=True)
        assert len(written) > 0
        np.testing.assert_array_equal(written.location, found.location)
        np.testing.assert_array_equal(written.score, found.score)


def test_a_file_of_elsewhere_must_be_named(trained, tmp_path):
    workplace, record = trained
    path = workplace.results / "checkpoints" / f"{record['cell']}.pth"
    with pytest.raises(CheckpointError, match="does not say which network"):
        find_network(str(path), None, None)
    assert find_network(str(path), None, "pointpillars@4").grid.cells == (432, 496, 1)
    with pytest.raises(DetectorError, match="did you mean 'pointpillars'"):
        find_network(str(path), None, "pointpilars@4")
    with pytest.raises(CheckpointError, match="does not exist"):
        find_network(str(tmp_path / "absent.pth"), None, None)
    with pytest.raises(RecordError, match="no finished cell"):
        find_network("absent", workplace.results, None)


def test_another_width_is_refused(trained):
    workplace, record = trained
    path = workplace.results / "checkpoints" / f"{record['cell']}.pth"
    network = find_network(str(path), None, "pointpillars@16")
    with pytest.raises(CheckpointError, match="does not fit pointpillars@16"):
        score_network(network, str(workplace.data), workplace.cache, CPU, None)
