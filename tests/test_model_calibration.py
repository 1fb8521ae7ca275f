"Calibration: the gates keep their stated error on games of known truth, and say what they could have seen."
from dataclasses import replace
from datetime import date
from functools import lru_cache
import json
import numpy as np
import polars as pl
import pytest
from nbprops.model import calibration as K, characteristics as C, gates as G, redraws as R
from nbprops.model.case import GATES, Case
from nbprops.model.evaluation import break_even
from nbprops.model.policies import policy
from tests.model_toys import COVER, case, scored_rows

RESIDUALS = np.sort(np.random.default_rng(3).normal(0, 6, 4000))
def points(**kw): return case(scored_rows(**kw))
def anchored(rows=None, **kw): return case(scored_rows(**dict(dict(noise=.6, skill=.2), **kw)) if rows is None else rows, family="v9_anchored", residuals=RESIDUALS)
BOTH = pytest.mark.parametrize("make", [points, anchored], ids=["points", "probability"])
@lru_cache(1)
def slate(): return K.league_slate()
def days(n): return slate().filter(pl.col("game_date").rank("dense") <= n)
def within(found, stated, draws, sigmas=3.5): return found <= stated + sigmas*100*np.sqrt(stated/100*(1 - stated/100)/draws)

# the redrawn games

@BOTH
def test_redraws_keep_the_slate_and_hit_the_rate(make):
    "Fails when a redraw moves a distance or a push, or the bets do not hit the stated rate."
    c = make()
    c = replace(c, rows=c.rows.with_columns(actual=pl.when(pl.int_range(pl.len()) % 50 == 0).then("line").otherwise("actual").cast(pl.Float64)))
    out, line, actual = R.skilled_outcomes(c, .57, 600), c.rows["line"].to_numpy(), c.rows["actual"].to_numpy()
    assert np.allclose(np.abs(out - line[:, None]), np.abs(actual - line)[:, None]) and (out[actual == line] == line[actual == line][:, None]).all()
    h = R.hits(R.redraw(c, .57, 600))
    assert abs(h.rate.mean() - 57) < 4*100*.5/np.sqrt(h.n*600) + .01

def test_more_skill_never_scores_worse():
    "Fails when two skills are drawn with different luck, so that a comparison of them is mostly noise."
    low, high = (R.hits(R.redraw(points(), t, 200)).rate for t in (.5, .55))
    assert (high >= low).all() and (high > low).mean() > .99

def test_shared_luck_makes_the_design_effect_asked_for():
    "Fails when clustered outcomes are not clustered, or change the hit rate."
    c = K.only_picks(K.model_case(slate(), 300, seeds=1))
    r = next(K.games_of(c, (.55,), 2000, luck=K.luck_for(c, 1.5), by="game_date"))[0]
    rate = R.hits(r).rate/100
    assert abs(rate.var()/(.55*.45/300) - 1.5) < .2 and abs(rate.mean() - .55) < .004

@BOTH
@pytest.mark.parametrize("n_days", [9, 45])
def test_redrawn_gates_are_the_gates(make, n_days):
    "Fails when the gates that judge many draws at once differ from the gates by a single verdict or value; 45 days take the percentile bootstrap."
    c = make(days=n_days)
    r = R.redraw(c, .53, 4)
    for id, rule in policy("default", c.scale)["gates"].items():
        if id not in R.REDRAWN: continue
        v, held = R.REDRAWN[id](r, rule), K.gate_codes(r, id, rule)
        for k in range(4):
            one, judged = GATES[id](r.case_of(k), rule), G.judge_gate(id, r.case_of(k), rule)
            assert (one.verdict, judged.verdict) == (R.WORDS[v.code[k]], R.WORDS[held[k]]), id
            assert one.value is None or abs(one.value - v.value[k]) < 2e-6, id

@pytest.mark.parametrize("name, t, make", [("default", .57, lambda: K.model_case(days(14), 200, incumbent="old")), ("incident-2026-02", .60, lambda: K.model_case(days(14), 60)), ("default", .62, anchored)])
def test_whole_policies_at_once_are_run_gates(name, t, make):
    "Fails when a vectorised verdict differs from the engine's on the same draw."
    r = R.redraw(make(), t, 5)
    assert [K.OVERALL[v] for v in K.verdicts(r, name)] == [G.run_gates(r.case_of(k), name).verdict for k in range(5)]
    assert (K.promoted(r, name) == (K.verdicts(r, name) == 0)).all()

