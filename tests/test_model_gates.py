"Gates: every verdict can be reached, and none is reached by luck."
from dataclasses import replace
from datetime import date
import numpy as np
import polars as pl
import pytest
from nbprops.model import evaluation as E, gates as G, policies as P, questions as Q
from nbprops.model.characteristics import old_policy_pass, operating_characteristic
from nbprops.settings import canonical_json, sha256_of
from nbprops.model.evaluation import picks, won_expr
from nbprops.settings import Refusal
from nbprops.stats import wilson
from tests.model_toys import COVER, case, feature_rows, scored_rows

GOOD, BAD, FEW = scored_rows(skill=3.0, noise=.5), scored_rows(skill=-3.0, noise=.5), scored_rows(n=60, days=4)
def judged(id, c, policy="default"): return G.judge_gate(id, c, (G.policy("default", "probability") if policy == "anchored" else G.policy(policy))["gates"][id]).verdict

VERDICTS = [ # gate, case, verdict under default
    ("temporal_disjoint", lambda: case(), "PASS"), ("temporal_disjoint", lambda: case(train_end=date(2026, 2, 1)), "FAIL"),
    ("contract_valid", lambda: case(), "PASS"), ("contract_valid", lambda: case(contract_faults=("golden",)), "FAIL"),
    ("vegas_bias", lambda: case(), "PASS"), ("vegas_bias", lambda: case(scored_rows(bias=-2.3)), "FAIL"), ("vegas_bias", lambda: case(scored_rows(bias=-2.3), offset=-1.1, family="v9_q43"), "PASS"),
    ("hit_rate_edge3", lambda: case(GOOD), "PASS"), ("hit_rate_edge3", lambda: case(BAD), "FAIL"), ("hit_rate_edge3", lambda: case(FEW), "INSUFFICIENT"), ("hit_rate_edge3", lambda: case(scored_rows(noise=.1, skill=0)), "INSUFFICIENT"),
    ("sample_edge3", lambda: case(GOOD), "PASS"), ("sample_edge3", lambda: case(FEW), "INSUFFICIENT"),
    ("tier_bias", lambda: case(), "PASS"), ("tier_bias", lambda: case(scored_rows(bias=-7)), "FAIL"), ("tier_bias", lambda: case(scored_rows(n=8)), "INSUFFICIENT"),
    ("mae_vs_incumbent", lambda: case(GOOD), "PASS"), ("mae_vs_incumbent", lambda: case(BAD), "FAIL"), ("mae_vs_incumbent", lambda: case(incumbent=None), "PASS"),
    ("paired_incumbent", lambda: case(GOOD), "PASS"), ("paired_incumbent", lambda: case(BAD), "FAIL"), ("paired_incumbent", lambda: case(FEW), "INSUFFICIENT"), ("paired_incumbent", lambda: case(FEW, incumbent=None), "PASS"),
    ("directional_share", lambda: case(), "PASS"), ("directional_share", lambda: case(scored_rows(bias=-3)), "FAIL"), ("directional_share", lambda: case(scored_rows(n=20)), "INSUFFICIENT"), ("directional_share", lambda: case(scored_rows(bias=-3), family="v9_q43"), "PASS"),
    ("direction_hit_rate", lambda: case(GOOD), "PASS"), ("direction_hit_rate", lambda: case(BAD), "FAIL"), ("direction_hit_rate", lambda: case(scored_rows(n=30)), "INSUFFICIENT"),
    ("feature_coverage", lambda: case(), "PASS"), ("feature_coverage", lambda: case(coverage=COVER.with_columns(evaluation=pl.lit(.9))), "FAIL"), ("feature_coverage", lambda: case(coverage=COVER.with_columns(constant=pl.lit(True))), "FAIL"), ("feature_coverage", lambda: case(coverage=None), "INSUFFICIENT"),
    ("edge_volume", lambda: case(), "PASS"), ("edge_volume", lambda: case(scored_rows(noise=.1, skill=0)), "FAIL"),
    ("seed_spread", lambda: case(), "PASS"), ("seed_spread", lambda: case(scored_rows(seeds=1)), "INSUFFICIENT")]

