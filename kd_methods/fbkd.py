"""Feature-based distillation for object detection (Zhang & Ma, ICLR 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.core.features import attention, rows, sizes
from kd_methods.core.interface import Batch, BEVMap, KDMethod, Layer, Outputs, Points, Spec
from kd_methods.core.registry import register


@register("fbkd", paper="Zhang & Ma, ICLR 2021", year=2021)
class FBKD(KDMethod):
    """The student matches the teacher's attention-masked features, attention and relations.

        feature  = || sqrt(M_i M_c) (T - a(S)) ||_2
        channel  = || mean_i T - a_c(mean_i S) ||_2,    spatial = || mean_c T - a_s(mean_c S) ||_2
        relation = || R_T(T) - a_r(R_S(S)) ||_2
        M_i = n softmax_i(mean_c |T| / tau) + r n softmax_i(mean_c |S| / tau),      over 1 + r
        M_c = C softmax_c(mean_i |T| / tau) + r C softmax_c(mean_i |a(S)| / tau),   over 1 + r

    Each norm runs over the whole batch; the losses are their weighted sums over backbone stages. i
    is one of n BEV cells (or points) of a frame, c one of C channels of the teacher. The masks
    carry no gradient. The adapters a are linear, a_s a 3x3 convolution (points: linear); R_T and
    R_S are :class:`NonLocal` blocks. Adapters and blocks are all trained.

    Attributes:
        temperature: tau of both masks, above 0; smaller values sharpen them.
        student_share: r, the weight of the student's part in both masks, next to the teacher's 1.
        feature: weight of the masked feature distance (L_AM in the paper).
        channel: weight of the distance of channel means (part of L_AT).
        spatial: weight of the distance of spatial means (part of L_AT).
        relation: weight of the distance after the non-local blocks (L_NLD).

    Source: Zhang & Ma, ICLR 2021, section 3, and the authors' code. The values for maps are those
    of LGSD on KITTI; for points they are extrapolated.
    """

    temperature: float = 0.1
    student_share: float = 1.0
    feature: float = 4.2e-4
    channel: float = 2.4e-2
    spatial: float = 2.4e-2
    relation: float = 4.2e-4
    table = {
        "pointpillars@16": {"temperature": 1.0},
        "second@4": {"student_share": 0.1},
        "second@16": {"temperature": 2.0},
    }
    neutral = {"student_share": 1.0}
    lidar_source = ("pointpillars@4", "pointpillars@16", "second@4", "second@16")

    def needs(self) -> set[str]:
        return {"stages"}

    def build(self, teacher: Spec, student: Spec) -> None:
        last = len(teacher.stages) - 1
        pairs = zip(teacher.stages, student.stages, strict=True)
        self.levels = nn.ModuleList(Level(t, s, i, i == last) for i, (t, s) in enumerate(pairs))

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        stages = zip(self.levels, teacher.stages, student.stages, strict=True)
        norms = [level(t, s, self.temperature, self.student_share) for level, t, s in stages]
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
    """Adapters and non-local blocks of one backbone stage."""

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
        self,
        teacher: BEVMap | Points,
        student: BEVMap | Points,
        temperature: float,
        student_share: float,
    ) -> dict[str, Tensor]:
        """The four norms, by name."""
        target, guided = rows(teacher), rows(student)
        adapted = self.feature(guided)
        frames = sizes(teacher)
        masked = [
            torch.linalg.vector_norm((t - a) * root_mask(t, g, a, temperature, student_share))
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
    """Dot-product non-local block (Wang et al., CVPR 2018): R(A) = A + BN(out(gathered)).

    It has no softmax; the sum over keys is divided by their number. ``out`` has no bias, which the
    batch norm would cancel. Keys and values of a map are max-pooled by ``stride`` cells
    (as far as the map goes); what is left over at its end is not pooled.
    """

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

    def forward(self, table: Tensor, features: BEVMap | Points) -> Tensor:
        """(N, C) rows of the features plus what they gather from their own frame."""
        keys = self._pool(self.key(table), features)
        values = self._pool(self.value(table), features)
        gathered = [
            self._gather(part, key, value)
            for part, key, value in zip(table.split(sizes(features)), keys, values, strict=True)
        ]
        return table + self.norm(torch.cat(gathered))

    def _gather(self, table: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(n, C) out(mean over keys of (query . key) value) for rows (n, C).

        The mean over keys is taken first, so no matrix of rows times keys is formed.
        """
        relate = self.out(keys.T @ values / len(keys))
        return torch.addmm(self.query.bias @ relate, table, self.query.weight.T @ relate)

    def _pool(self, table: Tensor, features: BEVMap | Points) -> Sequence[Tensor]:
        """For each frame, rows (n, C) max-pooled over the map's windows; points as they are."""
        if isinstance(features, Points):
            return table.split(sizes(features))
        frames, _, height, width = features.values.shape
        maps = table.unflatten(0, (frames, height, width)).permute(0, 3, 1, 2)
        pooled = F.max_pool2d(maps, (min(self.stride, height), min(self.stride, width)))
        return list(pooled.flatten(2).transpose(1, 2))


def means(table: Tensor, frames: list[int]) -> Tensor:
    """(B, C) mean over the rows of each frame."""
    return torch.stack([part.mean(0) for part in table.split(frames)])


@torch.no_grad()
def root_mask(
    teacher: Tensor, student: Tensor, adapted: Tensor, temperature: float, share: float
) -> Tensor:
    """(n, C) square root of the cell mask times the channel mask of one frame."""
    cells = attention(teacher, 1, temperature) + share * attention(student, 1, temperature)
    channels = attention(teacher, 0, temperature) + share * attention(adapted, 0, temperature)
    return cells.sqrt()[:, None] * channels.sqrt() / (1 + share)
