"Systems and the gate: formulas by hand, signs, and every reason to block."
import polars as pl, pytest
from nbprops.features.catalogue import FEATURES, contract
from nbprops.features.feeds import FEEDS
from nbprops.predict.gate import MODES, REASONS, gate, marks, run_mode, with_quality
from nbprops.predict.systems import FileSystem, chances, moving_average
from nbprops.settings import Refusal

FULL = {f.name: (f.low + f.high)/2 for f in FEATURES}

def rows(n=1, feeds=FEEDS, **over):
    "Slate rows with every feature, all feeds unless said otherwise."
    base = FULL | {f"has_{f}": f in feeds for f in FEEDS} | dict(feature_version="v2", done=False, withdrawn=False)
    return pl.DataFrame([base | over]*n, schema_overrides={f.name: pl.Float64 for f in FEATURES} | {"feature_version": pl.String})

def model(feature_set="v9", profile="+".join(FEEDS)):
    "A model from a file, as far as the gate is concerned."
    return FileSystem("m", contract(feature_set, profile), dict(model_load_source="REGISTRY", model_id="m"))

def reason(frame, system=None, mode="SAME_DAY"): return gate(frame, marks(frame), system or model(), run_mode(mode))["reason"].to_list()

def points(**over):
    base = dict(points_avg_last_5=20.0, points_avg_last_10=18.0, points_avg_season=16.0, points_std_last_10=5.0, games_in_last_7_days=2.0, fatigue_score=100.0, shot_zone_mismatch_score=0.0, pace_score=0.0, usage_spike_score=0.0, rest_advantage=0.0, home_away=1.0, back_to_back=0.0)
    return moving_average().predict(rows(**(base | over))).item()

def test_moving_average_by_hand():
    "Would catch a wrong weight or term."
    base = .5*20 + .3*18 + .2*16 + .5
    assert points() == pytest.approx(base)
    assert points(home_away=0.0) == pytest.approx(base - 1.0)
    assert points(shot_zone_mismatch_score=4.0) == pytest.approx(base + 1.2)
    assert points(pace_score=2.0) == pytest.approx(base + .6) and points(usage_spike_score=2.0) == pytest.approx(base + .8)
    assert points(rest_advantage=2.0) == pytest.approx(base + 1.0) and points(back_to_back=1.0, rest_advantage=2.0) == pytest.approx(base - 1.5)
    assert [round(points(fatigue_score=f) - base, 9) for f in (50.0, 49.0, 30.0, 29.0)] == [0, -1, -1, -2.5]

def test_moving_average_without_optional_terms_and_without_required_ones():
    "Would catch a missing term that becomes a constant, or a missing average that is substituted."
    gone = {c: None for c in ("fatigue_score", "shot_zone_mismatch_score", "pace_score", "usage_spike_score", "rest_advantage", "home_away", "back_to_back")}
    assert points(**gone) == pytest.approx(.5*20 + .3*18 + .2*16)
    assert points(points_avg_last_10=None) is None and points(points_avg_last_5=70.0, points_avg_last_10=70.0, points_avg_season=70.0) == 60.0

def test_moving_average_confidence_and_picks():
    "Would catch thresholds that are off by one step."
    ma = moving_average()
    conf = lambda std, games: rows(points_std_last_10=std, games_in_last_7_days=games).select(ma.confidence(pl.lit(90.0))).item()
    assert [round(conf(s, g), 2) for s, g in ((3.0, 3.0), (4.0, 2.0), (5.0, 1.0), (7.0, 0.0))] == [.60, .55, .32, .25]
    side = lambda e, c: pl.DataFrame({"e": [e]}, schema={"e": pl.Float64}).select(ma.pick(pl.col("e"), pl.lit(c))).item()
    assert [side(2.0, .6), side(2.1, .6), side(-2.1, .6), side(2.1, .45), side(None, .6)] == ["PASS", "OVER", "UNDER", "PASS", "NO_LINE"]

def test_model_confidence_and_picks():
    "Would catch a v12 model that is scored by the steps of v9."
    conf = lambda s, std, q: rows(points_std_last_10=std).select(s.confidence(pl.lit(q))).item()
    assert [round(conf(model(), *x), 2) for x in ((3.0, 95.0), (5.0, 85.0), (7.0, 75.0), (9.0, 50.0))] == [.95, .89, .85, .79]
    assert [round(conf(model("v12"), *x), 2) for x in ((3.0, 95.0), (5.0, 85.0), (9.0, 50.0))] == [.95, .87, .75]
    side = lambda e: pl.DataFrame({"e": [e]}, schema={"e": pl.Float64}).select(model().pick(pl.col("e"), pl.lit(.5))).item()
    assert [side(1.0), side(.99), side(-1.0), side(None)] == ["OVER", "PASS", "UNDER", "NO_LINE"]

def test_chances_need_residuals_and_a_line():
    "Would catch a probability out of nothing."
    import numpy as np
    from dataclasses import replace
    s = replace(moving_average(), residuals=np.sort(np.random.default_rng(0).normal(0, 6, 500)))
    got = chances(s, pl.Series([20.0]*4), pl.Series([15.5, 20.0, 25.5, None]), pl.Series([None]*4, dtype=pl.Float64))
    assert got["p_over"][0] > got["p_over"][1] > got["p_over"][2] and got["p_push"].to_list()[0] == 0 and got["p_push"][1] > 0 and got.row(3) == (None, None)
    assert chances(moving_average(), pl.Series([20.0]), pl.Series([15.5]), pl.Series([.5])).row(0) == (None, None)

