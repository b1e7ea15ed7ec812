"""What every baseline survives: weight zero, few frames, empty frames, features alike or 0."""

from dataclasses import replace

import pytest
import torch
from fidelity import FAMILY, built, gradients, scene

METHODS = (
    "logit_kd",
    "fitnet",
    "attention_transfer",
    "similarity_preserving",
    "crd",
    "overhaul",
    "fbkd",
    "point_distiller",
    "point_distiller:variant=released",
    "mimic",
    "fg",
    "cwd",
    "gid_feature",
    "gid_response",
    "fgd",
    "mgd",
    "pkd",
    "dist",
    "bckd",
    "rkd",
    "dkd",
    "reviewkd",
    "unidistill",
    "lgsd",
    "lgsd:graphs=teacher",
)
MAPS_ONLY = (
    "overhaul",
    "mgd",
    "reviewkd",
    "unidistill",
    "gid_feature",
)  # gid_feature needs a prior per point
READ_OBJECTS = ("mimic", "fg", "fgd", "rkd", "unidistill")
CASES = [
    (text, kind)
    for text in METHODS
    for kind in ("maps", "points")
    if kind == "maps" or text not in MAPS_ONLY
]
each_case = pytest.mark.parametrize(("text", "kind"), CASES)


def losses_and_gradients(text, kind, example):
    method = built(text, example, FAMILY[kind])
    torch.manual_seed(0)
    losses = method(example.teacher, example.student, example.batch)
    return losses, gradients(losses, [*example.leaves, *method.parameters()])


def assert_finite(losses, found):
    assert all(loss.isfinite() and loss.shape == () for loss in losses.values())
    assert all(gradient.isfinite().all() for gradient in found)


@each_case
def test_weight_zero_is_zero(text, kind):
    losses, found = losses_and_gradients(f"{text}:weight=0", kind, scene(kind))
    assert all(loss == 0 for loss in losses.values())
    assert not any(gradient.any() for gradient in found)


@each_case
@pytest.mark.parametrize("counts", [(6,), (1, 5), (5, 1), (0, 5), (5, 0)])
def test_one_frame_and_frames_of_few_points(text, kind, counts):
    assert_finite(*losses_and_gradients(text, kind, scene(kind, counts)))


@each_case
def test_frame_without_points(text, kind):
    example = scene(kind)
    example.batch = replace(example.batch, points=[p[:0] for p in example.batch.points])
    assert_finite(*losses_and_gradients(text, kind, example))


@pytest.mark.parametrize(("text", "kind"), [case for case in CASES if case[0] in READ_OBJECTS])
@pytest.mark.parametrize("objects", [(1, 0), (0, 2), (3, 3)])
def test_frames_with_and_without_objects(text, kind, objects):
    example = scene(kind)
    box = torch.tensor([[5.0, 1.0, -1.0, 6.0, 4.0, 2.0, 0.4]])
    example.batch = replace(example.batch, boxes=[box.repeat(n, 1) for n in objects])
    assert_finite(*losses_and_gradients(text, kind, example))


@each_case
def test_student_equal_to_its_teacher(text, kind):
    assert_finite(*losses_and_gradients(text, kind, scene(kind, alike=True)))


@each_case
def test_features_that_are_all_zero(text, kind):
    losses, found = losses_and_gradients(text, kind, scene(kind, scale=0))
    assert_finite(losses, found)
    assert max(gradient.abs().max().item() for gradient in found) < 1e6


READ_BOXES = ("bckd", "gid_response", "rdd", "se_ssd", "sparsekd_logit")


def hardly_trained(head):
    """The same head with codes of sides that exceed every number."""
    deltas = (1000 * head.deltas.detach()).requires_grad_()

    def decode(codes):
        return torch.cat([codes[..., :3], codes[..., 3:6].exp(), codes[..., 6:]], dim=-1)

    return replace(head, deltas=deltas, decode=decode)


@pytest.mark.parametrize("text", READ_BOXES)
def test_sides_that_are_larger_than_any_number(text):
    example = scene("maps")
    heads = [hardly_trained(net.head) for net in (example.teacher, example.student)]
    for net, head in zip((example.teacher, example.student), heads, strict=True):
        net.__dict__["head"] = head
    assert heads[0].decode(heads[0].deltas).isinf().any()
    method = built(text, example, FAMILY["maps"])
    losses = method(example.teacher, example.student, example.batch)
    leaves = [heads[1].class_logits, heads[1].deltas, *method.parameters()]
    assert_finite(losses, gradients(losses, leaves))


@each_case
def test_same_numbers_from_the_same_generator(text, kind):
    first, _ = losses_and_gradients(text, kind, scene(kind, (40, 30)))
    second, _ = losses_and_gradients(text, kind, scene(kind, (40, 30)))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("text", ["logit_kd", "attention_transfer", "similarity_preserving"])
def test_nothing_to_learn_from_an_equal_without_adapters(text):
    losses, _ = losses_and_gradients(text, "maps", scene("maps", alike=True))
    assert all(loss.item() == pytest.approx(0, abs=1e-20) for loss in losses.values())
