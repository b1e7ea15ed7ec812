"""Detectors of users: from mmdet3d configs, and from code."""

from pathlib import Path

import mmdet3d
import pytest
import torch
from frames import GRIDS, batch, capture

from detectors import DetectorError, get_family, load_detectors, parse_student
from detectors.core import registry
from detectors.core.checkpoints import export, load_network, read_origin

CONFIGS = Path(mmdet3d.__file__).parent / ".mim" / "configs"
SECOND = "second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py"
CAR = "second/second_hv_secfpn_8xb6-80e_kitti-3d-car.py"
CENTER = "centerpoint/centerpoint_{}_second_secfpn_8xb4-cyclic-20e_nus-3d.py"
NARROW = f"""
_base_ = "mmdet3d::{SECOND}"
model = dict(
    middle_encoder=dict(
        base_channels=8,
        output_channels=64,
        encoder_channels=((8,), (16, 16, 16), (32, 32, 32), (32, 32, 32)),
    ),
    backbone=dict(out_channels=[64, 128]),
    neck=dict(out_channels=[128, 128]),
)
"""
CODE = f"""
from detectors import register_family
from detectors.core.voxelnet import VoxelNet


@register_family("of_code", config="{SECOND}", like="second")
class OfCode(VoxelNet):
    pass
"""


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Forgets what a test adds."""
    monkeypatch.setattr(registry, "FAMILIES", registry.FAMILIES)
    known, added = dict(registry.FAMILIES), dict(registry._added)
    yield
    for now, before in ((registry.FAMILIES, known), (registry._added, added)):
        now.clear()
        now.update(before)


def add(name, file):
    load_detectors({name: file})
    return get_family(name)


def written(tmp_path, text, name="mine.py"):
    file = tmp_path / name
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("config", "like", "millions"),
    [
        (CAR, "second", 5.326),
        (CENTER.format("pillar02"), "pointpillars", 4.802),
        (CENTER.format("voxel01"), "second", 7.757),
    ],
)
def test_configs_of_mmdet3d_train_on_kittis_classes(config, like, millions):
    family = add("mine", CONFIGS / config)
    assert registry.FAMILIES["mine"].like == like
    whole = family.build(1, family.default_grid())
    assert sum(p.numel() for p in whole.parameters()) / 1e6 == pytest.approx(millions, abs=6e-4)
    torch.manual_seed(0)
    grid = GRIDS[like]
    needs = {"local", "stages", "neck", "head"}
    outputs, _, losses = capture(family, family.build(4, grid), grid, batch(), needs)
    sum(losses.values()).backward()
    assert outputs.head.positive.any() or config == CAR  # whose thresholds pedestrians miss
    assert outputs.head.class_logits.shape[2] == 3


def test_a_config_with_other_widths_is_a_family(tmp_path):
    family = add("narrow", written(tmp_path, NARROW))
    second = get_family("second")
    grid = GRIDS["second"]
    ours, theirs = family.config(1, grid), second.config(4, grid)
    for part in ("voxel_encoder", "backbone", "neck"):
        assert ours[part] == theirs[part]
    assert ours["middle_encoder"]["sparse_shape"] == theirs["middle_encoder"]["sparse_shape"]
    assert family.config(4, grid)["backbone"]["out_channels"] == [32, 64]
    assert family.default_grid() == second.default_grid()


def test_its_content_identifies_it(tmp_path):
    first = add("narrow", written(tmp_path, NARROW)).source
    renamed = add("narrow", written(tmp_path, "# moved" + NARROW, "other.py")).source
    wider = add("narrow", written(tmp_path, NARROW.replace("[64, 128]", "[72, 128]"), "w.py"))
    assert len(first) == 16
    assert first == renamed != wider.source
    assert get_family("second").source == ""


def test_code_registers_a_family(tmp_path):
    family = add("of_code", written(tmp_path, CODE))
    assert family.config(4, GRIDS["second"]) == get_family("second").config(4, GRIDS["second"])
    edited = add("of_code", written(tmp_path, CODE + "# edited", "edited.py"))
    assert edited.source != family.source


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine", "model = 1 / 0", "detector mine: .*ZeroDivisionError"),
        ("mine", "width = 3", "has no `model = dict"),
        ("mine", NARROW.replace("neck=dict(out_channels", "neck=dict(out_chanels"), "out_chanels"),
        ("mine", NARROW.replace("[64, 128]", "[64, 0]"), "backbone.out_channels is .64, 0."),
        ("mine", NARROW.replace("[64, 128]", "'64'"), "write a list of whole numbers above 0"),
        ("mine", NARROW.replace("neck=dict(", "neck=dict(upsample_strides=[1, 1], "), "or run"),
        ("mine", NARROW.replace("neck=dict(", "neck=dict(type='FPN', "), "neck is of type FPN"),
        ("mine", "model = dict(type='VoxelNet')", "voxel_layer has no point_cloud_range"),
        ("second", NARROW, "there is a detector 'second' already"),
        ("two words", NARROW, "cannot name a detector"),
        ("all", NARROW, "cannot name a detector"),
        ("mine", CODE, "has no class with @register_family\\('mine'"),
        ("mine", CODE.replace('like="second"', 'like="secnd"'), "did you mean 'second'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(tmp_path, name, text, message):
    with pytest.raises(DetectorError, match=message):
        load_detectors({name: written(tmp_path, text)})


def test_parts_of_other_types_are_named():
    for config, told in (
        ("pointpillars/pointpillars_hv_secfpn_sbn-all_8xb4-2x_nus-3d.py", "voxel_encoder.*HardVFE"),
        (CENTER.format("pillar02").replace("_8xb4", "_head-dcn_8xb4"), "separate_head.*DCNSep"),
        ("pointpillars/pointpillars_hv_fpn_sbn-all_8xb4-2x_nus-3d.py", "neck is of type mmdet.FPN"),
    ):
        with pytest.raises(DetectorError, match=told):
            load_detectors({"mine": CONFIGS / config})


def test_weights_of_another_config_are_refused(tmp_path):
    family, grid = add("narrow", written(tmp_path, NARROW)), GRIDS["second"]
    export(family.build(4, grid), parse_student("narrow@4"), grid, tmp_path / "out")
    path, first = tmp_path / "out" / "model.pth", family.source
    assert read_origin(path).detector == first
    load_network("narrow@4", grid, path, detector=first)
    stricter = NARROW + "model['test_cfg'] = dict(score_thr=0.9)"
    add("narrow", written(tmp_path, stricter, "stricter.py"))
    with pytest.raises(DetectorError, match=f"hash {first}, but the one here has"):
        load_network("narrow@4", grid, path, detector=first)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DetectorError, match="detector mine: file .*absent.py does not exist"):
        load_detectors({"mine": tmp_path / "absent.py"})


def test_a_family_that_nobody_added_is_unknown():
    with pytest.raises(DetectorError, match="unknown detector 'narow'.*--detector NAME=FILE"):
        get_family("narow")
