"Inputs and health: nothing of the day itself, and the same numbers as a slow count."
from datetime import date, timedelta
import numpy as np, polars as pl, pytest
from nbprops.features.facts import Facts
from nbprops.signals.health import answers_by_day, graded_tags, health
from nbprops.signals.inputs import CONTEXT, INPUTS, OFFENSE, SUMMARY, pace_ranks, signal_inputs, tiers
from nbprops.signals.practice import graded_of, outcomes, practice
from nbprops.signals.rules import SIGNALS, evaluate

@pytest.fixture(scope="module")
def league(): return practice(seed=3)

@pytest.fixture(scope="module")
def played(league): return league.predictions.with_columns(outcomes(league.predictions, 8))

DAY = date(2025, 12, 5)
on = lambda f, d=DAY: f.filter(pl.col("game_date") == d)
told = lambda league, rows, graded=None, **tables: evaluate(signal_inputs(rows, league.sources(graded).__class__.of(league.tables | tables, graded))) # noqa

def test_inputs_do_not_know_their_own_day(league, played):
    "Fails when any input of a date changes with box scores, paces or results of that date or later."
    rng = np.random.default_rng(0)
    spoil = lambda f, cols: f.with_columns(pl.when(pl.col("game_date") >= DAY).then(pl.Series(rng.integers(0, 40, f.height)).cast(f.schema[c])).otherwise(pl.col(c)).alias(c) for c in cols)
    graded = graded_of(played)
    other = graded.with_columns(result=pl.when(pl.col("game_date") >= DAY).then(pl.lit("LOSS")).otherwise("result"))
    changed = {SUMMARY: spoil(league.tables[SUMMARY], ["points", "minutes_played", "three_pt_attempts", "three_pt_makes", "fg_attempts", "fg_makes"]), OFFENSE: spoil(league.tables[OFFENSE], ["pace"])}
    a, b = (on(told(league, played, g, **t)).select(*INPUTS, *SIGNALS) for g, t in ((graded, {}), (other, changed)))
    assert a.equals(b)
    later = DAY + timedelta(days=3)
    assert not on(told(league, played, other, **changed), later).select(*INPUTS).equals(on(told(league, played, graded), later).select(*INPUTS)) # the damage is real

def test_shifting_results_by_a_game_changes_nothing_before_it(league, played):
    "Fails when a tag reads the outcome of the game it is about."
    graded = graded_of(played)
    flipped = graded.with_columns(result=pl.when(pl.col("game_date") == DAY).then(pl.when(pl.col("result") == "WIN").then(pl.lit("LOSS")).otherwise(pl.lit("WIN"))).otherwise("result"))
    a, b = (told(league, played, g).filter(pl.col("game_date") <= DAY).select(*SIGNALS) for g in (graded, flipped))
    assert a.equals(b)

def test_form_agrees_with_a_slow_count(league, played):
    "Fails when a mean, a percentage or its spread is not that of the games before the day."
    found = on(told(league, played)).unique("player_lookup").sort("player_lookup")
    box = league.tables[SUMMARY].filter(~pl.col("is_dnp") & (pl.col("minutes_played") > 0), pl.col("game_date") < DAY).sort("game_date", "game_id")
    checked = 0
    for r in found.iter_rows(named=True):
        g = box.filter(pl.col("player_lookup") == r["player_lookup"]).to_dicts()
        if len(g) < 5: continue
        pct = lambda rows, a: [x[f"{a}_makes"]/x[f"{a}_attempts"] for x in rows if x[f"{a}_attempts"]]
        want = dict(minutes_last_3=np.mean([float(x["minutes_played"]) for x in g[-3:]]), minutes_season=np.mean([float(x["minutes_played"]) for x in g]), minutes_last_5=np.mean([float(x["minutes_played"]) for x in g[-5:]]), previous_minutes=float(g[-1]["minutes_played"]), points_last_3=np.mean([x["points"] for x in g[-3:]]), points_season=np.mean([x["points"] for x in g]), three_attempts_last_3=np.mean([x["three_pt_attempts"] for x in g[-3:]]))
        for a, b in (("three_pt", "three"), ("fg", "fg")):
            if p := pct(g[-3:], a): want[f"{b}_pct_last_3"] = np.mean(p)
            if len(p := pct(g, a)) > 2: want |= {f"{b}_pct_season": np.mean(p), f"{b}_pct_sd": np.std(p, ddof=1)}
        for k, v in want.items(): assert r[k] == pytest.approx(v, abs=2e-6), (k, r["player_lookup"])
        checked += 1
    assert checked >= 8

def test_streaks_agree_with_a_slow_count(league, played):
    "Fails when a push breaks a streak, a game of the day counts, or a streak crosses to another system."
    graded = graded_of(played)
    found = on(told(league, played, graded))
    assert found["correct_streak"].max() >= 3
    for r in found.iter_rows(named=True):
        past = graded.filter(pl.col("system_id") == r["system_id"], pl.col("player_lookup") == r["player_lookup"], pl.col("game_date") < DAY).sort("game_date", "game_id")["result"].to_list()[::-1]
        run = lambda word: next((i for i, x in enumerate(past) if x != word), len(past))
        assert (r["correct_streak"], r["wrong_streak"]) == (run("WIN"), run("LOSS"))

