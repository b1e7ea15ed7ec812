"""spconv's convolutions: their arithmetic on the CPU, their order on CUDA.

spconv 2.3.8's CPU build finds the pairs of cells correctly, but its sums are wrong with more than
one thread, each time differently, and its backward requires a CUDA stream. So the pairs are
spconv's and the arithmetic is PyTorch's: a gather of all pairs, a product per kernel offset, and a
scatter in a fixed order. CUDA builds give layers implicit GEMM, which the CPU lacks; there they run
natively. Where spconv is not installed, which has no wheel for macOS and ARM, nothing is replaced.

On CUDA the arithmetic is spconv's. It finds the cells of a strided layer's output in a hash table,
so that their order differs from run to run, and with it the sums over them; here it sorts them.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from detectors.operators import kernels
from detectors.operators.per_batch import once


def available() -> bool:
    """Whether spconv is installed."""
    return importlib.util.find_spec("spconv") is not None


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
    ops.get_indice_pairs_implicit_gemm = in_order(ops.get_indice_pairs_implicit_gemm)
    ops.indice_conv, ops.indice_conv_backward = indice_conv, indice_conv_backward


def in_order(find: Callable[..., Any]) -> Callable[..., Any]:
    """``spconv.pytorch.ops.get_indice_pairs_implicit_gemm`` with cells in order, once per batch."""

    def get_indice_pairs_implicit_gemm(indices: Tensor, *settings: Any, **named: Any) -> Any:
        told = {name: named[name] for name in sorted(named) if name not in ("alloc", "timer")}
        return once(
            ("pairs", repr((settings, told))),
            (indices,),
            lambda: find(indices, *settings, **named, direct_table=False),
        )

    return get_indice_pairs_implicit_gemm


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
    sources, targets, spans = _join(pairs, counts, inverse, subm, outputs)
    values = features.index_select(0, sources)
    products = values.new_empty(len(values), len(weights))
    for offset, span in spans:
        torch.mm(values[span], weights[:, offset].T, out=products[span])
    _add(out, targets, products)
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
    sources, targets, spans = _join(pairs, counts, inverse, subm, len(gradient))
    values, arriving = features.index_select(0, sources), gradient.index_select(0, targets)
    products = torch.empty_like(values)
    for offset, span in spans:
        of_weights[:, offset] = arriving[span].T @ values[span]
        torch.mm(arriving[span], weights[:, offset], out=products[span])
    _add(of_features, sources, products)
    return of_features, of_weights.view_as(filters)


def _add(totals: Tensor, rows: Tensor, values: Tensor) -> None:
    """Add values (n, C) to rows of totals (N, C) in order; 5 to 10 times as fast as index_add_."""
    kernels.add_rows(totals.numpy(), rows.numpy(), values.numpy())


def _join(
    pairs: Tensor, counts: Tensor, inverse: bool, subm: bool, cells: int
) -> tuple[Tensor, Tensor, list[tuple[int, slice]]]:
    """Input row and output row (n,) of all pairs, offset after offset; each offset's place.

    Args:
        cells: rows of a submanifold layer, which its middle offset joins to themselves.
    """
    inputs, outputs = pairs.flip(0) if inverse else pairs
    numbers = counts.tolist()
    centre = len(numbers) // 2
    if subm:  # the second half mirrors the first
        numbers[centre:] = [cells, *reversed(numbers[:centre])]
    ends = list(itertools.accumulate(numbers))
    spans = [(k, slice(end - n, end)) for k, (n, end) in enumerate(zip(numbers, ends, strict=True))]
    every = torch.arange(cells, dtype=pairs.dtype)

    def joined(rows: Tensor) -> Tensor:
        parts = [row[:number] for row, number in zip(rows, numbers, strict=True)]
        if subm:
            parts[centre] = every
        return torch.cat(parts)

    return joined(inputs), joined(outputs), [(k, span) for k, span in spans if numbers[k]]
