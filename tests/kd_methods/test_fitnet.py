"""FitNets against their formula."""

import pytest
import torch
from fidelity import FAMILY, assert_same, built, per_frame, scene


@pytest.mark.parametrize("scale", [1, 0.01])
@pytest.mark.parametrize("kind", ["maps", "points"])
def test_half_the_mean_squared_distance_to_the_hint(kind, scale):
    example = scene(kind, scale=scale)
    method = built("fitnet", example, FAMILY[kind])

    def reference():
        losses = {}
        stages = zip(method.regressors, example.teacher.stages, example.student.stages, strict=True)
        for i, ((linear, norm, _), hint, guided) in enumerate(stages):
            weight = linear.weight.flatten(1)
            mapped = torch.stack([weight @ row for rows in per_frame(guided) for row in rows])
            mean = mapped.sum(0) / len(mapped)
            variance = ((mapped - mean) ** 2).sum(0) / len(mapped)
            normal = (mapped - mean) / torch.sqrt(variance + 1e-3) * norm.weight + norm.bias
            difference = torch.cat(per_frame(hint)) - torch.clamp(normal, min=0)
            losses[f"stage{i}"] = 0.5 * (difference**2).sum() / difference.numel()
        return losses

    assert_same(method, example, reference)
