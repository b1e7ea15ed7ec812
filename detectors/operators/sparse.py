"""spconv's convolutions on the CPU.

spconv 2.3.8's CPU build finds the pairs of cells correctly, but its sums are wrong with more than
one thread, each time differently, and its backward requires a CUDA stream. So the pairs are
spconv's and the arithmetic is PyTorch's: per kernel offset a gather, a product and a scatter, in
a fixed order. CUDA builds give layers implicit GEMM, which the CPU lacks; there they run natively.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from detectors.operators import kernels
from detectors.operators.per_batch import once


def install() -> None:
    """Let spconv's layers call this module for tensors on the CPU."""
    import spconv.pytorch.ops as ops
    from spconv.pytorch.conv import SparseConvolution
    from spconv.pytorch.core import ConvAlgo

    apply = SparseConvolution._conv_forward
    find, forward, backward = ops.get_indice_pairs, ops.indice_conv, ops.indice_conv_backward

    def get_indice_pairs(indices: Tensor, *settings: Any) -> tuple[Tensor, Tensor, Tensor]:
        return once(("pairs", repr(settings)), (indices,), lambda: find(indices, *settings))

    def indice_conv(features: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return (forward if features.is_cuda else convolve)(features, *args, **kwargs)

    def indice_conv_backward(features: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return (backward if features.is_cuda else convolve_backward)(features, *args, **kwargs)

    def conv_forward(layer: Any, training: bool, cells: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = layer.algo
        if cells.features.is_cuda or chosen == ConvAlgo.Native:
            return apply(layer, training, cells, *args, **kwargs)
        layer.algo = ConvAlgo.Native
        try:
            return apply(layer, training, cells, *args, **kwargs)
        finally:
            layer.algo = chosen

    SparseConvolution._conv_forward = conv_forward
    ops.get_indice_pairs = get_indice_pairs
    ops.indice_conv, ops.indice_conv_backward = indice_conv, indice_conv_backward


@torch.autocast("cpu", enabled=False)
def convolve(
    features: Tensor,
    filters: Tensor,
    pairs: Tensor,
    counts: Tensor,
    outputs: int,
    inverse: bool = False,
    subm: bool = False,
    *,
    bias: Tensor | None = None,
    **_: Any,
) -> Tensor:
    """Sparse convolution, with the arguments of ``spconv.pytorch.ops.indice_conv``.

    Args:
        features: (N, C) inputs.
        filters: (K, z, y, x, C) weights.
        pairs: (2, V, N) input row and output row per kernel offset, each output once an offset.
        counts: (V,) pairs of each offset; a submanifold layer's second half mirrors the first.
        outputs: M, rows of the result.
        bias: (K,).

    Returns:
        (M, K) outputs.
    """
    weights = filters.flatten(1, 3)
    out = features.new_zeros(outputs, len(weights)) if bias is None else bias.repeat(outputs, 1)
    for offset, source, target in _offsets(pairs, counts, inverse, subm):
        values = features if source is None else features.index_select(0, source)
        product = values @ weights[:, offset].T
        _add(out, target, product)
    return out


@torch.autocast("cpu", enabled=False)
def convolve_backward(
    features: Tensor,
    filters: Tensor,
    gradient: Tensor,
    pairs: Tensor,
    counts: Tensor,
    inverse: bool = False,
    subm: bool = False,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`convolve` for its features (N, C) and filters, from that of its output.

    Args:
        gradient: (M, K).
    """
    weights = filters.flatten(1, 3)
    of_features, of_weights = torch.zeros_like(features), torch.zeros_like(weights)
    for offset, source, target in _offsets(pairs, counts, inverse, subm):
        values = features if source is None else features.index_select(0, source)
        arriving = gradient if target is None else gradient.index_select(0, target)
        of_weights[:, offset] = arriving.T @ values
        _add(of_features, source, arriving @ weights[:, offset])
    return of_features, of_weights.view_as(filters)


def _add(totals: Tensor, rows: Tensor | None, values: Tensor) -> None:
    """Add values (n, C) to some rows of totals (N, C); 5 to 10 times faster than index_add_."""
    if rows is None:
        totals += values
    else:
        kernels.add_rows(totals.numpy(), rows.numpy(), values.numpy())


def _offsets(
    pairs: Tensor, counts: Tensor, inverse: bool, subm: bool
) -> Iterator[tuple[int, Tensor | None, Tensor | None]]:
    """Kernel offset, input rows and output rows; None for all rows in order."""
    sources, targets = pairs.flip(0) if inverse else pairs
    numbers = counts.tolist()
    centre = len(numbers) // 2
    for offset, number in enumerate(numbers):
        if subm and offset == centre:
            yield offset, None, None
            continue
        if subm and offset > centre:
            number = numbers[-1 - offset]
        if number:
            yield offset, sources[offset, :number], targets[offset, :number]
