"""Random scenes for the methods, and their comparison with literal transcriptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kd_methods import Batch, BEVMap, HeadOutputs, KDMethod, Layer, Outputs, Points, Spec, create

EXTENT = (0.0, -6.0, 12.0, 6.0)
TEACHER, STUDENT = (6, 8, 10), (3, 4, 5)
MAPS = ((8, 12), (4, 6), (2, 3))
FAMILY = {"maps": "pointpillars@4", "points": "pointrcnn@8"}


@dataclass
class Scene:
    """What teacher and student put out for one batch, in double precision.

    Attributes:
        leaves: the student's tensors that take a gradient.
    """

    teacher: Outputs
    student: Outputs
    batch: Batch
    specs: tuple[Spec, Spec]
    leaves: list[Tensor] = field(default_factory=list)


def scene(
    kind: str,
    counts: Sequence[int] = (9, 5),
    seed: int = 0,
    scale: float = 1.0,
    alike: bool = False,
) -> Scene:
    """Random features of maps or of points.

    Args:
        kind: ``maps`` or ``points``, the layout of stages and neck.
        counts: rows of each frame: of ``local``, and of the first stage of points.
        scale: factor of all features.
        alike: whether the student is as wide as the teacher and puts out the same.
    """
    random = torch.Generator().manual_seed(seed)
    positions = [_positions(count, random) for count in counts]
    drawn = _Draw(kind, counts, positions, scale, seed, grad=False)
    teacher = drawn.outputs(TEACHER)
    drawn = _Draw(kind, counts, positions, scale, seed if alike else seed + 1, grad=True)
    student = drawn.outputs(TEACHER if alike else STUDENT)
    batch = Batch(
        boxes=[torch.zeros(0, 7)] * len(counts),
        labels=[torch.zeros(0, dtype=torch.long)] * len(counts),
        points=[torch.cat([p, p[:, :1]], dim=1) for p in positions],
        classes=("Pedestrian", "Cyclist", "Car"),
    )
    specs = _spec(kind, TEACHER, seed), _spec(kind, TEACHER if alike else STUDENT, seed + 1)
    return Scene(teacher, student, batch, specs, drawn.leaves)


def built(text: str, example: Scene, student: str = "pointpillars@4", seed: int = 0) -> KDMethod:
    """A method in double precision whose parameters are all random."""
    torch.manual_seed(seed)
    method = create(text, student)
    method.build(*example.specs)
    for parameter in method.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return method.double()


def assert_same(
    method: KDMethod, example: Scene, reference: Callable[[], dict[str, Tensor]], seed: int = 0
) -> None:
    """Losses, and gradients by the student's outputs and by the method's parameters, to 1e-5."""
    leaves = [*example.leaves, *method.parameters()]
    torch.manual_seed(seed)
    measured = method(example.teacher, example.student, example.batch)
    torch.manual_seed(seed)
    expected = {name: method.weight * value for name, value in reference().items()}
    assert set(measured) == set(expected)
    for name in expected:
        torch.testing.assert_close(measured[name], expected[name], rtol=1e-5, atol=1e-12)
    targets = gradients(expected, leaves)
    assert any(target.any() for target in targets[: len(example.leaves)])
    for found, wanted in zip(gradients(measured, leaves), targets, strict=True):
        most = wanted.abs().max().item() if wanted.numel() else 0.0
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7 * most + 1e-12)


def gradients(losses: dict[str, Tensor], leaves: list[Tensor]) -> list[Tensor]:
    """Gradients of the sum of losses; zero where a leaf is not used."""
    found = torch.autograd.grad(sum(losses.values()), leaves, allow_unused=True)
    pairs = zip(found, leaves, strict=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in pairs]


def per_frame(features: BEVMap | Points) -> list[Tensor]:
    """The rows (n, C) of every frame, cell by cell or point by point."""
    if isinstance(features, Points):
        frames = sorted(set(features.batch.tolist()))
        return [features.values[features.batch == frame] for frame in frames]
    _, _, height, width = features.values.shape
    return [
        torch.stack([frame[:, y, x] for y in range(height) for x in range(width)])
        for frame in features.values
    ]


class _Draw:
    def __init__(
        self,
        kind: str,
        counts: Sequence[int],
        positions: list[Tensor],
        scale: float,
        seed: int,
        grad: bool,
    ) -> None:
        self.kind, self.counts, self.positions = kind, counts, positions
        self.scale, self.grad = scale, grad
        self.random = torch.Generator().manual_seed(100 + seed)
        self.leaves: list[Tensor] = []

    def outputs(self, channels: tuple[int, ...]) -> Outputs:
        make = self.map if self.kind == "maps" else self.points
        return Outputs(
            detect=list,
            local=self.points(channels[0], 0),
            stages=[make(width, level) for level, width in enumerate(channels)],
            neck=make(sum(channels), 0),
            head=self.boxes(),
        )

    def normal(self, *shape: int) -> Tensor:
        return self.scale * torch.randn(shape, generator=self.random, dtype=torch.float64)

    def leaf(self, values: Tensor) -> Tensor:
        if self.grad:
            values.requires_grad_(True)
            self.leaves.append(values)
        return values

    def map(self, channels: int, level: int) -> BEVMap:
        shape = (len(self.counts), channels, *MAPS[level])
        pre_relu = self.normal(*shape)
        values = pre_relu.relu()
        return BEVMap(self.leaf(values), 2**level, EXTENT, self.leaf(pre_relu))

    def points(self, channels: int, level: int) -> Points:
        kept = [min(count, max(2, count >> level)) for count in self.counts]
        batch = torch.repeat_interleave(torch.arange(len(kept)), torch.tensor(kept))
        count = torch.randint(1, 9, (len(batch),), generator=self.random)
        return Points(
            values=self.leaf(self.normal(len(batch), channels).relu()),
            batch=batch,
            xyz=torch.cat([p[:k] for p, k in zip(self.positions, kept, strict=True)]),
            count=count,
            capped_count=count.clamp(max=6),
        )

    def boxes(self) -> HeadOutputs:
        frames, anchors = len(self.counts), 10
        assigned = torch.randint(-2, 3, (frames, anchors), generator=self.random)
        return HeadOutputs(
            class_logits=self.leaf(self.normal(frames, anchors, 3)),
            deltas=self.leaf(self.normal(frames, anchors, 7)),
            direction_logits=None,
            priors=torch.zeros(frames, anchors, 7, dtype=torch.float64),
            decode=lambda deltas: deltas,
            assign=lambda: assigned,
        )


def _positions(count: int, random: torch.Generator) -> Tensor:
    unit = torch.rand(count, 3, generator=random, dtype=torch.float64)
    return unit * torch.tensor([12.0, 12.0, 2.0]) + torch.tensor([0.0, -6.0, -1.0])


def _spec(kind: str, channels: tuple[int, ...], seed: int) -> Spec:
    random = torch.Generator().manual_seed(200 + seed)

    def layer(width: int) -> Layer:
        if kind == "points":
            return Layer(width, dense=False)
        norm = torch.randn(2, width, generator=random)
        return Layer(width, dense=True, batch_norm=(norm[0], norm[1]))

    return Spec(
        local=Layer(channels[0], dense=False),
        stages=[layer(width) for width in channels],
        neck=layer(sum(channels)),
        classes=3,
    )
