"""How often the intervals of benchmark/evaluation/intervals.py hold the truth.

    python tests/perf/interval_coverage.py                      # 25 minutes on one core
    python tests/perf/interval_coverage.py --simulations 50     # one minute, wider errors

Prints the tables of docs/protocol.md. Worlds with a known truth are drawn again and again; a 95 %
interval should hold it in 93-97 % of them. The standard error of each figure is printed beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
from tabulate import tabulate
from tqdm import trange

sys.path.append(str(Path(__file__).parents[1] / "benchmark" / "evaluation"))
from kitti_cases import disturb, random_scenes, with_scores

from benchmark.data.labels import Labels
from benchmark.evaluation.intervals import (
    compare_methods,
    crossed_gains,
    frame_interval,
    paired_gains,
    rank_intervals,
    resample_frames,
)
from benchmark.evaluation.kitti_ap import FrameStatistics, evaluate

SEEDS = (3, 5, 10)
METHODS = 10


def draw_world(
    rng: np.random.Generator, n_seeds: int, world: str
) -> tuple[dict[str, float], dict[str, dict[int, float]], int]:
    """Methods and seeds: true gains, figures, and which method scatters most."""
    truth = np.concatenate([[0.0], rng.normal(0.5, 1.0, METHODS)])
    if world == "no gain":
        truth[:] = 0
    shape = (METHODS + 1, n_seeds)
    residual = (
        rng.standard_t(5, shape) / np.sqrt(5 / 3) if world == "tails" else rng.normal(size=shape)
    )
    spread = np.exp(rng.uniform(np.log(0.5), np.log(2), METHODS + 1))
    if world.startswith("unequal"):
        residual *= spread[:, None]
    figures = 60 + truth[:, None] + rng.normal(0, 1.5, n_seeds) + residual
    if world == "missing":
        figures[1:][rng.random((METHODS, n_seeds)) < 0.2] = np.nan
    methods = ["none", *(f"method{i}" for i in range(METHODS))]
    values = {m: dict(enumerate(row.tolist())) for m, row in zip(methods, figures, strict=True)}
    return dict(zip(methods, truth.tolist(), strict=True)), values, 1 + int(spread[1:].argmax())


def over_seeds(rng: np.random.Generator, n_seeds: int, world: str) -> list[bool]:
    """One world: for each method, whether its interval holds its gain."""
    truth, values, noisiest = draw_world(rng, n_seeds, world)
    gains = paired_gains(values)
    asked = [list(values)[noisiest]] if world == "unequal, noisiest" else list(gains)
    return [
        gains[method].low <= truth[method] <= gains[method].high
        for method in asked
        if gains[method].n_seeds > 0
    ]


def all_ranks(rng: np.random.Generator, n_seeds: int, world: str) -> list[bool]:
    """One world: whether the intervals of all ranks hold all true places at once; methods of equal
    truth may take any of their places."""
    truth, values, _ = draw_world(rng, n_seeds, world)
    ranks = rank_intervals(values, compare_methods(values), range(n_seeds))
    return [
        all(
            rank.low <= 1 + sum(other > truth[method] for other in truth.values())
            and rank.high >= sum(other >= truth[method] for other in truth.values())
            for method, rank in ranks.items()
        )
    ]


def rank_table(simulations: int) -> str:
    """How often all ranks of a world are held at once."""
    rng = np.random.default_rng(1)
    worlds = {
        "equal normal spread": "normal",
        "no method gains anything": "no gain",
        "heavy tails (t, 5 degrees of freedom)": "tails",
        "spreads differing up to fourfold": "unequal",
    }
    rows = [
        [
            name,
            *(
                coverage([all_ranks(rng, s, world) for _ in trange(simulations, desc=name)])
                for s in SEEDS
            ),
        ]
        for name, world in worlds.items()
    ]
    headers = ["all ranks at once", *(f"{s} seeds" for s in SEEDS)]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def over_seeds_and_frames(rng: np.random.Generator, n_seeds: int, drives: int | None) -> list[bool]:
    """One world in which figures are means over frames, so that the truth is known exactly.

    Each frame is easier for some methods and for some seeds; with drives, frames of one drive are
    alike.
    """
    n_frames, methods = 400, ["none", "a", "b", "c"]
    truth = np.array([0.0, 0.5, 1.0, -0.5])
    drive = np.arange(n_frames) if drives is None else rng.integers(0, drives, n_frames)
    shape = (len(methods), n_seeds)
    seed_effect = rng.normal(0, 0.6, shape)
    frame_effect = rng.normal(0, 8, (len(methods), n_frames))
    if drives is not None:
        frame_effect += rng.normal(0, 4, (len(methods), drives))[:, drive]
    noise = rng.normal(0, 12, (*shape, n_frames))
    scores = truth[:, None, None] + seed_effect[..., None] + frame_effect[:, None] + noise
    clusters = None if drives is None else drive
    weights = resample_frames(n_frames, 300, clusters, seed=int(rng.integers(2**31)))
    drawn = scores @ (weights / weights.sum(1, keepdims=True)).T
    gains = crossed_gains(
        {m: dict(enumerate(scores[i].mean(1).tolist())) for i, m in enumerate(methods)},
        {m: dict(enumerate(drawn[i])) for i, m in enumerate(methods)},
        len(np.unique(drive)),
    )
    return [gains[m].low <= truth[i] <= gains[m].high for i, m in enumerate(methods) if i]


class Frames:
    """A population of frames with two detectors, and the truth: the AP over all of it."""

    def __init__(self, size: int = 20000) -> None:
        rng = np.random.default_rng(1)
        gt = [_as_cars(frame) for frame in random_scenes(rng, size, ties=False)[0]]
        found = ([_detect(g, rng, noise) for g in gt] for noise in (0.13, 0.15))
        self.pool = [evaluate(gt, one).statistics for one in found]
        self.size = size
        everything = np.arange(size), np.ones((1, size), np.int64)
        self.truth = [_car_ap(statistics, *everything)[0] for statistics in self.pool]

    def intervals_hold(self, rng: np.random.Generator, n_frames: int) -> list[bool]:
        """Of the AP of each detector on n_frames frames, and of their difference."""
        drawn = rng.integers(0, self.size, n_frames)
        weights = resample_frames(n_frames, 1000, seed=int(rng.integers(2**31)))
        a, b = (_car_ap(statistics, drawn, weights) for statistics in self.pool)
        truth_a, truth_b = self.truth
        return [
            low <= truth <= high
            for (low, high), truth in (
                (frame_interval(a), truth_a),
                (frame_interval(b), truth_b),
                (frame_interval(a - b), truth_a - truth_b),
            )
        ]


def _car_ap(statistics: FrameStatistics, drawn: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Moderate 3D AP R40 on the frames `drawn` (n,), each resampled weights[r, i] times."""
    car = statistics.classes["Car"]
    kept, starts = np.unique(np.sort(drawn), return_index=True)
    summed = np.add.reduceat(weights[:, np.argsort(drawn)], starts, axis=1)
    inside = np.isin(car.frame, kept)
    some = dataclasses.replace(
        car,
        score=car.score[inside],
        frame=np.searchsorted(kept, car.frame[inside]),
        first=car.first[..., inside],
        hits=car.hits[..., inside],
        counted=car.counted[..., inside],
        objects=car.objects[:, kept],
    )
    return 100 * some.precision(2, 1, summed)[:, 1:].mean(1)


