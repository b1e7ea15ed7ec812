"""FGD: focal and global distillation for detectors (Yang et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from kd_methods.core.features import adapted, attention, tables, widener
from kd_methods.core.interface import Batch, BEVMap, KDMethod, Layer, Outputs, Points, Spec
from kd_methods.core.regions import cell_size, covered
from kd_methods.core.registry import register


@register("fgd", paper="Yang et al., CVPR 2022", year=2022)
class FGD(KDMethod):
    """Objects and background are imitated apart, weighted by attention, with a global relation.

        foreground = 1/B sum_{b,c,i} F_i A_i A_c (T - a(S))^2,    background: G_i for F_i
        attention  = 1/B ( sum |A^T_i - A^S_i| + sum |A^T_c - A^S_c| )
        relation   = 1/B sum (R_T(T) - R_S(a(S)))^2
        A_i = n softmax_i(mean_c |x| / t),  A_c = C softmax_c(mean_i |x| / t),  x = T unless said
        F_i = 1 / cells of the smallest object over i, else 0;  G_i = 1[F_i = 0] / their number
        R(x)_i = x_i + V ReLU(LN(U sum_j softmax_j(q x_j) x_j))

    The loss is their weighted sum over the neck (or all backbone stages). i is one of the n cells
    of a frame (or points), c one of C channels of the teacher. An object covers the cells whose
    centres lie within half a cell of its rotated box, so that none is without (points: those
    inside). The masks weigh with the teacher's attention, without gradient. a is a 1x1 convolution
    where the student is narrower (points: linear). Both blocks R are trained.

    Attributes:
        temperature: t, above 0.
        foreground: weight of objects (alpha in the paper).
        background: weight of the rest (beta).
        attention: weight of the attention maps' distance (gamma).
        relation: weight of the distance after the blocks (lambda).
        tap: which features are compared.

    Source: Yang et al., arXiv 2111.11837, and yzd-v/FGD; values of its configs
    for one-stage detectors with anchors. Rotated boxes are ours.
    """

    temperature: float = 0.5
    foreground: float = 1e-3
    background: float = 5e-4
    attention: float = 5e-4
    relation: float = 5e-6
    tap: Literal["neck", "stages"] = "neck"

    def needs(self) -> set[str]:
        return {"neck"} if self.tap == "neck" else {"stages"}

    def build(self, teacher: Spec, student: Spec) -> None:
        pairs = zip(student.taps(self.tap), teacher.taps(self.tap), strict=True)
        self.levels = nn.ModuleList(Level(ours, theirs) for ours, theirs in pairs)

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        taps = zip(self.levels, teacher.taps(self.tap), student.taps(self.tap), strict=True)
        parts = [level(t, s, batch.boxes, self.temperature) for level, t, s in taps]
        weights = {
            "foreground": self.foreground,
            "background": self.background,
            "attention": self.attention,
            "relation": self.relation,
        }
        frames = len(batch.boxes)
        return {
            name: weight / frames * torch.stack([part[name] for part in parts]).sum()
            for name, weight in weights.items()
        }


class Level(nn.Module):
    """Adapter and context blocks of one layer."""

    def __init__(self, student: Layer, teacher: Layer) -> None:
        super().__init__()
        self.adapter = widener(student, teacher)
        self.student_block = Context(teacher.channels)
        self.teacher_block = Context(teacher.channels)

    def forward(
        self,
        teacher: BEVMap | Points,
        student: BEVMap | Points,
        boxes: Sequence[Tensor],
        temperature: float,
    ) -> dict[str, Tensor]:
        """The four sums over all frames, by name."""
        margin = cell_size(teacher) / 2 if isinstance(teacher, BEVMap) else 0.0
        frames = zip(
            tables(teacher),
            tables(adapted(self.adapter, student)),
            covered(teacher, boxes, margin),
            strict=True,
        )
        each = [self._frame(t.T, s.T, held, temperature) for t, s, held in frames]
        return {name: torch.stack([part[name] for part in each]).sum() for name in each[0]}

    def _frame(
        self, teacher: Tensor, student: Tensor, held: Tensor, temperature: float
    ) -> dict[str, Tensor]:
        """The sums of one frame, of features (C, n) and which box covers which row, (n, G)."""
        theirs, ours = (
            [attention(values, dim, temperature) for dim in (0, 1)] for values in (teacher, student)
        )
        difference = teacher - student
        squares = difference.square()
        weighted = theirs[0] * (theirs[1] @ squares)
        near, rest = areas(held, teacher)
        shift = self.teacher_block(teacher) - self.student_block(student)
        related = squares.sum() + 2 * (difference.sum(1) * shift).sum()
        return {
            "foreground": (weighted * near).sum(),
            "background": (weighted * rest).sum(),
            "attention": sum((t - s).abs().sum() for t, s in zip(theirs, ours, strict=True)),
            "relation": related + len(held) * shift.square().sum(),
        }


class Context(nn.Module):
    """What a global-context block (Cao et al., 2019) adds to every row of a frame; 0 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = max(channels // 2, 1)
        self.query = nn.Linear(channels, 1)
        self.transform = nn.Sequential(
            nn.Linear(channels, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, channels)
        )
        nn.init.zeros_(self.transform[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.transform[-1].bias)  # type: ignore[arg-type]

    def forward(self, values: Tensor) -> Tensor:
        """(C,) from the features (C, n) of a frame."""
        share = (self.query.weight @ values + self.query.bias).softmax(1)
        return self.transform((values @ share.T).T)[0]


def areas(held: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """F and G (n,) of the formula from which box covers which row, (n, G)."""
    shares = held.to(like) / held.sum(0).clamp(min=1)
    near = torch.cat([shares, shares.new_zeros(len(held), 1)], dim=1).amax(1)
    rest = (near == 0).to(like)
    return near, rest / rest.sum().clamp(min=1)
