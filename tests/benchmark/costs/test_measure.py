"""Cost of a model against a hand count."""

import json

import pytest
import torch
from hostile import damaged
from hypothesis import HealthCheck, given, settings
from made_records import make_record
from torch import nn

from benchmark.costs import measure
from benchmark.costs.measure import (
    MEASURED_FRAMES,
    ROUNDS,
    Deployed,
    latencies,
    model_cost,
    remembered_cost,
)
from benchmark.data.kitti import KittiDataset
from benchmark.records.schema import form_of_records
from benchmark.running.setups import make_setup, make_validation
from detectors import get_family

SIDE, ANCHOR_VALUES = 48, 6 * (3 + 7 + 2)
"""Pillars along the tests' grid; outputs of the head per place: scores, codes, directions."""


def sides(model):
    """Each layer of the backbone and the neck with the side of its output and, for a
    convolution, of the map that it visits."""
    side = SIDE
    for block in model.backbone.blocks:
        side //= 2
        yield from ((layer, side, side) for layer in block)
    for block, stride in zip(model.neck.deblocks, (1, 2, 4), strict=True):
        yield from ((layer, SIDE // 2, SIDE // 2 // stride) for layer in block)


def counted_by_hand(model):
    """Multiply-accumulates, output elements and mmcv's FLOPs of PointPillars' dense part."""
    macs = outputs = extras = width = 0
    for layer, side, visited in sides(model):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            width = layer.out_channels
            macs += layer.in_channels * width * layer.kernel_size[0] ** 2 * visited**2
            outputs += width * side**2
        elif isinstance(layer, nn.BatchNorm2d):
            extras += 2 * width * side**2
        elif isinstance(layer, nn.ReLU):
            extras += width * side**2
    head = ANCHOR_VALUES * (SIDE // 2) ** 2
    macs += model.bbox_head.in_channels * head
    return macs, outputs + head, macs + extras + head


@pytest.fixture
def parts(matrix, workplace):
    cell = matrix(["none"]).cohorts()[0].cells[0]
    setup = make_setup(cell, workplace)
    model = get_family("pointpillars").build(4, setup.grid).eval()
    return model, setup, make_validation(cell, workplace)


@pytest.fixture
def deployed(parts):
    model, setup, _ = parts
    return Deployed(model, setup.family, setup.grid, setup.device)


def test_work_equals_a_hand_count(deployed, parts):
    frames = list(parts[2])[:2]
    cost = model_cost(deployed, frames, timed=False)
    macs, outputs, by_mmcv = counted_by_hand(deployed.model)
    voxels = [deployed.voxelize(batch).voxels for batch in deployed.batches(frames)]
    held = [int(each["num_points"].sum()) for each in voxels]
    assert held[0] != held[1]
    points = sum(held) / 2
    assert cost["flops_full"] == round(macs + points * 10 * 32)
    assert cost["activations"] == round(outputs + points * 32)
    one_point = 10 * 32  # of the linear layer; batch norm and ReLU are functions
    assert cost["flops_paper"] == by_mmcv + one_point


def test_cost_describes_the_deployed_model(deployed, parts):
    frames = list(parts[2])[:2]
    cost = model_cost(deployed, frames)
    assert cost["params"] == sum(p.numel() for p in deployed.model.parameters())
    assert cost["latency_ms"]["median"] > 0
    assert cost["latency_ms"]["iqr"] >= 0
    assert cost["latency_ms"]["threads"] == torch.get_num_threads()
    assert cost["frames"] == [frame.id for frame in frames]
    assert cost["peak_memory_mb"] is cost["peak_memory_of"] is None


class Recorded:
    """Stands for a deployed model; notes when it is run, and on what."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def batches(self, frames):
        return frames

    def detect(self, batch):
        self.log.append((batch, self.name))


def test_students_take_turns_on_each_frame(monkeypatch):
    log = []
    monkeypatch.setattr(measure, "system_load", lambda: 1.5)
    found = latencies([Recorded("a", log), Recorded("b", log)], ["one", "two"])
    per_call = log.count(("one", "a")) // (1 + ROUNDS)  # the timer may repeat a short statement
    turns = log[::per_call]
    assert turns == [(frame, name) for frame in ("one", "two") for name in "ab" * (1 + ROUNDS)]
    assert [one["load"] for one in found] == [1.5, 1.5]


def test_a_system_without_a_load_average_has_none(monkeypatch):
    monkeypatch.delattr("os.getloadavg")
    assert measure.system_load() is None


def test_a_latency_that_says_little_is_measured_again(parts, tmp_path, monkeypatch):
    model, setup, frames = parts
    monkeypatch.setattr(measure, "says_little", lambda median, iqr: True)
    cost = remembered_cost(tmp_path, "pointpillars@4", model, setup, frames)
    assert cost["latency_ms"]["median"] > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", ["", "{}", '{"params": 1', '{"params": "many"}', "[1]", "[" * 9999]
)
def test_a_damaged_cost_is_measured_anew(parts, tmp_path, monkeypatch, content):
    model, setup, frames = parts
    monkeypatch.setattr(measure, "says_little", lambda median, iqr: False)
    first = remembered_cost(tmp_path, "pointpillars@4", model, setup, frames)
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    again = remembered_cost(tmp_path, "pointpillars@4", model, setup, frames)
    assert again["flops_full"] == first["flops_full"]
    assert json.loads(path.read_text()) == again


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(cost=damaged(make_record()["cost"]))
def test_a_damaged_cost_is_none_or_fits_into_a_record(tmp_path, cost):
    path = tmp_path / "cost.json"
    path.write_text(json.dumps(cost))
    kept = measure._kept_cost(path)
    assert kept is None or form_of_records()(make_record(cost=kept)) == ""


def test_cost_is_measured_once_per_student(parts, tmp_path, monkeypatch):
    model, setup, frames = parts
    monkeypatch.setattr(measure, "says_little", lambda median, iqr: False)  # on a busy machine too
    read = []
    frame = KittiDataset.frame
    monkeypatch.setattr(
        KittiDataset, "frame", lambda self, key: read.append(key) or frame(self, key)
    )
    first = remembered_cost(tmp_path, "pointpillars@4", model, setup, frames)
    assert read == list(frames.ids[:MEASURED_FRAMES])
    assert remembered_cost(tmp_path, "pointpillars@4", model, setup, frames) == first
    assert read == list(frames.ids[:MEASURED_FRAMES])
    remembered_cost(tmp_path, "pointpillars@5", model, setup, frames)
    assert len(list(tmp_path.iterdir())) == 2
