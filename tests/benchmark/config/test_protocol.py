"""The kitti profile, field by field, against mmdet3d's own config files."""

import math

import pytest

from benchmark.config.profile import load_profile
from detectors import CLASSES, get_family
from detectors.core.registry import FAMILIES

FAMILY_NAMES = ["pointpillars", "second", "pointrcnn", "pv_rcnn"]
DIFFERENCES = {
    "pointpillars": {"paste.use_ground_plane": (True, False)},
    "second": {},
    "pointrcnn": {},
    "pv_rcnn": {"batch_size": (48, 16), "paste.use_ground_plane": (True, False)},
}
"""What differs on purpose, by family: field, mmdet3d's value, ours. docs/protocol.md says why."""

IGNORED_STEPS = {"LoadPointsFromFile", "LoadAnnotations3D", "Pack3DDetInputs"}


def theirs(config):
    """mmdet3d's config as flat fields."""
    wrapper, optimiser = config.optim_wrapper, config.optim_wrapper.optimizer
    loader = config.train_dataloader
    assert (wrapper.type, optimiser.type) == ("OptimWrapper", "AdamW")
    assert loader.dataset.type == "RepeatDataset"
    up, down, beta_up, beta_down = config.param_scheduler
    epochs = config.train_cfg.max_epochs
    assert config.train_cfg.by_epoch
    assert {p.type for p in (up, down)} == {"CosineAnnealingLR"}
    assert {p.type for p in (beta_up, beta_down)} == {"CosineAnnealingMomentum"}
    for first, second in ((up, down), (beta_up, beta_down)):
        assert first.begin == 0
        assert first.T_max == first.end == second.begin == up.end
        assert (second.T_max, second.end) == (pytest.approx(epochs - up.end), epochs)
        assert first.convert_to_iter_based
        assert second.convert_to_iter_based
    fields = {
        "epochs": epochs * loader.dataset.times,
        "batch_size": config.auto_scale_lr.base_batch_size,
        "micro_batch_size": loader.batch_size,
        "learning_rate": optimiser.lr,
        "betas": tuple(optimiser.betas),
        "weight_decay": optimiser.weight_decay,
        "max_grad_norm": wrapper.clip_grad.max_norm,
        "gradient_norm": wrapper.clip_grad.norm_type,
        "pct_start": up.end / epochs,
        "div_factor": up.eta_min / optimiser.lr,
        "final_div_factor": optimiser.lr / down.eta_min,
        "base_momentum": beta_up.eta_min,
        "final_momentum": beta_down.eta_min,
        "last_schedule": len(config.param_scheduler),
        "steps": [],
    }
    for transform in loader.dataset.dataset.pipeline:
        if transform.type not in IGNORED_STEPS:
            add_transform(fields, dict(transform))
    fields["test_points"] = [
        {key: value for key, value in t.items() if key != "point_cloud_range"}
        for t in config.test_dataloader.dataset.pipeline[1].transforms
        if t.type.startswith("Point")
    ]
    return fields


def add_transform(fields, transform):
    """One of mmdet3d's transforms as fields; what is not read here fails the test."""
    kind = transform.pop("type")
    steps = fields["steps"]
    if kind == "ObjectSample":
        sampler = dict(transform.pop("db_sampler"))
        prepare = sampler["prepare"]
        assert sampler["rate"] == 1
        assert set(prepare) == {"filter_by_difficulty", "filter_by_min_points"}
        assert list(prepare["filter_by_difficulty"]) == [-1]
        steps.append("object_sample")
        fields["paste.counts"] = list(sampler["sample_groups"].items())
        fields["paste.min_points"] = dict(prepare["filter_by_min_points"])
        fields["paste.classes"] = tuple(sampler["classes"])
        fields["paste.use_ground_plane"] = transform.pop("use_ground_plane", False)
    elif kind == "ObjectNoise":
        steps.append("object_noise")
        assert list(transform.pop("global_rot_range")) == [0, 0]
        fields["shake.translation_std"] = tuple(transform.pop("translation_std"))
        fields["shake.rotation"] = tuple(transform.pop("rot_range"))
        fields["shake.tries"] = transform.pop("num_try")
    elif kind == "RandomFlip3D":
        steps.append("random_flip")
        fields["flip"] = transform.pop("flip_ratio_bev_horizontal")
    elif kind == "GlobalRotScaleTrans":
        steps += ["global_rotation", "global_scaling"]
        fields["rotate"] = tuple(transform.pop("rot_range"))
        fields["scale"] = tuple(transform.pop("scale_ratio_range"))
    elif kind in ("PointsRangeFilter", "ObjectRangeFilter"):
        steps.append("points_range_filter" if kind.startswith("Points") else "object_range_filter")
        fields["range"] = tuple(transform.pop("point_cloud_range"))
    elif kind == "PointSample":
        steps.append("draw_points")
        fields["num_points"] = transform.pop("num_points")
        fields["sample_range"] = transform.pop("sample_range")
    else:
        assert kind == "PointShuffle"
        steps.append("shuffle")
    assert not transform, (kind, transform)


def ours(family):
    """Our resolved recipe as the same flat fields."""
    recipe = load_profile("kitti").recipe(family)
    fields = {
        name: getattr(recipe, name)
        for name in (
            "epochs", "batch_size", "micro_batch_size", "learning_rate", "betas",
            "weight_decay", "max_grad_norm",
        )
    }  # fmt: skip
    fields |= {"gradient_norm": 2, "last_schedule": 4} | vars(recipe.one_cycle)
    steps = {step.name: step for step in recipe.augmentation}
    paste = steps["object_sample"]
    fields |= {
        "steps": [step.name for step in recipe.augmentation],
        "paste.counts": list(paste.counts.items()),
        "paste.min_points": dict(paste.min_points),
        "paste.classes": CLASSES,
        "paste.use_ground_plane": False,
        "flip": steps["random_flip"].probability,
        "rotate": steps["global_rotation"].angle,
        "scale": steps["global_scaling"].factor,
    }
    if "object_noise" in steps:
        shake = steps["object_noise"]
        fields |= {f"shake.{name}": value for name, value in vars(shake).items()}
    return fields


def add_grid(fields, grid):
    """What training and evaluation do with the grid beside the steps (benchmark.data.sample)."""
    fields["range"] = grid.point_cloud_range
    fields["test_points"] = [{"type": "PointsRangeFilter"}]
    if grid.num_points:
        fields |= {"num_points": grid.num_points, "sample_range": grid.sample_range}
        fields["steps"].append("draw_points")
        sampling = {"num_points": grid.num_points, "sample_range": grid.sample_range}
        fields["test_points"].append({"type": "PointSample", **sampling})
    fields["steps"].append("shuffle")


def same(one, other):
    """Equal, floats to the last few bits (mmdet3d writes 0.4 as 32 of 80 epochs)."""
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=1e-12)
    return one == other


OF_THE_GRID = {"range", "num_points", "sample_range", "test_points"}


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_field_is_mmdet3ds_or_a_listed_difference(family, mmdet3d_config):
    expected, found = theirs(mmdet3d_config(family)), ours(family)
    if family in FAMILIES:
        add_grid(found, get_family(family).default_grid())
    else:
        expected = {key: value for key, value in expected.items() if key not in OF_THE_GRID}
        expected["steps"] = expected["steps"][: len(found["steps"])]
    assert found.keys() == expected.keys()
    differences = {
        name: (expected[name], found[name])
        for name in expected
        if not same(expected[name], found[name])
    }
    assert differences == DIFFERENCES[family]
