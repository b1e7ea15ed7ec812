"""The cyclic schedule, against mmdet3d's configs run by mmengine and against its formula."""

import math

import pytest
import torch

from benchmark.config.profile import load_profile
from benchmark.config.recipe import OneCycle
from benchmark.training.optimizer import OneCycleSchedule


def trajectory(optimiser, step, count):
    """Learning rate and first beta at each optimisation step."""
    found = []
    for _ in range(count):
        group = optimiser.param_groups[0]
        found.append((group["lr"], group["betas"][0]))
        optimiser.step()
        step()
    return found


def adamw(rate=1e-3, betas=(0.95, 0.99)):
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.ones(2)
    return torch.optim.AdamW([weight], rate, betas, weight_decay=0.01)


@pytest.mark.parametrize("family", ["pointpillars", "second", "pointrcnn"])
def test_every_step_of_mmdet3ds_configs(family, mmdet3d_config):
    """Their schedulers, made iteration-based as mmengine's runner does, over a short epoch."""
    from mmengine.registry import PARAM_SCHEDULERS

    recipe, config = load_profile("kitti").recipe(family), mmdet3d_config(family)
    epoch_length = 10
    count = config.train_cfg.max_epochs * epoch_length
    theirs = adamw(config.optim_wrapper.optimizer.lr)
    schedulers = []
    for phase in config.param_scheduler:
        settings = dict(phase)
        assert settings.pop("convert_to_iter_based")
        kind = PARAM_SCHEDULERS.get(settings.pop("type"))
        schedulers.append(kind.build_iter_from_epoch(theirs, epoch_length=epoch_length, **settings))
    expected = trajectory(theirs, lambda: [s.step() for s in schedulers], count)
    ours = adamw(recipe.learning_rate)
    found = trajectory(ours, OneCycleSchedule(ours, recipe.one_cycle, count).step, count)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-9)


def test_the_formula():
    """eta + (start - eta) (1 + cos(pi t / T)) / 2 in each phase, the second from where the first
    ended."""
    rate, count, top = 2e-3, 50, 20

    def cosine(start, target, share):
        return target + (start - target) * (1 + math.cos(math.pi * share)) / 2

    last = [cosine(s, t, (top - 1) / top) for s, t in ((rate, 10 * rate), (0.95, 0.85 / 0.95))]
    optimiser = adamw(rate)
    found = trajectory(optimiser, OneCycleSchedule(optimiser, OneCycle(), count).step, count)
    for step, pair in enumerate(found):
        if step < top:
            expected = [
                cosine(rate, 10 * rate, step / top), cosine(0.95, 0.85 / 0.95, step / top)
            ]  # fmt: skip
        else:
            share = (step - top) / (count - top)
            expected = [cosine(last[0], 1e-4 * rate, share), cosine(last[1], 1, share)]
        assert pair == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 512])
@pytest.mark.parametrize("final_momentum", [0.95, 1.0])
def test_the_last_steps_stay_finite_and_small(count, final_momentum):
    """AdamW divides by 1 - beta^t, which nears 0 as beta nears 1."""
    optimiser = adamw()
    schedule = OneCycleSchedule(optimiser, OneCycle(final_momentum=final_momentum), count)
    (weight,) = optimiser.param_groups[0]["params"]
    largest = 0.0
    for step in range(count):
        before = weight.detach().clone()
        weight.grad = torch.tensor([1.0, (-1.0) ** step])
        optimiser.step()
        schedule.step()
        moved = (weight - before).abs().max().item()
        assert math.isfinite(moved)
        largest = max(largest, moved)
    assert moved <= largest <= 10.1e-3
    assert moved < 0.05 * largest or count < 512
