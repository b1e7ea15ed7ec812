import numpy as np
import pytest
from scipy import stats

from benchmark.evaluation.intervals import (
    compare_methods,
    crossed_gains,
    frame_interval,
    holm,
    paired_gains,
    pooled_spread,
    rank_intervals,
    resample_frames,
)


def figures(rng, methods=4, seeds=5, residual=1.0):
    shared = rng.normal(0, 3, seeds)
    names = ["none", *(f"m{i}" for i in range(1, methods))]
    return {
        name: dict(enumerate(60 + i + shared + rng.normal(0, residual, seeds)))
        for i, name in enumerate(names)
    }


def test_two_methods_give_the_paired_t_interval():
    values = figures(np.random.default_rng(0), methods=2)
    a, b = (np.array(list(values[m].values())) for m in ("m1", "none"))
    expected = stats.ttest_rel(a, b)
    gain = paired_gains(values)["m1"]
    assert gain.mean == pytest.approx((a - b).mean())
    assert (gain.low, gain.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert gain.n_seeds == 5
    (comparison,) = compare_methods({"m1": values["m1"], "none": values["none"]})
    assert comparison.p_value == pytest.approx(expected.pvalue)
    assert comparison.p_holm == comparison.p_value


def test_the_variance_is_that_of_paired_differences_pooled_over_all_pairs():
    values = figures(np.random.default_rng(1), methods=5, seeds=4)
    table = np.array([list(seeds.values()) for seeds in values.values()])
    pairs = [np.var(table[i] - table[j], ddof=1) for i in range(5) for j in range(i)]
    spread = pooled_spread(values)
    assert 2 * spread.variance == pytest.approx(np.mean(pairs))
    assert spread.df == 4 * 3
    half = stats.t.ppf(0.975, 12) * np.sqrt(np.mean(pairs) / 4)
    gain = paired_gains(values)["m2"]
    assert gain.high - gain.low == pytest.approx(2 * half)


def test_missing_seeds_are_left_out_of_their_own_method_only():
    values = figures(np.random.default_rng(2))
    del values["m1"][0]
    values["m2"][3] = float("nan")
    gains = paired_gains(values)
    assert {m: g.n_seeds for m, g in gains.items()} == {"m1": 4, "m2": 4, "m3": 5}
    expected = np.mean([values["m1"][s] - values["none"][s] for s in (1, 2, 3, 4)])
    assert gains["m1"].mean == pytest.approx(expected)
    assert pooled_spread(values).df == 18 - 4 - 5 + 1


def test_a_constant_added_to_one_seed_changes_nothing():
    values = figures(np.random.default_rng(3))
    moved = {m: {s: x + 10 * (s == 2) for s, x in v.items()} for m, v in values.items()}
    before, after = paired_gains(values), paired_gains(moved)
    for method, gain in before.items():
        assert after[method].low == pytest.approx(gain.low)
        assert after[method].high == pytest.approx(gain.high)


def test_one_seed_gives_a_gain_without_an_interval():
    gain = paired_gains({"none": {0: 50.0}, "a": {0: 51.0}, "b": {1: 52.0}})["a"]
    assert gain.mean == 1
    assert gain.n_seeds == 1
    assert np.isnan([gain.low, gain.high]).all()
    assert not gain.distinguishable


def test_methods_without_a_common_seed():
    gains = paired_gains({"none": {0: 50.0, 1: 50.5}, "a": {0: 51.0, 1: 51.9}, "b": {7: 52.0}})
    assert np.isnan(gains["b"].mean)
    assert gains["b"].n_seeds == 0
    assert gains["a"].n_seeds == 2


def test_distinguishable_means_that_the_interval_leaves_out_zero():
    gains = paired_gains(figures(np.random.default_rng(4), residual=0.05))
    assert all(gain.distinguishable for gain in gains.values())
    gains = paired_gains(figures(np.random.default_rng(4), residual=30))
    assert not any(gain.distinguishable for gain in gains.values())


def test_a_missing_baseline_is_refused():
    with pytest.raises(ValueError, match="baseline 'none'"):
        paired_gains({"a": {0: 1.0}})


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert np.isnan(holm([np.nan, 0.02])).tolist() == [True, False]
    assert holm([np.nan, 0.02])[1] == pytest.approx(0.02)
    assert holm([]) == []


def test_all_pairs_are_compared_and_corrected():
    comparisons = compare_methods(figures(np.random.default_rng(5), residual=0.1))
    assert len(comparisons) == 6
    for c in comparisons:
        assert c.p_holm >= c.p_value
        assert c.distinguishable == (c.p_holm < 0.05)
    assert all(c.distinguishable for c in comparisons)


def test_frames_are_drawn_with_replacement_and_repeatably():
    weights = resample_frames(100, 50, seed=3)
    assert weights.shape == (50, 100)
    assert (weights.sum(1) == 100).all()
    np.testing.assert_array_equal(weights, resample_frames(100, 50, seed=3))
    assert (weights != resample_frames(100, 50, seed=4)).any()


def test_drives_are_drawn_whole():
    drives = np.array(["b", "a", "a", "c", "a", "b"])
    weights = resample_frames(6, 200, drives)
    assert (weights[:, drives == "a"] == weights[:, [1]]).all()
    assert (weights[:, drives == "b"] == weights[:, [0]]).all()
    assert (weights[:, 0] + weights[:, 1] + weights[:, 3] == 3).all()


def test_frame_interval():
    assert frame_interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert np.isnan(frame_interval(np.array([1.0, np.nan]))).all()


def test_crossed_intervals_hold_both_kinds_of_chance():
    """Without chance among frames they are the intervals over seeds, else they are wider."""
    rng = np.random.default_rng(6)
    values = figures(rng, seeds=6)
    still = {m: {s: np.full(100, x) for s, x in v.items()} for m, v in values.items()}
    over_seeds = paired_gains(values)
    for method, gain in crossed_gains(values, still, n_clusters=500).items():
        assert (gain.low, gain.high) == pytest.approx(
            (over_seeds[method].low, over_seeds[method].high)
        )
    shaken = {
        m: {s: x + frames for s, x in v.items()}
        for (m, v), frames in zip(values.items(), rng.normal(0, 3, (4, 100)), strict=True)
    }
    for method, gain in crossed_gains(values, shaken, n_clusters=500).items():
        seeds_alone = over_seeds[method].high - over_seeds[method].low
        assert gain.high - gain.low > seeds_alone


def test_crossed_intervals_need_two_seeds():
    one = {"none": {0: 50.0}, "a": {0: 51.0}}
    drawn = {m: {0: np.arange(10.0)} for m in one}
    assert np.isnan(crossed_gains(one, drawn, 100)["a"].low)


def test_ranks_span_what_the_comparisons_leave_open():
    seeds = range(4)
    noise = np.array([0.0, 0.1, -0.1, 0.0])
    means = {"a": 60.0, "b": 59.99, "c": 50.0, "d": 40.0}
    values = {
        name: dict(enumerate(mean + np.roll(noise, i)))
        for i, (name, mean) in enumerate(means.items())
    }
    ranks = rank_intervals(values, compare_methods(values), seeds)
    found = {name: (rank.place, rank.low, rank.high) for name, rank in ranks.items()}
    assert found == {"a": (1, 1, 2), "b": (2, 1, 2), "c": (3, 3, 3), "d": (4, 4, 4)}
    del values["b"][3]
    ranks = rank_intervals(values, compare_methods(values), seeds)
    assert {name: rank.place for name, rank in ranks.items()} == {"a": 1, "c": 2, "d": 3}
    assert ranks["c"].low == ranks["c"].high == 2


def test_equal_means_share_a_place():
    values = {name: {0: figure} for name, figure in (("a", 5.0), ("b", 7.0), ("c", 5.0))}
    ranks = rank_intervals(values, compare_methods(values), [0])
    assert {name: rank.place for name, rank in ranks.items()} == {"a": 2, "b": 1, "c": 2}
    assert {(rank.low, rank.high) for rank in ranks.values()} == {(1, 3)}
    assert rank_intervals(values, compare_methods(values), []) == {}
