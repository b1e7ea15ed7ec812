"""The optimiser of a student and how its rates move, after mmdet3d's cyclic KITTI schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.optim.scheduler import CosineAnnealingLR, CosineAnnealingMomentum

from benchmark.config.recipe import Cycle


class Schedule:
    """Moves the rates of an optimiser along a cycle.

    Args:
        optimiser: AdamW at its initial rate.
        steps: optimisation steps in all.
    """

    def __init__(self, optimiser: torch.optim.AdamW, cycle: Cycle, steps: int) -> None:
        rate = optimiser.defaults["lr"]
        top = min(max(int(cycle.climb * steps), 1), max(steps - 1, 1))
        end = max(steps, top + 1)
        climb = {"begin": 0, "end": top, "T_max": top, "by_epoch": False}
        fall = {"begin": top, "end": end, "T_max": end - top, "by_epoch": False}
        self._parts = [
            CosineAnnealingLR(optimiser, eta_min=cycle.peak * rate, **climb),
            CosineAnnealingLR(optimiser, eta_min=cycle.end * rate, **fall),
            CosineAnnealingMomentum(optimiser, eta_min=cycle.peak_beta, **climb),
            CosineAnnealingMomentum(optimiser, eta_min=cycle.end_beta, **fall),
        ]

    def step(self) -> None:
        """Go on to the next optimisation step."""
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Where the cycle is, as plain values."""
        return {str(i): part.state_dict() for i, part in enumerate(self._parts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        for i, part in enumerate(self._parts):
            part.load_state_dict(state[str(i)])
