"""Random frames and small grids for the tests of all families."""

import torch

from detectors import CLASSES, Grid
from kd_methods import Batch

SIZES = torch.tensor([[0.8, 0.6, 1.73], [1.76, 0.6, 1.73], [3.9, 1.6, 1.56]])
RANGE = (0, -5.12, -3, 10.24, 5.12, 1)
GRIDS = {
    "pointpillars": Grid(RANGE, (0.32, 0.32, 4), (300, 400)),
    "second": Grid(RANGE, (0.16, 0.16, 0.1), (1200, 1400)),
    "centerpoint_pillar": Grid(RANGE, (0.32, 0.32, 4), (300, 400)),
    "centerpoint_voxel": Grid(RANGE, (0.16, 0.16, 0.1), (1200, 1400)),
    "pointrcnn": Grid(RANGE, num_points=1024, sample_range=8.0, proposals=40, roi_points=64),
    "pv_rcnn": Grid(
        RANGE, (0.08, 0.08, 0.1), (1200, 1400), proposals=20, roi_points=8, key_points=64
    ),
}
"""A small grid for each family."""


def batch(frames=2, points=1500, seed=0, side=10.24, height=3.0):
    """Points in 0..side x -side/2..side/2 x -3..(height - 3) m, one car and one pedestrian."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([side, side, height, 1.0])
    clouds = [
        torch.rand(points, 4, generator=generator) * size - torch.tensor([0, side / 2, 3.0, 0])
        for _ in range(frames)
    ]
    boxes = torch.tensor([[5.0, 0, -1.7, 3.9, 1.6, 1.5, 0.3], [3.0, 3, -1.7, 0.8, 0.6, 1.7, 0.0]])
    return Batch([boxes] * frames, [torch.tensor([2, 0])] * frames, clouds, CLASSES)


def draw_objects(count, seed):
    """Boxes and labels of all classes about where their anchors are, some outside the grids."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    centres = torch.rand(count, 3, generator=generator) * torch.tensor([12.0, 12, 1])
    sizes = SIZES[labels] * (0.8 + 0.4 * torch.rand(count, 3, generator=generator))
    yaw = 7 * torch.rand(count, 1, generator=generator) - 3.5
    return torch.cat([centres - torch.tensor([1.0, 6, 2]), sizes, yaw], dim=1), labels


def capture(family, model, grid, frames, needs):
    """Captured outputs, inputs and losses of one training pass."""
    inputs = family.voxelizer(grid, training=True)(frames)
    with family.capture(model.train(), needs, grid) as take:
        losses = family.losses(model, inputs)
    return take(inputs), inputs, losses


def focal_loss(head):
    """The class loss of what a head predicted and is trained for, from its formula (Lin et al.,
    ICCV 2017, equation 5) over all priors that are not ignored."""
    targets = (head.assigned[..., None] == torch.arange(3)).double()
    kept = (head.assigned > -2)[..., None].expand_as(targets)
    logits = head.class_logits.double()
    p_t = torch.where(targets > 0, logits.sigmoid(), 1 - logits.sigmoid())
    alpha = torch.where(targets > 0, 0.25, 0.75)
    focal = (-alpha * (1 - p_t) ** 2 * p_t.log())[kept].sum() / head.positive.sum()
    return focal.item()


def with_few_objects(whole, where):
    """The two frames of a batch with the objects of the first or none, or with all out of reach."""
    nothing, far = torch.zeros(0, 7), whole.boxes[0] + torch.tensor([200.0, 0, 0, 0, 0, 0, 0])
    boxes = {
        "none at all": [nothing, nothing],
        "none in one frame": [whole.boxes[0], nothing],
        "none within reach": [far, far],
    }[where]
    labels = [whole.labels[0][: len(box)] for box in boxes]
    return Batch(boxes, labels, whole.points, CLASSES)