@pytest.mark.parametrize("id, make, want", VERDICTS, ids=[f"{v[0]}-{v[2]}-{i}" for i, v in enumerate(VERDICTS)])
def test_each_verdict(id, make, want):
    "Fails when a gate cannot reach one of its verdicts, or reaches the wrong one."
    assert judged(id, make()) == want

@pytest.mark.parametrize("id, rows, want", [("hit_rate_edge3", GOOD, "PASS"), ("hit_rate_edge3", BAD, "FAIL"), ("sample_edge3", FEW, "FAIL"), ("tier_bias", FEW, "PASS"), ("mae_vs_incumbent", GOOD, "PASS")])
def test_incident_policy(id, rows, want):
    "Fails when the policy of the record is not reproduced."
    assert judged(id, case(rows), "incident-2026-02") == want

def test_policies_are_complete_and_hashed():
    "Fails when a gate of a policy does not exist, or a changed limit keeps its hash."
    both = [set(P.policy("default", scale)["gates"]) for scale in ("points", "probability")]
    assert both[0] | both[1] == set(G.GATES) >= set(G.policy("incident-2026-02")["gates"])
    before = G.policy_hash("default")
    changed = {**P.POLICIES["default"], "gates": {**P.POLICIES["default"]["gates"], "sample_edge3": dict(kind="hard", needed=99, short="INSUFFICIENT")}}
    assert sha256_of(canonical_json(changed)) != before == G.policy_hash("default")
    with pytest.raises(Refusal): G.policy("lenient")

def _results(**verdicts): return [G.GateResult(k, "", None, "", 0, None, None, v, "") for k, v in verdicts.items()]

@pytest.mark.parametrize("verdicts, want", [(dict(vegas_bias="PASS", edge_volume="FAIL"), "PROMOTE"), (dict(vegas_bias="PASS", sample_edge3="INSUFFICIENT"), "SHADOW"),
                                            (dict(vegas_bias="FAIL", sample_edge3="INSUFFICIENT"), "REJECT"), (dict(vegas_bias="PASS", edge_volume="INSUFFICIENT"), "PROMOTE")])
def test_overall_verdict(verdicts, want):
    "Fails when a soft gate decides, or an INSUFFICIENT promotes."
    assert G.overall(_results(**verdicts)) == want
    if want == "SHADOW": assert G.overall(_results(**verdicts), "incident-2026-02") == "REJECT"

def test_lucky_seed_does_not_pass():
    "Fails when the artefact's pass stands although the median seed does not pass."
    rows = GOOD.with_columns(**{f"seed_{s}": pl.col("line") + 4.0 for s in (43, 44)})
    assert judged("hit_rate_edge3", case(GOOD)) == "PASS" and judged("hit_rate_edge3", case(rows)) == "INSUFFICIENT"

def test_a_seed_without_a_value_ranks_last():
    "Fails when seeds that make no pick at all lift the median seed."
    seed = lambda value, verdict: G.GateResult("hit_rate_edge3", "", value, "", 0, None, None, verdict, "")
    silent = seed(None, "INSUFFICIENT")
    assert G.median_seed([silent, silent, seed(70, "PASS"), seed(50, "INSUFFICIENT"), seed(45, "FAIL")]).value == 45
    assert G.median_seed([silent, seed(70, "PASS"), seed(60, "PASS")]).value == 60

def test_more_looks_need_more_evidence():
    "Fails when seven candidates are judged at the level of one."
    rows = next(r for r in (scored_rows(skill=1.2, noise=2.4, seed=s, seeds=1) for s in range(40)) if judged("hit_rate_edge3", case(r)) == "PASS" and judged("hit_rate_edge3", case(r, looks=7)) != "PASS")
    assert judged("hit_rate_edge3", case(rows, looks=7)) == "INSUFFICIENT" and judged("hit_rate_edge3", case(BAD, looks=7)) == "FAIL"

