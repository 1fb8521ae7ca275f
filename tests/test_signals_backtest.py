"The backtest: it promotes what is true, seldom what is not, and nothing on a look that was not declared."
from datetime import date, timedelta
import numpy as np, polars as pl, pytest
from nbprops.settings import Refusal
from nbprops.signals.backtest import candidates, choose_all, comparisons, judge, picks_made, picks_of, run_trial, trial
from nbprops.signals.combos import COMBOS, match_combos
from nbprops.signals.declarations import DECLARATIONS, Declaration, backtest, kept_trial, outlook, split_day
from nbprops.signals.evidence import read_evidence
from nbprops.signals.inputs import signal_inputs
from nbprops.signals.measures import best_of, detectable, difference, measures, once, overfitting, priced, reality_check
from nbprops.signals.modes import demote, promote, standing
from nbprops.signals.annotate import HISTORY, evaluated
from nbprops.signals.policies import edge3, v1
from nbprops.signals.practice import graded_of, outcomes, practice, stored
from nbprops.signals.rules import SIGNALS, evaluate, modes_at

OPENS = date(2025, 11, 25)

@pytest.fixture(scope="module")
def league(): return practice(seed=4)

@pytest.fixture(scope="module")
def told(league): return evaluate(signal_inputs(league.predictions, league.sources()))

def drawn(league, seed, planted=None, rate=.5):
    played = league.predictions.with_columns(outcomes(league.predictions, seed, planted, rate))
    return candidates(match_combos(evaluate(signal_inputs(played, league.sources(graded_of(played)))), COMBOS, SIGNALS))

made = lambda rule, n, wins, days=40, price=-110, side="OVER", **over: pl.DataFrame([dict(rule=rule, game_date=date(2026, 1, 1) + timedelta(i % days), game_id=f"{rule}{i}", player_lookup="p", system_id="s", recommendation=side, result="WIN" if i < wins else "LOSS", over_price_american=price, under_price_american=price) | over for i in range(n)], schema_overrides=dict(over_price_american=pl.Int64, under_price_american=pl.Int64))

@pytest.mark.parametrize("result, price, profit", [("WIN", -110, 100/110), ("WIN", 150, 1.5), ("LOSS", 150, -1.0), ("PUSH", -110, 0.0), ("VOID", -110, None), ("WIN", None, None)])
def test_profit_of_a_pick(result, price, profit):
    "Fails when a push loses, a void counts, or a profit is invented where no price was recorded."
    got = priced(made("a", 1, 1, price=price, result=result))["profit"][0]
    assert got is None if profit is None else got == pytest.approx(profit)

def test_one_price_is_no_market():
    "Fails when a break-even is taken from one side of a market."
    assert priced(made("a", 1, 1).with_columns(over_price_american=pl.lit(None, pl.Int64)))["implied"][0] is None

def test_a_measure_by_hand():
    "Fails when pushes enter the rate, the break-even ignores the prices, or q is not Benjamini-Hochberg over the declared rules."
    picks = priced(once(pl.concat([made("a", 100, 60), made("b", 50, 20), made("a", 5, 0, result="PUSH", game_id="x").with_columns(game_id=pl.Series([f"x{i}" for i in range(5)]))])))
    t = measures(picks, ["a", "b", "never"])
    assert t.select("wins", "losses", "pushes", "n").rows() == [(60, 40, 5, 100), (20, 30, 0, 50), (0, 0, 0, 0)]
    assert t["break_even"][0] == pytest.approx(110/210) and t["rate"][0] == .6 and t["rate"][2] is None and t["p"][2] == pytest.approx(1.0)
    assert t["q"].to_list() == pytest.approx([3*t["p"][0], 1.0, 1.0]) and t["profit"][0] == pytest.approx(60*100/110 - 40)

def test_the_test_and_the_bound_agree():
    "Fails when the p-value and the one-sided bound could contradict each other."
    for wins in range(50, 75):
        r = measures(priced(made("a", 100, wins, days=100)), ["a"]).row(0, named=True)
        if abs(r["p"] - .05) > .002: assert (r["p"] < .05) == (r["low95"] > r["break_even"])

def test_picks_of_a_day_do_not_count_as_independent():
    "Fails when three systems' identical nights make a rule three times as sure."
    days = [date(2026, 1, 1) + timedelta(k) for k in range(40)]
    night = pl.DataFrame([dict(rule="a", game_date=d, game_id=f"{d}{i}", player_lookup="p", system_id="s", recommendation="OVER", result="WIN" if k % 2 else "LOSS", over_price_american=-110, under_price_american=-110) for k, d in enumerate(days) for i in range(10)])
    lone = night.with_columns(result=pl.Series(["WIN" if i % 2 else "LOSS" for i in range(night.height)]))
    a, b = (measures(priced(f), ["a"]).row(0, named=True) for f in (night, lone))
    assert a["deff"] > 8 and b["deff"] == 1.0 and a["high"] - a["low"] > 2*(b["high"] - b["low"])

