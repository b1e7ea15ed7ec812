"""How certain a figure is: gains over seeds, frame resampling, comparisons of methods.

A gain is the mean over seeds of the paired difference from a baseline trained with the same seed.
docs/protocol.md states the models, their approximations and the measured coverage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special

Values = Mapping[str, Mapping[int, float]]  # method -> seed -> figure, e.g. mAP in percent


@dataclass(frozen=True)
class Gain:
    """A mean paired difference and its confidence interval; NaN where there is none.

    Attributes:
        mean: over the seeds that both sides have.
        low, high: of the interval; NaN if the seeds do not allow one.
        n_seeds: the number of such seeds.
        distinguishable: whether the interval excludes 0.
    """

    mean: float
    low: float
    high: float
    n_seeds: int
    distinguishable: bool


@dataclass(frozen=True)
class Comparison:
    """The paired difference first - second of two methods.

    Attributes:
        gain: mean and interval of this pair alone.
        p_value: two-sided, of this pair alone.
        p_holm: corrected by Holm for all pairs compared.
        distinguishable: whether p_holm is below 1 - level.
    """

    first: str
    second: str
    gain: Gain
    p_value: float
    p_holm: float
    distinguishable: bool


@dataclass(frozen=True)
class Rank:
    """The place of a method among those compared.

    Attributes:
        place: 1 for the highest mean; equal means share the better place.
        low, high: best and worst place that the comparisons leave possible.
    """

    place: int
    low: int
    high: int


@dataclass(frozen=True)
class Spread:
    """Variance of one figure about its method and its seed, pooled over methods.

    Half the variance of a paired difference of two methods; df are its degrees of freedom.
    """

    variance: float
    df: int


def paired_gains(values: Values, baseline: str = "none", level: float = 0.95) -> dict[str, Gain]:
    """Gain of every method over the baseline, on the same frames.

    Args:
        values: figures by method and seed. Missing seeds are left out of that method's mean.
        baseline: the method all are compared to.
        level: confidence of each interval.

    Raises:
        ValueError: if the baseline has no values.
    """
    _check_baseline(values, baseline)
    spread = pooled_spread(values)
    return {
        method: _gain(*_difference(values, method, baseline), spread, level)
        for method in values
        if method != baseline
    }


def compare_methods(values: Values, level: float = 0.95) -> list[Comparison]:
    """Every pair of methods, with Holm's correction (Scand. J. Statistics 6, 1979) over all pairs.

    Pairs without a common seed, or without an interval, have NaN and are not distinguishable.
    """
    spread = pooled_spread(values)
    pairs = list(combinations(values, 2))
    gains = [_gain(*_difference(values, *pair), spread, level) for pair in pairs]
    p_values = [_p_value(gain, spread) for gain in gains]
    return [
        Comparison(first, second, gain, p, p_holm, bool(p_holm < 1 - level))
        for (first, second), gain, p, p_holm in zip(
            pairs, gains, p_values, holm(p_values), strict=True
        )
    ]


def rank_intervals(
    values: Values, comparisons: Sequence[Comparison], seeds: Sequence[int]
) -> dict[str, Rank]:
    """Places by mean of the methods that have a figure for every seed, with intervals.

    A method's best place is 1 + the number of methods distinguishably better, its worst the number
    of methods less those distinguishably worse. As Holm's correction bounds the chance of any false
    distinction, all intervals contain the true places simultaneously at its level.

    Args:
        comparisons: of ``values``, from :func:`compare_methods`.
        seeds: that a method must have to be given a place.

    Returns:
        Nothing for one method alone, and where every figure is 0: networks that detect nothing
        cannot be ranked.
    """
    means = {
        method: float(np.mean([figures[seed] for seed in seeds]))
        for method, figures in values.items()
        if seeds and all(np.isfinite(figures.get(seed, np.nan)) for seed in seeds)
    }
    if len(means) < 2 or not any(means.values()):
        return {}
    better, worse = dict.fromkeys(means, 0), dict.fromkeys(means, 0)
    for pair in comparisons:
        if pair.distinguishable and pair.first in means and pair.second in means:
            ahead, behind = (pair.first, pair.second)[:: 1 if pair.gain.mean > 0 else -1]
            better[behind] += 1
            worse[ahead] += 1
    ordered = sorted(means.values(), reverse=True)
    return {
        method: Rank(1 + ordered.index(mean), 1 + better[method], len(means) - worse[method])
        for method, mean in means.items()
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for testing all of them (Holm, 1979); NaN is left out and stays."""
    p = np.asarray(p_values, float)
    order = np.flatnonzero(~np.isnan(p))
    order = order[np.argsort(p[order])]
    corrected = np.full(len(p), np.nan)
    scaled = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected.tolist()


