"The anchored family: no evidence means the line, and evidence is believed only as far as later days prove it."
from datetime import date, timedelta
import numpy as np
import polars as pl
import pytest
from nbprops.features.catalogue import contract
from nbprops.model import anchor as A, training as T, value as V
from nbprops.model.families import Family, resolve_params
from nbprops.model.predictor import make_bundle, open_bundle
from nbprops.settings import Refusal
from tests.model_toys import feature_rows

ANCHORED, C, SMALL = Family.parse("v9_anchored"), contract("v9"), resolve_params(iterations=40)
TAILS = np.sort(np.random.default_rng(1).normal(0, 6.2, 4000).round() + .5)

def rows(share=0.0, n=2400, seed=0) -> pl.DataFrame:
    "Rows whose result leans from the line with a feature by `share` times 4 points."
    f = feature_rows(n, days=60, seed=seed)
    lean = share*4*(f["rest_advantage"] - f["rest_advantage"].mean())/f["rest_advantage"].std()
    return f.with_columns(actual=(pl.col("line") + lean + pl.Series(np.random.default_rng(seed + 5).normal(0, 6, n))).round())

@pytest.fixture(scope="module")
def blind(): return T.train(rows(0), C, ANCHORED, SMALL, seeds=[42, 43])
@pytest.fixture(scope="module")
def seeing(): return T.train(rows(.5), C, ANCHORED, SMALL, seeds=[42, 43])

def bundle(t, **spec):
    w = dict(start="2025-11-04", end="2026-01-02")
    return make_bundle(t.artefact, C, t.x, t.loss, "catboost_v9_33features_anchored_train20251104-20260102_20260103_120000", "v9_anchored", seeds=[42], edge_scale="probability", windows=dict(effective=w), **{**t.spec, **spec})

def test_without_evidence_it_says_the_line(blind):
    "Fails when a model that knows nothing beyond the line invents an edge of half a point."
    f = rows(0, seed=9)
    gap = bundle(blind).predict(f) - f[A.ANCHOR].to_numpy()
    assert blind.spec["anchor"]["factor"] < .35 and np.abs(gap).max() < .5 and abs(gap.mean()) < .1

def test_evidence_is_used(seeing):
    "Fails when a lean that later days confirm is shrunk away."
    f = rows(.5, seed=9)
    gap = bundle(seeing).predict(f) - f[A.ANCHOR].to_numpy()
    slope = np.polyfit(gap, (f["actual"] - f["line"]).to_numpy(), 1)[0]
    assert seeing.spec["anchor"]["factor"] > .6 and gap.std() > 1 and .7 < slope < 1.4

def test_factor_and_line_are_in_the_file_and_the_sidecar(seeing):
    "Fails when a reloaded model forgets its shrinkage, or predicts without the line."
    b = bundle(seeing)
    again = open_bundle(b.cbm, b.sidecar(), b.sha256)
    f = rows(.5, seed=9)
    assert (again.predict(f) == b.predict(f)).all() and again.model.get_scale_and_bias()[0] == pytest.approx(b.anchor["factor"])
    with pytest.raises(Refusal, match="starts from the line"): b.predict(f.drop(A.ANCHOR))

def test_no_line_no_prediction(seeing):
    "Fails when a player without a line gets a number."
    f = rows(.5).head(3).with_columns(pl.when(pl.int_range(3) == 1).then(None).otherwise(A.ANCHOR).alias(A.ANCHOR))
    assert np.isnan(bundle(seeing).predict(f)).tolist() == [False, True, False]

def test_twice_is_the_same_to_the_bit(seeing):
    "Fails when shrinkage depends on the threads that ran the folds."
    twin = T.train(rows(.5), C, ANCHORED, SMALL, seeds=[42, 43])
    assert twin.spec == seeing.spec and (twin.artefact.predict(seeing.x) == seeing.artefact.predict(seeing.x)).all()

def test_ensemble_is_scaled_once():
    "Fails when the members' factor is applied twice or not at all."
    t = T.train(rows(.5), C, ANCHORED, SMALL, seeds=[42, 43], ensemble=True)
    mean = np.mean([m.predict(t.x) for m in t.models.values()], axis=0)
    assert np.allclose(t.artefact.predict(t.x), mean, atol=1e-9)