def test_break_even_from_prices():
    "Fails when recorded prices are ignored, or a few prices stand for all."
    expensive = E.break_even(picks(scored_rows(price=-130)))
    some = scored_rows().with_columns(pl.when(pl.int_range(pl.len()) % 2 == 0).then("over_price_american").alias("over_price_american"), under_price_american=pl.lit(None, dtype=pl.Int64))
    none = E.break_even(picks(some))
    assert round(expensive.rate, 2) == 56.52 and expensive.source == "recorded prices" and none.source == "nominal -110" and round(none.rate, 2) == 52.38

def test_pushes_are_neither():
    "Fails when a push counts as a loss, or a pick at exactly the line counts at all."
    f = pl.DataFrame(dict(predicted=[24., 24., 24., 20.], line=[20., 20., 20., 20.], actual=[20, 21, 19, 25])).with_columns(w=won_expr(), z=won_expr(floor=0))
    assert f["w"].to_list() == [None, True, False, None] and f["z"].to_list()[3] is None

def test_tiers_use_the_average_before_the_game():
    "Fails when tiers follow the points scored: stars would seem under-predicted by nine points."
    rows = scored_rows(noise=.2, skill=0).with_columns(season_avg=pl.when(pl.int_range(pl.len()) % 10 == 0).then(None).otherwise("season_avg"))
    worst = G.judge_gate("tier_bias", case(rows), dict(limit=5.0, min_n=10))
    by_actual = rows.filter(pl.col("actual") >= 25).select((pl.col("predicted") - pl.col("actual")).mean()).item()
    assert abs(worst.value) < 2.5 and by_actual < -4 and "140 rows without an average" in worst.detail

def test_incumbent_is_not_judged_on_its_training_days():
    "Fails when common rows inside the incumbent's own training window stay in."
    c = case(GOOD.with_columns(pl.when(pl.col("game_date") > date(2026, 2, 20)).then("incumbent").alias("incumbent")))
    assert Q.common(c)["game_date"].min() > date(2026, 2, 20)

def test_the_evaluator_itself_refuses_overlap():
    "Fails when a script can score a model on its own training days."
    with pytest.raises(Refusal, match="training window"): E.refuse_overlap(GOOD["game_date"], date(2025, 11, 2), date(2026, 2, 5))

def test_duplicate_rows_are_refused():
    "Fails when a fan-out join counts a player-game twice."
    with pytest.raises(Refusal, match="repeat a player-game"): E.unique_rows(pl.concat([GOOD, GOOD.head(1)]))

def test_coverage_and_constants():
    "Fails when an honest constant fails, a fabricated one passes, or an absent feature counts as constant."
    from nbprops.features.catalogue import contract
    rows = feature_rows(200).with_columns(team_win_pct=pl.lit(.5), playoff_game=pl.lit(0.0), pct_paint=pl.lit(None, dtype=pl.Float64))
    c = E.feature_coverage(rows, rows, contract("v9"))
    assert c.filter("constant")["feature"].to_list() == ["team_win_pct"] and c.filter(feature="pct_paint")["train"].item() == 0

def test_market_residual_finds_the_hidden_line():
    "Fails when a set that holds the line in disguise passes for free of the market."
    rows = feature_rows(600).with_columns(line_vs_season_avg=pl.col("line") - pl.col("points_avg_season"))
    assert E.market_residual(rows, ["points_avg_season", "line_vs_season_avg"]) < .01 < E.LEAK_LIMIT < E.market_residual(rows, ["points_avg_season"])

def test_strengths_need_thirty_and_a_bound():
    "Fails when a lucky segment of few picks is called a strength."
    found = E.strengths(picks(GOOD))
    assert found and all(s["wins"] + s["losses"] >= 30 and wilson(s["wins"], s["wins"] + s["losses"], 1.645)[0] >= .523 for s in found) and E.strengths(picks(BAD)) == [] == E.strengths(picks(FEW))

def test_operating_characteristic_of_the_old_and_the_new():
    "Fails when the card's power table is wrong: 5 % for break-even, and 10 and 17 % under the old policy."
    t = operating_characteristic(300, 110/2.1)
    assert t["pass_"].round(0).to_list() == [1, 5, 23, 48, 84] and t["n_for_80"].to_list()[2:] == [2243, 719, 263]
    assert [round(100*old_policy_pass(50, p)) for p in (.5, 110/210)] == [10, 17]

