"Policies, colours, subsets and publication: who is picked, why, and that what was said stands."
import json
from datetime import date, datetime, time, timedelta, timezone
import numpy as np, polars as pl, pytest
from nbprops.data.artifacts import Store
from nbprops.settings import Refusal
from nbprops.signals.files import FOLDER, publish_day, result_files
from nbprops.signals.policies import choose, edge3, funnel, v1, v1_original
from nbprops.signals.practice import outcomes, practice, stored
from nbprops.signals.profiles import CLEARLY, v2_profiles
from nbprops.signals.publication import PICKS, fill_results, next_version, publish_bets
from nbprops.signals.rules import SIGNALS
from nbprops.signals.selection import CANDIDATES, keep_selection, select_bets
from nbprops.signals.slate import colour_record, coloured, counts, daily_signals, day_permutation
from nbprops.signals.subset_record import WITHDRAWN, fill_subset_results, newest_lists, subset_record
from nbprops.signals.subsets import SUBSETS, SUBSET_PICKS, subset, subset_rows

DAY = date(2026, 1, 5)
NOTHING = pl.DataFrame(schema={"game_date": pl.Date, "signal_tag": pl.String, "weight": pl.Float64})
def candidate(player: str, edge: float = 5.5, tags=("high_edge", "minutes_surge"), **over) -> dict:
    return dict(game_date=DAY, player_lookup=player, system_id="catboost_v9", model_family="v9_mae", model_id="m", recommendation="OVER" if edge > 0 else "UNDER", line_value=20.5, edge=edge, confidence=.85, filter_reasons=[], invalidation_reason=None, home=True, position="G", days_rest=2, team_abbr="T", game_id="g", expected_value=.02, monitor_state="HEALTHY", expected_offset=0.0, **{t: t in tags for t in SIGNALS}) | over
frame = lambda *rows: pl.DataFrame(list(rows), infer_schema_length=None).with_columns(pl.col("filter_reasons").cast(pl.List(pl.String)), pl.col("invalidation_reason").cast(pl.String))
healthy = lambda family=None, **weights: pl.DataFrame([dict(game_date=DAY, signal_tag=t, weight=weights.get(t, 1.0)) for t in SIGNALS]).with_columns([pl.lit(family).alias("model_family")]*(family is not None))
decisions = lambda f: dict(f.select("player_lookup", "decision").iter_rows())

@pytest.mark.parametrize("over, why", [(dict(invalidation_reason="late_scratch"), "taken_back"), (dict(recommendation="PASS"), "no_candidate"), (dict(line_value=None), "no_candidate"), (dict(filter_reasons=["low_edge", "player_out"]), "no_candidate"), (dict(filter_reasons=["low_edge"]), "selected"), (dict(system_id="other"), "other_system"), (dict(tags=("minutes_surge",)), "few_signals"), (dict(tags=("minutes_surge", "cold_continuation_2", "model_health")), "few_signals"),
    (dict(model_family="v12_mae"), "low_confidence"), (dict(model_family="v12_mae", confidence=.90), "selected"), (dict(tags=("high_edge", "edge_spread_optimal")), "anti_pattern"), ({}, "selected")])
def test_v1_says_why(over, why):
    "Fails when a step of the policy drops the wrong candidate, or names another reason."
    assert decisions(choose(v1(), frame(candidate("a", **over)), NOTHING)) == {"a": why}

def test_the_score_of_v1():
    "Fails when the cap of the edge, the health weights, their cap of three or the weight of a synergy is off."
    tags = ("high_edge", "minutes_surge", "cold_snap", "blowout_recovery")
    h = healthy(high_edge=0.0, minutes_surge=1.2, cold_snap=.5)
    score = lambda *a, **k: choose(v1(), frame(candidate(*a, **k)), h)["composite_score"][0]
    assert score("a", 3.5, tags=("minutes_surge", "blowout_recovery")) == pytest.approx(.5*(1 + .3*1.2) + .5, abs=1e-4)
    assert score("a", 9.0, tags=tags) == pytest.approx(1 + .3*1.7 + 2.0, abs=1e-4)
    assert choose(v1(), frame(candidate("a", 7.0, tags=(*tags, "combo_he_ms", "dual_agree"))), NOTHING)["composite_score"][0] == pytest.approx(1 + .3*2 + 2, abs=1e-4)

def test_a_tag_without_health_is_an_error():
    "Fails when a tag that nobody watches counts fully, in silence."
    with pytest.raises(Refusal, match="health of 'cold_snap' is not known"): choose(v1(), frame(candidate("a")), healthy().filter(pl.col("signal_tag") != "cold_snap"))

