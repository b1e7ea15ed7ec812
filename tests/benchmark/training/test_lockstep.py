"""Lockstep training: a cell's result is its own, whatever trains beside it."""

import hashlib
import re
from dataclasses import replace
from typing import Literal

import pytest
import torch
from in_process import publish_teachers, run_matrix

from benchmark.data.augment import ObjectNoise, ObjectRangeFilter, ObjectSample, RandomFlip
from benchmark.device import SettingError, choose_device, choose_precision, make_deterministic
from benchmark.evaluation.detector import evaluate_models
from benchmark.records.store import read_all
from benchmark.running.cohort import run_cohort
from benchmark.running.outcome import load_model, load_teacher
from benchmark.running.setups import make_training_setup, make_validation
from benchmark.running.workplace import Job, Workplace
from benchmark.training.learner import Learner
from benchmark.training.lockstep import observe_teacher, train
from detectors import CLASSES, Grid, get_family
from detectors.core.checkpoints import state_hash
from kd_methods import Batch, KDMethod, register

GRID = Grid((0, -7.68, -3, 15.36, 7.68, 1), (0.32, 0.32, 4), (2000, 2000))
RESULT = ("ap", "weights_sha256", "losses_sha256")
METHODS = ["none", "logit_kd", "fitnet", "point_distiller", "point_distiller:variant=released"]


@register("broken", paper="a test", year=2026)
class Broken(KDMethod):
    """Raises at its second step."""

    calls = 0

    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        self.calls += 1
        if self.calls == 2:
            raise IndexError("out of pillars")
        return {"zero": 0 * student.neck.values.sum()}


@register("nan_loss", paper="a test", year=2026)
class NanLoss(KDMethod):
    """Returns a loss that is no number."""

    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        return {"nan": student.neck.values.sum() * float("nan")}


@register("wrong_shape", paper="a test", year=2026)
class WrongShape(KDMethod):
    """Returns a loss per frame."""

    def needs(self):
        return {"neck"}

    def loss(self, teacher, student, batch):
        return {"each": student.neck.values.mean((1, 2, 3))}


@register("vandal", paper="a test", year=2026)
class Vandal(KDMethod):
    """Changes what does not belong to it."""

    target: Literal["weights", "mode", "outputs", "batch"] = "weights"

    def needs(self):
        return {"stages"}

    def initialise(self, student, teacher):
        self.__dict__["network"] = teacher

    def loss(self, teacher, student, batch):
        actions = {
            "weights": lambda: self.network.state_dict()["bbox_head.conv_cls.bias"].fill_(3),
            "mode": lambda: self.network.train(),
            "outputs": lambda: teacher.stages[0].values.zero_(),
            "batch": lambda: batch.points[0].zero_(),
        }
        actions[self.target]()
        return {"zero": 0 * student.stages[0].values.sum()}


@register("unknown_tap", paper="a test", year=2026)
class UnknownTap(KDMethod):
    """Asks for an output that no detector has."""

    def needs(self):
        return {"necks"}

    def loss(self, teacher, student, batch):
        return {}


def results(workplace):
    return {
        record["method"]: {key: record[key] for key in (*RESULT, "status")}
        for record in read_all(workplace.results)
        if "@" in record["student"]
    }


def test_a_cell_alone_equals_the_same_cell_in_a_cohort(matrix, workplace, tmp_path):
    run_matrix(matrix(METHODS), workplace)
    together = results(workplace)
    assert {record["status"] for record in together.values()} == {"done"}
    assert len({record["weights_sha256"] for record in together.values()}) == len(METHODS)
    for method in ("none", "point_distiller"):
        alone = replace(workplace, results=tmp_path / method)
        run_matrix(matrix([method]), alone)
        assert results(alone)[method] == together[method]


def test_a_failing_method_ends_its_own_cell_only(matrix, workplace, reference):
    methods = ["none", "broken", "nan_loss", "wrong_shape", "unknown_tap", "fitnet"]
    run_matrix(matrix(methods), workplace)
    found = {r["method"]: r for r in read_all(workplace.results) if "@" in r["student"]}
    assert found["broken"]["status"] == "failed"
    assert "IndexError: out of pillars (test_lockstep.py:" in found["broken"]["reason"]
    assert found["nan_loss"]["status"] == "diverged"
    assert "loss kd.nan is nan" in found["nan_loss"]["reason"]
    assert found["unknown_tap"]["status"] == "failed"
    assert "did you mean 'neck'" in found["unknown_tap"]["reason"]
    assert re.search(r"test_lockstep.py:\d+ in needs", found["unknown_tap"]["reason"])
    assert found["wrong_shape"]["status"] == "failed"
    assert "loss 'each' is [2]; return a scalar" in found["wrong_shape"]["reason"]
    assert re.search(r"test_lockstep.py:\d+ in loss", found["wrong_shape"]["reason"])
    kept = {m: r for m, r in results(workplace).items() if m in ("none", "fitnet")}
    assert kept == reference


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("weights", "changed the teacher's weights in place"),
        ("mode", "changed the teacher's mode"),
        ("outputs", "changed the teacher's outputs in place"),
        ("batch", "changed the batch in place"),
    ],
)
def test_a_vandal_fails_alone(matrix, workplace, reference, target, reason):
    vandal = f"vandal:target={target}"
    run_matrix(matrix([vandal, "none", "fitnet"]), workplace)
    found = {r["method"]: r for r in read_all(workplace.results) if "@" in r["student"]}
    assert found[vandal]["status"] == "failed"
    assert reason in found[vandal]["reason"]
    assert {m: r for m, r in results(workplace).items() if m != vandal} == reference


