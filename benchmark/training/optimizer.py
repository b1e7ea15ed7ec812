"""The optimizer of a student and its schedule, after mmdet3d's one-cycle KITTI schedules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.optim.scheduler import CosineAnnealingLR, CosineAnnealingMomentum
from torch import nn

from benchmark.config.recipe import OneCycle, Recipe


def make_optimizer(
    modules: Iterable[nn.Module], recipe: Recipe, factor: float = 1.0
) -> torch.optim.Optimizer:
    """AdamW with a parameter group for each module, at the initial learning rate.

    Args:
        factor: of the recipe's learning rate.
    """
    parts = [list(module.parameters()) for module in modules]
    settings: dict[str, Any] = {
        "lr": factor * recipe.learning_rate,
        "betas": recipe.betas,
        "weight_decay": recipe.weight_decay,
    }
    try:
        return torch.optim.AdamW(_groups(parts), fused=True, **settings)  # half the time, or less
    except RuntimeError:  # PyTorch before 2.4 has no fused kernel for processors
        return torch.optim.AdamW(_groups(parts), **settings)


def _groups(parts: list[list[nn.Parameter]]) -> list[dict[str, Any]]:
    """Anew for each optimizer, which writes its settings into them, even one that is refused."""
    return [{"params": part} for part in parts]


class OneCycleSchedule:
    """Moves learning rate and momentum of an optimizer through one cycle.

    Args:
        optimizer: at its initial rate.
        steps: total number of optimization steps.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, one_cycle: OneCycle, steps: int) -> None:
        rate = optimizer.defaults["lr"]
        top = min(max(int(one_cycle.pct_start * steps), 1), max(steps - 1, 1))
        end = max(steps, top + 1)
        climb = {"begin": 0, "end": top, "T_max": top, "by_epoch": False}
        fall = {"begin": top, "end": end, "T_max": end - top, "by_epoch": False}
        self._parts = [
            CosineAnnealingLR(optimizer, eta_min=one_cycle.div_factor * rate, **climb),
            CosineAnnealingLR(optimizer, eta_min=1 / one_cycle.final_div_factor * rate, **fall),
            CosineAnnealingMomentum(optimizer, eta_min=one_cycle.base_momentum, **climb),
            CosineAnnealingMomentum(optimizer, eta_min=one_cycle.final_momentum, **fall),
        ]

    def step(self) -> None:
        """Advance to the next optimization step."""
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The position in the cycle, as plain values."""
        return {str(i): part.state_dict() for i, part in enumerate(self._parts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a :meth:`state_dict`."""
        for i, part in enumerate(self._parts):
            part.load_state_dict(state[str(i)])