def test_prototypes_change_nothing():
    "Fails when a prototype moves a pick, a score or a rank; v1_original, which counts them, must differ."
    rng = np.random.default_rng(1); proto = [t for t, s in SIGNALS.items() if s.mode == "prototype"]
    base = [candidate(f"p{i}", float(rng.uniform(3, 8)), tags=tuple(t for t in SIGNALS if SIGNALS[t].mode != "prototype" and rng.random() < .3)) for i in range(60)]
    loud = [r | {t: bool(rng.random() < .5) for t in proto} for r in base]
    shown = ["player_lookup", "decision", "composite_score", "rank", "matched_combo_id"]
    a, b = (choose(v1(), frame(*rows), NOTHING).select(shown).sort("player_lookup") for rows in (base, loud))
    assert a.equals(b) and a["rank"].drop_nulls().len() == 5
    assert not choose(v1_original(), frame(*loud), NOTHING).select(shown).sort("player_lookup").equals(choose(v1_original(), frame(*base), NOTHING).select(shown).sort("player_lookup"))

def test_ties_go_to_edge_confidence_and_name():
    "Fails when equal scores are ordered by the accident of the input."
    rows = [candidate("d", 7.5), candidate("c", 8.0), candidate("b", 7.5, confidence=.9), candidate("a", 7.5), candidate("z", 7.5), candidate("y", 7.5)]
    for order in (rows, rows[::-1]): assert choose(v1(), frame(*order), NOTHING).sort("rank", nulls_last=True)["player_lookup"].to_list() == ["c", "b", "a", "d", "y", "z"]

def test_one_pick_per_player_and_five_a_day():
    "Fails when a player is picked twice, or a second day eats the places of the first."
    rows = [candidate(f"p{i}", 5. + i/10, game_date=d) for i in range(8) for d in (DAY, DAY + timedelta(1))] + [candidate("p7", 5.6)]
    got = choose(v1(), frame(*rows), NOTHING)
    assert got.filter(pl.col("rank").is_not_null()).group_by("game_date").agg(pl.len(), pl.col("player_lookup").n_unique().alias("u")).sort("game_date").rows() == [(DAY, 5, 5), (DAY + timedelta(1), 5, 5)]
    assert got.filter(pl.col("decision") == "better_pick_of_player").height == 1 and got.filter(pl.col("decision") == "beyond_top").height == 6

def test_the_policy_agrees_with_a_slow_one():
    "Fails when the set-based ranking differs from sorting and walking through the candidates of each day."
    rng = np.random.default_rng(5)
    rows = [candidate(f"p{rng.integers(0, 25):02d}", float(np.round(rng.normal(0, 5), 1)), tags=tuple(t for t in SIGNALS if rng.random() < .25), game_date=DAY + timedelta(int(rng.integers(0, 6))), confidence=float(np.round(rng.uniform(.7, 1), 2)), position=str(rng.choice(["G", "C"])), home=bool(rng.random() < .5), system_id="catboost_v9" if rng.random() < .9 else "other", game_id=f"g{i}") for i in range(600)]
    got = choose(v1(), frame(*rows), NOTHING)
    for (day,), part in got.partition_by("game_date", as_dict=True).items():
        order = sorted((r for r in part.iter_rows(named=True) if r["is_open"]), key=lambda r: (-r["composite_score"], -abs(r["edge"]), -r["confidence"], r["player_lookup"], r["system_id"]))
        seen, want = set(), []
        for r in order:
            if r["player_lookup"] not in seen: seen.add(r["player_lookup"]); want.append((r["player_lookup"], r["game_id"]))
        assert part.filter(pl.col("rank").is_not_null()).sort("rank").select("player_lookup", "game_id").rows() == want[:5]

def test_the_funnel_ends_with_the_picks():
    "Fails when a step of the funnel grows, or its end is not the number of picks."
    rows = frame(*[candidate(f"p{i}", 5. + i/10) for i in range(9)], candidate("q", tags=("cold_snap",)), candidate("r", recommendation="PASS"))
    f = funnel(choose(v1(), rows, NOTHING), v1())
    left = f.sort("step")["left"].to_list()
    assert left[0] == 11 and left[-1] == 5 and all(a >= b for a, b in zip(left, left[1:]))

