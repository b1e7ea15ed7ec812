"""itKD: interchange transfer of features through an autoencoder (Cho et al., CVPR 2023)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from kd_methods.core.features import cells_of, rows
from kd_methods.core.interface import (
    Batch,
    BEVMap,
    HeadOutputs,
    KDMethod,
    MethodError,
    Outputs,
    Points,
    Spec,
)
from kd_methods.core.registry import register

CENTRES = ("centerpoint_pillar", "centerpoint_voxel")
BOX = (2, 1, 3, 2)
"""Values of offset, height, size and yaw that a head of heat maps predicts."""
HIDDEN = (128, 64)
"""Hidden widths of the encoder; the decoder has them in reverse."""


@register("itkd", paper="Cho et al., CVPR 2023", year=2023)
class ItKD(KDMethod):
    """Student and teacher features reconstruct each other through a shared autoencoder.

        to_teacher = mean |b - t| + O(b, t),    b = U(D(E(U(s))))
        to_student = mean |a - s| + O(a, s),    a = D(E(t))
        compressed = mean |E(U(s)) - E(t)|
        O(x, y) = 1 / (objects * B * C) * sum over object cells of ||x - y||_2^2

    t and s are the cells (or points) of the neck, C their channels, B the number of frames. U is a
    linear layer from the student's width to the teacher's; the encoder E (128, 64, ``code``
    channels) and the decoder D (64, 128, student's width) have ReLU between their linear layers. An
    object cell holds the centre of a ground-truth box (points: is nearest to it); objects off the
    map do not count. As the target of to_student, s is not detached.

    With ``attention``, a head of heat maps is compared as well:

        attention = 1/N sum_i || M A(x_i)^S - M A(x_i)^T ||_1
        A(x) = (a(x), a(heat), a(offset), a(height), a(size), a(yaw))
        a(X) = X softmax(X^T X / sqrt(objects))

    i runs over the N objects of the batch, x_i = (heat, offset, height, size, sine and cosine of
    the yaw) are the K + 8 values that the head predicts in the cell of the object's centre, X those
    of all objects of its frame as rows; the softmax is over the first of two channels; M is a
    linear layer to K + 8 values, shared by both networks.

    Attributes:
        code: width of the compressed features.
        objects: most ground-truth boxes used per frame, and the divisor of O.
        share: random share of the cells in the mean absolute differences, in (0, 1], drawn anew in
            each step; 1 takes all, as the source does. Object cells are all used.
        attention: whether the head-attention loss is added, which needs a head of heat maps.

    Source: Cho et al., arXiv 2205.15531, the feature part as computed by
    hyeon-jo/interchange-transfer-KD (kd_models.py, TSEncoder), and the head-attention loss by its
    AttentionLoss (centernet_loss.py).
    """

    code: int = 32
    objects: int = 500
    share: float = 0.1
    attention: bool = False
    table = {name: {"attention": True} for name in CENTRES}
    lidar_source = CENTRES
    neutral = {"attention": False}

    def needs(self) -> set[str]:
        return {"neck", "head"} if self.attention else {"neck"}

    def build(self, teacher: Spec, student: Spec) -> None:
        if not 0 < self.share <= 1:
            raise MethodError(f"itkd:share is {self.share:g}; it must be above 0 and at most 1")
        wide, narrow = teacher.neck.channels, student.neck.channels
        self.widen = nn.Linear(narrow, wide)
        self.encoder = _layers(wide, *HIDDEN, self.code)
        self.decoder = _layers(self.code, *reversed(HIDDEN), narrow)
        if self.attention:
            values = student.classes + sum(BOX)
            self.mix = nn.Linear(2 * values, values)

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        all_theirs, all_ours = rows(teacher.neck), rows(student.neck)
        sample = self._sample(len(all_theirs), all_theirs.device)
        boxes = [objects[: self.objects] for objects in batch.boxes]
        centres = object_cells(teacher.neck, boxes)
        chosen = torch.cat([sample, *centres])
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

        losses = {
            "to_teacher": distance(to_teacher, theirs),
            "to_student": distance(to_student, ours),
            "compressed": F.l1_loss(code_s[:cells], code_t[:cells]),
        }
        if self.attention:
            losses["attention"] = self._attention(teacher.head, student.head, centres)
        return losses

    def _attention(self, teacher: HeadOutputs, student: HeadOutputs, cells: list[Tensor]) -> Tensor:
        """How differently the heads' values at objects attend to each other."""
        if student.soften is None:
            raise MethodError(
                f"itkd:attention needs a head of heat maps, which {self.student} does not have; "
                "leave it out"
            )
        attended = [self._attended(_at_objects(head, cells)) for head in (student, teacher)]
        count = sum(len(objects) for objects in cells)
        return (attended[0] - attended[1]).abs().sum() / max(count, 1)

    def _attended(self, values: Tensor) -> Tensor:
        """(B, G, K + 8) mixture of the attention among all channels and among each branch's."""
        branches = values.split([values.shape[-1] - sum(BOX), *BOX], dim=-1)
        parts = []
        for part in (values, *branches):
            score = part.mT @ part / math.sqrt(self.objects)
            parts.append(part @ score.softmax(dim=-2))
        return self.mix(torch.cat(parts, dim=-1))  # type: ignore[no-any-return]

    def _sample(self, count: int, device: torch.device) -> Tensor:
        """A random share of the row indices, in order; all of them for a share of 1."""
        if self.share == 1:
            return torch.arange(count, device=device)
        wanted = max(round(self.share * count), 1)
        return torch.randperm(count, device=device)[:wanted].sort().values


def object_cells(features: BEVMap | Points, boxes: list[Tensor]) -> list[Tensor]:
    """Per frame (G,) rows of the cells at box centres on the map, or of the nearest points."""
    cells = _map_cells if isinstance(features, BEVMap) else _nearest_points
    return [cells(features, i, box) for i, box in enumerate(boxes)]  # type: ignore


def _at_objects(head: HeadOutputs, cells: list[Tensor]) -> Tensor:
    """(B, G, K + 8) what a head of heat maps predicts at objects, 0 where a frame has fewer."""
    heat, code = head.class_logits.flatten(0, 1), head.deltas.flatten(0, 1)
    rows = [
        torch.cat([heat[c].sigmoid(), code[c, :6], code[c, 6:].sin(), code[c, 6:].cos()], dim=1)
        for c in cells
    ]
    return pad_sequence(rows, batch_first=True)


def _map_cells(features: BEVMap, frame: int, boxes: Tensor) -> Tensor:
    """Rows (g,) of one frame's map cells that hold a box centre; those off the map are left out."""
    cells, inside = cells_of(features, boxes)
    return (frame * features.values[0, 0].numel() + cells)[inside]


def _nearest_points(features: Points, frame: int, boxes: Tensor) -> Tensor:
    """Rows (g,) of one frame's points nearest to the 3D centres of its boxes."""
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
