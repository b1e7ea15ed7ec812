"""Feature-based distillation for object detection: attention-guided and non-local."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.core.features import rows, sizes
from kd_methods.core.interface import Batch, Dense, KDMethod, Layer, Outputs, Points, Spec
from kd_methods.core.registry import register


@register("fbkd", paper="Zhang & Ma, ICLR 2021", year=2021)
class FBKD(KDMethod):
    """The student follows the teacher's features where both attend, its attention and relations.

    Source: Zhang & Ma, ICLR 2021, section 3, and the authors' code. Four norms per stage, adapters
    on the student's side: ``feature``, of the difference weighted by the product of a mask over
    cells and one over channels (softmax of mean magnitudes over the temperature, mean 1, averaged
    over teacher and student, L_AM); ``channel`` and ``spatial``, of the mean over cells and over
    channels (L_AT); ``relation``, of the features after a non-local block, one for the teacher and
    one for the student, both trained (L_NLD).

    Stages, widths, pooling, temperatures and weights are the published LiDAR recipe (LGSD on
    KITTI), whose weights are six times those of the code for two-stage detectors. Teacher and
    student have channels of different number here, so the student's channel mask is that of its
    adapted feature; LGSD adapts the mask itself, by a trained layer that can lower the loss by
    closing the mask. The non-local block has no softmax: its sum over keys is formed first, so it
    costs one linear map and no matrix of cells times cells; its last layer has no bias, which the
    batch norm after it would cancel. Empty cells are not left out: the masks give them
    less weight. For points, each frame's rows are its cells, keys are not pooled, and the 3x3
    convolution on the spatial mean is a 1x1 one; the values are not from a LiDAR recipe there.
    """

    temperature: float = 0.1
    feature: float = 4.2e-4
    channel: float = 2.4e-2
    spatial: float = 2.4e-2
    relation: float = 4.2e-4
    table = {"pointpillars@16": {"temperature": 1.0}, "second@16": {"temperature": 2.0}}
    lidar_source = ("pointpillars@4", "pointpillars@16", "second@4", "second@16")

    def needs(self) -> set[str]:
        return {"stages"}

    def build(self, teacher: Spec, student: Spec) -> None:
        last = len(teacher.stages) - 1
        pairs = zip(teacher.stages, student.stages, strict=True)
        self.levels = nn.ModuleList(Level(t, s, i, i == last) for i, (t, s) in enumerate(pairs))

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        stages = zip(self.levels, teacher.stages, student.stages, strict=True)
        norms = [level(t, s, self.temperature) for level, t, s in stages]
        weights = {
            "feature": self.feature,
            "channel": self.channel,
            "spatial": self.spatial,
            "relation": self.relation,
        }
        return {
            name: weight * torch.stack([norm[name] for norm in norms]).sum()
            for name, weight in weights.items()
        }


class Level(nn.Module):
    """Adapters and non-local blocks of one stage."""

    def __init__(self, teacher: Layer, student: Layer, index: int, last: bool) -> None:
        super().__init__()
        self.feature = nn.Linear(student.channels, teacher.channels)
        self.channel = nn.Linear(student.channels, teacher.channels)
        self.spatial = nn.Conv2d(1, 1, 3, padding=1) if teacher.dense else nn.Linear(1, 1)
        self.relation = nn.Linear(student.channels, teacher.channels)
        stride = 2 if last else max(1, 8 // 2**index)
        self.teacher_block = NonLocal(teacher.channels, stride, narrow=last)
        self.student_block = NonLocal(student.channels, stride, narrow=last)

    def forward(
        self, teacher: Dense | Points, student: Dense | Points, temperature: float
    ) -> dict[str, Tensor]:
        """The four norms."""
        target, guided = rows(teacher), rows(student)
        adapted = self.feature(guided)
        frames = sizes(teacher)
        masked = [
            torch.linalg.vector_norm((t - a) * root_mask(t, g, a, temperature))
            for t, g, a in zip(
                target.split(frames), guided.split(frames), adapted.split(frames), strict=True
            )
        ]
        differences = {
            "feature": torch.stack(masked),
            "channel": means(target, frames) - self.channel(means(guided, frames)),
            "spatial": teacher.values.mean(1, keepdim=True)
            - self.spatial(student.values.mean(1, keepdim=True)),
            "relation": self.teacher_block(target, teacher)
            - self.relation(self.student_block(guided, student)),
        }
        return {name: torch.linalg.vector_norm(value) for name, value in differences.items()}


class NonLocal(nn.Module):
    """Non-local block (Wang et al., CVPR 2018) with dot products divided by the number of keys."""

    width = 64

    def __init__(self, channels: int, stride: int, narrow: bool) -> None:
        super().__init__()
        width = max(1, channels // 2) if narrow else self.width
        self.stride = stride
        self.query = nn.Linear(channels, width)
        self.key = nn.Linear(channels, width)
        self.value = nn.Linear(channels, width)
        self.out = nn.Linear(width, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, table: Tensor, features: Dense | Points) -> Tensor:
        """(N, C) rows of the features plus what they gather from the rows of their frame."""
        keys = self._pool(self.key(table), features)
        values = self._pool(self.value(table), features)
        gathered = [
            self._gather(part, key, value)
            for part, key, value in zip(table.split(sizes(features)), keys, values, strict=True)
        ]
        return table + self.norm(torch.cat(gathered))

    def _gather(self, table: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(n, C) out(sum over keys of (query . key) value): one linear map of (n, C) rows."""
        relate = self.out(keys.T @ values / len(keys))
        return torch.addmm(self.query.bias @ relate, table, self.query.weight.T @ relate)

    def _pool(self, table: Tensor, features: Dense | Points) -> Sequence[Tensor]:
        """For each frame, (n, C) largest values of the windows of a map, or all points."""
        if isinstance(features, Points):
            return table.split(sizes(features))
        frames, _, height, width = features.values.shape
        maps = table.unflatten(0, (frames, height, width)).permute(0, 3, 1, 2)
        pooled = F.max_pool2d(maps, self.stride, ceil_mode=True)
        return list(pooled.flatten(2).transpose(1, 2))


def means(table: Tensor, frames: list[int]) -> Tensor:
    """(B, C) mean over the rows of each frame."""
    return torch.stack([part.mean(0) for part in table.split(frames)])


@torch.no_grad()
def root_mask(teacher: Tensor, student: Tensor, adapted: Tensor, temperature: float) -> Tensor:
    """(n, C) square root of the mask over cells times that over channels, of one frame."""
    cells = attention(teacher, 1, temperature) + attention(student, 1, temperature)
    channels = attention(teacher, 0, temperature) + attention(adapted, 0, temperature)
    return (cells / 2).sqrt()[:, None] * (channels / 2).sqrt()


def attention(table: Tensor, dim: int, temperature: float) -> Tensor:
    """Softmax, times its length, of the mean magnitudes along one dimension of (n, C)."""
    strength = torch.linalg.vector_norm(table, ord=1, dim=dim) / table.shape[dim]
    return len(strength) * (strength / temperature).softmax(0)
