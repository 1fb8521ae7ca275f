"Statistics: published examples, coverage by simulation, and what happens at the edges."
import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st
from nbprops import stats

def test_wilson_newcombe_table():
    "Fails when the interval is not Wilson's: Newcombe 1998, table I."
    want = {(81, 263): (.2553, .3662), (15, 148): (.0624, .1605), (0, 20): (0, .1611), (1, 29): (.0061, .1718)}
    assert {k: tuple(round(x, 4) for x in stats.wilson(*k)) for k in want} == want

def test_wilson_never_narrower_for_clustered_days():
    "Fails when a design effect below one makes an interval narrower than plain Wilson."
    plain = stats.wilson(60, 100)
    assert stats.wilson(60, 100, deff=.3) == plain
    low, high = stats.wilson(60, 100, deff=4.0)
    assert low < plain[0] and high > plain[1]

def test_wilson_without_data():
    "Fails when an empty sample gives NaN or a crash instead of knowing nothing."
    assert stats.wilson(0, 0) == (0.0, 1.0) and stats.hit_rate(pl.Series([], dtype=pl.Boolean), pl.Series([], dtype=pl.Date)).rate is None

def test_design_effect_cochran():
    "Fails when the cluster variance is not the ratio estimator's: Cochran 1977, sec. 3.12."
    persons = np.array([5,6,3,3,2,3,3,3,4,4,3,2,7,4,3,5,4,4,3,3,4,3,3,1,2,4,3,4,2,4])
    doctor = np.array([5,0,2,3,0,0,0,0,0,0,0,0,0,4,1,2,0,0,1,3,2,0,0,0,2,2,0,2,0,1])
    p = 30/104
    assert round(stats.design_effect(doctor, persons)*p*(1 - p)/104, 5) == .00521 and round(p*(1 - p)/104, 5) == .00197

@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=0, max_size=20))
def test_design_effect_is_always_a_number(days):
    "Fails when empty days, one day, or all wins give NaN or a negative variance."
    wins, losses = [d[0] for d in days], [d[1] for d in days]
    d = stats.design_effect(wins, np.array(wins) + np.array(losses))
    assert np.isfinite(d) and d >= 0

def test_pushes_leave_both_sides():
    "Fails when a push is counted as a loss."
    r = stats.hit_rate(pl.Series([True, None, False, True]), pl.Series([1, 1, 2, 2]))
    assert (r.wins, r.n) == (2, 3)

def test_bootstrap_efron_tibshirani_mice():
    "Fails when the studentised interval is turned the wrong way: Efron & Tibshirani 1993, sec. 12.5."
    m = stats.block_ratio(np.array([52, 104, 146, 10, 50, 31, 40, 27, 46.]), np.ones(9), level=.90, resamples=20000)
    assert round(m.value, 2) == 56.22 and m.method == "bootstrap-t"
    assert 33 < m.low < 38 and 112 < m.high < 121

def test_percentile_from_forty_days():
    "Fails when the switch between the two bootstraps moves."
    rng = np.random.default_rng(0)
    of = lambda days: stats.block_mean(pl.Series(rng.normal(size=days*3)), pl.Series(np.repeat(np.arange(days), 3))).method
    assert (of(39), of(40), of(1)) == ("bootstrap-t", "percentile", "none")

def test_bootstrap_is_deterministic():
    "Fails when two runs of the same data give different intervals."
    v, d = pl.Series(np.arange(60.) % 7), pl.Series(np.repeat(np.arange(20), 3))
    assert stats.block_mean(v, d) == stats.block_mean(v, d)

def test_bootstrap_against_a_loop():
    "Fails when the matrix form of the resampling differs from drawing days one by one."
    rng = np.random.default_rng(3)
    day, v = np.repeat(np.arange(45), 4), rng.normal(1, 2, 180)
    groups = [v[day == d] for d in range(45)]
    loop = np.array([np.concatenate([groups[k] for k in np.repeat(np.arange(45), w.astype(int))]).mean() for w in stats.block_weights(45)])
    m = stats.block_mean(pl.Series(v), pl.Series(day))
    assert np.allclose(np.quantile(loop, [.025, .975]), [m.low, m.high])

def test_constant_values_have_a_point_interval():
    "Fails when a difference without any variation divides by zero."
    m = stats.block_mean(pl.Series([2.0]*6), pl.Series([1, 1, 2, 2, 3, 3]))
    assert (m.value, m.low, m.high) == (2.0, 2.0, 2.0)

def test_rate_difference_of_equal_models_is_zero():
    "Fails when the two ratios of a difference are mixed up."
    won, day = pl.Series([True, False, None, True]*10), pl.Series(np.repeat(np.arange(10), 4))
    assert stats.rate_difference(won, won, day).value == 0
    better = stats.rate_difference(pl.Series([True]*40), won, day)
    assert round(better.value, 6) == round(1 - 20/30, 6)