history = lambda family, system, n=40: [candidate(f"h{i}", (5.0 + i % 7*.3)*(-1 if "q" in family else 1), tags=("high_edge", "minutes_surge", "b2b_fatigue_under"), game_date=DAY - timedelta(1 + i % 20), model_family=family, system_id=system) for i in range(n)]
def pooled(*today):
    got = choose(v2_profiles(), frame(*history("v9_mae", "catboost_v9"), *history("v9_q43", "q43"), *today), NOTHING)
    return got.filter(pl.col("game_date") == DAY)

@pytest.mark.parametrize("over, why", [(dict(monitor_state="BLOCKED"), "family_blocked"), (dict(model_family="v9_q43", system_id="q43"), "direction"), (dict(tags=("minutes_surge",)), "few_signals"), (dict(edge=-5.5, model_family="v9_q43", system_id="q43", tags=("b2b_fatigue_under",)), "selected"), (dict(edge=-.5, expected_offset=-1.0, model_family="v9_q43", system_id="q43", tags=("b2b_fatigue_under",)), "low_edge"),
    (dict(model_family="v8_new", system_id="x"), "no_history"), (dict(model_family="v9_anchored", expected_value=-.01), "low_edge"), (dict(tags=("high_edge", "edge_spread_optimal")), "anti_pattern"), ({}, "selected")])
def test_profiles_say_why(over, why):
    "Fails when a family is judged by another family's profile; an UNDER specialist qualifies on one UNDER signal."
    edge = over.pop("edge", 5.5)
    assert decisions(pooled(candidate("a", edge, **over))) == {"a": why}

def test_opposite_directions_drop_both_unless_one_is_clear():
    "Fails when two models that contradict each other both lose, or both win, regardless of how unusual each is."
    both = pooled(candidate("a", 5.6), candidate("a", -5.6, model_family="v9_q43", system_id="q43", tags=("high_edge", "minutes_surge", "b2b_fatigue_under")))
    assert set(both["decision"]) == {"opposite_directions"}
    clear = pooled(candidate("a", 8.0), candidate("a", -5.05, model_family="v9_q43", system_id="q43", tags=("b2b_fatigue_under",)))
    s = dict(clear.select("system_id", "profile_score").iter_rows()); assert s["catboost_v9"] - s["q43"] > CLEARLY
    assert dict(clear.select("system_id", "decision").iter_rows()) == {"catboost_v9": "selected", "q43": "opposite_directions"}

def test_raw_edges_of_models_are_not_compared():
    "Fails when an over-confident family wins because its edges are larger."
    loud = [candidate(f"h{i}", 20. + i % 7, game_date=DAY - timedelta(1 + i % 20), model_family="v9_huber", system_id="loud") for i in range(40)]
    got = choose(v2_profiles(), frame(*history("v9_mae", "catboost_v9"), *loud, candidate("a", 20.0, model_family="v9_huber", system_id="loud"), candidate("b", 6.9)), NOTHING).filter(pl.col("game_date") == DAY).sort("rank")
    assert got["player_lookup"].to_list() == ["b", "a"]

def test_the_health_of_a_family_is_its_own():
    "Fails when a signal that is cold for one family weighs less for another, or v1 looks at a family's health."
    known = pl.concat([healthy().with_columns(model_family=pl.lit(None, pl.String)), healthy("v9_mae", high_edge=0.0), healthy("v9_huber", high_edge=1.2)])
    rows = frame(candidate("a", 7.0), candidate("b", 7.0, model_family="v9_huber", system_id="loud"))
    score = lambda p: dict(choose(p, rows, known).select("player_lookup", "composite_score").iter_rows())
    assert score(v2_profiles()) == {"a": pytest.approx(1 + .3*0.0 + 2), "b": pytest.approx(1 + .3*1.2 + 2)} and score(v1())["a"] == pytest.approx(1 + .3*1 + 2)

def test_shadows_count_where_their_family_opted_in():
    "Fails when a shadow of a standard family gives candidates, or one of an UNDER specialist does not."
    under = dict(system_id="q", model_family="v9_q43", tags=("b2b_fatigue_under",), expected_offset=-1.0, is_shadow=True)
    got = decisions(choose(v2_profiles(), frame(candidate("a", is_shadow=True), candidate("b", is_shadow=False), candidate("c", -4.0, **under)), NOTHING))
    assert got == {"a": "shadow", "b": "no_history", "c": "no_history"}

