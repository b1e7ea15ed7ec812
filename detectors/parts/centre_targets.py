"""What a head of heat maps is trained to predict, for all frames of a batch.

The rules are those of mmdet3d's CenterHead.get_targets_single, which draws object by object, but
for objects that lie outside by less than a cell: it rounds towards zero and takes them for inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Targets(NamedTuple):
    """Targets of B frames with N objects in all.

    Attributes:
        heat: (B, K, H, W) 1 in the cells of objects' centres, falling off around them.
        frame: (N,) index of each object's frame.
        cell: (N,) index of its cell in H * W.
        label: (N,) its class.
        code: (N, 8) offset of its centre from the cell's corner in cells, height of the centre,
            logarithms of length, width and height, sine and cosine of the yaw.
    """

    heat: Tensor
    frame: Tensor
    cell: Tensor
    label: Tensor
    code: Tensor


def centre_targets(
    settings: Mapping[str, Any], classes: int, truth: Sequence[tuple[Tensor, Tensor]]
) -> Targets:
    """The targets of frames.

    Args:
        settings: ``train_cfg`` of the head: range and voxels, ``out_size_factor`` voxels to a cell,
            ``gaussian_overlap`` and ``min_radius`` of the heat.
        truth: boxes (G, 7) and labels (G,) of each frame.
    """
    frame = torch.cat([labels.new_full(labels.shape, i) for i, (_, labels) in enumerate(truth)])
    boxes, label = (torch.cat(parts) for parts in zip(*truth, strict=True))
    size = boxes.new_tensor(settings["voxel_size"][:2]) * settings["out_size_factor"]
    nx, ny = (side // settings["out_size_factor"] for side in settings["grid_size"][:2])
    centre = (boxes[:, :2] - boxes.new_tensor(settings["point_cloud_range"][:2])) / size
    cell = centre.floor().long()
    inside = ((cell >= 0) & (cell < cell.new_tensor([nx, ny]))).all(dim=1)
    inside &= (boxes[:, 3:5] > 0).all(dim=1)
    frame, label, boxes, centre, cell = (x[inside] for x in (frame, label, boxes, centre, cell))
    radius = _radius(boxes[:, 3:5] / size, settings["gaussian_overlap"])
    drawn = _gaussians(cell, radius.floor().clamp(min=settings["min_radius"]), nx, ny)
    heat = boxes.new_zeros(len(truth) * classes, ny, nx)
    plane = frame * classes + label
    for one in plane.unique().tolist():
        heat[one] = drawn[plane == one].amax(dim=0)
    middle, yaw = boxes[:, 2:3] + boxes[:, 5:6] / 2, boxes[:, 6:7]
    code = [centre - cell, middle, boxes[:, 3:6].log(), yaw.sin(), yaw.cos()]
    place = cell[:, 1] * nx + cell[:, 0]
    return Targets(heat.unflatten(0, (-1, classes)), frame, place, label, torch.cat(code, dim=1))


def _radius(sides: Tensor, overlap: float) -> Tensor:
    """(N,) cells by which a box may move so that it still overlaps itself as much: the least of
    the roots for corners that both move in, both out, and one each.

    As in CornerNet's published code, which halves the roots instead of dividing them by 2a.
    """
    total, area = sides.sum(dim=1), sides.prod(dim=1)
    cases = (
        (1.0, total, area * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * total, (1 - overlap) * area),
        (4 * overlap, -2 * overlap * total, (overlap - 1) * area),
    )
    roots = [(b + (b.square() - 4 * a * c).sqrt()) / 2 for a, b, c in cases]
    return torch.stack(roots).amin(dim=0)


def _gaussians(cell: Tensor, radius: Tensor, nx: int, ny: int) -> Tensor:
    """(N, ny, nx) a Gaussian around each cell, cut off beyond its radius in x and y."""
    deviation = (2 * radius + 1) / 6

    def along(axis: int, count: int) -> Tensor:
        away = torch.arange(count, device=cell.device) - cell[:, axis, None]
        heat = (-away.square() / (2 * deviation.square()[:, None])).exp()
        return heat.masked_fill(away.abs() > radius[:, None], 0)

    return along(1, ny)[:, :, None] * along(0, nx)[:, None, :]
