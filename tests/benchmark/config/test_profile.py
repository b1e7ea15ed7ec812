"""Profiles: those that come along, and mistakes in one's own."""

import re
from dataclasses import replace

import pytest
import yaml

from benchmark.config import bundled
from benchmark.config.profile import ProfileError, load_profile
from benchmark.data.description import DescribedClass, Description
from detectors import get_family
from detectors.core.registry import FAMILIES

RECIPE = {"epochs": 1, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 0.001}
GOOD = {
    "purpose": "a test",
    "synthetic": {"train": 4, "val": 2, "max_range": 20, "seed": 0},
    "defaults": RECIPE,
}


@pytest.fixture
def load(tmp_path):
    """Loads a profile from plain values."""

    def write_and_load(content, **options):
        path = tmp_path / "own.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return load_profile(str(path), **options)

    return write_and_load


def test_the_shipped_profiles_load_and_their_grids_suit_the_detectors():
    assert bundled.names("profiles") == ["kitti", "mini", "smoke", "wiring"]
    for name in bundled.names("profiles"):
        profile = load_profile(name)
        for family in map(get_family, FAMILIES.keys() & profile.recipes.keys()):
            assert profile.reduced(family) == (name != "kitti")
            family.config(4, profile.grid(family))
    family = get_family("pointpillars")
    assert load_profile("kitti").grid(family) == family.default_grid()


def test_epochs_replace_those_of_every_family():
    profile = load_profile("kitti", epochs=7)
    assert {recipe.epochs for recipe in profile.recipes.values()} == {7}
    assert load_profile("kitti").recipe("second").epochs == 80


def test_a_familys_fields_replace_the_defaults(load):
    families = {"pointpillars": {"epochs": 5, "betas": [0.9, 0.999]}, "second": None}
    profile = load(GOOD | {"families": families})
    assert profile.recipe("pointpillars").epochs == 5
    assert profile.recipe("pointpillars").betas == (0.9, 0.999)
    assert profile.recipe("pointpillars").batch_size == profile.recipe("second").batch_size == 4
    assert profile.recipe("second").epochs == 1
    with pytest.raises(ProfileError, match="own has no recipe for voxels, only for pointpillars"):
        profile.recipe("voxels")


def test_without_families_the_defaults_are_for_all(load):
    assert load(GOOD).recipes.keys() == FAMILIES.keys()


def test_the_parts_of_a_recipe(load):
    grid = {"point_cloud_range": [0, -8, -3, 16, 8, 1], "num_points": 512, "sample_range": 10}
    steps = ["points_range_filter", {"random_flip": {"probability": 0.25}}, "global_scaling"]
    recipe = load(
        GOOD
        | {
            "defaults": {
                **RECIPE,
                "grid": grid,
                "augmentation": steps,
                "one_cycle": {"div_factor": 5},
            }
        }
    ).recipe("pointpillars")
    assert recipe.grid.num_points == 512
    assert recipe.grid.point_cloud_range == (0, -8, -3, 16, 8, 1)
    assert [step.name for step in recipe.augmentation] == [
        "points_range_filter",
        "random_flip",
        "global_scaling",
    ]
    assert recipe.augmentation[1].probability == 0.25
    assert (recipe.one_cycle.div_factor, recipe.one_cycle.pct_start) == (5, 0.4)
    assert recipe.accumulation_steps == 2


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"epocs": 3}, "defaults.epocs: unknown field, did you mean 'epochs'"),
        ({"epochs": 0}, "defaults.epochs is 0; it must be a whole number of at least 1"),
        ({"epochs": 10**20}, "defaults.epochs is 10+; .* of at least 1 and of at most 100000"),
        ({"batch_size": "two"}, "defaults.batch_size is 'two'; it must be a whole number"),
        ({"batch_size": 3}, "defaults.batch_size is 3; it must be a multiple of micro_batch_size"),
        ({"learning_rate": -1}, "defaults.learning_rate is -1; it must be a number above 0"),
        ({"betas": [0.9]}, r"defaults.betas is \[0.9\]; it must be a list of 2 numbers"),
        ({"betas": [0.9, 2]}, r"defaults.betas\[1\] is 2; it must be a number of at least 0 and"),
        (
            {"one_cycle": {"pct_strat": 1}},
            "pct_strat: unknown field, did you mean 'pct_start'",
        ),
        ({"one_cycle": 4}, "defaults.one_cycle is 4; it must be 'field: value' pairs"),
        ({"grid": {"voxel_size": [1, "x", 2]}}, r"defaults.grid.voxel_size\[1\] is 'x'"),
        ({"grid": {"voxel_size": [1]}}, "defaults.grid.point_cloud_range is missing"),
        ({"augmentation": "flip"}, "defaults.augmentation is 'flip'; it must be a list of steps"),
        (
            {"augmentation": ["random_flop"]},
            r"augmentation\[0\]: unknown step 'random_flop', did you mean 'random_flip'",
        ),
        ({"augmentation": [{"random_flip": {"p": 1}}]}, r"\[0\].random_flip.p: unknown field"),
        (
            {"augmentation": [{"random_flip": {"probability": 3}}]},
            "probability is 3; it must be a nu",
        ),
        ({"augmentation": [3]}, r"augmentation\[0\] is 3; it must be a step"),
        (
            {"augmentation": [{"object_sample": {"counts": {"Cra": 1}, "min_points": {}}}]},
            r"augmentation\[0\].object_sample: unknown class 'Cra', did you mean 'Car'",
        ),
        (
            {"augmentation": [{"object_sample": {"counts": {"Car": -1}, "min_points": {}}}]},
            "object_sample.counts.Car is -1; it must be a whole number of at least 0",
        ),
    ],
)
def test_mistakes_in_a_recipe_are_named(load, recipe, message):
    with pytest.raises(ProfileError, match=message):
        load(GOOD | {"defaults": RECIPE | recipe})


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"voxel_size": [0, 0.32, 4]}, "defaults.grid: voxel_size is [0.0, 0.32, 4.0]; write x, y"),
        ({"max_voxels": [-5, 5]}, "defaults.grid: max_voxels is [-5, 5]; write those kept"),
        ({"num_points": -1}, "defaults.grid.num_points is -1; it must be a whole number of at"),
        ({"roi_points": 10**12}, "defaults.grid.roi_points is 1000000000000; it must be"),
        ({"sample_range": -1.0}, "defaults.grid.sample_range is -1.0; it must be a number of at"),
    ],
)
def test_a_grid_that_no_network_can_see_is_named(load, grid, message):
    own = {"point_cloud_range": [0, -8, -3, 16, 8, 1], "voxel_size": [0.32, 0.32, 4]}
    own |= {"max_voxels": [9, 9]} | grid
    with pytest.raises(ProfileError, match=re.escape(message)):
        load(GOOD | {"defaults": RECIPE | {"grid": own}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 3}, "epochs: unknown field; known are purpose"),
        ({"max_frames": {"test": 3}}, "max_frames.test: unknown field"),
        ({"max_frames": {"train": 0}}, "max_frames.train is 0"),
        ({"synthetic": 3}, "synthetic is 3; it must be 'field: value' pairs"),
        ({"synthetic": {"train": 1, "val": 1, "seed": 0}}, "synthetic.max_range is missing"),
        ({"families": 3}, "families is 3; it must be 'field: value' pairs"),
        ({"families": {"secnd": {}}}, "families.secnd: unknown detector, did you mean 'second'"),
        ({"families": {"second": 3}}, "families.second is 3; it must be 'field: value' pairs"),
        ({"families": {"second": {"epochs": 0}}}, "families.second.epochs is 0"),
    ],
)
def test_mistakes_outside_are_named(load, change, message):
    with pytest.raises(ProfileError, match=message):
        load(GOOD | change)