def test_a_player_game_counts_once_per_rule():
    "Fails when two systems that saw the same game count as two picks."
    two = pl.concat([made("a", 10, 5, system_id="s2"), made("a", 10, 5, system_id="s1")])
    assert once(two).height == 10 and set(once(two)["system_id"]) == {"s1"}

def test_the_best_of_many_grows_with_the_family():
    "Fails when the best of thirty rules is compared with one rule's luck."
    some = lambda k: measures(priced(pl.concat([made(f"r{i}", 60, 30) for i in range(k)])), [f"r{i}" for i in range(k)])
    one, many = best_of(some(1)), best_of(some(30))
    assert one["median"] == pytest.approx(110/210, abs=.02) and many["median"] > .62 and many["high"] > many["median"] and best_of(some(3).with_columns(n=pl.lit(10)))["rules"] == 0

def test_the_reality_check_keeps_its_level_and_finds_an_edge():
    "Fails when luck among thirty rules is called skill (60 draws, bound at 99.9 %), or a real edge is not."
    rng, low = np.random.default_rng(0), 0
    for k in range(60): low += reality_check(rng.normal(0, 1, (80, 30)), draws=200, seed=k)["spa"] <= .05
    assert low <= 10
    good = rng.normal(0, 1, (80, 30)); good[:, 7] += .6
    found = reality_check(good, draws=500)
    assert found["spa"] < .01 and found["best"] == 7 and reality_check(np.zeros((80, 3)))["spa"] is None

def test_overfitting_of_noise_and_of_an_edge():
    "Fails when the best of one half of noise is believed, or a lasting edge is not."
    rng = np.random.default_rng(1)
    good = rng.normal(0, 1, (100, 20)); good[:, 3] += 1
    assert np.mean([overfitting(rng.normal(0, 1, (100, 20))) for _ in range(20)]) > .35 and overfitting(good) < .05 and overfitting(good[:10]) is None

def test_what_could_be_found():
    "Fails when the promised power is not what a simulation of the promised test shows."
    r, rng = detectable(1200, 110/210, 30), np.random.default_rng(3)
    from scipy.stats import norm
    wins = rng.binomial(1200, r, 4000); z = (wins/1200 - 110/210)/np.sqrt(110/210*100/210/1200)
    assert .575 < r < .585 and abs((norm.sf(z) <= .05/30).mean() - .8) < .03 and detectable(5, 110/210, 30) is None

def test_noise_is_seldom_promoted(league):
    "Fails when any of 30 rules over twelve draws of a league without a signal is promoted more than once."
    assert sum(judge(drawn(league, k).filter(pl.col("game_date") >= OPENS), trial(drawn(league, k)), every=False)["promotable"].any() for k in range(12)) <= 1

def test_a_planted_rule_is_promoted_and_the_rest_is_not(league, told):
    "Fails when a rule that wins four in five is not found, or when its neighbours are dragged along unnamed."
    rows = drawn(league, 12, told["scoring_acceleration"].fill_null(False), .82)
    t = judge(rows.filter(pl.col("game_date") >= date(2025, 11, 12)), trial(rows))
    assert t.filter("promotable")["rule"].to_list() == ["scoring_acceleration"]
    r = t.filter(pl.col("rule") == "scoring_acceleration").row(0, named=True); assert r["edge3_low"] > 0 and r["without_low"] > 0

def test_permuted_days_are_not_significant(league, told):
    "Fails when a rule stays significant after its results were dealt to other days."
    rows = drawn(league, 12, told["scoring_acceleration"].fill_null(False), .82); rng = np.random.default_rng(5); hits, tests = 0, 0
    for _ in range(15):
        days = rows["game_date"].unique().sort(); dealt = dict(zip(days, rng.permutation(days.to_numpy())))
        pool = rows.select("game_date", "result").group_by("game_date").agg(pl.col("result"))
        share = {d: (np.array(x) == "WIN").mean() for d, x in pool.iter_rows()}
        p = rows["game_date"].replace_strict({d: share[dealt[d].astype("datetime64[D]").item()] for d in days}, return_dtype=pl.Float64).to_numpy()
        mixed = priced(rows.drop("won", "implied", "profit").with_columns(result=pl.Series(np.where(rng.random(rows.height) < p, "WIN", "LOSS"))))
        t = measures(picks_of(mixed, trial(mixed)), list(trial(mixed))).filter(pl.col("n") >= 30); hits += int((t["p"] <= .05).sum()); tests += t.height
    assert tests > 150 and hits/tests <= .08

