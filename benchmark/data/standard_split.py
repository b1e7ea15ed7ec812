"""The split of KITTI's 7,481 training frames that its papers report on (Chen et al., "3D Object
Proposals for Accurate Object Class Detection", NIPS 2015): 3,712 to train, 3,769 to validate.

Frames of a drive stand in one half only. ``standard_split.txt`` has one bit per frame, 1 to train.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np

FRAMES = 7481


@cache
def standard_split(split: str) -> list[str]:
    """The frames of ``train`` or ``val``, or of both: ``trainval``.

    Raises:
        KeyError: there is no other.
    """
    text = (files("benchmark.data") / "standard_split.txt").read_text(encoding="utf-8")
    train = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:FRAMES].astype(bool)
    chosen = {"train": train, "val": ~train, "trainval": np.ones(FRAMES, bool)}[split]
    return [f"{frame:06d}" for frame in np.flatnonzero(chosen)]
