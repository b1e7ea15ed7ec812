"""Similarity-preserving distillation against its formulas."""

import pytest
import torch
from fidelity import FAMILY, assert_same, built, per_frame, scene

from kd_methods import create


def between_frames(features, kind):
    if kind == "points":
        frames = [rows.sum(0) / len(rows) for rows in per_frame(features)]
    else:
        frames = [rows.reshape(-1) for rows in per_frame(features)]
    similarity = []
    for a in frames:
        row = torch.stack([(a * b).sum() for b in frames])
        similarity.append(row / (row**2).sum().sqrt())
    return torch.stack(similarity)


def between_cells(rows):
    lengths = (rows**2).sum(1).sqrt()
    return torch.stack(
        [
            torch.stack([(a * b).sum() / (i * j) for b, j in zip(rows, lengths, strict=True)])
            for a, i in zip(rows, lengths, strict=True)
        ]
    )


@pytest.mark.parametrize("kind", ["maps", "points"])
@pytest.mark.parametrize("cells", [3, 1024])
def test_similarities_of_frames_and_of_cells(kind, cells):
    example = scene(kind, (12, 9), scale=3)
    for leaf in [*example.leaves, *(stage.values for stage in example.teacher.stages)]:
        leaf.data += 0.1
    method = built(f"similarity_preserving:cells={cells}", example, FAMILY[kind])

    def reference():
        losses = {}
        for i in (1, 2):
            teacher, student = example.teacher.stages[i], example.student.stages[i]
            difference = between_frames(teacher, kind) - between_frames(student, kind)
            losses[f"frames{i}"] = (difference**2).sum() / len(difference) ** 2
            of_frames = []
            for t, s in zip(per_frame(teacher), per_frame(student), strict=True):
                chosen = torch.randperm(len(t)).tolist()[:cells]
                difference = between_cells(t[chosen]) - between_cells(s[chosen])
                of_frames.append((difference**2).sum() / len(chosen) ** 2)
            losses[f"cells{i}"] = sum(of_frames) / len(of_frames)
        return losses

    assert_same(method, example, reference)


def test_one_frame_is_similar_to_itself():
    example = scene("maps", (5,))
    losses = built("similarity_preserving", example)(
        example.teacher, example.student, example.batch
    )
    assert losses["frames1"].item() == pytest.approx(0, abs=1e-15)


def test_weights_are_the_published_recipe_s():
    students = {"pointpillars@4": 0.5, "pointpillars@16": 1.0, "second@4": 0.5, "second@16": 0.5}
    for student, weight in students.items():
        assert create("similarity_preserving", student).weight == weight