@pytest.fixture(scope="module")
def reference(matrix, cache, synthetic_root, tmp_path_factory):
    """Results of none and fitnet among themselves."""
    results_folder = tmp_path_factory.mktemp("reference")
    workplace = Workplace(
        data=synthetic_root, results=results_folder, cache=cache, device=torch.device("cpu")
    )
    make_deterministic(workplace.device)
    run_matrix(matrix(["none", "fitnet"]), workplace)
    return results(workplace)


def setup_of(matrix, workplace, methods=("none",)):
    """Cells and setup of a one-cohort matrix, with its teacher."""
    request = matrix(methods)
    teacher = request.teacher("pointpillars")
    publish_teachers(request, workplace)
    cells = request.cohorts()[0].cells
    return cells, make_training_setup(cells[0], load_teacher(teacher, workplace), workplace)


def digest(tensors):
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def test_all_methods_of_a_seed_share_weights_batches_and_augmentation(matrix, workplace):
    cells, setup = setup_of(matrix, workplace, METHODS)
    assert len({state_hash(Learner(cell, setup).model) for cell in cells}) == 1

    def stream(epoch):
        return [digest([*b.points, *b.boxes, *b.labels]) for b in setup.frames.epoch(epoch)]

    assert stream(0) == stream(0)
    assert not set(stream(0)) & set(stream(1))


def test_another_seed_changes_weights_and_batches(matrix, workplace):
    pairs = []
    for seed in (0, 1):
        request = matrix(["none"], seeds=[seed])
        cell = request.cohorts()[0].cells[0]
        setup = make_training_setup(cell, None, workplace)
        batch = next(setup.frames.epoch(0))
        pairs.append((state_hash(Learner(cell, setup).model), digest(batch.points)))
    assert pairs[0][0] != pairs[1][0]
    assert pairs[0][1] != pairs[1][1]


def test_a_students_step_leaves_the_shared_batch_and_the_teacher_alone(matrix, workplace):
    cells, setup = setup_of(matrix, workplace, METHODS)
    learners = [Learner(cell, setup) for cell in cells]
    inputs = setup.family.voxelizer(setup.grid, training=True)(next(setup.frames.epoch(0)))
    teacher = observe_teacher(setup, inputs, {"local", "stages", "head"})

    def everything():
        batch = inputs.batch
        outputs = [teacher.local.values, *(s.values for s in teacher.stages)]
        return digest(
            [*batch.points, *batch.boxes, *batch.labels, *inputs.voxels.values(), *outputs,
             teacher.head.class_logits, *setup.teacher.state_dict().values()]
        )  # fmt: skip

    before = everything()
    for learner in learners:
        start = state_hash(learner.model)
        learner.step(inputs, teacher)
        assert learner.status == "running", learner.reason
        assert state_hash(learner.model) != start
        assert everything() == before
    assert not setup.teacher.training


def test_zero_weight_equals_none_bit_for_bit(matrix, workplace):
    run_matrix(matrix(["none", "fitnet:weight=0"]), workplace)
    found = results(workplace)
    assert found["fitnet:weight=0"]["weights_sha256"] == found["none"]["weights_sha256"]
    assert found["fitnet:weight=0"]["ap"] == found["none"]["ap"]


def test_global_generators_continue_as_if_nothing_was_drawn(matrix, workplace):
    cells, setup = setup_of(matrix, workplace, ["none", "fitnet"])
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train([Learner(cell, setup) for cell in cells], setup)
    assert torch.equal(torch.rand(3), expected)


def empty_batch(frames, with_objects):
    boxes = (
        torch.tensor([[7.0, 0, -1.6, 3.9, 1.6, 1.5, 0.3]]) if with_objects else torch.zeros(0, 7)
    )
    labels = torch.full((len(boxes),), 2)
    return Batch([boxes] * frames, [labels] * frames, [torch.zeros(0, 4)] * frames, CLASSES)


@pytest.mark.parametrize("with_objects", [False, True])
def test_frames_without_points_or_objects_train(matrix, workplace, with_objects):
    cells, setup = setup_of(matrix, workplace, METHODS)
    voxelize = setup.family.voxelizer(setup.grid, training=True)
    full = next(setup.frames.epoch(0))
    mixed = Batch(
        [full.boxes[0], torch.zeros(0, 7)],
        [full.labels[0], torch.zeros(0, dtype=torch.long)],
        [full.points[0], torch.zeros(0, 4)],
        CLASSES,
    )
    for cell in cells:
        learner = Learner(cell, setup)
        for batch in (empty_batch(2, with_objects), mixed):
            inputs = voxelize(batch)
            learner.step(inputs, observe_teacher(setup, inputs, learner.needs))
        assert learner.status == "running", learner.reason


