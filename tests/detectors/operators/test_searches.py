"""The searches give the same bits on every path: compiled loops, PyTorch, CUDA, Triton."""

import math
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch
from torch.torch_version import TorchVersion

from detectors.operators import cpu_searches, kernels, torch_searches
from kd_methods.core.geometry import pairwise_rotated_iou

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA")
PATHS = [
    pytest.param(torch_searches, "cpu", id="pytorch"),
    pytest.param(torch_searches, "cuda", id="cuda", marks=NO_CUDA),
]


@pytest.fixture(params=["cloud", "duplicates", "few"])
def points(request):
    """Coordinates (2, n, 3), metres, as a LiDAR sees them."""
    generator = torch.Generator().manual_seed(0)
    n = 3 if request.param == "few" else 700
    xyz = torch.rand(2, n, 3, generator=generator) * torch.tensor([40.0, 40.0, 3.0])
    return xyz[:, torch.arange(n) % 250] if request.param == "duplicates" else xyz


def boxes(generator, n, spread):
    """(n, 7) boxes: bottom centres over `spread` metres, sizes of cars and people, any yaw."""
    scale = torch.tensor([spread, spread, 1.0, 4.0, 2.0, 2.0, 2 * math.pi])
    return torch.rand(n, 7, generator=generator) * scale + torch.tensor([0, 0, 0, 0.5, 0.5, 1, 0])


def agree(name, path, device, *arguments):
    expected = getattr(cpu_searches, name)(*arguments)
    moved = [a.to(device) if isinstance(a, torch.Tensor) else a for a in arguments]
    found = getattr(path, name)(*moved)
    if isinstance(expected, torch.Tensor):
        expected, found = (expected,), (found,)
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a, b.cpu())


@pytest.mark.parametrize(("path", "device"), PATHS)
def test_sampling(path, device, points):
    agree("furthest_points", path, device, points, 200)
    agree("furthest_by_distance", path, device, torch.cdist(points, points), 50)


@pytest.mark.parametrize(("path", "device"), PATHS)
def test_neighbours(path, device, points, monkeypatch):
    monkeypatch.setattr(torch_searches, "PAIRS_PER_CHUNK", 5000)
    centres = torch.cat([points[:, ::3], points[:, :50] + 0.5], dim=1)
    agree("ball_query", path, device, points, centres, 0.0, 4.0, 16)
    agree("ball_query", path, device, points, centres, 1.0, 4.0, 5)
    agree("nearest", path, device, centres, points, 3)
    agree("nearest", path, device, centres, points, 12)


@pytest.mark.parametrize(("path", "device"), PATHS)
def test_boxes_that_hold_points(path, device, points, monkeypatch):
    monkeypatch.setattr(torch_searches, "PAIRS_PER_CHUNK", 5000)
    generator = torch.Generator().manual_seed(1)
    for count in (0, 60):
        around = torch.stack([boxes(generator, count, 40.0) for _ in range(2)])
        agree("first_box", path, device, points, around)


def test_faces_of_a_box():
    """Top and bottom belong to a box, its sides do not, as in mmcv."""
    box = torch.tensor(
        [[[1.0, 2.0, -1.0, 4.0, 2.0, 1.5, 0.0], [1.0, 2.0, -1.0, 9.0, 9.0, 9.0, 0.0]]]
    )
    points = torch.tensor([[[1.0, 2.0, -1.0], [1.0, 2.0, 0.5], [3.0, 2.0, 0.0], [1.0, 3.0, 0.0],
                            [2.9, 2.9, 0.0], [1.0, 2.0, -1.1]]])  # fmt: skip
    for path in (cpu_searches, torch_searches):
        assert path.first_box(points, box).tolist() == [[0, 0, 1, 1, 0, -1]]


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 0.85])
def test_suppression_equals_its_definition(threshold):
    flat = boxes(torch.Generator().manual_seed(2), 400, 12.0)[:, [0, 1, 3, 4, 6]]
    flat[100:150] = flat[:50]  # the same boxes again
    flat[150:160, 2] = 0  # no area
    flat[160:170, 4] += math.pi * torch.arange(10)
    labels = torch.arange(400) % 2
    overlap = pairwise_rotated_iou(flat.double(), flat.double())
    overlap[150:160] = overlap[:, 150:160] = 0  # without rounding
    for groups in (torch.zeros(400), labels):
        alive = torch.ones(400, dtype=torch.bool)
        for i in range(400):
            if alive[i]:
                drop = (overlap[i] > threshold) & (groups == groups[i])
                alive[i + 1 :] &= ~drop[i + 1 :]
        found = kernels.suppress(flat.double().numpy().T.copy(), groups.numpy(), threshold)
        assert found.tolist() == alive.tolist()


def test_coordinates_that_are_not_finite_do_no_harm():
    """A diverged network gives such boxes; what is found is anything within range."""
    for value in (math.nan, math.inf):
        points = torch.full((1, 300, 3), value)
        points[:, ::7] = 1.0
        found = [
            cpu_searches.furthest_points(points, 20),
            cpu_searches.furthest_by_distance(points.repeat(1, 1, 100), 20),
            cpu_searches.ball_query(points, points, 0.0, 1.0, 4),
            cpu_searches.nearest(points, points, 3)[1],
        ]
        for index in found:
            assert index.min() >= 0
            assert index.max() < 300
        flat = torch.rand(5, 300, dtype=torch.double)
        flat[torch.arange(300) % 5, torch.arange(300)] = value
        assert kernels.suppress(flat.numpy(), torch.zeros(300).numpy(), 0.3).shape == (300,)


TRITON = """
import torch
from detectors.operators import cpu_searches, triton_furthest
generator = torch.Generator().manual_seed(0)
for n, count in ((1, 3), (5, 5), (70, 20)):
    points = torch.rand(2, n, 3, generator=generator)
    points[:, n // 2 :] = points[:, : n - n // 2].clone()
    expected = cpu_searches.furthest_points(points, count)
    assert torch.equal(triton_furthest.furthest_points(points, count), expected), (n, count)
"""


def test_the_triton_program_in_its_interpreter(monkeypatch):
    """Triton's interpreter runs the program on the CPU; it must be asked for before the import."""
    pytest.importorskip("detectors.operators.triton_furthest", exc_type=ImportError)
    if TorchVersion(version("triton")) < "3.2" and TorchVersion(np.__version__) >= "2":
        pytest.skip("Triton's interpreter before 3.2 reads memory wrongly under NumPy 2")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    subprocess.run([sys.executable, "-c", TRITON], check=True)
