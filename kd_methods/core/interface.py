"""All that the author of a distillation method must read: what a method gets and returns.

Symbols used in shapes: B frames in the batch, N points or voxels of all frames together,
C channels, H and W rows (along y) and columns (along x) of a bird's-eye-view map, A anchors
(or points) of a frame, K classes, G ground-truth boxes of a frame. Boxes are
(x, y, z of the bottom centre, length, width, height, yaw), metres and radians, in the LiDAR frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from kd_methods.core.catalogue import NEEDS, OUTPUTS
from kd_methods.core.errors import PointKDError, suggestion


class MethodError(PointKDError):
    """A method, its name or one of its settings is wrong."""


class MissingOutputError(MethodError):
    """A method reads an output that its ``needs`` does not name."""


@dataclass(frozen=True)
class BEVMap:
    """A bird's-eye-view feature map.

    Attributes:
        values: (B, C, H, W) float32, after the layer's ReLU.
        stride: input cells (pillars, voxels) per map cell, along x and y.
        extent: x_min, y_min, x_max, y_max of the map, metres; H runs along y, W along x.
        pre_relu: (B, C, H, W) before the ReLU, where asked for.
    """

    values: Tensor
    stride: int
    extent: tuple[float, float, float, float]
    pre_relu: Tensor | None = None


@dataclass(frozen=True)
class Points:
    """Features of pillars, voxels or points, all frames one after the other.

    Attributes:
        values: (N, C) float32.
        batch: (N,) index of the frame in the batch, ascending.
        xyz: (N, 3) position (the centre of a pillar or voxel), metres.
        count: (N,) number of raw points in the pillar or voxel.
        capped_count: (N,) number of them that the detector read.
    """

    values: Tensor
    batch: Tensor
    xyz: Tensor
    count: Tensor
    capped_count: Tensor


MOST_LOG = math.log(1000 / 16)
"""Logarithm of the factor by which mmdet's coders for images let a side exceed its prior. Without
a bound, a network that has hardly trained gives boxes whose volume is infinite."""


@dataclass(frozen=True)
class HeadOutputs:
    """What the dense head predicts, one row per anchor (or point).

    Attributes:
        class_logits: (B, A, K), one sigmoid per class.
        deltas: (B, A, 7) box code relative to the prior.
        direction_logits: (B, A, 2), or None where the head has no direction classifier.
        priors: (B, A, 7) anchors, or points with the mean size of the class they predict.
        decode: maps deltas (..., A, 7) to boxes (..., A, 7).
        assign: gives the (B, A) class index of the ground truth that each prior is trained for,
            -1 for background and -2 for priors that training ignores.
        soften: gives the (B, A, K) probabilities that class logits are trained for, where they are
            not those of ``assign``.
    """

    class_logits: Tensor
    deltas: Tensor
    direction_logits: Tensor | None
    priors: Tensor
    decode: Callable[[Tensor], Tensor]
    assign: Callable[[], Tensor]
    soften: Callable[[], Tensor] | None = None

    @cached_property
    def boxes(self) -> Tensor:
        """(B, A, 7) decoded boxes, sides at most 62.5 times the prior's; yaw is known up to half a
        turn."""
        most = self.deltas.new_full((7,), math.inf)
        most[3:6] = MOST_LOG
        return self.decode(self.deltas.clamp(max=most))

    @cached_property
    def assigned(self) -> Tensor:
        """(B, A) class index that each prior is trained for, -1 background, -2 ignored."""
        return self.assign()

    @property
    def positive(self) -> Tensor:
        """(B, A) whether a prior is assigned to a ground-truth box."""
        return self.assigned >= 0

    @cached_property
    def class_targets(self) -> Tensor:
        """(B, A, K) what class logits are trained for: 1 for the assigned class and 0 for others,
        or heat that falls off around the centres of objects."""
        if self.soften is not None:
            return self.soften()
        classes = torch.arange(self.class_logits.shape[-1], device=self.assigned.device)
        return (self.assigned[..., None] == classes).to(self.class_logits)


Dense, Boxes = BEVMap, HeadOutputs
"""Their names in plugins written for version 0.1."""


@dataclass(frozen=True)
class Detections:
    """The detector's final boxes of one frame, after non-maximum suppression.

    Attributes:
        boxes: (D, 7).
        scores: (D,) in [0, 1].
        labels: (D,) class index.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Outputs:
    """What was captured of one forward pass: of the attributes, those that ``needs`` names.

    Attributes:
        local: features closest to the points: pillars, voxels or points.
        stages: the backbone's stages, first to last.
        neck: the fused features that the head reads.
        head: what the dense head predicts.
    """

    local: Points
    stages: Sequence[BEVMap | Points]
    neck: BEVMap | Points
    head: HeadOutputs

    def __init__(self, detect: Callable[[], list[Detections]], **captured: Any) -> None:
        self._detect = detect
        self.__dict__.update(captured)

    def __getattr__(self, name: str) -> Any:
        if name in OUTPUTS:
            raise MissingOutputError(f"output {name!r} was not requested; add it to needs()")
        raise AttributeError(name)

    def taps(self, where: str) -> Sequence[BEVMap | Points]:
        """``stages``, or the ``neck`` as the only one."""
        return self.stages if where == "stages" else [self.neck]

    @cached_property
    def detections(self) -> list[Detections]:
        """One entry per frame, without gradient. Needs ``head``."""
        return self._detect()