def test_report_is_complete_and_plain():
    "Fails when the stored report lacks what a reader needs, or holds a NaN."
    import json
    r = G.run_gates(case())
    back = json.loads(r.to_json())
    assert {"feed_profile", "directions", "tiers", "seeds", "eval_start", "run_mode", "break_even_source", "edge_correlation"} <= set(back["summary"]) and back["policy_hash"] == G.policy_hash("default")
    assert len(back["results"]) == 13 and len(back["characteristic"]) == 5 and G.sentence(r).startswith(r.verdict)
    with pytest.raises(Refusal): G.run_gates(case(GOOD.head(0)))

def test_the_founding_incident():
    "Fails when a retrain that leans 87 % UNDER by 2.3 points, judged cleanly, is not rejected for it."
    rows = scored_rows(bias=-2.3, skill=.5, noise=1.5)
    clean, inside = G.run_gates(case(rows)), G.run_gates(case(rows, train_end=date(2026, 2, 28)))
    assert clean.verdict == inside.verdict == "REJECT" and inside["temporal_disjoint"].verdict == "FAIL" and clean["vegas_bias"].verdict == clean["directional_share"].verdict == "FAIL"

def test_the_sentence_says_that_one_seed_was_lucky():
    "Fails when the reader cannot know why a gate cannot tell although its own bounds pass."
    rows = GOOD.with_columns(**{f"seed_{s}": pl.col("line") + 4.0 for s in (43, 44)})
    r = G.run_gates(case(rows))
    assert r["hit_rate_edge3"].verdict == "INSUFFICIENT" and "hit_rate_edge3 cannot tell (n " in G.sentence(r)
    assert G.held_back(r["hit_rate_edge3"]) == "the artefact passes, but only 1 of 3 seeds does" and G.held_back(r["hit_rate_edge3"]) in G.sentence(r)
    assert not any(G.held_back(x) for x in G.run_gates(case(GOOD)).results) and not any(G.held_back(x) for x in G.run_gates(case(FEW)).results)

# families on the probability scale

RESIDUALS = np.sort(np.random.default_rng(3).normal(0, 6, 4000))
def anchored(rows=None, **facts): return case(scored_rows(noise=.3, skill=1.0) if rows is None else rows, **dict(dict(family="v9_anchored", residuals=RESIDUALS), **facts))
KNOWS, WRONG, SILENT = (scored_rows(noise=.3, skill=s) for s in (1.0, -1.0, 0.0))
SILENT = SILENT.with_columns(predicted=pl.col("line"), **{f"seed_{s}": pl.col("line") for s in (42, 43, 44)})
UNPRICED = KNOWS.with_columns(pl.lit(None, pl.Int64).alias(c) for c in ("over_price_american", "under_price_american"))
LEANS = KNOWS.with_columns(predicted=pl.col("line") - 2.0)

@pytest.mark.parametrize("id, rows, want", [
    ("probability_vs_market", KNOWS, "PASS"), ("probability_vs_market", WRONG, "FAIL"), ("probability_vs_market", scored_rows(n=80, noise=.3), "INSUFFICIENT"), ("probability_vs_market", scored_rows(n=40, days=1), "INSUFFICIENT"),
    ("mae_vs_constant", KNOWS, "PASS"), ("mae_vs_constant", WRONG, "FAIL"), ("mae_vs_constant", KNOWS.with_columns(predicted=pl.lit(float("nan"))), "INSUFFICIENT"),
    ("hit_rate_edge3", KNOWS, "PASS"), ("hit_rate_edge3", WRONG, "FAIL"), ("hit_rate_edge3", UNPRICED, "INSUFFICIENT"), ("hit_rate_edge3", SILENT, "INSUFFICIENT"),
    ("sample_edge3", KNOWS, "PASS"), ("sample_edge3", UNPRICED, "INSUFFICIENT"), ("directional_share", KNOWS, "PASS"), ("directional_share", LEANS, "FAIL"), ("directional_share", UNPRICED, "INSUFFICIENT"),
    ("direction_hit_rate", KNOWS, "PASS"), ("direction_hit_rate", WRONG, "FAIL"), ("direction_hit_rate", UNPRICED, "INSUFFICIENT"), ("edge_volume", KNOWS, "PASS"), ("edge_volume", SILENT, "FAIL")])
