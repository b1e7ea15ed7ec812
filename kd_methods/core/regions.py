"""What lies in boxes: the cells of a map, points, and features sampled on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kd_methods.core.features import tables
from kd_methods.core.geometry import aligned_iou, inside, near, nearest_aligned
from kd_methods.core.interface import BEVMap, HeadOutputs, MethodError, Outputs, Points

FIRST = 256
"""Rectangles among which those that stay are looked for at first."""


def crop(features: BEVMap, boxes: Tensor, size: int, rim: bool = False) -> Tensor:
    """Features sampled bilinearly on a grid in each rotated box; off the map, its border's value.

    Args:
        boxes: (B, P, 7).
        size: samples along the length and along the width.
        rim: whether the outermost samples lie on the box's sides, else half a step within.

    Returns:
        (B * P, C, size, size), rows along the length.
    """
    x0, y0, x1, y1 = features.extent
    steps = torch.arange(size, device=boxes.device, dtype=boxes.dtype)
    steps = steps / (size - 1) - 0.5 if rim else (steps + 0.5) / size - 0.5
    along = steps[:, None] * boxes[..., 3, None, None]
    across = steps[None, :] * boxes[..., 4, None, None]
    cos, sin = (f(boxes[..., 6, None, None]) for f in (torch.cos, torch.sin))
    x = boxes[..., 0, None, None] + along * cos - across * sin
    y = boxes[..., 1, None, None] + along * sin + across * cos
    places = torch.stack([2 * (x - x0) / (x1 - x0) - 1, 2 * (y - y0) / (y1 - y0) - 1], dim=-1)
    places = places.nan_to_num().clamp(-1, 1).flatten(1, 2)
    sampled = F.grid_sample(features.values, places, padding_mode="border", align_corners=False)
    return sampled.unflatten(2, (-1, size)).movedim(2, 1).flatten(0, 1)


def take(values: Tensor, rows: Tensor) -> Tensor:
    """(B, P, C) rows (B, P) of values (B, A, C)."""
    return values.gather(1, rows[..., None].expand(-1, -1, values.shape[2]))


def crops(features: BEVMap, boxes: Sequence[Tensor], size: int, rim: bool = False) -> Tensor:
    """As :func:`crop`, of any number of boxes (G, 7) in each frame: (G of all, C, size, size)."""
    filled = pad_sequence([*boxes, boxes[0].new_zeros(1, 7)], batch_first=True)[:-1]
    sampled = crop(features, filled.to(features.values), size, rim)
    counts = [len(frame) for frame in boxes]
    if min(counts) == filled.shape[1]:
        return sampled
    places = torch.arange(filled.shape[1], device=sampled.device)
    used = places < torch.tensor(counts, device=sampled.device)[:, None]
    return sampled.index_select(0, used.flatten().nonzero().flatten())


def of_objects(features: BEVMap | Points, boxes: Sequence[Tensor], size: int) -> Tensor:
    """A vector for each object of all frames, (G of all, C * size * size): its :func:`crop`.

    In points it is the mean of those inside, (n, C), and objects without points have none.

    Args:
        boxes: per frame (G, 7).
        size: of the crop.
    """
    if isinstance(features, BEVMap):
        return crops(features, boxes, size).flatten(1)
    found = []
    for table, held in zip(tables(features), covered(features, boxes), strict=True):
        members = held[:, held.any(0)].to(table)
        found.append(members.T @ table / members.sum(0)[:, None])
    return torch.cat(found)


def cell_size(features: BEVMap) -> float:
    """Metres along x of a map's cell."""
    return (features.extent[2] - features.extent[0]) / features.values.shape[3]


def cell_centres(features: BEVMap) -> Tensor:
    """(H * W, 2) x and y of the centres of a map's cells, metres, in the order of its rows."""
    height, width = features.values.shape[2:]
    x0, y0, x1, y1 = features.extent
    x, y = (features.values.new_tensor(range(n)) + 0.5 for n in (width, height))
    x, y = x0 + x * (x1 - x0) / width, y0 + y * (y1 - y0) / height
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=1)


def covered(
    features: BEVMap | Points, boxes: Sequence[Tensor], margin: float = 0.0
) -> list[Tensor]:
    """For each frame that has any rows, which of its rows lie in which of its boxes: (n, G) bool.

    A map's row is the centre of a cell, seen from above; a point must lie in the box in 3D.

    Args:
        boxes: per frame (G, 7).
        margin: by which boxes are larger on every side of a map, metres.
    """
    if isinstance(features, BEVMap):
        centres = cell_centres(features)
        return [inside(centres, frame.to(centres), margin) for frame in boxes]
    counts = torch.bincount(features.batch, minlength=len(boxes)).tolist()
    places = features.xyz.split(counts)
    return [inside(p, b.to(p)) for p, b in zip(places, boxes, strict=True) if len(p)]


