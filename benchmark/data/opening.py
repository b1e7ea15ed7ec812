"""Which reader a data set needs: its description says it."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.dataset import Dataset
from benchmark.data.description import FILE, Description, find_description
from benchmark.data.errors import DataError
from benchmark.data.kitti import KittiDataset
from benchmark.data.openpcdet import OpenPCDetDataset, is_openpcdet
from benchmark.files import in_shell

LAYOUTS: dict[str, type[Dataset]] = {"kitti": KittiDataset, "openpcdet": OpenPCDetDataset}


def open_dataset(source: Path | str, split: str) -> Dataset:
    """A split of a data set.

    Args:
        source: its folder, or the file of a description that names its folder.
        split: name of a list in ImageSets, without ".txt".

    Raises:
        DataError: of :func:`~benchmark.data.description.find_description` and of the reader.
    """
    root, description = find_description(Path(source))
    return open_described(root, split, description)


def open_described(root: Path, split: str, description: Description) -> Dataset:
    """The same where a folder's description is at hand."""
    if description.layout == "kitti" and not (root / "training").exists() and is_openpcdet(root):
        raise DataError(
            f"{root}: points and labels as in OpenPCDet's custom layout; `run_bench.py data "
            f"describe {in_shell(root)}` writes the {FILE} that says so"
        )
    return LAYOUTS[description.layout](root, split, description)
