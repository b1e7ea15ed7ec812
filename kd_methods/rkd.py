"""RKD: relational knowledge distillation (Park et al., CVPR 2019)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kd_methods.core.features import sample
from kd_methods.core.interface import Batch, KDMethod, Outputs
from kd_methods.core.regions import of_objects
from kd_methods.core.registry import register
from kd_methods.core.relations import angles, distances, relative


@register("rkd", paper="Park et al., CVPR 2019", year=2019)
class RKD(KDMethod):
    """Objects lie to each other in the student's features as they do in the teacher's.

        L_distance = distance / n^2 sum_{i,j} h(D^T_ij - D^S_ij),   D_ij = d_ij / mean d
        L_angle    = angle / n^3 sum_{i,j,k} h(u^T_ij . u^T_ik - u^S_ij . u^S_ik)
        d_ij = || x_j - x_i ||_2,   u_ij = (x_j - x_i) / d_ij, or 0 where d_ij is 0

    x_i, i = 1 to n, are the neck's features of the objects of all frames of a batch: ``grid`` x
    ``grid`` samples in the rotated ground-truth box; on points, the mean of the points inside, and
    objects without points are left out. h is smooth L1. With fewer than three objects the loss
    is 0. There is nothing to adapt, as no feature is compared with one of the other network.

    Attributes:
        distance: weight of L_distance.
        angle: weight of L_angle.
        grid: places along a box's length and along its width; unused on points.
        objects: of a batch with more, this many drawn at random take part.

    Source: Park et al., arXiv 1904.05068, and the weights of mdistiller, for whole images. That
    objects take the place of images, ``grid`` and ``objects`` are ours.
    """

    distance: float = 25.0
    angle: float = 50.0
    grid: int = 7
    objects: int = 128

    def needs(self) -> set[str]:
        return {"neck"}

    def loss(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        theirs, ours = (of_objects(n.neck, batch.boxes, self.grid) for n in (teacher, student))
        if len(theirs) < 3:
            return dict.fromkeys(("distance", "angle"), 0 * student.neck.values.sum())
        chosen = sample(len(theirs), self.objects, theirs.device)
        target, output = (distances(rows.index_select(0, chosen)) for rows in (theirs, ours))
        count = len(chosen)
        apart = F.smooth_l1_loss(relative(output), relative(target)) * (count - 1) / count
        turned = F.smooth_l1_loss(angles(output, count), angles(target, count))
        return {"distance": self.distance * apart, "angle": self.angle * turned}
