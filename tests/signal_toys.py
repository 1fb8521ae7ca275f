"Rows for the tests of the signals: a neutral pick, what makes each signal fire, and the same rules written row by row."
import math
import polars as pl
from nbprops.signals.inputs import INPUTS

KINDS = {"yes or no": pl.Boolean, "word": pl.String, "OVER, UNDER": pl.String}
SCHEMA = {n: KINDS.get(i.unit, pl.Float64) for n, i in INPUTS.items()}
NEUTRAL = dict(edge=2.0, confidence=.80, v12_edge=0.5, minutes_last_3=30., minutes_last_5=30., minutes_season=30., previous_minutes=30., points_last_3=18., points_last_5=18., points_season=18., three_attempts_last_3=3., three_attempts_season=3., three_pct_last_3=.36, three_pct_season=.36, three_pct_sd=.1,
    fg_pct_last_3=.47, fg_pct_season=.47, fg_pct_sd=.08, days_rest=2., opponent_days_rest=2., home=False, underdog=False, position="G", under_streak=0., team_pace=100., opponent_pace=100., pace_high_5=103., pace_low_15=99.5, correct_streak=0., wrong_streak=0., last_outcome="OVER", model_tier="healthy")
O, U = "OVER", "UNDER"
# tag -> (side, inputs that make it fire, inputs that leave it silent, input whose absence leaves it undecided)
CASES = {
    "high_edge": (O, dict(edge=5.0), dict(edge=4.9), "edge"),
    "dual_agree": (U, dict(edge=-3.0, v12_edge=-3.0), dict(edge=-3.0, v12_edge=3.0), "v12_edge"),
    "3pt_bounce": (O, dict(three_attempts_season=4., three_pct_last_3=.25), dict(three_attempts_season=3.9, three_pct_last_3=.25), "three_pct_last_3"),
    "minutes_surge": (O, dict(minutes_last_3=33.), dict(minutes_last_3=32.9), "minutes_last_3"),
    "pace_mismatch": (O, dict(opponent_pace=103., team_pace=99.5), dict(opponent_pace=102.9, team_pace=99.5), "pace_high_5"),
    "cold_snap": (O, dict(home=True, under_streak=3.), dict(home=False, under_streak=3.), "under_streak"),
    "blowout_recovery": (O, dict(previous_minutes=24.), dict(previous_minutes=24., position="F-C"), "position"),
    "combo_he_ms": (O, dict(edge=5.0, minutes_last_3=33.), dict(edge=4.9, minutes_last_3=33.), "minutes_season"),
    "combo_3way": (U, dict(edge=-5.0, minutes_last_3=33., confidence=.70), dict(edge=-5.0, minutes_last_3=33., confidence=.89), "confidence"),
    "edge_spread_optimal": (U, dict(edge=-5.0, confidence=.91), dict(edge=-5.0, confidence=.69), "confidence"),
    "hot_streak_3": (O, dict(correct_streak=3.), dict(correct_streak=2.), "correct_streak"),
    "cold_continuation_2": (U, dict(wrong_streak=2., last_outcome=U), dict(wrong_streak=2., last_outcome=O), "last_outcome"),
    "b2b_fatigue_under": (U, dict(days_rest=1., minutes_season=35.), dict(days_rest=1., minutes_season=34.9), "days_rest"),
    "rest_advantage_2d": (O, dict(opponent_days_rest=1.), dict(days_rest=1., opponent_days_rest=1.), "opponent_days_rest"),
    "hot_streak_2": (U, dict(correct_streak=2.), dict(correct_streak=1.), "correct_streak"),
    "points_surge_3": (O, dict(points_last_3=23.), dict(points_last_3=22.9), "points_season"),
    "home_dog": (O, dict(home=True, underdog=True, edge=5.0), dict(home=True, underdog=False, edge=5.0), "underdog"),
    "minutes_surge_5": (O, dict(minutes_last_5=33.), dict(minutes_last_5=32.9), "minutes_last_5"),
    "three_pt_volume_surge": (O, dict(three_attempts_last_3=5.), dict(three_attempts_last_3=4.9), "three_attempts_last_3"),
    "model_consensus_v9_v12": (O, dict(edge=3.0, v12_edge=4.0), dict(edge=3.0, v12_edge=2.9), "v12_edge"),
    "fg_cold_continuation": (U, dict(fg_pct_last_3=.38), dict(fg_pct_last_3=.39), "fg_pct_sd"),
    "scoring_acceleration": (O, dict(points_last_3=20., points_last_5=19.), dict(points_last_3=20., points_last_5=20.), "points_last_5"),
    "model_health": (O, {}, None, None)}
