"""SparseKD's teacher-guided initialisation (Yang et al., NeurIPS 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from kd_methods.core.interface import Batch, KDMethod, MethodError, Outputs, Spec
from kd_methods.core.registry import register

EARLY = ("voxel_encoder", "middle_encoder", "backbone", "neck")
"""Parts of an mmdet3d detector in the order of the forward pass; heads follow."""

BRANCHING = ("SeparateHead",)
"""Types of modules whose children all read what the module is given."""

COORDINATES = 3
"""Channels that PointNet++ layers put before the features they group."""


@register("sparsekd_tgi", paper="Yang et al., NeurIPS 2022", year=2022)
class SparseKDTGI(KDMethod):
    """The student starts from the teacher's weights, cut down to the student's width.

        W_student = W_teacher[kept outputs, kept inputs]
        batch norm (weight, bias, mean, variance) and biases = the teacher's [kept outputs]

    Kept inputs of a layer are the kept outputs of the layers it reads; where teacher and student
    are equally wide, all are kept. Kept channels stay in the teacher's order, so a student of the
    teacher's width becomes the teacher. The weights change once, before training; there is no loss.

    Attributes:
        way: which output channels of a layer are kept. ``FNAV2``: the first ones; ``BN_SCALE``:
            those with the largest absolute batch-norm scale (the first ones without a batch norm);
            ``OFA``: those whose weights have the largest L1 norm over the kept inputs (sparse
            layers: over all inputs). PointRCNN takes ``FNAV2`` only.

    Source: Yang et al., arXiv 2205.15156, teacher-guided initialisation; CVMI-Lab/SparseKD,
    kd_tgi_utils.py.
    """

    way: Literal["FNAV2", "BN_SCALE", "OFA"] = "FNAV2"
    lidar_source = ("centerpoint_voxel",)

    def needs(self) -> set[str]:
        return set()

    def build(self, teacher: Spec, student: Spec) -> None:
        if self.family == "pointrcnn" and self.way != "FNAV2":
            raise MethodError(
                f"sparsekd_tgi:way={self.way} cannot tell what layers of PointRCNN read; use FNAV2"
            )

    @torch.no_grad()
    def initialise(self, student: nn.Module, teacher: nn.Module) -> None:
        network = _Network(student, teacher)
        for layer in network.layers:
            layer.kept_in = network.kept_inputs(layer)
            count, wanted = layer.outputs
            if wanted < count:
                score = IMPORTANCE[self.way](layer)
                best = score.argsort(descending=True, stable=True)[:wanted]
                layer.kept = best.sort().values
            else:
                layer.kept = torch.arange(count)
        for layer in network.layers:
            layer.inherit()

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {}


class Widths(NamedTuple):
    """Number of channels in teacher and student."""

    teacher: int
    student: int


@dataclass(eq=False)
class Pair:
    """One layer with weights in both networks, and its batch norm where it has one.

    Attributes:
        kept_in: the teacher's input channels that the student keeps.
        kept: the teacher's output channels that the student keeps.
    """

    name: str
    teacher: nn.Module
    student: nn.Module
    norms: tuple[nn.Module, nn.Module] | None = None
    kept_in: Tensor = field(default_factory=torch.Tensor)
    kept: Tensor = field(default_factory=torch.Tensor)

    @property
    def outputs(self) -> Widths:
        return self._widths(0)

    @property
    def inputs(self) -> Widths:
        return self._widths(1)

    @property
    def sparse(self) -> bool:
        """Whether the layer works on a sparse volume."""
        return _weight(self.teacher).dim() == 5 and not isinstance(self.teacher, _ConvNd)

    def importance(self) -> Tensor:
        """(C,) L1 norm of the teacher's weights per output channel, over the kept inputs.

        Sparse layers are scored over all inputs, as in the repository.
        """
        outputs, inputs = _axes(self.teacher)
        weight = _weight(self.teacher).cpu()
        if not self.sparse:
            weight = weight.index_select(inputs, self.kept_in)
        return weight.abs().movedim(outputs, 0).flatten(1).sum(1)

    def inherit(self) -> None:
        """Copy the kept weights into the student."""
        outputs, inputs = _axes(self.teacher)
        weight = _select(_select(_weight(self.teacher), outputs, self.kept), inputs, self.kept_in)
        _weight(self.student).copy_(weight)
        if isinstance(self.teacher.bias, Tensor):
            self.student.bias.copy_(_select(self.teacher.bias, 0, self.kept))  # type: ignore
        if self.norms:
            theirs, ours = (norm.state_dict(keep_vars=True) for norm in self.norms)
            for key, value in theirs.items():
                ours[key].copy_(_select(value, 0, self.kept) if value.dim() else value)

    def _widths(self, which: int) -> Widths:
        sizes = (
            _weight(module).shape[_axes(module)[which]] for module in (self.teacher, self.student)
        )
        return Widths(*sizes)


def _first(layer: Pair) -> Tensor:
    return -torch.arange(layer.outputs.teacher)


def _norm_scale(layer: Pair) -> Tensor:
    return _weight(layer.norms[0]).abs().cpu() if layer.norms else _first(layer)


IMPORTANCE: dict[str, Callable[[Pair], Tensor]] = {
    "FNAV2": _first,
    "BN_SCALE": _norm_scale,
    "OFA": Pair.importance,
}
"""(C,) scores of a layer's output channels; the highest-scoring ones are kept."""


