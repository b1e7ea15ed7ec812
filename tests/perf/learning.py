"""Does a detector learn on the built-in synthetic data? Its AP, and that of two that know nothing.

    python tests/perf/learning.py RESULTS

Prints Car BEV and 3D AP (R40, Moderate) of every finished cell of a results folder, of the same
network before training, and of mean boxes put on clusters of points.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from tabulate import tabulate

from benchmark.config.matrix import Cell, describe_data
from benchmark.config.profile import load_profile
from benchmark.data import synthetic
from benchmark.data.dataset import to_labels
from benchmark.evaluation.detector import evaluate_models
from benchmark.evaluation.kitti_ap import evaluate
from benchmark.records.store import NONE, read_results
from benchmark.running.setups import make_setup, make_validation
from benchmark.running.workplace import Workplace
from detectors import get_family

MODERATE = 1
CELL = 0.3
"""Side of the squares that clusters are made of, metres."""
GROUND, ROOF = -1.4, 0.6
"""Points between these heights, metres in the sensor's frame, stand on the ground."""
SIZES = {"Pedestrian": (0.8, 0.6, 1.73), "Cyclist": (1.76, 0.6, 1.73), "Car": (3.9, 1.6, 1.56)}


def clusters(points, grid):
    """Points of each connected patch of occupied squares."""
    x0, y0, x1, y1 = grid.extent
    keep = (points[:, 2] > GROUND) & (points[:, 2] < ROOF)
    keep &= (points[:, 0] >= x0) & (points[:, 0] < x1) & (points[:, 1] >= y0) & (points[:, 1] < y1)
    points = points[keep]
    squares = ((points[:, :2] - (x0, y0)) / CELL).astype(int)
    occupied = np.zeros((int((x1 - x0) / CELL) + 1, int((y1 - y0) / CELL) + 1), dtype=bool)
    occupied[tuple(squares.T)] = True
    patches, count = ndimage.label(occupied, np.ones((3, 3)))
    member = patches[tuple(squares.T)]
    return [points[member == i] for i in range(1, count + 1)]


def mean_box(cluster):
    """A mean box on a cluster, along its longest direction, with class and score."""
    middle = (cluster[:, :2].min(0) + cluster[:, :2].max(0)) / 2
    centred = cluster[:, :2] - middle
    axis = np.linalg.svd(centred, full_matrices=False)[2][0] if len(cluster) > 1 else (1.0, 0.0)
    length = np.ptp(centred @ axis)
    name = "Pedestrian" if length < 1.1 else "Cyclist" if length < 2.2 else "Car"
    score = min(len(cluster) / 1000, 1.0) if length < 5.5 else 0.0
    return name, score, [*middle, -1.73, *SIZES[name], np.arctan2(axis[1], axis[0])]


def trivial_result(setup, validation):
    """AP of mean boxes on clusters."""
    truth, found, ignored, exempt = [], [], [], []
    for frame in validation:
        boxes = [mean_box(c) for c in clusters(frame.points, setup.grid) if len(c) >= 5]
        boxes = [box for box in boxes if box[1] > 0]
        labels = to_labels(
            np.array([box for _, _, box in boxes]).reshape(-1, 7),
            [name for name, _, _ in boxes],
            np.array([score for _, score, _ in boxes]),
            frame.calibration,
            frame.image_size,
        )
        truth.append(frame.labels)
        found.append(labels)
        camera = np.column_stack([frame.labels.location, np.ones(len(frame.labels.location))])
        places = torch.from_numpy(camera @ frame.calibration.camera_to_lidar.T)
        ignored.append(~setup.grid.inside(places).numpy())
        exempt.append(np.zeros(len(labels.location), dtype=bool))
    return evaluate(truth, found, ignored, exempt).as_json()


def row(name, ap):
    return [name, *(f"{ap['Car'][kind]['R40'][MODERATE]:.1f}" for kind in ("bev", "3d"))]


def main(results):
    torch.manual_seed(0)
    found = [record for record in read_results(results) if record["status"] == "done"]
    profile = load_profile(found[0]["profile"]["name"])
    cache = Path(".cache/pointkd")
    root = synthetic.ensure(cache / "synthetic", **profile.synthetic)
    workplace = Workplace(data=root, results=results, cache=cache, device=torch.device("cpu"))
    rows = []
    for record in found:
        rows.append(row(f"{record['student']} {record['method']}", record["ap"]))
    for name in dict.fromkeys(record["student"].partition("@")[0] for record in found):
        cell = Cell(describe_data(root, True), profile, name, NONE, 0, "fp32")
        setup, validation = make_setup(cell, workplace), make_validation(cell, workplace)
        fresh = get_family(name).build(1, setup.grid).eval()
        result = evaluate_models({"fresh": fresh}, setup, validation)["fresh"]
        rows.append(row(f"{name} untrained", result.as_json()))
    rows.append(row("mean boxes on clusters", trivial_result(setup, validation)))
    print(tabulate(rows, headers=["detector", "Car BEV", "Car 3D"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