# what a firing case must have as confidence
STRENGTHS = dict(high_edge=.5, dual_agree=.3, minutes_surge=0., pace_mismatch=3.5/8, cold_snap=.6, blowout_recovery=6/16, combo_he_ms=.85, combo_3way=.95, edge_spread_optimal=.75, hot_streak_3=.6, cold_continuation_2=.75, b2b_fatigue_under=.5, rest_advantage_2d=.75, hot_streak_2=.55, points_surge_3=.6, home_dog=.75, minutes_surge_5=.65,
    three_pt_volume_surge=1.0, model_consensus_v9_v12=.75, scoring_acceleration=.8, model_health=1.0, **{"3pt_bounce": 1.1/3, "fg_cold_continuation": .65 + .125/3})

def rows(cases: list[dict]) -> pl.DataFrame:
    "Picks with every input, neutral where nothing else is said."
    return pl.DataFrame([NEUTRAL | c for c in cases], schema_overrides=SCHEMA | {"recommendation": pl.String}, infer_schema_length=None)

def kleene_and(*parts): return False if any(p is False for p in parts) else None if any(p is None for p in parts) else True
def lift(f): return lambda *a: None if any(x is None for x in a) else f(*a)
ge, le, lt, gt, minus = (lift(f) for f in (lambda a, b: a >= b, lambda a, b: a <= b, lambda a, b: a < b, lambda a, b: a > b, lambda a, b: a - b))
yes = lift(bool)
not_ = lift(lambda a: not a)

def slow(tag: str, r: dict):
    "A signal's answer, one row at a time, from its description."
    big = lift(abs)(r["edge"])
    agree = kleene_and(lift(lambda a, b: math.copysign(1, a)*(a != 0) == math.copysign(1, b)*(b != 0))(r["edge"], r["v12_edge"]), ge(big, 3), ge(lift(abs)(r["v12_edge"]), 3))
    surge = ge(minus(r["minutes_last_3"], r["minutes_season"]), 3)
    middle = kleene_and(ge(r["confidence"], .70), not_(lift(lambda c: .88 <= c <= .90)(r["confidence"])))
    drop = lambda a, b: lift(lambda x, y, z: x < y - z)(r[f"{a}_pct_last_3"], r[f"{a}_pct_season"], r[f"{a}_pct_sd"])
    rule = {"model_health": lambda: True, "high_edge": lambda: ge(big, 5), "dual_agree": lambda: agree, "model_consensus_v9_v12": lambda: agree,
        "3pt_bounce": lambda: kleene_and(ge(r["three_attempts_season"], 4), gt(r["three_pct_sd"], 0), drop("three", 0)), "minutes_surge": lambda: surge, "pace_mismatch": lambda: kleene_and(ge(r["opponent_pace"], r["pace_high_5"]), le(r["team_pace"], r["pace_low_15"])),
        "cold_snap": lambda: kleene_and(yes(r["home"]), ge(r["under_streak"], 3)), "blowout_recovery": lambda: kleene_and(ge(minus(r["minutes_season"], r["previous_minutes"]), 6), lift(lambda p: "C" not in p)(r["position"]), ge(r["days_rest"], 2)),
        "combo_he_ms": lambda: kleene_and(ge(big, 5), surge), "combo_3way": lambda: kleene_and(ge(big, 5), surge, middle), "edge_spread_optimal": lambda: kleene_and(ge(big, 5), middle), "hot_streak_3": lambda: ge(r["correct_streak"], 3), "hot_streak_2": lambda: ge(r["correct_streak"], 2),
        "cold_continuation_2": lambda: kleene_and(ge(r["wrong_streak"], 2), lift(lambda a: a == r["recommendation"])(r["last_outcome"])), "b2b_fatigue_under": lambda: kleene_and(lift(lambda d: d == 1)(r["days_rest"]), ge(r["minutes_season"], 35)), "rest_advantage_2d": lambda: kleene_and(ge(r["days_rest"], 2), le(r["opponent_days_rest"], 1)),
        "points_surge_3": lambda: ge(minus(r["points_last_3"], r["points_season"]), 5), "home_dog": lambda: kleene_and(yes(r["home"]), yes(r["underdog"]), ge(big, 5)), "minutes_surge_5": lambda: ge(minus(r["minutes_last_5"], r["minutes_season"]), 3), "three_pt_volume_surge": lambda: ge(minus(r["three_attempts_last_3"], r["three_attempts_season"]), 2),
        "fg_cold_continuation": lambda: kleene_and(gt(r["fg_pct_sd"], 0), drop("fg", 0)), "scoring_acceleration": lambda: kleene_and(gt(r["points_last_3"], r["points_last_5"]), gt(r["points_last_5"], r["points_season"]))}[tag]
    sides = {"UNDER": ("b2b_fatigue_under", "fg_cold_continuation"), "BOTH": ("model_health", "high_edge", "dual_agree", "combo_3way", "edge_spread_optimal", "hot_streak_3", "hot_streak_2", "cold_continuation_2", "model_consensus_v9_v12")}
    allowed = (U,) if tag in sides["UNDER"] else (O, U) if tag in sides["BOTH"] else (O,)
    return kleene_and(r["recommendation"] in allowed, rule())