def test_a_blocked_family_contributes_nothing():
    "Fails when another model of a family goes on after its production model was blocked, or a blocked shadow stops the family."
    row = lambda p, **k: candidate(p, model_family="v9_q43", tags=("b2b_fatigue_under",), edge=-4.0, expected_offset=-1.0, **k)
    two = lambda production, shadow: decisions(choose(v2_profiles(), frame(row("a", monitor_state=production, is_shadow=False), row("b", system_id="s", monitor_state=shadow, is_shadow=True)), NOTHING))
    assert two("BLOCKED", "HEALTHY") == {"a": "family_blocked", "b": "family_blocked"} and two("HEALTHY", "BLOCKED") == {"a": "no_history", "b": "family_blocked"}

def test_caps_per_team_and_game():
    "Fails when three picks of a team or four of a game are published."
    rows = [candidate(f"p{i}", 7. - i/10, team_abbr=f"T{i % 2}", game_id="g") for i in range(5)] + [candidate(f"r{i}", 5.1, team_abbr=f"R{i}", game_id=f"r{i}") for i in range(3)]
    got = pooled(*rows)
    picks = got.filter(pl.col("rank").is_not_null())
    assert picks.height == 5 and picks["team_abbr"].value_counts()["count"].max() == 2 and picks["game_id"].value_counts()["count"].max() == 3
    assert {"team_cap", "game_cap"} <= set(got["decision"])

def test_agreeing_systems_are_listed_and_earn_nothing():
    "Fails when agreement moves a score."
    alone = pooled(candidate("a", 6.0)).row(0, named=True)
    agreed = pooled(candidate("a", 6.0), candidate("a", 6.0, system_id="twin")).filter(pl.col("system_id") == "catboost_v9").row(0, named=True)
    assert agreed["agreeing_system_ids"] == ["twin"] and agreed["profile_score"] == alone["profile_score"]

@pytest.mark.parametrize("games, over, under, passed, strong, want", [(4, 40, 60, 40, 6, "RED"), (10, 24, 60, 16, 9, "RED"), (10, 25, 60, 15, 2, "YELLOW"), (10, 46, 40, 14, 9, "YELLOW"), (10, 45, 40, 15, 3, "GREEN"), (5, 25, 60, 15, 3, "GREEN")])
def test_colours_at_their_borders(games, over, under, passed, strong, want):
    "Fails when a border of the colour rules moves, or their order changes."
    row = pl.DataFrame([dict(game_date=DAY, system_id="s", total_picks=100, over_picks=over, under_picks=under, pass_picks=passed, high_edge_picks=strong, premium_picks=0, pct_over=float(over), pct_under=float(under), slate_size=games)])
    assert coloured(row)["daily_signal"][0] == want

def test_a_colour_needs_a_schedule_and_ten_predictions():
    "Fails when an unknown slate becomes a small one, or nine predictions a verdict."
    rows = pl.DataFrame({"game_date": DAY, "system_id": "s", "recommendation": ["OVER"]*10, "line_value": 20.5, "predicted_points": 22., "confidence_score": .8})
    with pytest.raises(Refusal, match="no game on the schedule"): daily_signals(rows, pl.DataFrame(schema=dict(game_date=pl.Date, game_id=pl.String)))
    assert counts(rows.head(9)).is_empty() and counts(rows)["pct_over"][0] == 100.

def test_the_recorded_cuts_of_the_colours():
    "Fails when the figures of the record's two-by-two table are not reproduced: z 2.72, p .0065, Fisher .015."
    from scipy.stats import fisher_exact
    from statsmodels.stats.proportion import proportions_ztest
    z, p = proportions_ztest([50, 14], [61, 26])
    assert round(z, 2) == 2.72 and round(p, 4) == .0065 and round(fisher_exact([[50, 11], [14, 12]])[1], 3) == .015

def test_the_day_permutation_keeps_its_level():
    "Fails when days without any difference are called different more often than promised (400 leagues, bound at 99.9 %)."
    rng, called = np.random.default_rng(2), 0
    for k in range(400):
        luck = rng.normal(0, .6, 40); picks = rng.integers(2, 9, 40); won = rng.binomial(picks, 1/(1 + np.exp(-luck)))
        red = np.zeros(40, bool); red[rng.choice(40, 12, replace=False)] = True
        called += day_permutation(red, won, picks, draws=400, seed=k)["p"] <= .05
    assert 5 <= called <= 36

def test_the_colours_show_what_they_were_worth():
    "Fails when red and other days are mixed up, or a record without other days gets a p-value."
    rows = pl.DataFrame([dict(game_date=DAY + timedelta(k), daily_signal="RED" if k < 4 else "GREEN", won=i < (2 if k < 4 else 6)) for k in range(10) for i in range(8)])
    r = colour_record(rows)
    assert (r.red.wins, r.red.n, r.others.wins, r.others.n, r.days, r.suspected) == (8, 32, 36, 48, 10, 4) and r.p == pytest.approx(1/210, abs=.004)
    assert colour_record(rows.head(32)).p is None and "nothing to compare" in repr(colour_record(rows.head(32)))