@pytest.mark.full
@BOTH
def test_hundreds_of_whole_policies_are_run_gates(make):
    "Fails when one of 120 vectorised verdicts differs from the engine's."
    for t in (.48, .54, .60):
        r = R.redraw(make(), t, 20, seed=7)
        for p in ("default", "incident-2026-02"): assert [K.OVERALL[v] for v in K.verdicts(r, p)] == [G.run_gates(r.case_of(k), p).verdict for k in range(20)]

# characteristics

@BOTH
@pytest.mark.parametrize("name", ["default", "incident-2026-02"])
def test_every_gate_has_its_characteristic(make, name):
    "Fails when a gate's operating characteristic is missing, or is not three shares per skill."
    report = G.run_gates(make(), name)
    told = json.loads(report.to_json())["summary"]["characteristics"]
    assert set(told) == {r.id for r in report.results} and all(set(t) == {"50", "break-even", "55", "n_to_tell", "note"} and t["note"] for t in told.values())
    assert all(abs(sum(t[k]) - 100) < .25 and len(t[k]) == 3 for t in told.values() for k in ("50", "break-even", "55"))

@BOTH
def test_blind_gates_are_blind(make):
    "Fails when a gate that is called blind to skill changes with the outcomes."
    c = make()
    told, rules = G.run_gates(c).summary["characteristics"], policy("default", c.scale)["gates"]
    blind = [id for id, t in told.items() if t["note"] == C.BLIND]
    assert set(blind) == set(rules) - set(R.REDRAWN) and len(blind) == 8
    for t in (.2, .5, .9):
        other = R.redraw(c, t, 1).case_of(0)
        assert all(G.judge_gate(id, c, rules[id]).verdict == G.judge_gate(id, other, rules[id]).verdict for id in blind)

def shares(id, c, t, draws=150):
    "Percent PASS, FAIL and cannot tell of the gate itself, one draw after the other."
    rule, r = policy("default", c.scale)["gates"][id], R.redraw(c, t, draws, seed=99)
    found = [GATES[id](r.case_of(k), rule).verdict for k in range(draws)]
    return np.array([100*found.count(v)/draws for v in ("PASS", "FAIL", "INSUFFICIENT")])

@pytest.mark.parametrize("id", ["hit_rate_edge3", "direction_hit_rate"])
@pytest.mark.parametrize("skill, n_days, room", [("50", 1, 13), ("55", 1, 13), ("55", 28, 15)])
def test_exact_characteristics_are_those_of_the_gate(id, skill, n_days, room):
    "Fails when the stated shares are not what the gate itself does: to the Monte Carlo error on one day (no design effect), a little off on 28."
    c = points(days=n_days, n=900, seeds=1)
    told = C.characteristics(c, {id: policy("default")["gates"][id]}, [GATES[id](c, policy("default")["gates"][id])])[id]
    assert np.abs(shares(id, c, float(skill)/100) - told[skill]).max() < room

@pytest.mark.parametrize("id, make", [("paired_incumbent", points), ("mae_vs_incumbent", points), ("tier_bias", points), ("probability_vs_market", anchored), ("mae_vs_constant", anchored)])
def test_drawn_characteristics_are_those_of_the_gate(id, make):
    "Fails when Student's t in place of the bootstrap misstates a gate by more than the Monte Carlo error of 100 draws."
    c = make(seeds=1)
    rule = policy("default", c.scale)["gates"][id]
    told = C.characteristics(c, {id: rule}, [GATES[id](c, rule)])[id]
    assert np.abs(shares(id, c, .55, 100) - told["55"]).max() < 18

def test_old_reports_are_still_read():
    "Fails when a report that was stored before its characteristics existed cannot be read or spoken."
    from nbprops.ops.gate_card import report_of
    d = json.loads(G.run_gates(points()).to_json())
    del d["summary"]["characteristics"]
    old = report_of(json.dumps(d))
    assert G.sentence(old).startswith(old.verdict) and old.summary.get("characteristics") is None

# error rates of the engine

