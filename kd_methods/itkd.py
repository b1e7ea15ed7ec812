"""itKD: teacher and student reconstruct each other's features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.core.features import rows
from kd_methods.core.interface import Batch, Dense, KDMethod, MethodError, Outputs, Points, Spec
from kd_methods.core.registry import register

HIDDEN = (128, 64)
"""Channels between features and code of the auto-encoder."""


@register("itkd", paper="Cho et al., CVPR 2023", year=2023)
class ItKD(KDMethod):
    """A shared auto-encoder of channels turns each network's features into the other's.

    Source: Cho et al., arXiv 2205.15531, feature part, as the code at
    hyeon-jo/interchange-transfer-KD (kd_models.py, TSEncoder) computes it. A 1x1 layer U widens
    the student's neck features s to the teacher's width; encoder E (128, 64, 32 channels) and
    decoder D (64, 128, student's width) are shared, ReLU between their 1x1 layers. With
    a = D(E(t)) and b = U(D(E(U(s)))):

    - student to teacher: mean |b - t| + O(b, t)
    - teacher to student: mean |a - s| + O(a, s)
    - compressed representation: mean |E(U(s)) - E(t)|

    O is the squared difference at the cells of object centres, averaged over 500 places per frame
    of which those without an object count 0. The paper's equations could not be read; its decoder
    is said to end in 384 channels and its compressed loss to be masked by objects.

    What differs: the source weighs detection and distillation by 0.5 each, so the weight is 1
    beside a detection loss of weight 1. Its head-attention loss is not part of this method: it
    attends over CenterPoint's separate heads at one cell per object, which anchors and points do
    not have. On points the 1x1 layers are linear and an object's cell is the point nearest to its
    centre. The auto-encoder costs twice the student itself when applied to every cell; the
    absolute differences are means over the map, so they are estimated without bias from a random
    ``share`` of its cells (1 takes all, as the source does); object cells are all taken.
    """

    code: int = 32
    objects: int = 500
    share: float = 0.1

    def needs(self) -> set[str]:
        return {"neck"}

    def build(self, teacher: Spec, student: Spec) -> None:
        if not 0 < self.share <= 1:
            raise MethodError(f"itkd:share is {self.share:g}; it must be above 0 and at most 1")
        wide, narrow = teacher.neck.channels, student.neck.channels
        self.widen = nn.Linear(narrow, wide)
        self.encoder = _layers(wide, *HIDDEN, self.code)
        self.decoder = _layers(self.code, *reversed(HIDDEN), narrow)

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        all_theirs, all_ours = rows(teacher.neck), rows(student.neck)
        sample = self._sample(len(all_theirs), all_theirs.device)
        centres = object_cells(teacher.neck, [boxes[: self.objects] for boxes in batch.boxes])
        chosen = torch.cat([sample, centres])
        theirs, ours = (values.index_select(0, chosen) for values in (all_theirs, all_ours))
        code_t, code_s = self.encoder(theirs), self.encoder(self.widen(ours))
        to_student = self.decoder(code_t)
        to_teacher = self.widen(self.decoder(code_s))
        places = len(batch.boxes) * self.objects
        cells = len(sample)

        def distance(reconstructed: Tensor, target: Tensor) -> Tensor:
            squares = (reconstructed[cells:] - target[cells:]).square().sum()
            difference = F.l1_loss(reconstructed[:cells], target[:cells])
            return difference + squares / (places * target.shape[1])

        return {
            "to_teacher": distance(to_teacher, theirs),
            "to_student": distance(to_student, ours),
            "compressed": F.l1_loss(code_s[:cells], code_t[:cells]),
        }

    def _sample(self, count: int, device: torch.device) -> Tensor:
        """A random share of the rows, in order; all of them for a share of 1."""
        if self.share == 1:
            return torch.arange(count, device=device)
        wanted = max(round(self.share * count), 1)
        return torch.randperm(count, device=device)[:wanted].sort().values


def object_cells(features: Dense | Points, boxes: list[Tensor]) -> Tensor:
    """(G,) rows of the cells (or nearest points) at box centres within the map."""
    cells = _map_cells if isinstance(features, Dense) else _nearest_points
    return torch.cat([cells(features, i, box) for i, box in enumerate(boxes)])  # type: ignore


def _map_cells(features: Dense, frame: int, boxes: Tensor) -> Tensor:
    height, width = features.values.shape[2:]
    x0, y0, x1, y1 = features.extent
    x = torch.floor((boxes[:, 0] - x0) / (x1 - x0) * width).long()
    y = torch.floor((boxes[:, 1] - y0) / (y1 - y0) * height).long()
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return ((frame * height + y) * width + x)[inside]


def _nearest_points(features: Points, frame: int, boxes: Tensor) -> Tensor:
    points = torch.nonzero(features.batch == frame).flatten()
    if not len(points) or not len(boxes):
        return points[:0]
    centre = boxes[:, :3] + boxes[:, 5:6] / 2 * boxes.new_tensor([0, 0, 1])
    return points[torch.cdist(centre, features.xyz[points].to(centre)).argmin(1)]


def _layers(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