def test_a_missing_colour_fails_closed():
    "Fails when a subset of green or red days holds a pick of a day without a colour."
    rows = pl.DataFrame([dict(game_date=DAY, player_lookup=f"p{i}", game_id="g", prediction_id=f"x{i}", system_id="catboost_v9", recommendation="OVER", predicted_points=26. + i, line_value=20.5, confidence_score=.95) for i in range(12)])
    none = pl.DataFrame(schema=dict(game_date=pl.Date, system_id=pl.String, daily_signal=pl.String))
    held = set(subset_rows(rows, none)["subset_id"])
    assert held == {s.subset_id for s in SUBSETS if s.signal_condition == "ANY"}
    assert subset("v9_top5").subset_id == "v9_high_edge_top5" and subset_rows(rows, none, [subset("v9_top3")])["player_lookup"].to_list() == ["p11", "p10", "p9"]
    with pytest.raises(Refusal, match="no subset"): subset("v9_top7")

# publication, on the practice league

@pytest.fixture(scope="module")
def season_played(): return practice(seed=1)

@pytest.fixture(scope="module")
def home(season_played, tmp_path_factory):
    from nbprops.data.warehouse import Warehouse
    w = Warehouse(tmp_path_factory.mktemp("bets")/"w.duckdb"); w.migrate()
    stored(w, season_played, outcomes(season_played.predictions, 5))
    return w.path

BUSY, NOON = date(2025, 11, 15), datetime(2025, 11, 15, 17, tzinfo=timezone.utc)

@pytest.fixture
def wh(home, tmp_path):
    import shutil
    from nbprops.data.warehouse import Warehouse
    shutil.copy(home, tmp_path/"w.duckdb"); return Warehouse(tmp_path/"w.duckdb")

versions = lambda w: w.read(PICKS, BUSY, BUSY)

def test_publishing_twice_says_the_same(wh):
    "Fails when a second run publishes a second version, or touches the first."
    a, _ = publish_bets(wh, BUSY, NOON); was = versions(wh)
    b, _ = publish_bets(wh, BUSY, NOON + timedelta(hours=1))
    assert a.changed and not b.changed and a.version == b.version == 1 and versions(wh).equals(was) and a.rows.height >= 3

@pytest.mark.parametrize("damage, why", [("is_active = FALSE", "prediction_withdrawn"), ("filter_reasons = ['player_out']", "no_candidate"), ("is_actionable = FALSE, invalidation_reason = 'late_scratch', restatement_reason = 'late_scratch'", "taken_back"), ("recommendation = 'UNDER'", "direction_changed")])
def test_a_pick_is_retracted_with_a_reason_and_the_first_version_stands(wh, damage, why):
    "Fails when a withdrawn pick vanishes, or when a published row changes."
    a, _ = publish_bets(wh, BUSY, NOON); was = versions(wh); gone = a.rows["prediction_id"][0]
    wh.sql(f"UPDATE nba_predictions.player_prop_predictions SET {damage} WHERE prediction_id = @p", p=gone)
    b, _ = publish_bets(wh, BUSY, NOON + timedelta(hours=1))
    now = versions(wh)
    assert b.version == 2 and now.filter(pl.col("publication_version") == 1).equals(was)
    assert now.filter(pl.col("publication_version") == 2, pl.col("prediction_id") == gone).select("is_retracted", "retraction_reason").row(0) == (True, why)
    assert not publish_bets(wh, BUSY, NOON + timedelta(hours=2))[0].changed

def test_a_moved_tip_off_is_said_in_a_new_version(wh):
    "Fails when a prediction that was stated again for a moved game is published without a word."
    a, _ = publish_bets(wh, BUSY, NOON)
    wh.sql("UPDATE nba_predictions.player_prop_predictions SET restatement_reason = 'tip_moved' WHERE prediction_id = @p", p=a.rows["prediction_id"][0])
    b, _ = publish_bets(wh, BUSY, NOON + timedelta(hours=1))
    assert b.version == 2 and b.rows.filter(pl.col("prediction_id") == a.rows["prediction_id"][0])["warning_tags"][0].to_list()[-1:] == ["tip_moved"] and not b.rows["is_retracted"].any()