@pytest.mark.parametrize("n", [50, 100, 300, 1000])
def test_coin_flips_and_break_even_models_are_rarely_promoted(n):
    "Fails when the engine promotes more than 5 % of worthless models, or its hit rate gate passes them."
    alone, whole = (K.pass_rates(K.model_case(slate(), n, seeds=k), true_rates=(.5, None), draws=d) for k, d in ((1, 4000), (5, 2000)))
    for t, d in ((alone, 4000), (whole, 2000)):
        assert t["promote"][0] <= t["promote"][1] and within(t["promote"][1], 5, d) and within(t["hit_rate"][1], 5, d)
    assert (whole["hit_rate"] <= alone["hit_rate"] + 1).all() and (n < 100) == (alone["promote"][1] == 0)

@pytest.mark.parametrize("alike", [True, False], ids=["one family", "unrelated"])
def test_seven_candidates_share_one_error(alike):
    "Fails when the best of seven worthless candidates is promoted more often than one may be."
    assert within(K.family_rates(slate(), 300, alike=alike, seeds=1, draws=1500), 5, 1500)
    assert K.family_rates(slate(), 300, alike=alike, seeds=1, draws=500, looks=1) > 10

def test_the_old_policy_promotes_worthless_models():
    "Fails when the old policy's replay no longer shows what it did: about one coin flip in ten on fifty picks."
    t = K.pass_rates(K.model_case(slate(), 50, seeds=1), "incident-2026-02", (.5, 110/210), 4000)
    assert 8.5 < t["promote"][0] < 12.5 and 15 < t["promote"][1] < 20

@pytest.mark.parametrize("n_days, deff, most", [(28, 1.0, 5.0), (28, 1.3, 5.5), (18, 1.3, 5.5), (9, 1.0, 5.0), (9, 1.3, 6.0), (9, 2.0, 7.0)])
def test_clustered_picks(n_days, deff, most):
    "Fails when shared luck or few days lift the error above what the lesson states."
    c = K.only_picks(K.model_case(days(n_days), 300, seeds=1))
    r = [g for g, in K.games_of(c, (None,), 8000, luck=K.luck_for(c, deff) if deff > 1 else 0.0, by="game_date")]
    assert within(100*np.mean([R.hit_rates(g, dict(rule="break-even")).code == 0 for g in r]), most, 8000)

def equal_twin(n_days):
    "A model and an incumbent with the same edges, half of them on the other side: equal at a true 50 %."
    c = K.model_case(days(n_days), 300, seeds=1, incumbent="twin")
    flip = pl.Series(np.random.default_rng(5).choice([-1.0, 1.0], c.rows.height))
    return replace(c, rows=c.rows.with_columns(incumbent=pl.col("line") + (pl.col("predicted") - pl.col("line"))*flip))

@pytest.mark.parametrize("n_days", [9, 28])
def test_an_equal_model_rarely_loses_to_the_incumbent(n_days):
    "Fails when paired_incumbent fails more than 2.5 % of models that are exactly as good."
    v = R.paired_errors(R.redraw(equal_twin(n_days), .5, 3000), policy("default")["gates"]["paired_incumbent"])
    assert within(100*(v.code == R.FAILED).mean(), 2.5, 3000)

@pytest.mark.parametrize("noise", [.2, .6])
def test_noise_is_not_knowledge(noise):
    "Fails when a model that moves the market's chances at random passes probability_vs_market."
    rows = days(9).with_columns(predicted=pl.col("line") + pl.Series(np.random.default_rng(6).normal(0, noise, days(9).height)))
    c = Case(rows, "v9_anchored", date(2025, 10, 21), date(2026, 1, 4), residuals=RESIDUALS)
    v = R.scores_vs_market(R.redraw(c, None, 1500), {})
    assert within(100*(v.code == R.PASSED).mean(), 2.5, 1500)

def test_break_even_directions():
    "Fails when a direction fails a break-even model more often than 5 % each, 10 % for both."
    v = R.direction_hit_rates(R.redraw(K.model_case(slate(), 300, seeds=1), break_even(K.model_case(slate(), 300, seeds=1).picks()).rate/100, 4000), dict(min_n=20))
    assert within(100*(v.code == R.FAILED).mean(), 10, 4000)
