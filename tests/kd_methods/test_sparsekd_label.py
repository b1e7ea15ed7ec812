"""SparseKD's label distillation on hand-made detections."""

import pytest
import torch

from kd_methods import Batch, Detections, Outputs, create


def boxes(*x):
    return torch.tensor([[float(v), 0, 0, 4, 2, 1.5, 0] for v in x]).reshape(-1, 7)


def labels(*values):
    return torch.tensor(values, dtype=torch.long)


@pytest.fixture
def batch():
    return Batch(
        boxes=[boxes(1, 2), boxes()],
        labels=[labels(2, 0), labels()],
        points=[torch.zeros(5, 4)] * 2,
        classes=("Pedestrian", "Cyclist", "Car"),
    )


def teacher(*detections):
    return Outputs(detect=lambda: [Detections(*found) for found in detections])


def test_confident_detections_stand_before_the_ground_truth(batch):
    first = boxes(7, 8, 9), torch.tensor([0.9, 0.6, 0.61]), labels(2, 1, 0)
    second = boxes(5), torch.tensor([0.7]), labels(1)
    method = create("sparsekd_label", "pointpillars@4")
    made = method.targets(teacher(first, second), batch)
    torch.testing.assert_close(made.boxes[0], boxes(7, 9, 1, 2))
    assert made.labels[0].tolist() == [2, 0, 2, 0]
    torch.testing.assert_close(made.boxes[1], boxes(5))
    assert made.labels[1].tolist() == [1]


def test_the_given_batch_stays_as_it_is(batch):
    found = boxes(7), torch.tensor([0.9]), labels(2)
    made = create("sparsekd_label", "pointpillars@4").targets(teacher(found, found), batch)
    assert [len(b) for b in batch.boxes] == [2, 0]
    assert made.points is batch.points
    assert made.classes is batch.classes


def test_without_confident_detections_the_targets_are_the_ground_truth(batch):
    nothing = boxes(), torch.zeros(0), labels()
    unsure = boxes(3), torch.tensor([0.5]), labels(2)
    made = create("sparsekd_label", "pointpillars@4").targets(teacher(nothing, unsure), batch)
    for i in range(2):
        torch.testing.assert_close(made.boxes[i], batch.boxes[i])
        torch.testing.assert_close(made.labels[i], batch.labels[i])


def test_the_threshold_can_be_set(batch):
    found = boxes(3), torch.tensor([0.5]), labels(2)
    method = create("sparsekd_label:threshold=0.4", "pointpillars@4")
    assert len(method.targets(teacher(found, found), batch).boxes[0]) == 3


def test_the_ground_truth_can_be_left_out(batch):
    found = boxes(3), torch.tensor([0.2]), labels(1)
    method = create("sparsekd_label:threshold=0.1:ground_truth=false", "pointpillars@4")
    made = method.targets(teacher(found, found), batch)
    torch.testing.assert_close(made.boxes[0], boxes(3))
    assert [frame.tolist() for frame in made.labels] == [[1], [1]]


def test_the_switch_is_no_part_of_the_identity_unless_it_is_used():
    plain = create("sparsekd_label", "pointpillars@4")
    without = create("sparsekd_label:ground_truth=false", "pointpillars@4")
    assert "ground_truth" not in plain.identifying()
    assert without.identifying()["ground_truth"] is False


def test_it_composes_with_the_other_parts(batch):
    text = "sparsekd_logit+sparsekd_label+sparsekd_tgi"
    method = create(text, "pointpillars@4")
    assert method.needs() == {"head"}
    found = boxes(7), torch.tensor([0.9]), labels(2)
    assert len(method.targets(teacher(found, found), batch).boxes[0]) == 3
