"""PointDistiller's loss against its formula written out: time and memory.

6,000 graphs of 128 neighbours among 12,000 pillars, 64 channels of the teacher's, 32 of the
student's, forward and backward in float32. Written out, each edge is the pair of two feature rows
and goes through a 1x1 convolution, (1, 2C, N, K). The search for neighbours, which both need and
nothing differentiates, is timed apart. ``pytest tests/perf/test_point_distiller_speed.py -s``
prints seconds and megabytes; ratios are asserted.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from timing import least_seconds
from torch import nn

from kd_methods import Batch, KDMethod, Layer, Outputs, Points, Spec, create
from kd_methods.core.features import nearest

PILLARS, GRAPHS, NEIGHBOURS, TEACHER, STUDENT = 12_000, 6_000, 128, 64, 32
TEMPERATURES = {"paper": 10.0, "released": 0.01}
FASTER, FASTER_WITHOUT_SEARCH, MEMORY_SHARE = 5, 10, 1 / 5


@dataclass
class Example:
    """One batch of random pillars and the method on it."""

    method: KDMethod
    teacher: Outputs
    student: Outputs
    batch: Batch


def example(variant):
    torch.manual_seed(0)
    count = torch.randint(1, 33, (PILLARS,))
    frame, xyz = torch.zeros(PILLARS, dtype=torch.long), torch.zeros(PILLARS, 3)

    def outputs(channels, learning):
        values = torch.randn(PILLARS, channels).relu().requires_grad_(learning)
        return Outputs(detect=list, local=Points(values, frame, xyz, count, count))

    method = create(f"point_distiller:variant={variant}", "pointpillars@4")
    method.build(
        *(Spec(Layer(c, dense=False), [], Layer(c, dense=True), 3) for c in (TEACHER, STUDENT))
    )
    batch = Batch([torch.zeros(0, 7)], [torch.zeros(0)], [torch.zeros(0, 4)], ("Car",))
    return Example(method, outputs(TEACHER, False), outputs(STUDENT, True), batch)


def factored(one):
    """The method's own loss, forward and backward."""
    sum(one.method.loss(one.teacher, one.student, one.batch).values()).backward()


def search(one):
    """Centres and the rows nearest to them, as the method finds them."""
    values = one.teacher.local.values
    best = one.teacher.local.count.argsort(descending=True, stable=True)[:GRAPHS]
    return best, nearest(values[best], values, NEIGHBOURS)


def plain_search(one):
    """The same from the whole matrix of distances."""
    values = one.teacher.local.values
    best = one.teacher.local.count.argsort(descending=True, stable=True)[:GRAPHS]
    return best, torch.cdist(values[best], values).topk(NEIGHBOURS, largest=False).indices


def written_out(one, variant, graphs):
    """The formula, edge by edge, forward and backward."""
    centre, neighbours = graphs
    edges = [
        edge_layer(features.local.values.shape[1])(pairs(features.local.values, centre, neighbours))
        for features in (one.teacher, one.student)
    ]
    weight = (one.teacher.local.count[centre] / TEMPERATURES[variant]).softmax(0) * GRAPHS
    if variant == "paper":
        target, output = (values.amax(3) for values in edges)
        distance = torch.linalg.vector_norm(target - output, dim=1)
    else:
        distance = 2 * (edges[0] - edges[1]).square().mean((1, 3))
    (weight * distance).mean().backward()


def pairs(values, centre, neighbours):
    """(1, 2C, N, K) of neighbour and centre."""
    around = values[neighbours]
    both = torch.cat([around, values[centre][:, None].expand_as(around)], dim=2)
    return both.permute(2, 0, 1)[None]


def edge_layer(channels):
    conv = nn.Conv2d(2 * channels, 32, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(32), nn.ReLU())


def seconds(work, repeats=3):
    """Least of several, after one to warm up."""
    work()
    return least_seconds(work, repeats)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_time(variant):
    one = example(variant)
    graphs = plain_search(one)
    ours, shared = seconds(lambda: factored(one)), seconds(lambda: search(one))
    theirs = seconds(lambda: written_out(one, variant, graphs), 2)
    plain = seconds(lambda: plain_search(one), 2)
    in_all = (theirs + plain) / ours
    without = theirs / (ours - shared)
    print(
        f"\n{variant}: written out {theirs + plain:.2f} s (search {plain:.2f} s), "
        f"ours {ours:.3f} s (search {shared:.3f} s): {in_all:.1f} times faster in all, "
        f"{without:.1f} without the search"
    )
    assert in_all > FASTER
    assert without > FASTER_WITHOUT_SEARCH


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_memory(variant):
    ours, theirs = (_peak(how, variant) for how in ("factored", "written_out"))
    print(f"\n{variant}: written out {theirs:.0f} MB, ours {ours:.0f} MB: {ours / theirs:.2f}")
    assert ours < MEMORY_SHARE * theirs


def _peak(how, variant):
    command = [sys.executable, __file__, how, variant]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _megabytes():
    """Largest resident size so far; unlike getrusage's, this process's own."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    made = example(sys.argv[2])
    before = _megabytes()
    if sys.argv[1] == "factored":
        factored(made)
    else:
        written_out(made, sys.argv[2], plain_search(made))
    print(_megabytes() - before)
