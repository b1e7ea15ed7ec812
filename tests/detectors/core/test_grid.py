"""Any classes, any region: what detectors take from a data set."""

from dataclasses import replace

import pytest
import torch
from frames import GRIDS, batch

from detectors import DetectorError, get_family, grid_settings, read_grid
from detectors.core.family import installed_config
from detectors.core.grid import KITTI_CLASSES, ObjectClass

OTHERS = (
    ObjectClass("Truck", (8.0, 2.5, 3.2), -1.6),
    ObjectClass("Pedestrian", (0.7, 0.6, 1.7), -1.6),
    ObjectClass("Car", (4.5, 1.9, 1.7), -1.6),
    ObjectClass("Cone", (0.4, 0.4, 0.6), -1.6),
    ObjectClass("Motorcyclist", (2.1, 0.8, 1.6), -1.6),
)


def head_of(config):
    return config.get("bbox_head") or config["rpn_head"]


@pytest.mark.parametrize("name", GRIDS)
def test_kittis_classes_are_those_of_mmdet3ds_config(name):
    family = get_family(name)
    theirs = installed_config(family.config_file)["model"]
    ours = family.config(1, family.default_grid())
    assert ours["train_cfg"] == theirs["train_cfg"]
    generator = head_of(theirs).get("anchor_generator")
    if "tasks" in head_of(theirs):
        assert head_of(ours) == head_of(theirs)
        assert ours["test_cfg"] == theirs["test_cfg"]
        return
    if generator:
        assert head_of(ours)["anchor_generator"] == generator
    else:
        car, pedestrian, cyclist = head_of(theirs)["bbox_coder"]["mean_size"]
        assert head_of(ours)["bbox_coder"]["mean_size"] == [pedestrian, cyclist, car]
    assert head_of(ours)["num_classes"] == head_of(theirs)["num_classes"] == 3


def test_a_class_is_like_its_namesake_or_the_nearest_in_size():
    assert [each.like for each in OTHERS] == [
        "Car", "Pedestrian", "Car", "Pedestrian", "Cyclist",
    ]  # fmt: skip


@pytest.mark.parametrize("name", GRIDS)
def test_a_step_on_five_classes(name):
    family, grid = get_family(name), replace(GRIDS[name], classes=OTHERS)
    torch.manual_seed(0)
    model = family.build(16, grid).train()
    frames = replace(
        batch(points=grid.num_points or 1500), classes=grid.class_names,
        labels=[torch.tensor([2, 1])] * 2,
    )  # fmt: skip
    inputs = family.voxelizer(grid, training=True)(frames)
    with family.capture(model, {"head"}, grid) as take:
        losses = family.losses(model, inputs)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    head = take(inputs).head
    assert head.class_logits.shape[2] == family.spec(model).classes == 5
    assert set(head.assigned.unique().tolist()) & {1, 2}
    assert not set(head.assigned.unique().tolist()) & {0, 3, 4}
    with torch.no_grad():
        found = family.predict(model.eval(), family.voxelizer(grid, training=False)(frames))
    assert len(found) == 2


@pytest.mark.parametrize("name", GRIDS)
def test_a_full_circle_is_covered_by_whole_cells(name):
    family = get_family(name)
    whole = family.cover(family.default_grid(), (-50.3, -40.1, -4.2), (51.0, 40.0, 2.3))
    low, high = whole.point_cloud_range[:3], whole.point_cloud_range[3:]
    assert low == (-50.3, -40.1, -4.2)
    assert all(end >= wanted for end, wanted in zip(high, (51.0, 40.0, 2.3), strict=True))
    assert all(end - 1.7 < wanted for end, wanted in zip(high[:2], (51.0, 40.0), strict=True))
    family.config(4, whole)  # refuses sides that it cannot halve
    if whole.max_voxels:
        assert whole.max_voxels[0] > family.default_grid().max_voxels[0]


def test_classes_travel_with_the_settings_of_a_grid():
    grid = replace(GRIDS["second"], classes=OTHERS)
    assert read_grid(grid_settings(grid)) == grid
    assert "classes" not in grid_settings(GRIDS["second"])
    assert read_grid(grid_settings(GRIDS["second"])).classes == KITTI_CLASSES
    assert "key_points" not in grid_settings(GRIDS["second"])
    assert read_grid(grid_settings(GRIDS["pv_rcnn"])) == GRIDS["pv_rcnn"]
    broken = grid_settings(grid) | {"classes": [{"name": "Car"}]}
    with pytest.raises(DetectorError, match="size"):
        read_grid(broken)


@pytest.mark.parametrize("name", ["pointpillars", "second"])
def test_a_range_that_no_memory_holds_is_refused(name):
    family = get_family(name)
    with pytest.raises(DetectorError, match="cells, more than 16,777,216; choose a smaller range"):
        family.cover(family.default_grid(), (-5000, -5000, -3), (5000, 5000, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"voxel_size": (0, 0.32, 4)}, "voxel_size is .* each at least 0.001"),
        ({"voxel_size": (0.32, -0.32, 4)}, "voxel_size is .* each at least 0.001"),
        ({"voxel_size": (0.32, 0.32)}, "voxel_size is .*; write x, y, z in metres"),
        ({"voxel_size": (1e-9, 0.32, 4)}, "voxel_size is .* each at least 0.001"),
        ({"voxel_size": (0.001, 0.001, 4)}, "cells, more than 16,777,216"),
        ({"voxel_size": (0.32, 0.32, 2)}, "2 cells along z; a pillar is as high as the region"),
        ({"max_voxels": (-5, 5)}, "max_voxels is .*, each 1 to 16,777,216"),
        ({"max_voxels": (0, 0)}, "max_voxels is"),
        ({"max_voxels": (10**12, 1)}, "max_voxels is"),
        ({"max_voxels": ()}, "max_voxels is"),
        ({"point_cloud_range": (0, -8, -3, 1e12, 8, 1)}, "point_cloud_range is .*at most 10000 m"),
        ({"point_cloud_range": (8, -8, -3, 0, 8, 1)}, "point_cloud_range is .*minimum, then"),
        ({"point_cloud_range": (0, -8, 1, 16, 8, 1)}, "point_cloud_range is"),
    ],
)
def test_grids_that_no_network_can_see_are_refused(change, message):
    family = get_family("pointpillars")
    with pytest.raises(DetectorError, match=message):
        family.config(4, replace(GRIDS["pointpillars"], **change))
