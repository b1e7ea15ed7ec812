"""Logit distillation against its formula."""

import math

import pytest
import torch
from fidelity import assert_same, built, scene


@pytest.mark.parametrize("temperature", [1, 4])
def test_divergence_of_every_class_of_every_anchor(temperature):
    example = scene("maps")
    method = built(f"logit_kd:temperature={temperature}:weight=0.3", example)

    def reference():
        teacher, student = example.teacher.head, example.student.head
        frames, anchors, classes = student.class_logits.shape
        total, positives = torch.zeros((), dtype=torch.float64), 0
        for b in range(frames):
            for a in range(anchors):
                positives += int(student.assigned[b, a] >= 0)
                for k in range(classes):
                    p = 1 / (1 + math.exp(-teacher.class_logits[b, a, k] / temperature))
                    q = 1 / (1 + torch.exp(-student.class_logits[b, a, k] / temperature))
                    total = total + p * torch.log(p / q)
                    total = total + (1 - p) * torch.log((1 - p) / (1 - q))
        return {"logit": temperature**2 * total / max(positives, 1)}

    assert_same(method, example, reference)