def test_each_verdict_on_the_probability_scale(id, rows, want):
    "Fails when a gate of the probability scale cannot reach one of its verdicts."
    assert G.GATES[id](anchored(rows), P.policy("default", "probability")["gates"][id]).verdict == want

def test_an_anchored_model_through_the_whole_engine():
    "Fails when a family on the probability scale is judged by points gates, or its report speaks of edge 3+."
    good, bad, blank = (G.run_gates(anchored(r, incumbent=None)) for r in (KNOWS, WRONG, UNPRICED))
    ids = {r.id for r in good.results}
    assert {"probability_vs_market", "mae_vs_constant"} <= ids and "mae_vs_incumbent" not in ids and good.summary["edge_scale"] == "probability"
    assert (good.verdict, bad.verdict, blank.verdict) == ("PROMOTE", "REJECT", "SHADOW") and "no game of these dates has recorded prices" in G.sentence(blank)
    assert good.policy_hash == P.policy_hash("default", "probability") and set(good.summary["characteristics"]) == ids

def test_the_variant_leaves_the_points_policy_alone():
    "Fails when a change for the probability scale changes the identity of the policy that points models were judged under."
    assert P.policy_hash("default") == P.policy_hash("default", "points") == "ebed41a5f8d53249d3111e8b00a18914128ac1df674081d212d7f0c17043915d"
    assert P.policy_hash("default", "probability") != P.policy_hash("default") and P.policy("default") == P.POLICIES["default"]
    assert P.policy_hash("incident-2026-02", "probability") == P.policy_hash("incident-2026-02") == "fe824c321dd3c94bdab19b9b7653940748fc3bf11a6a0804a6f76e0335313b22"

@pytest.mark.parametrize("id, make", [("hit_rate_edge3", lambda k: scored_rows(skill=1.2, noise=2.4, seed=k, seeds=1)), ("paired_incumbent", lambda k: scored_rows(skill=.55, noise=1.2, seed=k, seeds=1, rival=1.2, n=420))])
def test_every_pass_bound_is_divided_by_the_looks(id, make):
    "Fails when Holm's correction is forgotten in one gate: somewhere among the draws a PASS at one look is none at seven."
    both = [(judged(id, case(make(k))), judged(id, case(make(k), looks=7))) for k in range(60)]
    assert ("PASS", "INSUFFICIENT") in both and not any(b == "PASS" != a for a, b in both)

def test_the_market_gate_is_divided_by_the_looks():
    "Fails when seven candidates are held against the market at the level of one."
    from tests.test_model_anchor import TAILS, priced
    rows = lambda k: priced(.25, n=1200, seed=k).with_columns(game_id=pl.lit("g"), player_lookup=pl.int_range(pl.len()).cast(pl.String), season_avg=pl.col("line"), incumbent=pl.lit(None, pl.Float64))
    both = [tuple(judged("probability_vs_market", case(rows(k), family="v9_anchored", residuals=TAILS, looks=n), "anchored") for n in (1, 7)) for k in range(40)]
    assert ("PASS", "INSUFFICIENT") in both and not any(b == "PASS" != a for a, b in both)

def test_a_feature_that_freezes_in_one_window_is_named():
    "Fails when a feature that is constant only where it is judged passes."
    from nbprops.features.catalogue import contract
    train = feature_rows(200)
    c = E.feature_coverage(train, train.with_columns(points_std_last_10=pl.lit(4.0)), contract("v9"))
    assert c.filter("constant")["feature"].to_list() == ["points_std_last_10"]
    assert not E.feature_coverage(train, train.head(20).with_columns(points_std_last_10=pl.lit(4.0)), contract("v9"))["constant"].any()
