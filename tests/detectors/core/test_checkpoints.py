"""Checkpoints from and for plain mmdet3d."""

import collections
import re
from contextlib import suppress

import numpy as np
import pytest
import torch
from frames import GRIDS, batch
from hostile import damaged
from hypothesis import HealthCheck, given, settings
from mmengine.logging import HistoryBuffer

from detectors import DetectorError, get_family, grid_settings, parse_student
from detectors.core.checkpoints import (
    ORIGIN,
    CheckpointError,
    export,
    load_weights,
    read_origin,
    read_weights,
    usage,
)


def build(name, ratio=8):
    torch.manual_seed(0)
    return get_family(name).build(ratio, GRIDS[name]).eval()


@pytest.mark.parametrize("name", GRIDS)
def test_an_exported_student_runs_in_plain_mmdet3d(name, tmp_path):
    from mmdet3d.apis import inference_detector, init_model

    family, grid, frame = get_family(name), GRIDS[name], batch(1, points=1024)
    model = build(name)
    export(model, parse_student(f"{name}@8"), grid, tmp_path)
    plain = init_model(str(tmp_path / "config.py"), str(tmp_path / "model.pth"), device="cpu")
    ranges = re.findall(r"point_cloud_range ?= ?\[(.*?)\]", plain.cfg.pretty_text, re.DOTALL)
    found = {tuple(float(word) for word in text.replace(",", " ").split()) for text in ranges}
    assert found == {tuple(map(float, grid.point_cloud_range))}
    assert type(family.head(plain)).__module__.startswith("mmdet3d.")
    for network in (model, plain):
        _keep_everything(network)
    (ours,) = family.predict(model, family.voxelizer(grid, training=False)(frame))
    frame.points[0].numpy().tofile(tmp_path / "cloud.bin")
    if name == "pointrcnn":  # its pipeline draws points at random; here they are all drawn
        inputs = {"points": [frame.points[0]]}
        sample = family.voxelizer(grid, training=False)(frame).samples()
        (theirs,) = plain.test_step({"inputs": inputs, "data_samples": sample})
    else:
        theirs, _ = inference_detector(plain, str(tmp_path / "cloud.bin"))
    assert len(ours.boxes) > 5
    assert torch.equal(ours.boxes, theirs.pred_instances_3d.bboxes_3d.tensor)
    assert torch.equal(ours.scores, theirs.pred_instances_3d.scores_3d)


def _keep_everything(network):
    part = network.roi_head if hasattr(network, "roi_head") else network.bbox_head
    part.test_cfg.score_thr = 0.0


@pytest.mark.parametrize("name", GRIDS)
def test_the_teacher_has_the_names_and_shapes_of_mmdet3ds_own_model(name):
    import mmdet3d.models  # noqa: F401
    from mmdet3d.registry import MODELS
    from mmengine.config import ConfigDict

    family = get_family(name)
    plain = MODELS.build(ConfigDict(family.base_config())).state_dict()
    ours = family.build(1, family.default_grid()).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in plain.items()}


def test_a_checkpoint_of_mmengine_is_read_without_its_log(tmp_path):
    model, log = build("pointpillars"), HistoryBuffer()
    log.update(3.0)
    content = {"state_dict": model.state_dict(), "message_hub": {"loss": log}, "meta": {"epoch": 3}}
    torch.save(content, tmp_path / "epoch_3.pth")
    other = get_family("pointpillars").build(8, GRIDS["pointpillars"])
    load_weights(other, tmp_path / "epoch_3.pth", "pointpillars@8")
    assert all(
        torch.equal(a, b) for a, b in zip(other.parameters(), model.parameters(), strict=True)
    )


def test_kernels_in_the_layout_of_spconv_1_are_turned(tmp_path):
    model = build("second")
    old = collections.OrderedDict(model.state_dict())
    for key, value in old.items():
        if value.dim() == 5:
            old[key] = value.permute(1, 2, 3, 4, 0).contiguous()
    torch.save({"state_dict": old}, tmp_path / "old.pth")
    other = get_family("second").build(8, GRIDS["second"])
    load_weights(other, tmp_path / "old.pth", "second@8")
    assert all(
        torch.equal(a, b) for a, b in zip(other.parameters(), model.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    "save",
    [
        lambda weights, path: torch.save({"state_dict": wrapped("module.", weights)}, path),
        lambda weights, path: torch.save(
            wrapped("module.architecture.", weights)
            | wrapped("module.teacher.", build("pointpillars", 1).state_dict()),
            path,
        ),
        lambda weights, path: torch.save(
            wrapped("architecture.", weights) | {"connectors.a.weight": torch.zeros(3)}, path
        ),
        lambda weights, path: torch.save(weights, path, _use_new_zipfile_serialization=False),
        lambda weights, path: torch.save(
            {"state_dict": wrapped("model._orig_mod.", weights), "pytorch-lightning_version": "2"},
            path,
        ),
    ],
    ids=["parallel", "mmrazor, parallel", "mmrazor", "legacy pickle", "Lightning, compiled"],
)
def test_what_others_wrap_around_weights_is_taken_away(save, tmp_path):
    weights = build("pointpillars").state_dict()
    save(weights, tmp_path / "model.pth")
    found = read_weights(tmp_path / "model.pth")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def wrapped(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


def test_weights_that_are_not_finite_are_named(tmp_path):
    model = build("pointpillars")
    weights = model.state_dict()
    weights["bbox_head.conv_cls.bias"][0] = float("nan")
    torch.save(weights, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"bbox_head\.conv_cls\.bias is not finite"):
        load_weights(model, tmp_path / "model.pth", "pointpillars@8")


def test_half_precision_is_read(tmp_path):
    weights = {k: v.half() if v.is_floating_point() else v for k, v in
               build("pointpillars").state_dict().items()}  # fmt: skip
    torch.save({"state_dict": weights}, tmp_path / "half.pth")
    other = get_family("pointpillars").build(8, GRIDS["pointpillars"])
    load_weights(other, tmp_path / "half.pth", "pointpillars@8")
    for name, value in other.state_dict().items():
        assert value.dtype != torch.half
        assert torch.equal(value, weights[name].to(value.dtype))


def _nine_values(weights):
    name = "voxel_encoder.pfn_layers.0.linear.weight"
    return {**weights, name: weights[name][:, :9]}


def _one_class(weights):
    return {k: v[:2] if "conv_cls" in k else v for k, v in weights.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_nine_values, "linear.weight is .*9.*, .*10.* in the model; pillars of 9 values are of"),
        (_one_class, "conv_cls.bias is .*; it was trained on another number of classes"),
        (lambda weights: {"model_state": weights, "epoch": 80}, "is OpenPCDet's"),
    ],
)
def test_what_a_misfit_means_is_told(change, message, tmp_path):
    path = tmp_path / "model.pth"
    torch.save(change(build("pointpillars").state_dict()), path)
    with pytest.raises(CheckpointError, match=message):
        load_weights(build("pointpillars"), path, "pointpillars@8")