def test_walk_forward_never_sees_its_own_days():
    "Fails when a block is predicted by a model that was fitted on it."
    f = T.usable_rows(rows(.5), ANCHORED).sort(T.KEYS)
    seen = []
    def fit(pools):
        seen.append(pools.whole.num_row())
        return T.fit_seed(ANCHORED, SMALL, pools, 42)[0]
    later = T.walk_forward(T.transform(T.Transformer.of(C), f), f, fit)
    starts = [f.filter(pl.col("game_date") < a).height for a, _ in T.later_blocks(f["game_date"])]
    assert sorted(seen) == sorted(starts) and later["game_date"].min() == T.later_blocks(f["game_date"])[0][0] and later["game_date"].max() == f["game_date"].max()

def test_rows_without_a_line_and_feeds_without_lines_are_set_aside():
    "Fails when a row without a target is trained, or a window without lines is."
    f = rows().with_columns(line=pl.when(pl.int_range(pl.len()) % 4 == 0).then(None).otherwise("line"))
    assert T.usable_rows(f, ANCHORED).height == 1800 and T.usable_rows(f, Family.parse("v9_mae")).height == 2400
    with pytest.raises(Refusal, match="player lines"): T.train(rows(), contract("v9", "box+shots"), ANCHORED, SMALL)

@pytest.mark.parametrize("slope, se, want", [(1.0, .0001, 1.0), (.5, .5, 0), (.5, .25, .375), (-.5, .1, 0), (3, .1, 1), (2.3, 1.92, .303)])
def test_james_stein(slope, se, want):
    "Fails when a slope within its own error is believed, or more than all of a residual is."
    assert A.james_stein(slope, se) == pytest.approx(want, abs=2e-3)

def test_slope_against_least_squares():
    "Fails when the slope is not the ordinary one, or its error ignores that days move together."
    rng, day, ratio = np.random.default_rng(3), pl.Series(np.repeat(np.arange(80), 20)), []
    for _ in range(25):
        z = rng.normal(0, 1, 1600)
        g = .4*z + rng.normal(0, 5, 1600)
        k, z0 = A.shrinkage(pl.Series(z), pl.Series(g), day), z - z.mean()
        ols = (z0*(g - g.mean())).sum()/(z0*z0).sum()
        ratio.append(k.se/np.sqrt(((g - g.mean() - ols*z0)**2).sum()/1598/(z0*z0).sum()))
        assert k.slope == pytest.approx(ols)
    moved = A.shrinkage(pl.Series(z), pl.Series(.4*z + np.repeat(rng.normal(0, 3, 80), 20)*z), day)
    assert np.mean(ratio) == pytest.approx(1, abs=.05) and moved.se > .25

def test_share_above_is_the_share_of_spread_residuals():
    "Fails when the closed form differs from spreading every residual over its point."
    rng, cuts = np.random.default_rng(0), np.linspace(-9, 9, 37)
    spread = (TAILS[:, None] + (np.arange(1000) + .5)/1000 - .5).ravel()
    slow = [((spread > c).sum()/1000 + .5)/(len(TAILS) + 1) for c in cuts]
    assert np.allclose(A.share_above(TAILS, cuts), slow, atol=2e-4) and (np.diff(A.share_above(TAILS, cuts)) < 0).all()

def test_no_shift_is_the_markets_opinion():
    "Fails when a model without an opinion disagrees with a skewed price."
    line, market = np.array([20.5, 7.5, 12.0]), np.array([.41, .55, .5])
    over, push = A.market_probabilities(TAILS, line, line, market)
    assert np.allclose(over/(1 - push), market) and push[0] == push[1] == 0 < push[2] < .1

def test_a_shift_moves_the_probability_its_own_way():
    "Fails when predicting more points makes OVER less likely, or by an absurd amount."
    line = np.full(5, 20.5)
    over = A.market_probabilities(TAILS, line + [-1, -.1, 0, .1, 1], line, np.full(5, .5))[0]
    assert (np.diff(over) > 0).all() and .05 < over[4] - over[2] < .08 and .004 < over[3] - over[2] < .009

