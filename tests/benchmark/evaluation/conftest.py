import pytest
from kitti_cases import full_split, unpack_labels

from benchmark.data.labels import read_labels


@pytest.fixture(scope="session")
def all_labels(kitti_root, tmp_path_factory):
    """The folder of all 7,481 real label files."""
    return unpack_labels(kitti_root, tmp_path_factory.mktemp("labels"))


@pytest.fixture(scope="session")
def validation(kitti_root, all_labels):
    """The real ground truth of the standard validation split, 3,769 frames."""
    return [read_labels(all_labels / f"{frame}.txt") for frame in full_split(kitti_root, "val")]
