"""A network's multiply-accumulates and FLOPs, counted layer by layer while it runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmcv.cnn.utils.flops_counter import get_modules_mapping
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from detectors.core.grid import DetectorError
from detectors.operators import sparse

if sparse.available():
    from spconv.pytorch.conv import SparseConvolution

    SPARSE: tuple[type[nn.Module], ...] = (SparseConvolution,)
else:
    SPARSE = ()
MULTIPLYING = (_ConvNd, nn.Linear, *SPARSE)
"""Layers whose multiply-accumulates are counted."""
KNOWN = (*MULTIPLYING, _BatchNorm)
"""Layers with weights that a network may have; a batch norm folds into the layer before it."""


@dataclass
class Work:
    """The operations of a network's layers.

    Attributes:
        multiply_accumulates: of convolutions (dense, transposed, sparse) and linear layers. Left
            out: biases, norms, activations, pooling, and what has no weights.
        activations: elements of these layers' outputs.
        mmcv_flops: FLOPs by mmcv's counter, see :func:`mmcv_flops`.
    """

    multiply_accumulates: int = 0
    activations: int = 0
    mmcv_flops: int = 0


@contextmanager
def count_work(model: nn.Module) -> Iterator[Work]:
    """Count what a model does while the context lasts.

    Yields:
        The counts, which grow with every forward pass.

    Raises:
        DetectorError: the model has a layer with weights that cannot be counted, or one that
            multiplies was never called (other code used its weights).
    """
    names = {layer: name for name, layer in model.named_modules()}
    _require_known(names)
    work, called = Work(), set()

    def add(layer: nn.Module, given: tuple[Any, ...], result: Any) -> None:
        called.add(layer)
        work.mmcv_flops += mmcv_flops(layer, given, result)
        if isinstance(layer, MULTIPLYING):
            work.multiply_accumulates += multiply_accumulates(layer, given[0], result)
            work.activations += _values(result).numel()

    handles = [layer.register_forward_hook(add) for layer in names]
    try:
        yield work
    finally:
        for handle in handles:
            handle.remove()
    idle = [n for m, n in names.items() if isinstance(m, MULTIPLYING) and m not in called]
    if idle:
        raise DetectorError(f"{', '.join(idle)} never ran, so its operations were not counted")


def multiply_accumulates(layer: nn.Module, given: Any, result: Any) -> int:
    """Multiply-accumulates of one call of a layer of :data:`MULTIPLYING`.

    Args:
        given: its input, a tensor or spconv's SparseConvTensor.
        result: its output.

    Raises:
        DetectorError: an unknown kind of sparse convolution.
    """
    if isinstance(layer, SPARSE):
        sparse_layer: Any = layer
        channels = sparse_layer.in_channels * sparse_layer.out_channels
        return index_pairs(layer, given, result) * channels
    weight: Any = layer.weight
    moved = given if isinstance(layer, _ConvTransposeNd) else result
    return moved.numel() * weight[0].numel()


def mmcv_flops(layer: nn.Module, given: tuple[Any, ...], result: Any) -> int:
    """FLOPs of one call of a layer as mmcv counts them (mmcv/cnn/utils/flops_counter.py).

    One for each multiply-accumulate of a dense convolution or linear layer, for each output of a
    convolution with bias, and for each element of an activation; two for each element of a batch
    norm; none for layers that mmcv does not know, such as spconv's.
    """
    count = get_modules_mapping().get(type(layer))
    if count is None:
        return 0
    counter: Any = layer
    counter.__flops__ = 0
    count(counter, given, result)
    return counter.__dict__.pop("__flops__")


def index_pairs(layer: Any, given: Any, result: Any) -> int:
    """Pairs of an input and an output cell that a sparse convolution joins: spconv's rulebook.

    An output cell o reads, at kernel position k, the input cell o * stride - padding +
    k * dilation, where there is one. Counted from the cells, since the rulebook's form differs
    between spconv's algorithms (for submanifold ones it may hold half of the pairs).

    Args:
        given, result: SparseConvTensor with indices (N, 1 + dimensions): frame, then cell.

    Raises:
        DetectorError: an inverse or transposed convolution.
    """
    if layer.inverse or layer.transposed:
        raise DetectorError(
            f"cannot count the operations of {layer}: it is an inverse or transposed convolution"
        )
    kernel, stride, padding, dilation = (
        result.indices.new_tensor(values)
        for values in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )
    if layer.subm:
        padding = kernel // 2 * dilation
    shape = result.indices.new_tensor(given.spatial_shape)
    present = _ranks(given.indices[:, 0], given.indices[:, 1:], shape).sort().values
    corner = result.indices[:, 1:] * stride - padding
    total = 0
    for position in itertools.product(*map(range, layer.kernel_size)):
        cells = corner + dilation * dilation.new_tensor(position)
        inside = ((cells >= 0) & (cells < shape)).all(dim=1)
        wanted = _ranks(result.indices[inside, 0], cells[inside], shape)
        nearest = torch.searchsorted(present, wanted).clamp(max=len(present) - 1)
        total += int((present[nearest] == wanted).sum())
    return total


def _ranks(frames: Tensor, cells: Tensor, shape: Tensor) -> Tensor:
    """(N,) number of each cell in the order of a dense grid over all frames."""
    ranks = frames.long()
    for axis, side in enumerate(shape.tolist()):
        ranks = ranks * side + cells[:, axis]
    return ranks


def _values(result: Any) -> Tensor:
    """The numbers of a tensor or a SparseConvTensor."""
    return result if isinstance(result, Tensor) else result.features


def _require_known(names: dict[nn.Module, str]) -> None:
    unknown = [
        f"{name or 'the model'} ({type(layer).__name__})"
        for layer, name in names.items()
        if list(layer.parameters(recurse=False)) and not isinstance(layer, KNOWN)
    ]
    if unknown:
        raise DetectorError(
            f"cannot count the operations of {', '.join(unknown)}; add its type to "
            "detectors/core/flops.py"
        )