def test_all_mistakes_are_reported_at_once(load):
    with pytest.raises(ProfileError) as error:
        load({"defaults": {"epochs": 0, "batch_size": 0}, "colour": "red"})
    for words in (
        "defaults.epochs is 0", "defaults.batch_size is 0", "defaults.learning_rate is missing",
        "colour: unknown field", "purpose is missing", "synthetic is missing",
    ):  # fmt: skip
        assert str(error.value).count(words) == 1


@pytest.mark.parametrize("text", ["epochs: [", "- 1", ""])
def test_what_is_no_profile_is_refused(load, text):
    with pytest.raises(ProfileError, match="profile"):
        load(text)


def test_a_grid_lacks_nothing_that_its_family_reads(load):
    grid = {"point_cloud_range": [0, -12.8, -3, 25.6, 12.8, 1]}
    profile = load({**GOOD, "defaults": {**RECIPE, "grid": grid}})
    with pytest.raises(ProfileError, match="pointpillars has no voxel_size; write it in families"):
        profile.grid(get_family("pointpillars"))
    assert profile.grid(get_family("pointrcnn")).voxel_size == ()


def test_unknown_profiles_are_refused(tmp_path):
    with pytest.raises(ProfileError, match="did you mean 'smoke'"):
        load_profile("smokee")
    with pytest.raises(ProfileError, match="does not exist"):
        load_profile(str(tmp_path / "none.yaml"))


AROUND = Description(
    classes={"Car": DescribedClass((4.2, 1.8, 1.6), -1.7), "Bus": DescribedClass((11, 3, 3), -1.7)},
    layout="openpcdet",
    view="full",
    range=(-50.0, -48.0, -4.0, 52.0, 48.0, 2.0),
)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_grid_is_laid_where_the_data_are(name):
    family = get_family(name)
    whole = load_profile("kitti").grid(family, AROUND)
    assert whole.point_cloud_range[:3] == AROUND.range[:3]
    assert whole.class_names == ("Car", "Bus")
    small = load_profile("smoke").grid(family, AROUND)
    x0, y0, z0, x1, y1, _ = small.point_cloud_range
    assert (x0, y0, z0) == (-12.8, -12.8, -4.0)
    assert (x1, y1) == pytest.approx((12.8, 12.8))
    family.config(4, small)
    ahead = replace(AROUND, range=(0.0, -10.0, -3.0, 30.0, 40.0, 1.0))
    own = load_profile("smoke").grid(family)
    moved = load_profile("smoke").grid(family, ahead)
    assert moved.point_cloud_range[:2] == (0.0, -10.0)  # as near to the sensor as the data reach
    assert moved.extent[2] - moved.extent[0] == own.extent[2] - own.extent[0]


def test_a_profile_names_no_classes(load):
    grid = {"point_cloud_range": [0, -1, -3, 2, 1, 1], "classes": ["Car"]}
    with pytest.raises(ProfileError, match="classes belong to the data set; describe them"):
        load(GOOD | {"defaults": RECIPE | {"grid": grid}})
