"""Graphs that join a row of features to those nearest to it, and the features of their edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.core.features import nearest


class Graphs(NamedTuple):
    """N graphs over the rows of a feature table: centres (N,) and their neighbours (N, K)."""

    centre: Tensor
    neighbours: Tensor


def important(score: Tensor, groups: Sequence[Tensor], most: int) -> list[Tensor]:
    """Of each group of rows, at most so many with the highest scores, the best first."""
    return [group[score[group].argsort(descending=True, stable=True)[:most]] for group in groups]


def joined(
    values: Tensor,
    groups: Sequence[Tensor],
    centres: Sequence[Tensor],
    neighbours: int,
    ordered: bool = False,
) -> Graphs:
    """Each centre joined to the nearest rows of its group, itself among them.

    A group with fewer rows than neighbours repeats them cyclically, from the nearest on.

    Args:
        values: (V, C) rows of features.
        groups: indices of the rows of each group.
        centres: of each group, those of its centres.
        ordered: whether the nearest come first.
    """
    degree = min(neighbours, max(len(group) for group in groups))
    found = []
    for group, centre in zip(groups, centres, strict=True):
        count = min(degree, len(group))
        near = nearest(values[centre], values[group], count, ordered or count < degree)
        repeated = torch.arange(degree, device=near.device) % count
        found.append(group[near[:, repeated]])
    return Graphs(torch.cat(list(centres)), torch.cat(found))


class Edges(NamedTuple):
    """Edge features in factored form: ReLU(neighbour[j] + centre[i]) for every edge (i, j).

    A linear map of a concatenation is the sum of two linear maps, so rows are multiplied once
    instead of once per edge; the batch norm scales and shifts the two terms alike.
    """

    neighbour: Tensor
    centre: Tensor
    graphs: Graphs

    def maximum(self) -> Tensor:
        """(N, C') maximum over the edges of each graph."""
        largest = F.embedding_bag(self.graphs.neighbours, self.neighbour, mode="max")
        return (largest + self.centre).relu()

    def values(self, chosen: Tensor) -> Tensor:
        """(n, K, C') all edges of the chosen graphs (n,)."""
        rows = self.graphs.neighbours[chosen]
        neighbour = self.neighbour.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        return (neighbour + self.centre.index_select(0, chosen)[:, None]).relu()

    def all_values(self) -> Tensor:
        """(N, K, C') all edges."""
        return self.values(torch.arange(len(self.centre), device=self.centre.device))


class EdgeLayer(nn.Module):
    """Linear layer on (neighbour, centre), batch norm over all edges, ReLU.

    Args:
        inputs, outputs: channels.
        eps: added to the variance.
        offset: whether (centre - neighbour, centre) takes the place of (neighbour, centre).
    """

    def __init__(self, inputs: int, outputs: int, eps: float = 1e-5, offset: bool = False) -> None:
        super().__init__()
        self.eps, self.offset = eps, offset
        self.linear = nn.Linear(2 * inputs, outputs, bias=False)
        self.scale = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))

    def forward(self, values: Tensor, graphs: Graphs) -> Edges:
        """Edges of the graphs over row features (V, C)."""
        of_neighbour, of_centre = self.linear.weight.chunk(2, dim=1)
        if self.offset:
            of_neighbour, of_centre = -of_neighbour, of_neighbour + of_centre
        neighbour = values @ of_neighbour.T
        centre = (values @ of_centre.T).index_select(0, graphs.centre)
        degree = torch.bincount(graphs.neighbours.flatten(), minlength=len(values))
        share = (degree / graphs.neighbours.numel()).to(values.dtype)[:, None]
        neighbour = neighbour - (share * neighbour).sum(0)
        centre = centre - centre.mean(0)
        around = F.embedding_bag(graphs.neighbours, neighbour, mode="mean")
        variance = (share * neighbour.square()).sum(0) + centre.square().mean(0)
        variance = variance + 2 * (centre * around).mean(0)
        factor = self.scale / (variance.clamp(min=0) + self.eps).sqrt()
        return Edges(neighbour * factor, centre * factor + self.shift, graphs)
