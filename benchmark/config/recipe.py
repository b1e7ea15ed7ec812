"""How one family is trained under a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmark.config.reading import Problems, read_dataclass
from benchmark.data.augment import STEPS, CropObjects, CropPoints, Flip, Rotate, Scale, Step
from detectors import Grid, grid_settings
from kd_methods.core.interface import suggestion


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
            f"{path}: {name!r} is no step{suggestion(str(name), STEPS)}; there are "
            f"{', '.join(STEPS)}"
        )
        return None
    return read_dataclass(STEPS[name], fields, f"{path}.{name}", problems)


@dataclass(frozen=True)
class Cycle:
    """Learning rate and AdamW's first beta in two cosine phases, step by step.

    mmdet3d's configs/_base_/schedules/cyclic-40e.py.

    Attributes:
        climb: share of the steps in the first phase.
        peak: learning rate that the first phase heads for, in multiples of the initial one.
        end: the same of the second phase.
        peak_beta: first beta that the first phase heads for.
        end_beta: the same of the second phase.
    """

    climb: float = field(default=0.4, metadata={"least": 0, "most": 1})
    peak: float = field(default=10.0, metadata={"least": 0})
    end: float = field(default=1e-4, metadata={"least": 0})
    peak_beta: float = field(default=0.85 / 0.95, metadata={"least": 0, "most": 1})
    end_beta: float = field(default=1.0, metadata={"least": 0, "most": 1})


@dataclass(frozen=True)
class Recipe:
    """Everything about the training of one family but its network.

    Attributes:
        epochs: passes over the training frames.
        batch_size: frames per optimisation step.
        batch_norm_batch: frames per forward pass; the gradients of batch_size / batch_norm_batch
            passes are averaged, as mmdet3d's GPUs do, then clipped.
        learning_rate: at the start of the cycle.
        betas: AdamW's, the first at the start of the cycle.
        weight_decay: AdamW's.
        gradient_clip: largest gradient norm of the student.
        cycle: how learning rate and first beta move.
        augmentation: the steps that every training frame takes, in order.
        grid: the detector's; None is mmdet3d's own.

    Raises:
        ValueError: batch_size is no multiple of batch_norm_batch.
    """

    epochs: int = field(metadata={"least": 1})
    batch_size: int = field(metadata={"least": 1})
    batch_norm_batch: int = field(metadata={"least": 1})
    learning_rate: float = field(metadata={"above": 0})
    betas: tuple[float, float] = field(default=(0.95, 0.99), metadata={"least": 0, "most": 1})
    weight_decay: float = field(default=0.01, metadata={"least": 0})
    gradient_clip: float = field(default=10.0, metadata={"above": 0})
    cycle: Cycle = Cycle()
    augmentation: tuple[Step, ...] = field(
        default=(Flip(), Rotate(), Scale(), CropPoints(), CropObjects()),
        metadata={"read": read_steps},
    )
    grid: Grid | None = None

    def __post_init__(self) -> None:
        if self.batch_size % self.batch_norm_batch:
            raise ValueError(
                f"batch_size is {self.batch_size}; it must be a multiple of batch_norm_batch, "
                f"which is {self.batch_norm_batch}"
            )

    @property
    def passes(self) -> int:
        """Forward passes per optimisation step."""
        return self.batch_size // self.batch_norm_batch

    @property
    def pastes_objects(self) -> bool:
        """Whether the augmentation needs the objects of other frames."""
        return any(step.name == "paste_objects" for step in self.augmentation)

    def settings(self) -> dict[str, Any]:
        """All of it as plain values."""
        steps: list[Any] = list(self.augmentation)
        return asdict(self) | {
            "augmentation": [{step.name: asdict(step)} for step in steps],
            "grid": None if self.grid is None else grid_settings(self.grid),
        }