def test_a_pick_is_graded_on_the_line_it_was_published_with(wh):
    "Fails when a line that moved before the tip-off turns a published pick's win into a loss."
    a, _ = publish_bets(wh, BUSY, NOON); r = a.rows.row(0, named=True)
    own = float(r["line_value"]) + (1 if r["recommendation"] == "OVER" else -1) # his points: just right for the published line
    wh.sql("UPDATE nba_predictions.prediction_accuracy SET line_value = @l, actual_points = @a, result = 'LOSS' WHERE prediction_id = @p", l=own, a=round(own), p=r["prediction_id"])
    fill_results(wh, BUSY, BUSY)
    assert versions(wh).filter(pl.col("publication_version") == 2, pl.col("prediction_id") == r["prediction_id"])["result"][0] == "WIN"

def test_nothing_is_published_after_a_day_without_tip_offs(wh):
    "Fails when picks are published a month later because nobody knew when the games began."
    wh.sql("UPDATE nba_reference.nba_schedule SET game_start_utc = NULL WHERE game_date = @d", d=BUSY)
    assert publish_bets(wh, BUSY, NOON + timedelta(days=30))[0].version == 0

def test_nothing_changes_after_the_tip_off(wh):
    "Fails when a model that is disabled in the evening takes back a pick whose game has begun."
    a, _ = publish_bets(wh, BUSY, NOON)
    wh.sql("UPDATE nba_predictions.player_prop_predictions SET is_active = FALSE WHERE game_date = @d", d=BUSY)
    b, _ = publish_bets(wh, BUSY, NOON + timedelta(hours=14))
    assert not b.changed and b.rows.filter("is_retracted").is_empty()

def test_a_model_disabled_at_noon_is_explained(wh):
    "Fails when picks of a withdrawn model stay live without a word, or a day without picks has no reason."
    publish_bets(wh, BUSY, NOON)
    wh.sql("UPDATE nba_predictions.player_prop_predictions SET is_active = FALSE WHERE game_date = @d AND system_id = 'catboost_v9'", d=BUSY)
    b, _ = publish_bets(wh, BUSY, NOON + timedelta(minutes=5))
    assert b.rows["is_retracted"].all() and "made no prediction" in b.reason

def test_results_are_a_version_of_their_own(wh):
    "Fails when results overwrite what was published, or are published twice."
    publish_bets(wh, BUSY, NOON); was = versions(wh)
    assert fill_results(wh, BUSY, BUSY) == {BUSY: 2} and fill_results(wh, BUSY, BUSY) == {}
    now = versions(wh); new = now.filter(pl.col("publication_version") == 2)
    same = [c for c in was.columns if c not in ("publication_version", "published_at", "result", "actual_points")]
    assert now.filter(pl.col("publication_version") == 1).equals(was) and new.select(same).equals(was.select(same)) and new["result"].is_in(["WIN", "LOSS", "PUSH", "VOID"]).all()

def test_a_new_pick_does_not_push_out_a_published_one():
    "Fails when people who acted on a pick find it replaced by a better one."
    cols = dict(game_date=DAY, game_id="g", system_id="s", recommendation="OVER", line_value=20.5, is_retracted=False, retraction_reason=None, result=None, edge=5.0, confidence_score=.8, warning_tags=[])
    row = lambda p, score, rank: cols | dict(player_lookup=p, composite_score=score, rank=rank)
    kinds = dict(retraction_reason=pl.String, result=pl.String, warning_tags=pl.List(pl.String))
    old = pl.DataFrame([row(f"old{i}", 1. + i/10, i + 1) for i in range(4)], schema_overrides=kinds); new = pl.DataFrame([row(f"new{i}", 9. - i, i + 1) for i in range(3)], schema_overrides=kinds)
    standing = pl.DataFrame([dict(player_lookup=f"old{i}", game_id="g", system_id="s", recommendation="OVER", restatement_reason=None, failed_rules=["beyond_top"]) for i in range(4)], schema_overrides=dict(restatement_reason=pl.String))
    got = next_version(old, new, standing, pl.DataFrame(schema={"game_id": pl.String}), 5)
    assert set(got["player_lookup"]) == {"old0", "old1", "old2", "old3", "new0"} and not got["is_retracted"].any()

KEYS = {"schema_version", "date", "generated_at", "publication_version", "policy", "algorithm_version", "min_signal_count", "no_picks_reason", "models", "model_health", "signal_health", "funnel", "picks", "total_picks", "signals_evaluated", "cannot_evaluate"}
PICK_KEYS = {"rank", "player", "player_lookup", "game_id", "team", "opponent", "prediction", "line", "sportsbook", "price", "direction", "edge", "confidence", "best_offer", "p_over", "p_push", "fair_odds", "expected_value", "top_terms", "restatement_reason", "signals", "signal_count", "composite_score", "matched_combo_id", "combo_classification", "combo_record", "warnings", "source_model", "agreeing_systems", "retracted", "actual", "result"}

