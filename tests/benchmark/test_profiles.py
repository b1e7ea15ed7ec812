"""Profiles: those that come along, and mistakes in one's own."""

import pytest
import yaml

from benchmark.profiles import ProfileError, load_profile, profile_names
from detectors import get_family

GOOD = {
    "purpose": "a test",
    "epochs": 1,
    "batch_size": 2,
    "learning_rate": 0.001,
    "synthetic": {"train": 2, "val": 2, "max_range": 20, "seed": 0},
}


def test_the_shipped_profiles_load_and_their_grids_suit_the_detectors():
    assert profile_names() == ["kitti", "mini", "smoke"]
    family = get_family("pointpillars")
    for name in profile_names():
        profile = load_profile(name)
        profile.grid(family).check(multiple=8)
        assert profile.reduced(family) == (name != "kitti")
    assert load_profile("kitti").grid(family) == family.default_grid()


def test_overrides_replace_only_what_they_name():
    assert load_profile("smoke", epochs=99).epochs == 99
    assert load_profile("smoke", epochs=None).epochs == load_profile("smoke").epochs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epocs": 3}, "unknown field 'epocs', did you mean 'epochs'"),
        ({"epochs": 0}, "epochs is 0; it must be a positive integer"),
        ({"batch_size": "two"}, "batch_size is 'two'"),
        ({"learning_rate": -1}, "learning_rate is -1; it must be a positive number"),
        ({"max_frames": {"test": 3}}, "max_frames has no field 'test'"),
        ({"synthetic": 3}, "synthetic is 3; it must be 'field: value' pairs"),
        ({"grids": {"pointpillars": {"voxel_size": [1]}}}, "grids.pointpillars must have exactly"),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(ProfileError, match=message):
        load_profile(str(path))


def test_all_mistakes_are_reported_at_once(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"epochs": 0, "batch_size": 0, "colour": "red"}))
    with pytest.raises(ProfileError) as error:
        load_profile(str(path))
    for word in ("epochs", "batch_size", "colour", "purpose", "synthetic"):
        assert word in str(error.value)


@pytest.mark.parametrize("text", ["epochs: [", "- 1", ""])
def test_what_is_no_profile_is_refused(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError, match="profile"):
        load_profile(str(path))


def test_unknown_profiles_are_refused(tmp_path):
    with pytest.raises(ProfileError, match="did you mean 'smoke'"):
        load_profile("smokee")
    with pytest.raises(ProfileError, match="does not exist"):
        load_profile(str(tmp_path / "none.yaml"))