class Harmful:
    def __reduce__(self):
        return (print, ("this must not run",))


def _truncated(path):
    torch.save(build("pointpillars").state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "does not exist"),
        (_truncated, "must be complete"),
        (lambda path: path.write_text("no checkpoint"), "cannot be read"),
        (lambda path: torch.save({"state_dict": Harmful()}, path), "holds a .*print"),
        (lambda path: torch.save({"meta": {"epoch": 1}}, path), "no state_dict of tensors"),
        (lambda path: torch.save({}, path), "no state_dict of tensors"),
        (lambda path: torch.save({"state_dict": 5}, path), "no state_dict of tensors"),
        (lambda path: torch.save({1: torch.zeros(2)}, path), "no state_dict of tensors"),
        (lambda path: path.touch(), "it is damaged or another kind of file"),
        (lambda path: path.write_text("<!DOCTYPE html>"), "or another kind of file, e.g. a web"),
        (lambda path: path.write_text("version https://git-lfs"), "a pointer of Git LFS"),
        (lambda path: torch.save(np.zeros(3), path), "cannot be read|no state_dict"),
    ],
)
def test_what_is_no_checkpoint_is_refused(write, message, tmp_path, capsys):
    write(tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=message) as error:
        read_weights(tmp_path / "model.pth")
    assert str(tmp_path / "model.pth") in str(error.value)
    assert "weights_only" not in str(error.value)
    assert "must not run" not in capsys.readouterr().out


ORIGIN_SAID = {
    "student": "pointpillars@8", "grid": grid_settings(GRIDS["pointpillars"]),
    "trained": "none, seed 0", "detector": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student": 5}, "student is 5"),
        ({"student": None}, "student is None"),
        ({"grid": 5}, "grid 5"),
        ({"grid": {"num_points": "x"}}, "point_cloud_range"),
        ({"grid": {"point_cloud_range": [0, 0, 0, 1, 1, 1], "num_points": "x"}}, "num_points is"),
        ({"grid": ORIGIN_SAID["grid"] | {"voxel_size": [float("nan"), 1, 1]}}, "voxel_size is"),
    ],
)
def test_an_origin_of_a_wrong_form_is_refused(tmp_path, change, message):
    torch.save({"state_dict": {}, "meta": {ORIGIN: ORIGIN_SAID | change}}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=f"model.pth: invalid pointkd in meta: .*{message}"):
        read_origin(tmp_path / "model.pth")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(said=damaged({"meta": {ORIGIN: ORIGIN_SAID}}))
def test_a_damaged_origin_is_read_or_refused(tmp_path, said):
    torch.save(said, tmp_path / "model.pth")
    with suppress(CheckpointError, DetectorError):
        origin = read_origin(tmp_path / "model.pth")
        if origin is not None:
            _, family, ratio = parse_student(origin.student)
            family.config(ratio, origin.grid)


def test_what_does_not_fit_is_named(tmp_path):
    path = tmp_path / "model.pth"
    model = build("pointpillars", 4)
    torch.save(model.state_dict(), path)
    with pytest.raises(CheckpointError, match=r"pointpillars@8: .*\[\d+, \d+.*in the model.*more"):
        load_weights(build("pointpillars", 8), path, "pointpillars@8")
    weights = model.state_dict()
    weights["bbox_head.extra"] = weights.pop("bbox_head.conv_cls.bias")
    torch.save(weights, path)
    with pytest.raises(CheckpointError) as error:
        load_weights(build("pointpillars", 4), path, "pointpillars@4")
    assert "bbox_head.conv_cls.bias is missing" in str(error.value)
    assert "bbox_head.extra is not part of the model" in str(error.value)


def test_what_export_prints_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(build("pointpillars"), parse_student("pointpillars@8"), GRIDS["pointpillars"], tmp_path)
    batch(1, points=1024).points[0].numpy().tofile("scan.bin")
    names: dict = {}
    exec(usage(tmp_path), names)  # noqa: S102
    assert names["result"].pred_instances_3d.bboxes_3d.tensor.shape[1] == 7