def test_every_key_is_in_every_file(wh, tmp_path, season_played):
    "Fails when a reader of the file has to ask whether a key is there; also on a day without picks."
    out, store = Store(str(tmp_path/"out")), Store(str(tmp_path/"models"))
    p, doc = publish_day(wh, BUSY, store, out, NOON)
    quiet = next(d for d in season_played.predictions["game_date"].unique().sort().to_list() if d != BUSY and not select_bets_count(wh, d))
    q, none = publish_day(wh, quiet, store, out, datetime.combine(quiet, time(17), timezone.utc))
    assert set(doc) == set(none) == KEYS and all(set(x) == PICK_KEYS for x in doc["picks"]) and none["picks"] == [] and none["no_picks_reason"] and doc["no_picks_reason"] is None
    assert "model_health" not in doc["signals_evaluated"] and doc["funnel"]["published"] == doc["total_picks"] == len(doc["picks"])
    first = out.get(f"{FOLDER}/versions/{BUSY}.v1.json")
    done = result_files(wh, BUSY, out, NOON + timedelta(days=1))
    assert done["publication_version"] == 2 and out.get(f"{FOLDER}/versions/{BUSY}.v1.json") == first and out.get_json(f"{FOLDER}/{BUSY}.json")["picks"][0]["result"] in ("WIN", "LOSS") and result_files(wh, BUSY, out) is None
    assert out.get_json(f"{FOLDER}/latest.json")["date"] == str(max(BUSY, quiet))

def select_bets_count(wh, day) -> int:
    with wh.transaction() as tx: return select_bets(tx, day, day).picks().height

def test_a_day_without_games_or_predictions_is_one_sentence(wh):
    "Fails when an empty day is an empty file."
    with pytest.raises(Refusal, match="No game is scheduled"): publish_bets(wh, date(2026, 7, 1), NOON)
    wh.sql("UPDATE nba_predictions.player_prop_predictions SET is_active = FALSE WHERE game_date = @d", d=BUSY)
    assert "no prediction" in publish_bets(wh, BUSY, NOON)[0].reason

def test_a_selection_is_stored_once(wh):
    "Fails when a repeated run doubles candidates, tags or subset versions."
    with wh.transaction() as tx: s = select_bets(tx, BUSY, BUSY + timedelta(days=2)); keep_selection(tx, s)
    count = lambda: {t: wh.sql(f"SELECT COUNT(*) AS n FROM {t}")["n"][0] for t in (CANDIDATES, SUBSET_PICKS, "nba_predictions.pick_signal_tags", "nba_predictions.signal_health_daily", "nba_predictions.daily_prediction_signals")}
    was = count()
    with wh.transaction() as tx: keep_selection(tx, select_bets(tx, BUSY, BUSY + timedelta(days=2)))
    assert count() == was and was[CANDIDATES] == 3*s.rows.height

BEFORE = datetime(2025, 11, 15, 12, tzinfo=timezone.utc)
def lists(wh, at=BEFORE, day=BUSY):
    with wh.transaction() as tx:
        keep_selection(tx, select_bets(tx, day, day, at=at))
        return tx.read(SUBSET_PICKS, day, day)

def test_lists_are_versioned_until_the_first_tip_off(wh):
    "Fails when a list is improved after its games began, when an emptied list goes on standing, or an unchanged one gets a version."
    first = lists(wh)
    assert first.height > 0 and first["version"].unique().to_list() == [1] and lists(wh).height == first.height
    gone = first.filter(pl.col("subset_id") == "v9_high_edge_top1")["prediction_id"][0]
    wh.sql("UPDATE nba_predictions.player_prop_predictions SET is_active = FALSE WHERE prediction_id = @p AND game_date = @d", p=gone, d=BUSY)
    second = newest_lists(lists(wh))
    assert gone not in second["prediction_id"] and second.filter(pl.col("subset_id") == "v9_high_edge_top1")["version"].to_list() == [2]
    wh.sql("UPDATE nba_predictions.player_prop_predictions SET is_active = FALSE WHERE ABS(predicted_points - CAST(line_value AS FLOAT64)) >= 5 AND game_date = @d", d=BUSY)
    kept = lists(wh)
    assert newest_lists(kept).is_empty() and kept.filter(pl.col("result") == WITHDRAWN)["subset_id"].n_unique() == first["subset_id"].n_unique()
    wh.sql("UPDATE nba_predictions.player_prop_predictions SET is_active = TRUE WHERE game_date = @d", d=BUSY)
    assert lists(wh, at=datetime(2025, 11, 16, 3, tzinfo=timezone.utc)).height == kept.height # the games have begun
    assert sorted(newest_lists(lists(wh))["prediction_id"]) == sorted(first["prediction_id"]) # in time, the lists stand again