def test_every_reason_in_its_order():
    "Would catch a gate that lets one of them through, or reports the wrong one."
    assert reason(rows()) == [None]
    assert reason(rows(done=True, feature_version=None)) == ["already_predicted"]
    assert reason(rows(withdrawn=True)) == ["line_withdrawn"]
    assert reason(rows(feature_version=None, team_pace=None)) == ["no_feature_row"]
    assert reason(rows(feeds=("box", "props"), team_pace=None)) == ["feed_missing"]
    assert reason(rows(team_pace=None)) == ["missing_required"]
    assert reason(rows(pct_three=35.0)) == ["out_of_range"]
    optional = contract("v9", "box+shots")
    assert reason(rows(shot_zone_mismatch_score=None, feeds=("box", "shots")), model("v9", "box+shots")) == [None] and len(optional.names) < 33
    assert gate(rows(pace_score=None), marks(rows(pace_score=None)), moving_average(), run_mode("SAME_DAY")).select("reason", "missing").row(0) == (None, ["pace_score"])
    assert set(REASONS) >= {"matchup_below_50", "alert_red", "score_below_minimum"}

def test_the_score_and_matchup_limits():
    "Would catch limits that nobody reaches because an earlier one always fires."
    from nbprops.predict.gate import first_reason
    base = dict(done=False, withdrawn=False, feature_version="v2", default_feature_count=0, illegal=False, matchup_quality_pct=100.0, quality_alert_level="green", feature_quality_score=90.0, has_box=True)
    one = lambda mode="SAME_DAY", **o: pl.DataFrame([base | o]).select(first_reason(run_mode(mode), ("box",))).item()
    assert one(matchup_quality_pct=49.9) == "matchup_below_50" and one(quality_alert_level="red") == "alert_red"
    assert [one(m, feature_quality_score=s) for m, s in (("SAME_DAY", 84.9), ("FINAL_RETRY", 80.0), ("LAST_CALL", 69.9), ("BACKFILL", 70.0))] == ["score_below_minimum", None, "score_below_minimum", None]
    unsure = pl.DataFrame([base | dict(feature_quality_score=None)], schema_overrides={"feature_quality_score": pl.Float64}).select(first_reason(run_mode("BACKFILL"), ("box",))).item()
    assert unsure == "score_below_minimum"

def test_quality_follows_the_models_own_contract():
    "Would catch a model that is blocked for a feature it does not read."
    frame = rows(dnp_rate=None, game_total_line=None)
    assert reason(frame, model("v9")) == [None] and reason(frame, model("v12")) == ["missing_required"]
    q = with_quality(frame, marks(frame), contract("v12")).row(0, named=True)
    assert q["missing"] == ["dnp_rate"] and q["default_feature_count"] == 1 and q["feature_quality_score"] <= 69 and not q["is_quality_ready"]
    five = rows(**{n: None for n in ("points_avg_last_5", "points_avg_last_10", "team_pace", "days_rest", "opponent_pace")})
    q = with_quality(five, marks(five), contract("v12")).row(0, named=True)
    assert q["feature_quality_score"] <= 49 and q["quality_alert_level"] == "red"

def test_quality_equals_the_stores(wh):
    "Would catch two definitions of quality."
    from tests.predict_world import DAY
    from nbprops.data.league import simulate
    from nbprops.features.facts import Facts
    from nbprops.features.store import STORE, build
    from nbprops.data.reference import shipped
    store = build(Facts.of(simulate(light=True) | shipped()), DAY, DAY)[STORE]
    feeds = pl.col("feed_profile").str.split("+")
    frame = store.with_columns(feeds.list.contains(f).alias(f"has_{f}") for f in FEEDS)
    mine = with_quality(frame.drop("feature_quality_score", "default_feature_count", "matchup_quality_pct", "quality_alert_level", "is_quality_ready"), marks(frame), contract("v12"))
    for c in ("default_feature_count", "matchup_quality_pct", "quality_alert_level", "is_quality_ready"): assert mine[c].equals(store[c], null_equal=True), c
    assert (mine["feature_quality_score"] - store["feature_quality_score"]).abs().max() < 1e-9 and mine["missing"].to_list() == store["missing_feature_names"].to_list()

def test_modes_are_the_seven():
    "Would catch a mode that was renamed or lost its limit."
    assert {m.name: (m.minimum, m.with_line_only, m.live) for m in MODES.values()} == {"EARLY": (85, True, True), "OVERNIGHT": (85, False, True), "SAME_DAY": (85, False, True), "RETRY": (85, False, True),
        "FINAL_RETRY": (80, False, True), "LAST_CALL": (70, False, True), "BACKFILL": (70, False, False)}
    assert {m.name for m in MODES.values() if m.missing_only} == {"RETRY", "FINAL_RETRY", "LAST_CALL", "BACKFILL"}
    with pytest.raises(Refusal): run_mode("noon")
