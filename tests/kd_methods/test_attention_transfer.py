"""Attention transfer against its formula."""

import pytest
from fidelity import FAMILY, assert_same, built, per_frame, scene

from kd_methods import create


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("counts", [(9, 5), (7,), (6, 3, 4)])
def test_distance_of_attention_maps_of_unit_length(kind, counts):
    example = scene(kind, counts)
    method = built("attention_transfer", example, FAMILY[kind])

    def reference():
        losses = {}
        stages = zip(example.teacher.stages, example.student.stages, strict=True)
        for i, (teacher, student) in enumerate(stages):
            total = 0.0
            for t, s in zip(per_frame(teacher), per_frame(student), strict=True):
                q_t = [sum(value**2 for value in cell) for cell in t]
                q_s = [sum(value**2 for value in cell) for cell in s]
                length_t = sum(q**2 for q in q_t) ** 0.5
                length_s = sum(q**2 for q in q_s) ** 0.5
                pairs = zip(q_s, q_t, strict=True)
                total = total + sum((a / length_s - b / length_t) ** 2 for a, b in pairs)
            losses[f"stage{i}"] = total
        return losses

    assert_same(method, example, reference)


def test_weights_are_the_published_recipe_s():
    assert create("attention_transfer", "pointpillars@4").weight == 0.5
    assert create("attention_transfer", "pointpillars@16").weight == 1.0
    assert create("attention_transfer", "second@16").weight == 0.5
