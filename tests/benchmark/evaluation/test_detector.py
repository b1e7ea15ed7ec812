"""Detections that are not finite."""

from types import SimpleNamespace

import pytest
import torch

from benchmark.data.kitti import KittiDataset
from benchmark.evaluation.detector import FAR, detect
from benchmark.training.learner import DivergedError
from detectors import Grid
from kd_methods.core.interface import Detections


class Predicting:
    """Stands for a setup whose model always predicts the same."""

    def __init__(self, boxes, scores):
        self.found = Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor([2]))
        self.grid = Grid((0, -10, -3, 20, 10, 1))
        self.family = SimpleNamespace(predict=lambda model, inputs: [self.found])

    def autocast(self):
        return torch.autocast("cpu", enabled=False)


BOX = [10.0, 1.0, -1.7, 3.9, 1.6, 1.5, 0.1]


@pytest.fixture
def frame(synthetic_root):
    dataset = KittiDataset(synthetic_root, "val")
    return dataset.frame(dataset.ids[0])


def test_an_infinite_size_is_a_false_positive(frame):
    boxes = [[*BOX[:3], float("inf"), *BOX[4:]]]
    labels = detect(None, Predicting(boxes, [0.5]), None, frame)
    assert labels.dimensions.max() == FAR


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [([[*BOX[:6], float("nan")]], [0.5]), ([BOX], [float("nan")]), ([BOX], [float("inf")])],
)
def test_what_is_no_number_ends_the_cell(frame, boxes, scores):
    with pytest.raises(DivergedError, match=f"frame {frame.id} is not finite"):
        detect(None, Predicting(boxes, scores), None, frame)