def test_the_rank_of_pace_counts_all_teams_of_the_day_before():
    "Fails when a team that does not play is left out of the rank, or when the rank knows the season's end."
    days = [date(2025, 11, 1) + timedelta(k) for k in range(30)]
    games = pl.DataFrame([dict(team_abbr=f"T{t:02d}", season="2025-26", game_date=d, game_id=f"{d}{t}", pace=90. + t + (50. if d == days[-1] else 0.)) for t in range(30) for d in days])
    r = pace_ranks(games, pl.DataFrame({"season": "2025-26", "cut": [days[-1], days[3]]})).sort("cut")
    assert r["pace_high_5"].to_list() == [None, 115.] and r["pace_low_15"].to_list() == [None, 104.]

def test_a_tier_looks_at_seven_days_of_strong_picks():
    "Fails when weak picks, the day itself or the eighth day count."
    d = date(2026, 1, 20)
    pick = lambda back, won, edge=4.: dict(game_date=d - timedelta(back), game_id=f"{back}{won}{edge}", player_lookup="p", system_id="s", recommendation="OVER", result="WIN" if won else "LOSS", line_value=20., predicted_points=20. + edge, actual_points=1.)
    ask = lambda picks: tiers(pl.DataFrame(picks), pl.DataFrame({"system_id": ["s"], "cut": [d]})).row(0, named=True)
    r = ask([pick(7, True), pick(1, False), pick(0, True), pick(8, True), pick(3, True, 2.9)])
    assert (r["wins_7d"], r["graded_7d"], r["hit_rate_7d"], r["model_tier"]) == (1, 2, 50., "blocked")
    assert [ask([pick(1, i < w, 4. + i) for i in range(n)])["model_tier"] for w, n in ((11, 20), (12, 20))] == ["watch", "healthy"] and ask([pick(0, True)])["model_tier"] == "unknown"

def test_health_agrees_with_a_slow_count(league, played):
    "Fails when a window, the season, the distinct player-games or the strictly-before rule is off."
    rows = told(league, played, graded_of(played))
    days = rows["game_date"].unique().sort(); first = date(2025, 10, 21)
    h = health(graded_tags(rows, SIGNALS), answers_by_day(rows, SIGNALS), pl.DataFrame({"game_date": days, "season_start_date": first}), SIGNALS)
    assert h.height == len(days)*len(SIGNALS)
    for tag in ("high_edge", "hot_streak_2", "minutes_surge"):
        seen = {}
        for r in rows.filter(pl.col(tag), pl.col("result").is_in(["WIN", "LOSS"])).sort("system_id").iter_rows(named=True): seen.setdefault((r["game_id"], r["player_lookup"]), (r["game_date"], r["result"] == "WIN"))
        for r in h.filter(pl.col("signal_tag") == tag).iter_rows(named=True):
            for name, back in (("7d", 7), ("14d", 14), ("30d", 30), ("season", 400)):
                mine = [w for d, w in seen.values() if r["game_date"] - timedelta(back) <= d < r["game_date"]]
                assert (r[f"picks_{name}"], r[f"wins_{name}"]) == (len(mine), sum(mine))
            here = rows.filter(pl.col("game_date") < r["game_date"], pl.col("game_date") >= r["game_date"] - timedelta(7))[tag]
            assert (r["fired_7d"], r["cannot_evaluate_7d"]) == (here.sum(), here.null_count())

def test_the_length_of_a_regime_counts_game_days():
    "Fails when a regime's length survives its change."
    found = pl.DataFrame({"signal_tag": ["a"]*40, "game_date": [date(2026, 1, 1) + timedelta(k) for k in range(40)], "player_lookup": "p", "game_id": [f"g{k}" for k in range(40)], "won": [1]*20 + [0]*20})
    s = {"high_edge": SIGNALS["high_edge"]}
    h = health(found.with_columns(signal_tag=pl.lit("high_edge")), pl.DataFrame(schema=dict(game_date=pl.Date, signal_tag=pl.String, fired=pl.Int64, not_fired=pl.Int64, cannot_evaluate=pl.Int64)), pl.DataFrame({"game_date": found["game_date"], "season_start_date": date(2025, 10, 21)}), s)
    turn = h["regime"].to_list()
    assert turn[:20] == ["INSUFFICIENT"]*20 and turn[20] == "NORMAL" and "COLD" in turn
    first = turn.index("COLD"); assert h["days_in_current_regime"].to_list()[first:first + 3] == [1, 2, 3]
    assert h.filter(pl.col("regime") == "COLD")["weight"].unique().to_list() == [0.0] and h.filter(pl.col("regime") == "COLD")["status"].unique().to_list() == ["DEGRADING"]