@pytest.mark.parametrize("clustered", [False, True])
def test_hit_rate_interval_covers(clustered):
    "Fails when the 95 % interval misses the truth much more often than it says, days clustered or not."
    rng, hits, trials = np.random.default_rng(5), 0, 300
    day = pl.Series(np.repeat(np.arange(28), 6))
    for _ in range(trials):
        q = np.clip(.53 + rng.normal(0, .15 if clustered else 1e-9, 28), .02, .98)
        r = stats.hit_rate(pl.Series(rng.random(168) < np.repeat(q, 6)), day)
        hits += r.low <= .53 <= r.high
    assert hits/trials > .92

def test_block_mean_interval_covers():
    "Fails when the studentised bootstrap over 20 skewed days is far from its level."
    rng, hits, trials = np.random.default_rng(6), 0, 200
    day = pl.Series(np.repeat(np.arange(20), 5))
    for _ in range(trials):
        m = stats.block_mean(pl.Series(rng.gamma(2, 1, 100) + np.repeat(rng.normal(0, .5, 20), 5)), day, resamples=500)
        hits += m.low <= 2 <= m.high
    assert hits/trials > .90

def test_holm_and_bh_on_the_1995_example():
    "Fails when the adjustments are not those of Benjamini & Hochberg 1995 (four rejected) and Holm (three)."
    p = [.0001, .0004, .0019, .0095, .0201, .0278, .0298, .0344, .0459, .3240, .4262, .5719, .6528, .7590, 1.0]
    assert (stats.benjamini_hochberg(p) <= .05).sum() == 4 and (stats.holm(p) <= .05).sum() == 3

def test_power_table():
    "Fails when the operating characteristic of the gate is not the exact binomial one."
    want = {100: [2, 5, 13, 24, 46], 300: [1, 5, 23, 48, 84], 500: [0, 5, 31, 66, 96], 1000: [0, 5, 51, 90, 100], 2240: [0, 5, 80, 100, 100]}
    assert {n: [round(100*stats.power(n, t, .5238)) for t in (.5, .5238, .55, .57, .6)] for n in want} == want

@given(st.integers(1, 400), st.floats(.3, .7))
def test_wins_needed_is_wilson_inverted(n, be):
    "Fails when the closed form and the interval disagree about a single win."
    k = stats.wins_needed(n, be)
    if k <= n: assert stats.wilson(k, n, 1.645)[0] >= be - 1e-9
    if 0 < k <= n: assert stats.wilson(k - 1, n, 1.645)[0] < be

def test_n_for_power():
    "Fails when the N that would settle it is off: 55, 57 and 60 % against -110."
    assert [stats.n_for_power(t, .5238) for t in (.55, .57, .60, .50)] == [2241, 719, 263, None]

def test_mid_quantile_by_hand():
    "Fails when the quantile jumps on a lattice instead of moving between mid-ranks."
    v = [-1] + [0]*4 + [1]*4 + [2]
    assert stats.mid_quantile(v, .5) == .5 and abs(stats.mid_quantile(v, .4) - .25) < 1e-12 and stats.mid_quantile(v, .001) == -1

def test_quantile_offset_of_whole_points():
    "Fails when alpha .43 and .45 give the lattice's -1.0 and 0.0 instead of nearby values."
    r = np.round(np.random.default_rng(0).normal(0, 6.3, 20000)) + .5
    q43, q45 = stats.quantile_offset(r, .43), stats.quantile_offset(r, .45)
    assert -1.25 < q43 < -.98 and -.92 < q45 < -.68 and stats.quantile_offset(r, None) == 0

def test_rank_correlation_ignores_a_high_day():
    "Fails when a day that was high for everyone looks like skill."
    rng = np.random.default_rng(1)
    day = np.repeat(np.arange(20), 10)
    level = np.repeat(rng.normal(0, 10, 20), 10)
    f = pl.DataFrame(dict(game_date=day, edge=level + rng.normal(0, 1, 200), margin=level + rng.normal(0, 1, 200)))
    m = stats.rank_correlation(f, "edge", "margin")
    assert abs(m.value) < .15 and np.corrcoef(f["edge"], f["margin"])[0, 1] > .9

@pytest.mark.parametrize("days", [2, 3, 4])
def test_few_days_have_wide_intervals(days):
    "Fails when two or three days, which can hardly be resampled, give an interval without width."
    rng, hit, day = np.random.default_rng(days), 0, pl.Series(np.repeat(np.arange(days), 60))
    for _ in range(400):
        m = stats.block_mean(pl.Series(rng.normal(0, 1, 60*days) + np.repeat(rng.normal(0, .3, days), 60)), day)
        hit += m.low <= 0 <= m.high
    assert hit/400 >= .91

def test_a_stricter_level_is_never_narrower():
    "Fails when a level beyond the last resample gives the bound of the last resample."
    rng = np.random.default_rng(5)
    v, day = pl.Series(rng.normal(0, 1, 900)), pl.Series(np.repeat(np.arange(30), 30))
    highs = [stats.block_mean(v, day, level=1 - .05/k).high for k in (1, 5, 11, 50, 200, 1000)]
    assert all(b > a + 1e-6 for a, b in zip(highs, highs[1:]))
