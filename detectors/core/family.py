"""What a detector family is, and the parts that all families share."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import detectors.operators  # noqa: F401  (before mmdet3d)
from detectors.core.grid import CLASSES, DetectorError, Grid
from detectors.operators.per_batch import Searches, remembering
from kd_methods.core.interface import Batch, Detections, Maps, Outputs, Spec

CONFIGS = Path(__file__).parents[1] / "configs"
"""mmdet3d configs of ours, of detectors that have none for KITTI there."""
AUXILIARY = "auxiliary"
"""Name of the part of a model that only its training needs."""
Hooks = dict[str, nn.Module]
Model = Any
"""An mmdet3d detector or a part of it: an nn.Module whose children are attributes."""


@dataclass(frozen=True)
class Inputs:
    """One batch, voxelised, as teacher and students read it. Never changed by a forward pass.

    Attributes:
        batch: points and ground truth.
        voxels: mmdet3d's voxel dictionary.
        searches: what depends only on points and objects, computed once for all networks.
    """

    batch: Batch
    voxels: dict[str, Tensor]
    searches: Searches = field(default_factory=Searches, compare=False)

    def with_targets(self, batch: Batch) -> Inputs:
        """The same points with other ground truth."""
        return replace(self, batch=batch)

    def tensors(self) -> dict[str, Any]:
        """Fresh copies of points and voxels, which a forward pass may change."""
        return {
            "points": [points.clone() for points in self.batch.points],
            "voxels": {key: value.clone() for key, value in self.voxels.items()},
        }

    def samples(self) -> list[Any]:
        """Fresh data samples with the ground truth, which a forward pass may change."""
        frames = zip(self.batch.boxes, self.batch.labels, strict=True)
        return [_sample(boxes, labels) for boxes, labels in frames]


class Family(ABC):
    """One detector architecture of mmdet3d at any width and grid."""

    name: str
    config_file: str
    source: str = ""
    """16 hex digits of the config and code of a family that is none of ours."""

    @abstractmethod
    def default_grid(self) -> Grid:
        """The grid of mmdet3d's KITTI config."""

    @abstractmethod
    def cover(self, grid: Grid, low: Sequence[float], high: Sequence[float]) -> Grid:
        """A grid with the resolution of another that covers a region (x, y, z, metres)."""

    @abstractmethod
    def config(self, ratio: float, grid: Grid) -> dict[str, Any]:
        """mmdet3d's model config with widths divided by about the square root of ``ratio``."""

    @abstractmethod
    def head(self, model: Model) -> Model:
        """The dense head, which predicts a box for every anchor or point."""

    @abstractmethod
    def spec(self, model: Model) -> Spec:
        """Shapes of the outputs of a model."""

    def maps(self, grid: Grid) -> Maps | None:
        """Where the dense maps of any of its networks lie; None if its features are points."""
        return None

    @abstractmethod
    def taps(self, model: Model, needs: set[str]) -> Hooks:
        """Modules whose outputs :meth:`read` needs, by its own names."""

    @abstractmethod
    def read(self, model: Model, inputs: Inputs, raw: dict[str, Any], grid: Grid) -> dict[str, Any]:
        """Typed outputs from the raw outputs of the tapped modules."""

    def base_config(self) -> dict[str, Any]:
        """mmdet3d's own model config, as installed with it."""
        config = installed_config(self.config_file)
        if "model" not in config:
            raise DetectorError(f"{self.config_file} has no `model = dict(...)`")
        return copy.deepcopy(config["model"])

    def with_config(self, file: Path) -> Family:
        """A student of its own config, with the same outputs.

        Raises:
            DetectorError: the config is of another network, or the family takes ratios alone.
        """
        raise DetectorError(f"students of {self.name} are ratios alone; {file} cannot be one")

    def adapted(self, grid: Grid) -> Grid:
        """A grid of the family as this one of its students lays it."""
        return grid

    def digest(self, code: bytes = b"") -> str:
        """16 hex digits of what defines it: its config, as resolved, and its code."""
        config = json.dumps(self.base_config(), sort_keys=True, default=str)
        return hashlib.sha256(config.encode() + code).hexdigest()[:16]

    def lacking(self) -> str:
        """What is not installed that not every family needs, and the remedy; empty if nothing."""
        return ""

    def build(self, ratio: float, grid: Grid) -> Model:
        """A model with fresh weights, drawn from the global generators.

        Raises:
            DetectorError: the ratio is below 1 or the grid does not suit the network.
        """
        import mmdet3d.models  # noqa: F401
        from mmdet3d.registry import MODELS
        from mmengine.config import ConfigDict
        from mmengine.registry import DefaultScope

        if told := self.lacking():
            raise DetectorError(told)
        if not 1 <= ratio < math.inf:
            raise DetectorError(f"compression ratio is {ratio:g}; it must be at least 1")
        with DefaultScope.overwrite_default_scope("mmdet3d"), _quiet():
            model = MODELS.build(ConfigDict(self.buildable(self.config(ratio, grid))))
            model.init_weights()
        self.head(model).register_forward_hook(to_float)
        return model

    def deployed(self, model: Model) -> Model:
        """The same network, its weights shared, without what only its training needs."""
        if AUXILIARY not in model._modules:
            return model
        lean = copy.copy(model)
        lean._modules = {name: part for name, part in model._modules.items() if name != AUXILIARY}
        return lean

    def buildable(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config with our classes where mmdet3d's fail or waste time."""
        return config

    def place(self, model: Model, device: torch.device) -> Model:
        """The model on a device, its parts in the memory format that suits them."""
        return model.to(device)

    @abstractmethod
    def voxelizer(self, grid: Grid, training: bool) -> Callable[[Batch], Inputs]:
        """What turns a batch into :class:`Inputs`, with the limits of the phase."""

    def losses(self, model: Model, inputs: Inputs) -> dict[str, Tensor]:
        """The detector's own training losses."""
        with remembering(inputs.searches):
            losses = model.loss(inputs.tensors(), inputs.samples())
        return {
            name: torch.stack(list(value)).sum() if isinstance(value, (list, tuple)) else value
            for name, value in losses.items()
            if "loss" in name
        }

    def observe(self, model: Model, inputs: Inputs) -> None:
        """Run feature extractor and head only, for their outputs."""
        with remembering(inputs.searches):
            features = model.extract_feat(inputs.tensors())
        self.head(model)(features)

    @torch.no_grad()
    def dry_run(self, model: Model, grid: Grid) -> None:
        """Run every dense layer once at sizes that depend on the grid alone: on an empty frame."""
        self.observe(model, self.empty_frame(model, grid))

    def empty_frame(self, model: Model, grid: Grid) -> Inputs:
        """A frame without points and objects, where a model is."""
        device = next(model.parameters()).device
        boxes, points = torch.zeros(0, 7, device=device), torch.zeros(0, 4, device=device)
        labels = torch.zeros(0, dtype=torch.long, device=device)
        empty = Batch([boxes], [labels], [points], grid.class_names)
        return self.voxelizer(grid, training=False)(empty)

    @torch.no_grad()
    def predict(self, model: Model, inputs: Inputs) -> list[Detections]:
        """Final boxes of each frame."""
        with remembering(inputs.searches):
            predicted = model.predict(inputs.tensors(), inputs.samples())
        return [
            Detections(found.bboxes_3d.tensor, found.scores_3d, found.labels_3d)
            for found in (sample.pred_instances_3d for sample in predicted)
        ]

    @contextmanager
    def capture(
        self, model: Model, needs: set[str], grid: Grid
    ) -> Iterator[Callable[[Inputs], Outputs]]:
        """Record, while the context lasts, what ``needs`` names.

        Yields:
            A function from the inputs of the pass to its :class:`Outputs`.
        """
        raw: dict[str, Any] = {}
        taps = self.taps(model, needs)
        handles = [
            module.register_forward_hook(_recorder(raw, name)) for name, module in taps.items()
        ]

        def outputs(inputs: Inputs) -> Outputs:
            return Outputs(
                detect=lambda: self.detections(model, inputs, raw),
                **self.read(model, inputs, raw, grid),
            )

        try:
            yield outputs
        finally:
            for handle in handles:
                handle.remove()

    @abstractmethod
    def detections(self, model: Model, inputs: Inputs, raw: dict[str, Any]) -> list[Detections]:
        """Final boxes from the captured head outputs, without gradient."""


@cache
def installed_config(name: str) -> dict[str, Any]:
    """A config file that comes with mmdet3d, or any other, as plain values, to be read only.

    Args:
        name: path of a file; a relative one is below mmdet3d's own configs.

    Raises:
        DetectorError: mmdet3d is installed without it.
    """
    import mmdet3d
    from mmengine import Config

    file = Path(mmdet3d.__file__).parent / ".mim" / "configs" / name
    if not file.is_file():
        raise DetectorError(f"{file} is missing; install mmdet3d 1.4 from its wheel")
    return Config.fromfile(str(file)).to_dict()


def per_class(settings: Any, grid: Grid) -> list[dict[str, Any]]:
    """For each class of a grid what a config has for the class of KITTI it is like.

    Args:
        settings: in the order of KITTI's classes; of a config of other classes, its only ones or
            its first ones serve for all.
    """
    if isinstance(settings, dict) or len(settings) != len(CLASSES):
        first = settings if isinstance(settings, dict) else settings[0]
        return [copy.deepcopy(first) for _ in grid.classes]
    known = dict(zip(CLASSES, settings, strict=True))
    return [known[each.like] for each in grid.classes]


def scaled(channels: int, ratio: float) -> int:
    """Width of a layer at a parameter-compression ratio.

    The divisor is the square root of the ratio cut to one decimal (8 -> 2.8), the quotient is
    cut to an integer: the widths of PointDistiller's students (its configs for 4x, 8x, 16x).
    """
    divisor = math.floor(10 * math.sqrt(ratio) + 1e-9) / 10
    return max(1, math.floor(channels / divisor + 1e-9))


def scale_widths(widths: Sequence[int], ratio: float) -> list[int]:
    """:func:`scaled` for each of several widths."""
    return [scaled(width, ratio) for width in widths]


def scale_branches(widths: Any, ratio: float) -> tuple[tuple[int, ...], ...]:
    """:func:`scaled` for each layer of each branch of a set abstraction."""
    return tuple(tuple(scale_widths(branch, ratio)) for branch in widths)


def wanted(needs: set[str]) -> set[str]:
    """Output names of ``needs`` without their ``:pre_relu``."""
    return {name.partition(":")[0] for name in needs}


def _recorder(raw: dict[str, Any], name: str) -> Callable[..., None]:
    clone = name.endswith("pre_relu")

    def record(module: nn.Module, arguments: Any, output: Any) -> None:
        raw[name] = output.clone() if clone else output

    return record


def to_float(module: nn.Module, arguments: Any, output: Any) -> Any:
    """Forward hook: losses and box decoding stay in float32 under autocast."""
    if isinstance(output, Tensor):
        return output.float()
    if isinstance(output, dict):
        return {name: to_float(module, arguments, item) for name, item in output.items()}
    if isinstance(output, (list, tuple)):
        return type(output)(to_float(module, arguments, item) for item in output)
    return output


def _sample(boxes: Tensor, labels: Tensor) -> Any:
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmengine.structures import InstanceData

    instances = InstanceData()
    instances.bboxes_3d = LiDARInstance3DBoxes(boxes.clone())
    instances.labels_3d = labels.clone()
    sample = Det3DDataSample(metainfo={"box_type_3d": LiDARInstance3DBoxes})
    sample.gt_instances_3d = instances
    return sample


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep mmengine from logging every parameter that it initialises."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