def _as_cars(labels: Labels) -> Labels:
    """The objects as cars high enough for every difficulty, whatever they were."""
    bottom = labels.bbox[:, [1]] + 90
    name = np.where(labels.name == "DontCare", "DontCare", "Car")
    return dataclasses.replace(labels, name=name, bbox=np.hstack([labels.bbox[:, :3], bottom]))


def _detect(gt: Labels, rng: np.random.Generator, noise: float) -> Labels:
    found = gt.select((gt.name != "DontCare") & (rng.random(len(gt)) < 0.9))
    false = found.select(rng.random(len(found)) < 0.4)
    hits, misses = disturb(found, rng, noise), disturb(false, rng, 4.0)
    score = np.concatenate([rng.beta(4, 2, len(hits)), rng.beta(2, 4, len(misses))])
    return with_scores(Labels.concatenate([hits, misses]), score)


def coverage(held: list[list[bool]]) -> str:
    """Percentage and its standard error; worlds are independent, figures in one world are not."""
    per_world = np.array([np.mean(world) for world in held if world])
    return f"{100 * per_world.mean():.1f} ± {100 * per_world.std() / np.sqrt(len(per_world)):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000)
    n = parser.parse_args().simulations
    rng = np.random.default_rng(0)

    worlds = {
        "equal normal spread": "normal",
        "heavy tails (t, 5 degrees of freedom)": "tails",
        "spreads differing up to fourfold": "unequal",
        "the same, noisiest method alone": "unequal, noisiest",
        "one cell in five missing": "missing",
    }
    rows = [
        [
            name,
            *(coverage([over_seeds(rng, s, world) for _ in trange(n, desc=name)]) for s in SEEDS),
        ]
        for name, world in worlds.items()
    ]
    for name, drives in (("seeds and frames", None), ("seeds and frames, 40 drives", 40)):
        row = [
            coverage([over_seeds_and_frames(rng, s, drives) for _ in trange(n, desc=name)])
            for s in SEEDS
        ]
        rows.append([name, *row])
    headers = ["world", *(f"{s} seeds" for s in SEEDS)]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    print()

    print(rank_table(n))
    print()

    frames = Frames()
    sizes = (250, 1000, 4000)
    held = [
        [frames.intervals_hold(rng, size) for _ in trange(n, desc=f"{size} frames")]
        for size in sizes
    ]
    headers = ["frames resampled", *(f"{size} frames" for size in sizes)]
    rows = [
        [name, *(coverage([world[part] for world in worlds]) for worlds in held)]
        for name, part in (("AP 3D R40 of one", slice(2)), ("difference of two", slice(2, 3)))
    ]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