def pooled_spread(values: Values) -> Spread:
    """The residual variance of figure = method + seed + residual, by least squares.

    With every seed present, twice this variance is the mean over all pairs of methods of the
    variance of their paired differences. Methods and seeds with a single figure say nothing. Ten
    digits are kept: the last ones differ between processors' BLAS, but the leaderboard must not.
    """
    cells = [(m, s, x) for m, seeds in values.items() for s, x in seeds.items() if np.isfinite(x)]
    if not cells:
        return Spread(np.nan, 0)
    method, seed = (np.unique([cell[i] for cell in cells], return_inverse=True)[1] for i in (0, 1))
    design = np.hstack([np.eye(method.max() + 1)[method], np.eye(seed.max() + 1)[seed]])
    figures = np.array([x for _, _, x in cells])
    effects, _, rank, _ = np.linalg.lstsq(design, figures, rcond=None)
    df = len(cells) - int(rank)
    if df <= 0:
        return Spread(np.nan, 0)
    variance = ((figures - design @ effects) ** 2).sum() / df
    return Spread(float(f"{variance:.10g}"), df)


def resample_frames(
    n_frames: int,
    resamples: int = 1000,
    clusters: Sequence[str] | np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """How often each frame is drawn: (resamples, n_frames) int64 for
    `FrameStatistics.average_precision`; one array serves all seeds and methods.

    Args:
        clusters: (n_frames,) the drive of each frame; whole drives are drawn, with replacement.
            None where drives are not known: each frame is drawn on its own.
    """
    rng = np.random.default_rng(seed)
    index = np.arange(n_frames) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    n = int(index.max()) + 1 if n_frames else 0
    drawn = rng.multinomial(n, np.full(n, 1 / max(n, 1)), size=resamples)
    return drawn[:, index]


def frame_interval(resampled: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of a figure (resamples,) over resampled frames.

    NaN if any resample leaves the figure undefined.
    """
    tail = 50 * (1 - level)
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return float(low), float(high)


def crossed_gains(
    values: Values,
    resampled: Mapping[str, Mapping[int, np.ndarray]],
    n_clusters: int,
    baseline: str = "none",
    level: float = 0.95,
) -> dict[str, Gain]:
    """Gains whose intervals hold for other seeds and for other frames.

    Args:
        values: figures by method and seed on the frames as they are.
        resampled: (resamples,) figures by method and seed, all from one `resample_frames`.
        n_clusters: frames, or drives if these were drawn.

    Raises:
        ValueError: if the baseline has no values.
    """
    _check_baseline(values, baseline)
    spread = pooled_spread(values)
    gains = {}
    for method in values:
        if method == baseline:
            continue
        mean, n = _difference(values, method, baseline)
        seeds = _common_seeds(values, method, baseline)
        both = [resampled[method][seed] - resampled[baseline][seed] for seed in seeds]
        gains[method] = _crossed_gain(mean, n, np.array(both), spread, n_clusters, level)
    return gains


def _crossed_gain(
    mean: float, n: int, resampled: np.ndarray, spread: Spread, n_clusters: int, level: float
) -> Gain:
    """resampled: (n, resamples) differences. Variance of seeds + of frames - what both hold."""
    if n < 2 or spread.df == 0:
        return Gain(mean, np.nan, np.nan, n, False)
    of_frames = resampled.mean(0).var(ddof=1)
    shared = (resampled - resampled.mean(0)).var(1, ddof=1).sum() / (n - 1) / n
    of_seeds = max(2 * spread.variance / n - shared, 0.0)
    variance = of_seeds + of_frames
    uncertainty = of_seeds**2 / spread.df + of_frames**2 / (n_clusters - 1)
    df = variance**2 / uncertainty if uncertainty > 0 else np.inf
    return _interval(mean, n, variance, df, level)


def _gain(mean: float, n: int, spread: Spread, level: float) -> Gain:
    return _interval(mean, n, 2 * spread.variance / n if n else np.nan, spread.df, level)


def _interval(mean: float, n: int, variance: float, df: float, level: float) -> Gain:
    """The t interval of a mean with this variance."""
    if not np.isfinite(mean) or not np.isfinite(variance) or df <= 0:
        return Gain(mean, np.nan, np.nan, n, False)
    tail = 0.5 + level / 2
    quantile = special.stdtrit(df, tail) if np.isfinite(df) else special.ndtri(tail)
    half = float(quantile * np.sqrt(variance))
    return Gain(mean, mean - half, mean + half, n, bool(abs(mean) > half))


def _p_value(gain: Gain, spread: Spread) -> float:
    """Two-sided p-value of a gain that has an interval."""
    if not np.isfinite(gain.low):
        return np.nan
    if spread.variance == 0:
        return 1.0 if gain.mean == 0 else 0.0
    t = gain.mean / np.sqrt(2 * spread.variance / gain.n_seeds)
    return float(2 * special.stdtr(spread.df, -abs(t)))


def _difference(values: Values, method: str, baseline: str) -> tuple[float, int]:
    """Mean paired difference and the number of common seeds; NaN and 0 without any."""
    seeds = _common_seeds(values, method, baseline)
    paired = [values[method][seed] - values[baseline][seed] for seed in seeds]
    return (float(np.mean(paired)), len(paired)) if paired else (np.nan, 0)


def _common_seeds(values: Values, method: str, baseline: str) -> list[int]:
    """Seeds for which both have a figure."""
    return [
        seed
        for seed, figure in values[method].items()
        if math.isfinite(figure) and math.isfinite(values[baseline].get(seed, math.nan))
    ]


def _check_baseline(values: Values, baseline: str) -> None:
    if not any(np.isfinite(figure) for figure in values.get(baseline, {}).values()):
        raise ValueError(f"no results for the baseline '{baseline}'; train it with the same seeds")