@dataclass(frozen=True)
class Batch:
    """The frames that teacher and students see, augmented alike.

    Attributes:
        boxes: per frame (G, 7) ground truth inside the detector's range.
        labels: per frame (G,) class index into ``classes``.
        points: per frame (P, 4) x, y, z (metres) and reflectance.
        classes: class names.
    """

    boxes: Sequence[Tensor]
    labels: Sequence[Tensor]
    points: Sequence[Tensor]
    classes: Sequence[str]


@dataclass(frozen=True)
class Layer:
    """Shape of one output, known before training.

    Attributes:
        channels: C.
        dense: whether it is a :class:`BEVMap` map (else :class:`Points`).
        batch_norm: weight and bias of the batch norm before the ReLU, (C,) each, where there is
            one; the layer's own tensors, to be read and never written.
    """

    channels: int
    dense: bool
    batch_norm: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Spec:
    """Shapes of a network's outputs.

    Attributes:
        local, stages, neck: as in :class:`Outputs`.
        classes: number of classes K.
    """

    local: Layer
    stages: Sequence[Layer]
    neck: Layer
    classes: int

    def taps(self, where: str) -> Sequence[Layer]:
        """``stages``, or the ``neck`` as the only one."""
        return self.stages if where == "stages" else [self.neck]


PLAIN = (bool, int, float, str, NoneType)
"""Types that records hold."""


@dataclass(frozen=True)
class Maps:
    """Where a network's dense maps lie.

    Attributes:
        extent: x_min, y_min, x_max, y_max of each, metres.
        cells: pillars or voxels along x and y.
        stages: of these per cell of each stage's map, along x and y.
        neck: of these per cell of the neck's map.
    """

    extent: tuple[float, float, float, float]
    cells: tuple[int, int]
    stages: Sequence[int]
    neck: int

    def side(self, stride: int) -> float:
        """Side of a map's cell along x, metres."""
        return (self.extent[2] - self.extent[0]) * stride / self.cells[0]