def patches(features: BEVMap, frame: int, cells: Tensor) -> Tensor:
    """(n, C, 3, 3) what lies around cells (n,) of one frame; beyond the map it is 0.

    A 3x3 convolution of these without padding is that of the map, at those cells alone.
    """
    height, width = features.values.shape[2:]
    step = torch.arange(-1, 2, device=cells.device)
    y = (cells // width)[:, None, None] + step[:, None]
    x = (cells % width)[:, None, None] + step
    on_map = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    around = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten()
    values = features.values[frame].flatten(1).index_select(1, around)
    return values.unflatten(1, on_map.shape).movedim(0, 1) * on_map[:, None]


def overlaps(priors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Overlap in BEV of the priors near boxes, both turned to the nearest axis.

    Args:
        priors: (A, 7).
        boxes: (G, 7).

    Returns:
        Indices (n,) of priors, and their overlaps (n, G); those of all others are 0.
    """
    chosen = near(priors, boxes)
    ours, theirs = nearest_aligned(priors.index_select(0, chosen)), nearest_aligned(boxes)
    return chosen, aligned_iou(ours[:, None], theirs)


class Instances(NamedTuple):
    """Places of one frame: prior indices (n,) and a box (n, 7) for each."""

    priors: Tensor
    boxes: Tensor


@torch.no_grad()
def disparate(
    teacher: Outputs, student: Outputs, candidates: int, overlap: float, most: int
) -> list[Instances]:
    """Where the two networks' scores differ most, for each frame.

    A prior's score is the probability of its best class; its box is that of the network with the
    larger score. The priors with the largest differences are thinned out by non-maximum
    suppression of boxes turned to the nearest axis.

    Args:
        candidates: priors per frame before the suppression.
        overlap: IoU above which of two boxes only the one with the larger difference stays.
        most: instances per frame.
    """
    heads = student.head, teacher.head
    ours, theirs = (head.class_logits.sigmoid().amax(2) for head in heads)
    difference = (theirs - ours).abs()
    priors = difference.topk(min(candidates, difference.shape[1]), dim=1).indices
    mine, other = (take(head.decode(head.deltas), priors) for head in heads)
    better = (theirs > ours).gather(1, priors)[..., None]
    boxes = torch.where(better, other, mine).nan_to_num(posinf=1e4, neginf=-1e4)
    kept = _suppress(nearest_aligned(boxes), overlap, most)
    return [Instances(p[k], b[k]) for p, b, k in zip(priors, boxes, kept, strict=True)]


def _suppress(rectangles: Tensor, overlap: float, most: int) -> list[Tensor]:
    """For each frame, the first ``most`` indices that stay of rectangles (B, P, 4), best first.

    None is suppressed by a worse one, so if the first few hold ``most``, the others do not matter.
    """
    kept = _greedy(rectangles[:, :FIRST], overlap, most)
    if rectangles.shape[1] <= FIRST or all(len(frame) == most for frame in kept):
        return kept
    return _greedy(rectangles, overlap, most)


def _greedy(rectangles: Tensor, overlap: float, most: int) -> list[Tensor]:
    frames, places = rectangles.shape[:2]
    left = rectangles.new_ones(frames, places)
    found = []
    for _ in range(min(most, places)):
        alive, first = left.max(1, keepdim=True)
        found.append(torch.where(alive > 0, first, -1))
        best = rectangles.gather(1, first[..., None].expand(-1, -1, 4))
        left = left * (aligned_iou(best, rectangles) <= overlap)
        left.scatter_(1, first, 0)
    return [frame[frame >= 0] for frame in torch.cat(found, dim=1)]


def need_prior_per_point(method: str, neck: BEVMap | Points, head: HeadOutputs) -> None:
    """Raise :class:`MethodError` where the neck has points that are not the head's priors."""
    if isinstance(neck, Points) and len(neck.values) != head.class_logits[..., 0].numel():
        raise MethodError(f"{method}: a neck of points needs one prior per point")


def rows_at(features: Points, head: HeadOutputs, places: Sequence[Instances]) -> Tensor:
    """(n of all, C) features of the points that are priors of all frames' instances."""
    size = head.class_logits.shape[1]
    rows = torch.cat([frame.priors + i * size for i, frame in enumerate(places)])
    return features.values.index_select(0, rows)