@pytest.mark.parametrize("over, why", [(dict(n=29), "too few to say anything"), (dict(n=99), "below 100"), (dict(low95=.50), "lower bound"), (dict(q=.06), "after 30 tests"), (dict(edge3_low=-.01), "edge 3\\+"), (dict(without_low=0.0), "without it"), (dict(edge3_low=None), "edge 3\\+"), ({}, None)])
def test_every_bar_of_a_promotion(over, why):
    "Fails when one of the five bars can be passed under."
    from nbprops.signals.backtest import reasons
    row = pl.DataFrame([dict(n=150, low95=.55, break_even=.524, q=.01, tests=30, edge3_low=.01, without_low=.01) | over], schema_overrides=dict(edge3_low=pl.Float64))
    got = row.select(reasons().alias("r"))["r"][0].to_list()
    assert got == [] if why is None else len(got) == 1 and __import__("re").search(why, got[0])

@pytest.fixture(scope="module")
def base(league, told, tmp_path_factory):
    from nbprops.data.warehouse import Warehouse
    w = Warehouse(tmp_path_factory.mktemp("trial")/"w.duckdb"); w.migrate()
    stored(w, league, outcomes(league.predictions, 12, told["scoring_acceleration"].fill_null(False), .85))
    return w.path

@pytest.fixture
def wh(base, tmp_path):
    import shutil
    from nbprops.data.warehouse import Warehouse
    shutil.copy(base, tmp_path/"w.duckdb"); return Warehouse(tmp_path/"w.duckdb")

SPAN = (date(2025, 11, 1), date(2025, 12, 31))

def test_production_and_backtest_give_the_same_tags(wh):
    "Fails when a backtest evaluates a signal on anything but what production saw."
    e = read_evidence(wh, *SPAN)
    with wh.transaction() as tx: live = evaluated(tx, *SPAN)
    key = ["game_date", "game_id", "player_lookup", "system_id"]
    both = live.select(*key, *SIGNALS).join(e.rows.select(*key, *SIGNALS), on=key, suffix="_b")
    assert both.height == e.rows.height > 1500 and all(both[t].equals(both[f"{t}_b"].rename(t), null_equal=True) for t in SIGNALS)

def test_the_declaration_stands_before_the_holdout_is_opened(wh, monkeypatch):
    "Fails when a result is looked at before the promise is written down, or when looks are not counted."
    from nbprops.signals import declarations as D
    seen = []
    real = D.run_trial
    monkeypatch.setattr(D, "run_trial", lambda *a, **k: (seen.append(wh.read(DECLARATIONS).select("declared_at", "holdout_opened_at").row(0)), real(*a, **k))[1])
    a, b = backtest(wh, *SPAN, opens=OPENS, actor="ann"), backtest(wh, *SPAN, opens=OPENS + timedelta(days=3), actor="ann")
    assert None not in seen[0] and seen[0][0] <= seen[0][1] and (a.looks, b.looks) == (0, 1) and a.declaration.id != b.declaration.id
    assert wh.sql("SELECT runs_to_date FROM nba_predictions.ml_experiments WHERE experiment_type = 'signal_backtest' ORDER BY completed_at")["runs_to_date"].to_list() == [1, 2] and wh.read(DECLARATIONS).height == 2
    assert kept_trial(wh, a.experiment_id)["looks"] == 0 and kept_trial(wh)["experiment_id"] == b.experiment_id

def test_discovery_does_not_read_the_holdout(wh):
    "Fails when what is expected of the holdout depends on its results."
    e = read_evidence(wh, *SPAN); a = outlook(e, OPENS)
    from dataclasses import replace
    blind = replace(e, rows=e.rows.with_columns(result=pl.when(pl.col("game_date") >= OPENS).then(pl.lit("LOSS")).otherwise("result")))
    assert a.equals(outlook(blind, OPENS))

def test_rows_inside_a_training_window_are_set_aside_by_name(wh):
    "Fails when an in-sample prediction is evidence, or vanishes without a name."
    wh.sql("UPDATE nba_predictions.prediction_accuracy SET model_training_end_date = DATE '2025-12-01' WHERE system_id = 'catboost_v9'")
    e = read_evidence(wh, *SPAN)
    assert e.rows.filter(pl.col("system_id") == "catboost_v9")["game_date"].min() > date(2025, 12, 1) and e.counts.set_aside["not after the training of its model"] > 100 and e.counts.read == e.counts.accounted()
    wh.sql("UPDATE nba_predictions.prediction_accuracy SET model_training_end_date = DATE '2026-12-01' WHERE TRUE")
    with pytest.raises(Refusal, match="not after the training"): read_evidence(wh, *SPAN)