class KDMethod(nn.Module):
    """Base of all methods. Subclass it, decorate with ``@register``, define ``needs`` and ``loss``.

    Hyper-parameters are annotated class attributes with a default of type bool, int, float or str
    (or a Literal). ``table`` overrides defaults for a family (``"second"``) or a student
    (``"second@4"``). A method's own layers are made in ``build`` and belong to the method: they
    are trained beside the student and never deployed. What a method remembers from step to step
    must be in parameters or buffers, or follow from ``on_epoch``: an interrupted run resumes from
    these.

    Attributes:
        student: name of the student, e.g. ``pointpillars@4``.
        family: its family, e.g. ``pointpillars``.
        weight: factor of all losses of the method, applied by the benchmark.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    year: ClassVar[int]
    table: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    lidar_source: ClassVar[Sequence[str]] = ()
    """Families or students for which a published LiDAR recipe gives the values used."""
    neutral: ClassVar[Mapping[str, Any]] = {}
    """Hyper-parameters that were added when there were records already, each with the value at
    which the method is as it was without: at it they stay out of a cell's identity."""

    space: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Hyper-parameters that ``tune`` varies, each with the least and the largest value, evenly on a
    logarithmic scale; by default the weight, from a tenth to ten times its value."""

    by_place: ClassVar[bool] = False
    """Whether ``loss`` reads heads for boxes and priors wherever they lie, never comparing row i of
    the teacher's with row i of the student's, so that the teacher may have other priors."""

    weight: float = 1.0

    def __init__(self, student: str, **settings: Any) -> None:
        """Set the hyper-parameters: the user's over the table's over the class's.

        Raises:
            MethodError: unknown setting, or a value, or default, that its annotation excludes.
        """
        super().__init__()
        self.student = student
        self.family = student.partition("@")[0]
        known = hyperparameter_types(type(self))
        for given in settings:
            if given not in known:
                raise MethodError(
                    f"{self.name}: unknown setting {given!r}{suggestion(given, known)}; "
                    f"known are {', '.join(known)}"
                )
        values = {**self.table.get(self.family, {}), **self.table.get(student, {}), **settings}
        for key, kind in known.items():
            given = values.get(key, getattr(self, key))
            value = _convert(f"{self.name}:{key}", given, kind)
            if key in values or type(given) not in PLAIN:  # plain defaults stay as written
                setattr(self, key, value)

    def needs(self) -> set[str]:
        """Names of the outputs that ``loss`` reads, of :data:`OUTPUTS`."""
        raise NotImplementedError(f"{type(self).__name__} must define needs()")

    def build(self, teacher: Spec, student: Spec) -> None:
        """Make adapters. Raise :class:`MethodError` where the pair does not suit the method."""

    def initialise(self, student: nn.Module, teacher: nn.Module) -> None:
        """Change the student's initial weights in place, e.g. inherit the teacher's."""

    def targets(self, teacher: Outputs, batch: Batch) -> Batch:
        """Ground truth that the student is trained with; the batch itself by default."""
        return batch

    def on_epoch(self, epoch: int, epochs: int) -> None:
        """Called before each epoch, from 0."""

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Named scalar losses, added to the detector's. Runs in float32."""
        raise NotImplementedError(f"{type(self).__name__} must define loss()")

    def forward(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The losses of :meth:`loss` times ``weight``."""
        losses = self.loss(teacher, student, batch)
        _check_losses(self.name, losses)
        return {name: self.weight * value for name, value in losses.items()}

    def hyperparameters(self) -> dict[str, Any]:
        """Every hyper-parameter with the value in use."""
        return {name: getattr(self, name) for name in hyperparameter_types(type(self))}

    def identifying(self) -> dict[str, Any]:
        """The hyper-parameters that are part of a cell's identity."""
        values = self.hyperparameters()
        return {k: v for k, v in values.items() if k not in self.neutral or v != self.neutral[k]}

    def extrapolated(self) -> bool:
        """Whether no published LiDAR recipe gives the values for this student."""
        return not {self.family, self.student} & set(self.lidar_source)


def checked_needs(method: KDMethod) -> set[str]:
    """The outputs that a method asks for.

    Raises:
        MethodError: it asks for one that no detector has.
    """
    needs = set(method.needs())
    for name in sorted(needs - set(NEEDS)):
        raise MethodError(
            f"{method.name}: needs() names an unknown output {name!r}{suggestion(name, NEEDS)}; "
            f"known are {', '.join(NEEDS)}"
        )
    return needs


def _check_losses(method: str, losses: Any) -> None:
    """Raise :class:`MethodError` unless ``losses`` names scalar tensors."""
    if not isinstance(losses, dict):
        found = type(losses).__name__
        raise MethodError(f"{method}: loss() returns {found}; return a dict of scalars")
    for name, value in losses.items():
        if not isinstance(value, Tensor) or value.shape != ():
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise MethodError(
                f"{method}: loss {name!r} is {shape}; return a scalar tensor, e.g. its mean()"
            )


def hyperparameter_types(cls: type[KDMethod]) -> dict[str, Any]:
    """Names and types of a method's hyper-parameters, the base's first."""
    hints = get_type_hints(cls)
    return {
        name: hints[name]
        for base in reversed(cls.__mro__)
        if issubclass(base, KDMethod)
        for name in base.__dict__.get("__annotations__", {})
        if get_origin(hints[name]) is not ClassVar and hasattr(cls, name)
    }


def _convert(where: str, value: Any, kind: Any) -> Any:
    """The value as ``kind``, from text or as it is.

    Raises:
        MethodError: it is none, or the kind is not one that a hyper-parameter can have.
    """
    if get_origin(kind) in (Union, UnionType):
        (kind, *others) = (option for option in get_args(kind) if option is not NoneType)
        if others:
            raise MethodError(f"{where} has several types; annotate it with one, or one and None")
        return None if str(value).lower() == "none" else _convert(where, value, kind)
    if get_origin(kind) is Literal:
        known = {str(option): option for option in get_args(kind)}
        if str(value) not in known:
            raise MethodError(f"{where} is {value!r}; use one of {', '.join(known)}")
        return known[str(value)]
    if kind not in (bool, int, float, str):
        raise MethodError(f"{where} is annotated {kind}; use bool, int, float, str or a Literal")
    if kind is bool:
        truth = {"true": True, "false": False}.get(str(value).lower())
        if truth is None:
            raise MethodError(f"{where} is {value!r}; use true or false")
        return truth
    try:
        converted = kind(value)
        if kind is not str and not torch.isfinite(torch.tensor(float(converted))):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise MethodError(f"{where} is {value!r}; it must be of type {kind.__name__}") from None
    return converted