def priced(skill, n=4000, seed=0, over=-110, under=-110):
    rng = np.random.default_rng(seed)
    gap, d = rng.normal(0, 1.5, n), np.sort(np.arange(n) % 40)
    line = np.floor(3 + 25*rng.beta(2, 3, n)) + .5
    return pl.DataFrame(dict(game_date=[date(2026, 1, 1) + timedelta(int(i)) for i in d], line=line, actual=np.clip(np.round(line + gap + rng.normal(0, 6, n)), 0, None), predicted=line + skill*gap, over_price_american=over, under_price_american=under))

@pytest.mark.parametrize("skill, want", [(.8, "PASS"), (0, "INSUFFICIENT"), (-.6, "FAIL")])
def test_three_verdicts_against_the_market(skill, want):
    "Fails when knowing more, nothing, or the opposite is not told apart."
    s = priced(skill)
    own = V.against_market(s, TAILS)
    assert own.verdict(V.against_market(s, TAILS, level=1 - .05/7)) == want

def test_scores_agree_with_scikit_style_formulas():
    "Fails when log loss or Brier score is not the textbook one."
    s = V.with_chances(priced(.5), TAILS).drop_nulls("over")
    y, p, m = s["over"].cast(float).to_numpy(), (s["p_over"]/(1 - s["p_push"])).to_numpy(), s["market"].to_numpy()
    ll = lambda q: -np.mean(y*np.log(q) + (1 - y)*np.log(1 - q))
    got = V.against_market(priced(.5), TAILS)
    assert got.log_loss.value == pytest.approx(ll(p) - ll(m)) and got.brier.value == pytest.approx(np.mean((p - y)**2) - np.mean((m - y)**2))

def test_picks_need_a_price_and_value():
    "Fails when a row without a price is a pick, a fair opinion pays the bookmaker, or a pick has no expected value."
    s = priced(.8)
    taken = V.value_picks(s, TAILS)
    assert taken.height > 500 and (taken["expected_value"] > 0).all() and set(taken["side"]) == {"OVER", "UNDER"}
    assert V.value_picks(s.with_columns(predicted="line"), TAILS).height == 0
    assert V.value_picks(s.with_columns(under_price_american=pl.lit(None, dtype=pl.Int64)), TAILS).height == 0
    assert (taken["side"] == "OVER").eq(taken["edge"] > 0).all()

def test_value_is_expected_profit():
    "Fails when picks called worth 5 % do not return about 5 % when the model's probabilities are true."
    rng, s = np.random.default_rng(4), priced(1.0, n=20000)
    taken = V.value_picks(s, TAILS)
    win = pl.when(pl.col("side") == "OVER").then("p_over").otherwise(1 - pl.col("p_over"))
    p = taken.select(win).to_series().to_numpy()
    profit = np.where(rng.random(len(p)) < p, 100/110, -1.0)
    assert abs(profit.mean() - taken["expected_value"].mean()) < 3*profit.std()/np.sqrt(len(p))

def test_rounding_is_not_knowledge():
    "Fails when a model that says the line is judged on the last bit of its arithmetic (mixed prices, factor 0)."
    rng = np.random.default_rng(0)
    for seed in range(20):
        s = priced(0, n=800, seed=seed).with_columns(over_price_american=pl.Series(rng.choice([-137, -121, -110, 104], 800)), under_price_american=pl.Series(rng.choice([-118, -110, -103, 112], 800)))
        own = V.against_market(s, TAILS)
        assert own.verdict(own) == "INSUFFICIENT" and own.log_loss.value == 0 == own.brier.value

def test_a_pass_needs_both_scores():
    "Fails when log loss alone, or the Brier score alone, passes, or one that is worse does not fail."
    from nbprops.stats import Mean
    m = lambda low, high: Mean((low + high)/2, low, high, 500, 20, .01, "bootstrap-t")
    good, open_, bad = m(-.02, -.01), m(-.02, .01), m(.01, .02)
    verdict = lambda a, b: V.AgainstMarket(a, b).verdict(V.AgainstMarket(a, b))
    assert [verdict(good, good), verdict(good, open_), verdict(open_, good), verdict(good, bad), verdict(bad, good)] == ["PASS", "INSUFFICIENT", "INSUFFICIENT", "FAIL", "FAIL"]
    assert V.AgainstMarket(good, good).verdict(V.AgainstMarket(open_, good)) == "INSUFFICIENT"
