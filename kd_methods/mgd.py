"""MGD: masked generative distillation (Yang et al., ECCV 2022)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from kd_methods.core.features import wideners
from kd_methods.core.interface import Batch, KDMethod, Layer, MethodError, Outputs, Spec
from kd_methods.core.registry import register


@register("mgd", paper="Yang et al., ECCV 2022", year=2022)
class MGD(KDMethod):
    """From what a random mask leaves of the student's map, a generator makes the teacher's.

        L = sum_l scale / B sum_{b,c,i} (T - g(M a(S)))^2,    g(x) = W_2 * ReLU(W_1 * x)

    T and S are the maps of every backbone stage l (or the neck's), a is a 1x1 convolution where S
    is narrower. M drops each cell, with all its channels, with probability ``masked``, drawn anew
    in each step. The sum runs over all cells, dropped or not. W_1
    and W_2 are 3x3 convolutions of the teacher's width.

    Attributes:
        scale: the paper's alpha; the loss is a sum, so it grows with the map.
        masked: share of the cells that are dropped, in [0, 1).
        tap: which maps are compared; the neck's cost several times as much.

    Source: Yang et al., arXiv 2205.01529, and yzd-v/MGD; values for one-stage
    detectors.
    """

    scale: float = 2e-5
    masked: float = 0.65
    tap: Literal["neck", "stages"] = "stages"

    def needs(self) -> set[str]:
        return {"neck"} if self.tap == "neck" else {"stages"}

    def build(self, teacher: Spec, student: Spec) -> None:
        layers = teacher.taps(self.tap)
        if not all(layer.dense for layer in layers):
            raise MethodError(
                "mgd: points have no grid from which a dropped one could be generated"
            )
        self.adapters = wideners(student.taps(self.tap), layers)
        self.generators = nn.ModuleList(map(generator, layers))

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        levels = zip(
            self.adapters,
            self.generators,
            student.taps(self.tap),
            teacher.taps(self.tap),
            strict=True,
        )
        return {
            f"level{i}": self.scale
            * (theirs.values - generate(self._drop(adapt(ours.values)))).square().sum()
            / len(theirs.values)
            for i, (adapt, generate, ours, theirs) in enumerate(levels)
        }

    def _drop(self, values: Tensor) -> Tensor:
        """A map (B, C, H, W) without a random share of its cells."""
        kept = torch.rand_like(values[:, :1]) >= self.masked
        return values * kept


def generator(layer: Layer) -> nn.Module:
    """Two 3x3 convolutions of the layer's width with a ReLU between them."""
    width = layer.channels
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
    )