def test_gradients_of_several_passes_are_averaged_clipped_and_applied_once(matrix, workplace):
    """Two passes of one frame against torch's gradients and AdamW, by hand."""
    request = matrix(["none"], batch_size=2, micro_batch_size=1, max_grad_norm=0.5)
    cell = request.cohorts()[0].cells[0]
    setup = make_training_setup(cell, None, workplace)
    learner, other = Learner(cell, setup), Learner(cell, setup)
    model, batches = other.model, list(setup.frames.epoch(0))
    assert setup.frames.batch_size == 1
    inputs = [setup.voxelize(batch) for batch in batches[:2]]
    start = state_hash(learner.model)
    learner.step(inputs[0], None)
    weights = dict(learner.model.named_parameters())
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())
    learner.step(inputs[1], None)
    assert state_hash(learner.model) != start

    parameters = list(model.parameters())
    sums = [torch.zeros_like(p) for p in parameters]
    for each in inputs:
        loss = sum(other.losses_on(each, None)[0].values())
        for total, gradient in zip(sums, torch.autograd.grad(loss, parameters), strict=True):
            total += gradient / 2
    norm = torch.stack([total.square().sum() for total in sums]).sum().sqrt()
    assert norm > 0.5
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.grad = total * 0.5 / norm
    recipe = setup.recipe
    torch.optim.AdamW(
        parameters, recipe.learning_rate, recipe.betas, weight_decay=recipe.weight_decay
    ).step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(weights[name], parameter, rtol=1e-4, atol=1e-6)


def test_a_cell_with_several_passes_is_the_same_alone_and_in_a_cohort(matrix, workplace, tmp_path):
    settings = {
        "batch_size": 4,
        "micro_batch_size": 2,
        "epochs": 2,
        "augmentation": (
            ObjectSample({"Car": 3}, {}),
            ObjectNoise(),
            RandomFlip(),
            ObjectRangeFilter(),
        ),
    }
    run_matrix(matrix(["none", "fitnet"], **settings), workplace)
    together = results(workplace)
    alone = replace(workplace, results=tmp_path / "alone")
    run_matrix(matrix(["fitnet"], **settings), alone)
    assert results(alone)["fitnet"] == together["fitnet"]
    assert together["fitnet"]["status"] == "done"
    assert (workplace.cache / "objects").is_dir()


def test_the_schedule_counts_updates(matrix, workplace):
    request = matrix(["none"], batch_size=2, micro_batch_size=1, epochs=3)
    cell = request.cohorts()[0].cells[0]
    setup = make_training_setup(cell, None, workplace)
    learner = Learner(cell, setup)
    train([learner], setup)
    (group,) = learner.optimizer.param_groups
    (state, *_) = learner.optimizer.state.values()
    assert int(state["step"]) == 3 * 3
    assert group["lr"] < setup.recipe.learning_rate
    assert group["weight_decay"] == setup.recipe.weight_decay


def test_two_evaluations_of_a_point_sample_agree(matrix, workplace):
    """Frames are drawn by their id alone, whatever was drawn before."""
    request = matrix(["none"], grid=replace(GRID, num_points=400, sample_range=10.0))
    cell = request.cohorts()[0].cells[0]
    setup, validation = make_training_setup(cell, None, workplace), make_validation(cell, workplace)
    learner = Learner(cell, setup)
    first, second = (
        evaluate_models({"cell": learner.model}, setup, validation)["cell"].as_json()
        for _ in range(2)
    )
    assert first == second


def test_method_parameters_are_not_clipped_with_the_student_nor_saved_with_it(matrix, workplace):
    cells, setup = setup_of(matrix, workplace, ["fitnet"])
    teacher = matrix(["none"]).teacher("pointpillars")
    run_cohort(Job(cells=cells, teacher=teacher, workplace=workplace))
    model = load_model(cells[0], workplace)
    plain = get_family("pointpillars").build(4, setup.grid)
    assert model.state_dict().keys() == plain.state_dict().keys()
    learner = Learner(cells[0], setup)
    student, method = (set(map(id, g["params"])) for g in learner.optimizer.param_groups)
    assert student == set(map(id, learner.model.parameters()))
    assert method == set(map(id, learner.method.parameters()))


def test_settings_that_this_machine_lacks_are_refused():
    with pytest.raises(SettingError, match="use auto or one of fp32, bf16"):
        choose_precision("fp8", torch.device("cpu"))
    for device in ("cuda:99", "meta", "mps", "xla", ""):
        with pytest.raises(SettingError, match=f"device '{device}' cannot be used"):
            choose_device(device)
