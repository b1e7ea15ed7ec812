"""What first stages hand to second stages, and what second stages are trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmengine.structures import InstanceData
from torch import Tensor

from detectors.core.family import Inputs

NOWHERE = (-1000.0, -1000.0, -1000.0, 1.0, 1.0, 1.0, 0.0)
"""A box that holds no point and overlaps no anchor and no proposal."""


class Proposals(InstanceData):
    """Proposals of a frame, of which some are taken at once.

    mmengine takes boxes one by one (instance_data.py:230): a thousand small tensors per step.
    """

    def __getitem__(self, chosen: Any) -> InstanceData:
        if not isinstance(chosen, Tensor):
            return super().__getitem__(chosen)
        taken = {name: values[chosen] for name, values in self.items()}
        return Proposals(metainfo=self.metainfo, **taken)


def as_proposals(found: list[InstanceData]) -> list[Proposals]:
    """mmdet3d's instances of each frame as :class:`Proposals`."""
    return [Proposals(metainfo=one.metainfo, **dict(one.items())) for one in found]


def never_without(inputs: Inputs) -> Inputs:
    """Frames without an object get one far away, which nothing lies in or overlaps.

    Where there is none, PointRCNN's targets index the last box (point_rpn_head.py:243) and mmdet's
    samples of proposals have 4 columns.
    """
    batch = inputs.batch
    boxes = [b if len(b) else b.new_tensor([NOWHERE]) for b in batch.boxes]
    labels = [label if len(label) else label.new_zeros(1) for label in batch.labels]
    return inputs.with_targets(replace(batch, boxes=boxes, labels=labels))
