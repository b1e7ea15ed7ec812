"""How one family is trained under a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmark.data.augment import (
    STEPS,
    GlobalRotation,
    GlobalScaling,
    ObjectRangeFilter,
    PointsRangeFilter,
    RandomFlip,
    Step,
)
from benchmark.files.settings import Problems, changed_settings, read_dataclass
from detectors import Grid, grid_settings
from kd_methods.core.errors import suggestion

MOST = 100_000
"""Epochs, or frames in a batch: more are a slip of the pen."""


def read_steps(value: Any, path: str, problems: Problems) -> tuple[Step, ...]:
    """Augmentation steps from a list of names and 'name: {field: value}' pairs."""
    if not isinstance(value, list):
        problems.append(f"{path} is {value!r}; it must be a list of steps")
        return ()
    return tuple(_read_step(item, f"{path}[{i}]", problems) for i, item in enumerate(value))


def _read_step(item: Any, path: str, problems: Problems) -> Any:
    pairs = {item: {}} if isinstance(item, str) else item
    if not isinstance(pairs, Mapping) or len(pairs) != 1:
        problems.append(f"{path} is {item!r}; it must be a step or 'step: {{field: value}}'")
        return None
    ((name, fields),) = pairs.items()
    if name not in STEPS:
        problems.append(
            f"{path}: unknown step {name!r}{suggestion(str(name), STEPS)}; known are "
            f"{', '.join(STEPS)}"
        )
        return None
    return read_dataclass(STEPS[name], fields, f"{path}.{name}", problems)


@dataclass(frozen=True)
class OneCycle:
    """Learning rate and AdamW's first beta in two cosine phases, step by step.

    mmdet3d's configs/_base_/schedules/cyclic-40e.py, in the terms of PyTorch's OneCycleLR.

    Attributes:
        pct_start: share of the optimization steps in the first phase, 0 to 1.
        div_factor: the first phase rises to the initial learning rate times this.
        final_div_factor: the second phase falls to the initial learning rate divided by this.
        base_momentum: first beta at the end of the first phase.
        final_momentum: first beta at the end of the second phase.
    """

    pct_start: float = field(default=0.4, metadata={"least": 0, "most": 1})
    div_factor: float = field(default=10.0, metadata={"above": 0})
    final_div_factor: float = field(default=1e4, metadata={"above": 0})
    base_momentum: float = field(default=0.85 / 0.95, metadata={"least": 0, "most": 1})
    final_momentum: float = field(default=1.0, metadata={"least": 0, "most": 1})


@dataclass(frozen=True)
class Recipe:
    """Everything about the training of one family except its network.

    Attributes:
        epochs: passes over the training frames.
        batch_size: frames per optimization step.
        micro_batch_size: frames per forward pass, which batch norm sees; the gradients of
            batch_size / micro_batch_size micro-batches are accumulated and averaged, as
            mmdet3d's GPUs do, then clipped.
        learning_rate: at the start of the cycle.
        betas: AdamW's, the first at the start of the cycle.
        weight_decay: AdamW's.
        max_grad_norm: largest gradient norm of the student.
        one_cycle: how learning rate and first beta move.
        augmentation: the steps applied to every training frame, in order.
        grid: the detector's; None is mmdet3d's own.

    Raises:
        ValueError: batch_size is not a multiple of micro_batch_size.
    """

    epochs: int = field(metadata={"least": 1, "most": MOST})
    batch_size: int = field(metadata={"least": 1, "most": MOST})
    micro_batch_size: int = field(metadata={"least": 1, "most": MOST})
    learning_rate: float = field(metadata={"above": 0, "most": 10})
    betas: tuple[float, float] = field(default=(0.95, 0.99), metadata={"least": 0, "most": 1})
    weight_decay: float = field(default=0.01, metadata={"least": 0})
    max_grad_norm: float = field(default=10.0, metadata={"above": 0})
    one_cycle: OneCycle = OneCycle()
    augmentation: tuple[Step, ...] = field(
        default=(
            RandomFlip(),
            GlobalRotation(),
            GlobalScaling(),
            PointsRangeFilter(),
            ObjectRangeFilter(),
        ),
        metadata={"read": read_steps},
    )
    grid: Grid | None = None

    def __post_init__(self) -> None:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size is {self.batch_size}; it must be a multiple of micro_batch_size, "
                f"which is {self.micro_batch_size}"
            )

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches per optimization step."""
        return self.batch_size // self.micro_batch_size

    @property
    def samples_objects(self) -> bool:
        """Whether the augmentation needs the objects of other frames."""
        return any(step.name == "object_sample" for step in self.augmentation)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        steps: list[Any] = list(self.augmentation)
        return asdict(self) | {
            "augmentation": [{step.name: asdict(step)} for step in steps],
            "grid": None if self.grid is None else grid_settings(self.grid),
        }

    def settings(self) -> dict[str, Any]:
        """What is not at its default, as plain values; the grid belongs to the cell."""
        steps: list[Any] = list(self.augmentation)
        changed = changed_settings(self)
        changed.pop("grid", None)
        if "augmentation" in changed:
            changed["augmentation"] = [{step.name: changed_settings(step)} for step in steps]
        return changed