def test_the_record_of_a_list_is_that_of_what_was_shown(wh):
    "Fails when a list is graded at another line than its own, twice, or withdrawn picks count."
    first = lists(wh)
    wh.sql("UPDATE nba_predictions.prediction_accuracy SET line_value = line_value + 30, actual_points = 17 WHERE game_date = @d", d=BUSY)
    wins = lambda f: sum((17 > line) == (side == "OVER") for line, side in f.select("line_value", "recommendation").iter_rows())
    assert fill_subset_results(wh, BUSY, BUSY).written == first.height and fill_subset_results(wh, BUSY, BUSY).written == 0
    r = subset_record(wh, BUSY, BUSY)
    for name, f in first.partition_by("subset_id", as_dict=True).items(): assert r.filter(pl.col("subset_id") == name[0])["wins"][0] == wins(f)
    assert r["open"].sum() == 0 and r["no_model"].sum() == 0
    wh.sql("UPDATE nba_predictions.player_prop_predictions SET model_sha256 = NULL WHERE game_date = @d", d=BUSY)
    assert subset_record(wh, BUSY, BUSY)["no_model"].sum() == first.height

def test_one_day_and_a_range_say_the_same(wh):
    "Fails when a date's tags, health or decisions depend on what else was asked for."
    with wh.transaction() as tx: many, one = select_bets(tx, BUSY - timedelta(days=3), BUSY + timedelta(days=1)), select_bets(tx, BUSY, BUSY)
    cut = lambda f: f.filter(pl.col("game_date") == BUSY).sort("system_id", "player_lookup") if "system_id" in f.columns else f.filter(pl.col("game_date") == BUSY).sort("signal_tag")
    shown = ["player_lookup", "system_id", "decision", "composite_score", "rank", *SIGNALS]
    for p in ("v1", "edge3", "v2_profiles"): assert cut(many.chosen[p]).select(shown).equals(cut(one.chosen[p]).select(shown)), p
    assert cut(many.health).equals(cut(one.health))

def test_a_pick_carries_the_five_terms_of_its_model(light_home, tmp_path):
    "Fails when the explanation is not that of the file that made the prediction, on the vector that it saw."
    from tests.predict_world import DAY as SLATE, copy_world
    from nbprops.model.registry import Registry
    from nbprops.signals.files import explained
    w, store, worker = copy_world(light_home, tmp_path/"world")
    worker().predict_range(SLATE, SLATE, mode="BACKFILL")
    rows = w.sql("SELECT prediction_id, model_id AS source_model_id, game_date, predicted_points, features_snapshot_json FROM nba_predictions.player_prop_predictions WHERE game_date = @d AND system_id IN ('catboost_v9', 'moving_average') AND is_active ORDER BY system_id, prediction_id LIMIT 400", d=SLATE)
    loaded = {}
    with w.transaction() as tx: got = explained(store, w, loaded)(tx, rows)
    assert len(loaded) == 1 and got.filter(pl.col("source_model_id") == "moving_average")["explanation_json"].null_count() == got.filter(pl.col("source_model_id") == "moving_average").height > 0
    r = got.filter(pl.col("explanation_json").is_not_null()).row(0, named=True); said, seen = json.loads(r["explanation_json"]), json.loads(r["features_snapshot_json"])
    assert len(said) == 5 and [abs(t["shap"]) for t in said] == sorted((abs(t["shap"]) for t in said), reverse=True) and all(t["value"] == (None if seen[t["feature"]] is None else round(seen[t["feature"]], 3)) for t in said)
    from catboost import Pool
    from nbprops.model.predictor import transform
    b = loaded[r["source_model_id"]]; x = transform(b.transformer, pl.DataFrame([{n: seen.get(n) for n in b.transformer.features}], schema={n: pl.Float64 for n in b.transformer.features}))
    assert b.model.get_feature_importance(Pool(x), type="ShapValues")[0].sum() == pytest.approx(r["predicted_points"], abs=.02)