Source = list[Pair]
"""Layers whose outputs are concatenated."""


class _Network:
    """The layers of a teacher and a student of equal depth, and what each layer reads.

    Raises:
        MethodError: the networks differ in architecture.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        ours, theirs = dict(_weighted(student)), dict(_weighted(teacher))
        if list(ours) != list(theirs):
            raise MethodError("sparsekd_tgi: teacher and student have different layers")
        norms = {name: module for name, module in theirs.items() if isinstance(module, _BatchNorm)}
        self.layers = [
            Pair(name, module, ours[name]) for name, module in theirs.items() if name not in norms
        ]
        for layer in self.layers:
            if layer.outputs.student > layer.outputs.teacher:
                raise MethodError(
                    f"sparsekd_tgi: {layer.name} is wider in the student than in the teacher"
                )
        for name, norm in norms.items():
            self._owner(name).norms = (norm, ours[name])
        lists = [
            [self._within(f"{name}.{branch}") for branch in module._modules]
            for name, module in teacher.named_modules()
            if isinstance(module, nn.ModuleList) or type(module).__name__ in BRANCHING
        ]
        self.branches = [branches for branches in lists if all(branches)]

    def kept_inputs(self, layer: Pair) -> Tensor:
        """The teacher's input channels that the student keeps.

        Raises:
            MethodError: no source of the layer's inputs fits.
        """
        count, wanted = layer.inputs
        if count == wanted:
            return torch.arange(count)
        flattened = self._flattened(layer)
        if flattened is not None:
            return flattened
        for source, first, last in self.sources(layer):
            groups = [torch.arange(first)]
            start = first
            for part in source:
                groups.append(start + part.kept)
                start += part.outputs.teacher
            groups.append(start + torch.arange(last))
            return torch.cat(groups)
        raise MethodError(f"sparsekd_tgi: cannot tell which layers {layer.name} reads")

    def sources(self, layer: Pair) -> Iterator[tuple[Source, int, int]]:
        """Candidate sources of a layer, most likely first, with raw channels before and after each.

        Widths must fit in teacher and student. A branch of a list reads the same branch of an
        earlier list, as in feature pyramids. Otherwise the source is the latest layer, or the
        latest list of branches concatenated, that fits; otherwise such a one with a few raw
        channels, coordinates before it or others after it; otherwise two of them, the later one
        first, as in PointNet++'s feature propagation. Branches that read the same input do not
        concatenate each other.
        """
        count, wanted = layer.inputs
        stage = self._stage(layer)
        if stage is not None:
            yield [stage], 0, 0
        known = self._known(layer)
        siblings = self._siblings(layer)
        known = [s for s in known if not set(s) & set(siblings)]
        for source in known:
            if _total(source) == layer.inputs:
                yield source, 0, 0
        for source in known:
            extra = count - _total(source).teacher
            if 0 < extra == wanted - _total(source).student:
                yield source, *((extra, 0) if extra == COORDINATES else (0, extra))
        for i, later in enumerate(known):
            for earlier in known[i + 1 :]:
                apart = self._index(earlier[-1]) < self._index(later[0])
                if apart and _total(later + earlier) == layer.inputs:
                    yield later + earlier, 0, 0

    def _known(self, layer: Pair) -> list[Source]:
        """Earlier layers and lists of branches, latest first, lists before their own layers."""
        end = self._index(layer)
        lists = [[branch[-1] for branch in branches] for branches in self.branches]
        complete = [source for source in lists if self._index(source[-1]) < end]
        singles = [[before] for before in self.layers[:end]]
        order = [(self._index(s[-1]), len(s), s) for s in complete + singles]
        return [source for *_, source in sorted(order, key=lambda item: item[:2], reverse=True)]

    def _stage(self, layer: Pair) -> Pair | None:
        """End of the branch it reads, where lists are read branch by branch; else None."""
        for branches in self.branches:
            heads = [branch[0] for branch in branches]
            if layer not in heads or len(heads) == 1:
                continue
            for earlier in self.branches:
                ends = [branch[-1] for branch in earlier]
                if [head.inputs for head in heads] == [end.outputs for end in ends]:
                    return ends[heads.index(layer)]
        return None

    def _siblings(self, layer: Pair) -> Source:
        """All layers of a list of branches with the same input, where the layer begins one."""
        for branches in self.branches:
            heads = [branch[0] for branch in branches]
            if layer in heads and all(head.inputs == layer.inputs for head in heads):
                return [part for branch in branches for part in branch]
        return []

    def _flattened(self, layer: Pair) -> Tensor | None:
        """Kept channels of a map made from a sparse volume; None for any other input."""
        before = self.layers[self._index(layer) - 1]
        if layer.sparse or not before.sparse:
            return None
        depth = layer.inputs.teacher // before.outputs.teacher
        if tuple(depth * width for width in before.outputs) != layer.inputs:
            return None
        return (before.kept[:, None] * depth + torch.arange(depth)).flatten()

    def _owner(self, norm: str) -> Pair:
        """The layer a batch norm follows: in a sequence the one before, else its sibling."""
        parent, _, own = norm.rpartition(".")
        siblings = {layer.name.removeprefix(f"{parent}."): layer for layer in self._within(parent)}
        candidates = [
            layer
            for place, layer in siblings.items()
            if "." not in place and not (own.isdigit() and int(place) > int(own))
        ]
        if not candidates:
            raise MethodError(f"sparsekd_tgi: cannot tell which layer {norm} follows")
        return candidates[-1]

    def _within(self, module: str) -> Source:
        return [layer for layer in self.layers if layer.name.startswith(f"{module}.")]

    def _index(self, layer: Pair) -> int:
        return self.layers.index(layer)


def _weighted(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Modules with a weight, by name, in the order of the forward pass."""
    found = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(getattr(module, "weight", None), nn.Parameter)
    ]
    rank = {part: i for i, part in enumerate(EARLY)}
    return sorted(found, key=lambda item: rank.get(item[0].partition(".")[0], len(EARLY)))


def _axes(module: nn.Module) -> tuple[int, int]:
    """Axes of the output and input channels in a layer's weight."""
    if isinstance(module, _ConvTransposeNd):
        return 1, 0
    if isinstance(module, (nn.Linear, _ConvNd)):
        return 0, 1
    shape = _weight(module).shape
    channels_first = (shape[0], shape[-1]) == (module.out_channels, module.in_channels)
    return (0, -1) if channels_first else (-1, -2)


def _weight(module: nn.Module) -> Tensor:
    assert isinstance(module.weight, Tensor)
    return module.weight


def _select(values: Tensor, axis: int, kept: Tensor) -> Tensor:
    return values.index_select(axis, kept.to(values.device))


def _total(source: Source) -> Widths:
    return Widths(sum(p.outputs.teacher for p in source), sum(p.outputs.student for p in source))