@pytest.mark.parametrize("ask, word", [(dict(tags=["moon"]), "no signal and no combo"), (dict(opens=date(2026, 3, 1)), "leaves nothing"), (dict(opens=date(2025, 11, 1)), "leaves nothing"), (dict(system="catboost_v77"), "No graded prediction")])
def test_a_bad_request_is_one_sentence(wh, ask, word):
    "Fails when a typo runs a backtest of nothing, or writes a declaration."
    with pytest.raises(Refusal, match=word): backtest(wh, *SPAN, **ask)
    assert wh.read(DECLARATIONS).is_empty()

def test_the_old_prototypes_get_a_verdict(wh):
    "Fails when the three UNDER prototypes cannot be asked about by name; few picks are a verdict."
    b = backtest(wh, *SPAN, tags=["b2b_fatigue_under", "cold_continuation_2", "fg_cold_continuation"])
    assert b.trial.holdout["rule"].to_list() == ["cold_continuation_2", "b2b_fatigue_under", "fg_cold_continuation"] and not b.trial.promotable and b.trial.holdout["reasons"].list.len().min() > 0

def test_promotion_needs_the_backtest_that_found_it(wh):
    "Fails when a signal counts without evidence, on evidence for another rule, or for ever."
    b = backtest(wh, *SPAN, opens=date(2025, 11, 14))
    assert b.trial.promotable == ["scoring_acceleration"]
    for tag, e, word in (("hot_streak_2", b.experiment_id, "not promotable"), ("scoring_acceleration", "00000000", "No signal backtest"), ("nosuch", b.experiment_id, "no signal")):
        with pytest.raises(Refusal, match=word): promote(wh, tag, e, "x", "ann")
    for kw, word in ((dict(to="off"), "no mode to promote"), (dict(days=500), "120 days"), (dict(reason=" "), "--reason")):
        with pytest.raises(Refusal, match=word): promote(wh, "scoring_acceleration", b.experiment_id, **(dict(reason="x", actor="ann") | kw))
    m = promote(wh, "scoring_acceleration", b.experiment_id, "found", "ann", days=30)
    now_ = standing(wh).filter(pl.col("tag") == "scoring_acceleration").row(0, named=True)
    later = modes_at(wh.read(HISTORY), m.expires + timedelta(seconds=1))["scoring_acceleration"]
    assert (now_["mode"], now_["counts"]) == ("watch", True) and later.mode == "prototype" and wh.read(HISTORY).height == 1
    demote(wh, "scoring_acceleration", "cold", "ann"); assert standing(wh).filter(pl.col("tag") == "scoring_acceleration")["mode"][0] == "prototype"
    with pytest.raises(Refusal, match="already"): demote(wh, "scoring_acceleration", "again", "ann")

def test_a_changed_rule_loses_its_backtest(wh, monkeypatch):
    "Fails when a threshold that moved after the backtest is promoted on the old evidence."
    from dataclasses import replace
    b = backtest(wh, *SPAN, opens=date(2025, 11, 14))
    monkeypatch.setitem(SIGNALS, "scoring_acceleration", replace(SIGNALS["scoring_acceleration"], rule=pl.col("points_last_3") > pl.col("points_season")))
    with pytest.raises(Refusal, match="has changed since"): promote(wh, "scoring_acceleration", b.experiment_id, "x", "ann")

def test_policies_know_only_the_health_of_the_day(league):
    "Fails when what a policy picks on a day changes with results of that day or later."
    played = league.predictions.with_columns(outcomes(league.predictions, 3))
    day = date(2025, 12, 3)
    flip = played.with_columns(result=pl.when((pl.col("game_date") >= day) & (pl.col("result") != "PASS")).then(pl.lit("LOSS")).otherwise("result"))
    seasons = played.select("game_date").unique().sort("game_date").with_columns(season_start_date=pl.lit(date(2025, 10, 21)))
    def picked(f):
        rows = match_combos(evaluate(signal_inputs(f, league.sources(graded_of(f)))), COMBOS, SIGNALS)
        return picks_made(choose_all(rows, [v1(), edge3()], seasons)).filter(pl.col("game_date") <= day).select("rule", "game_date", "player_lookup", "rank", "composite_score").sort("rule", "game_date", "rank")
    assert picked(played).equals(picked(flip))
