"""The inputs of the numeric examples: sines without random numbers, teacher and student as wide."""

from types import SimpleNamespace

import torch
from torch import Tensor

from kd_methods import Batch, BEVMap, HeadOutputs, KDMethod, Layer, Outputs, Spec, create

EXTENT = (0.0, 0.0, 5.0, 4.0)
OBJECT = [2.5, 2.0, 0.0, 2.0, 1.0, 1.5, 0.0]
"""With half a cell around it, it covers rows 1 and 2 and columns 1 to 3."""


def sines(*shape: int) -> tuple[Tensor, Tensor]:
    """sin(0.7 k + 0.3) and cos(0.4 k) of the flat index k."""
    k = torch.arange(torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)
    return (0.7 * k + 0.3).sin(), (0.4 * k).cos()


def maps() -> tuple[Outputs, Outputs, Batch]:
    """Two frames of 3 channels and 4 x 5 cells of a metre; the first has an object."""
    teacher, student = (
        Outputs(list, neck=BEVMap(values, 1, EXTENT), stages=[BEVMap(values, 1, EXTENT)])
        for values in sines(2, 3, 4, 5)
    )
    boxes = [torch.tensor([OBJECT], dtype=torch.float64), torch.zeros(0, 7, dtype=torch.float64)]
    labels = [torch.zeros(len(frame), dtype=torch.long) for frame in boxes]
    return teacher, student, Batch(boxes, labels, [torch.zeros(0, 4)] * 2, ("Car",))


def built(text: str) -> KDMethod:
    """A method in double precision, of equal widths."""
    layer = Layer(3, dense=True)
    spec = Spec(Layer(3, dense=False), [layer], layer, 3)
    method = create(text, "pointpillars@1")
    method.build(spec, spec)
    return method.double()


def heads(teacher: Tensor, student: Tensor, assigned: Tensor) -> tuple[Outputs, Outputs]:
    """Networks that predict class logits (A, K) for one frame, with boxes all alike."""
    box = torch.tensor([0.0, 0, 0, 4, 2, 1.5, 0], dtype=torch.float64).expand(1, len(teacher), 7)
    return tuple(  # type: ignore[return-value]
        Outputs(
            list,
            head=HeadOutputs(
                x[None], box, None, box, lambda deltas: deltas, lambda: assigned[None]
            ),
        )
        for x in (teacher, student)
    )


NO_BATCH = SimpleNamespace(boxes=[])
