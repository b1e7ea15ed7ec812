"""A data set made of a training split alone: most of it to train on, the rest to choose by."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import yaml

from benchmark.data.dataset import Dataset
from benchmark.data.description import FILE, KITTI
from benchmark.data.errors import DataError
from benchmark.data.opening import open_dataset
from benchmark.files import write_atomically

PART = 4
"""One of so many training frames is chosen by."""
LISTS = "ImageSets"


def split_training(source: Path, cache: Path) -> Path:
    """A folder whose ``train`` and ``val`` are the first three quarters and the last quarter of a
    data set's training split; its files are links to the set's own.

    The list is cut once, in its order, so that neighbouring frames stay together. (Which drive a
    frame is of is not known of any layout; KITTI's order is shuffled.)

    Args:
        source: the data set's folder, or its description.
        cache: folder that holds such folders.

    Raises:
        DataError: the training split cannot be read, or is too small; or no links can be made.
    """
    whole = open_dataset(source, "train")
    cut = len(whole.ids) - max(1, len(whole.ids) // PART)
    if not cut:
        raise DataError(f"{whole.root}: one training frame cannot be split; tune on more")
    digest = hashlib.sha256(os.fsencode("\n".join([str(whole.root.resolve()), *whole.ids])))
    folder = cache / f"{whole.root.resolve().name}-{digest.hexdigest()[:8]}"
    _link(whole, folder)
    for split, ids in (("train", whole.ids[:cut]), ("val", whole.ids[cut:])):
        write_atomically(folder / LISTS / f"{split}.txt", "".join(f"{i}\n" for i in ids).encode())
    return folder


def _link(whole: Dataset, folder: Path) -> None:
    """Links to all of a folder but its lists and its description, which is written anew."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in whole.root.resolve().iterdir():
        link = folder / path.name
        if path.name in (LISTS, FILE) or (link.exists() and link.resolve() == path):
            continue
        if link.is_symlink():  # of a folder that was moved
            link.unlink()
        try:
            link.symlink_to(path, target_is_directory=path.is_dir())
        except OSError as error:
            raise DataError(
                f"{link}: no link can be made ({error.strerror}); put --cache on another disk"
            ) from None
    if whole.description != KITTI:
        text = yaml.safe_dump(whole.description.settings(), sort_keys=False, allow_unicode=True)
        write_atomically(folder / FILE, text.encode())
