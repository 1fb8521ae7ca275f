"The window investigation: repairs restore the clean rows exactly, shares add up, every gap has a slow oracle, and nothing is said that the rows do not carry."
import re
from dataclasses import replace
from datetime import date, timedelta
from itertools import permutations
import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st
from nbprops.data.damage import apply_fault
from nbprops.data.faults import Fault
from nbprops.model.training import KEYS
from nbprops.model.window import examine
from nbprops.model.window_arms import Bench, Recipe, day_counts, fit_arms, jobs_of, predictions, recipe_rows, replicas
from nbprops.model.window_case import ARMS, LIGHT, OVERLAPPED, SKETCH, SMALL, Method, inside, parse_span, small_study, study_of, windows
from nbprops.model.window_gap import MEASURES, Gap, Sums, combine, day_weights, estimate, gap_between, gap_of, plain, recorded_gap, unexplained
from nbprops.model.window_guards import failed, guards, level_z
from nbprops.model.window_repairs import judged_frame, level_ratio, training_frame
from nbprops.model.window_shapley import PLAYERS, attribution_table, coalitions, content_gaps, content_jobs, fault_effects, order_weights, recalibration, repair_gaps, repair_jobs, shares
from nbprops.model.window_table import arm_metrics, disagreements, explaining, parse_claim, weigh_claim
from nbprops.model.window_verdict import Difference, causes, difference, headline, verdict
from nbprops.settings import Refusal

ADDED, EARLY = "from=2025-11-22,to=2025-12-12", "from=2025-11-02,to=2025-11-12"
STRUCK = {"line_plus_2": "line", "null_lines": "line", f"default_fill:{ADDED}": "default", f"same_day_leak:{EARLY}": "feature(recent form)", f"inverted_fatigue:{ADDED}": "feature(composite)", "duplicate_rows": "label"}

@pytest.fixture(scope="module")
def clean(): return small_study(11)

@pytest.fixture(scope="module")
def bench(clean): return fit_arms(Bench(clean), jobs_of(clean, [Recipe(a) for a in ARMS], 3) + replicas(clean, [Recipe(a) for a in ARMS]))

# windows

@pytest.mark.parametrize("base, wide, evaluation, says", [("2025-11-02", "2025-11-02:2026-01-31", "2026-02-01:2026-02-28", "is no base window"), ("2026-01-08:2025-11-02", "2025-11-02:2026-01-31", "2026-02-01:2026-02-28", "swap the dates"),
    ("2025-11-02:2026-01-08", "2025-11-02:2026-01-08", "2026-02-01:2026-02-28", "two different"), ("2025-11-02:2026-01-08", "2025-11-02:2026-01-31", "2026-01-31:2026-02-28", "begin on 2026-02-01")])
def test_bad_windows_are_one_sentence_with_what_would_mend_them(base, wide, evaluation, says):
    with pytest.raises(Refusal, match=says): windows(base, wide, evaluation)

def test_the_reported_days_may_lie_inside_the_training():
    w = windows("2025-11-02:2026-01-08", "2025-11-02:2026-01-31", "2026-02-01:2026-02-28", "2026-01-25:2026-01-31")
    assert w.judged == (date(2026, 1, 25), date(2026, 1, 31)) and w.trained_until == date(2026, 1, 31)

@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_added_days_are_those_of_the_wide_window_alone(a, b, c, d):
    first = date(2025, 11, 1); day = lambda k: first + timedelta(days=k)
    base, wide = (day(min(a, b)), day(max(a, b))), (day(min(c, d)), day(max(c, d)))
    w = replace(SMALL, base=base, wide=wide)
    frame = pl.DataFrame({"game_date": [day(k) for k in range(61)]}).with_columns(added=w.added())
    assert frame["added"].to_list() == [wide[0] <= x <= wide[1] and not base[0] <= x <= base[1] for x in frame["game_date"]]

# faults, guards, repairs

def test_a_clean_league_passes_every_guard(clean):
    g = guards(clean)
    assert failed(g) == [] and g.filter(verdict="not asked")["guard"].to_list() == ["same_mode", "attribution", "parity"]

@pytest.mark.parametrize("fault", STRUCK)
def test_a_fault_fails_its_own_guard_and_no_other(fault):
    assert failed(guards(small_study(12, (fault,)))) == [STRUCK[fault]]

def test_reported_training_days_fail_the_overlap_guard(): assert failed(guards(small_study(12, w=OVERLAPPED))) == ["overlap"]

def test_two_faults_ask_for_two_repairs(): assert set(failed(guards(small_study(12, ("line_plus_2", f"inverted_fatigue:{ADDED}"))))) == {"line", "feature(composite)"}

@pytest.mark.parametrize("fault", [f for f in STRUCK if "default_fill" in f or "leak" in f or "fatigue" in f])
def test_a_repair_restores_the_training_rows_exactly(clean, fault):
    spoiled = small_study(11, (fault,))
    assert not training_frame(spoiled).equals(training_frame(clean))
    assert training_frame(spoiled, frozenset({STRUCK[fault]})).equals(training_frame(clean))

@pytest.mark.parametrize("fault", ["line_plus_2", "null_lines", "duplicate_rows"])
def test_a_repair_restores_the_judged_rows_exactly(clean, fault):
    spoiled = small_study(11, (fault,))
    assert not judged_frame(spoiled, "wide").equals(judged_frame(clean, "wide")) and judged_frame(spoiled, "base").equals(judged_frame(clean, "base"))
    assert judged_frame(spoiled, "wide", frozenset({STRUCK[fault]})).equals(judged_frame(clean, "wide"))

def test_a_repair_of_something_else_changes_nothing(clean):
    for fix in ("default", "label", "feature(team)", "feature(market)"): assert training_frame(clean, frozenset({fix})).equals(training_frame(clean)), fix
    for fix in ("line", "label", "population", "feature(market)", "feature(zones)"): assert judged_frame(clean, "wide", frozenset({fix})).equals(judged_frame(clean, "wide")), fix

def test_thin_coverage_other_modes_and_unknown_files_are_a_mismatch_of_populations(clean):
    rows = clean.served["wide"].with_columns(prediction_run_mode=pl.lit("EARLY"), model_sha256=pl.lit("a"*64))
    served = lambda wide: replace(clean, served={"base": rows, "wide": wide})
    of = lambda s: set(guards(s).filter(verdict="FAIL")["guard"])
    assert of(served(rows)) == set()
    assert of(served(rows.head(int(.7*rows.height)))) == {"same_rows", "coverage"}
    assert of(served(rows.with_columns(prediction_run_mode=pl.lit("BACKFILL")))) == {"same_mode"}
    assert of(served(rows.with_columns(model_sha256=pl.when(pl.int_range(pl.len()) % 9 == 0).then(pl.lit("b"*64)).otherwise("model_sha256")))) == {"attribution"}
    common = [judged_frame(served(rows.head(250)), a, frozenset({"population"})).select(KEYS) for a in ARMS]
    assert common[0].equals(common[1]) and common[0].height == 250

def test_a_recorded_prediction_that_its_model_does_not_repeat_fails_parity(clean):
    rows = clean.served["wide"].with_columns(predicted=pl.lit(20.), recomputed=pl.lit(20.))
    served = lambda wide: guards(replace(clean, served={"base": rows, "wide": wide})).filter(guard="parity")["verdict"][0]
    assert served(rows) == "pass" and served(rows.with_columns(recomputed=pl.lit(20.02))) == "FAIL"

def test_a_push_counted_as_a_loss_and_a_changed_result_are_label_faults(clean):
    rows = clean.served["wide"].with_columns(result=pl.lit("WIN"))
    lost = rows.with_columns(line=pl.col("actual").cast(pl.Float64), result=pl.lit("LOSS"))
    n = lambda wide: guards(replace(clean, served={"base": rows, "wide": wide})).filter(guard="labels")["rows"][0]
    assert n(rows) == 0 and n(lost) == rows.height and n(rows.with_columns(actual=pl.col("actual") + 1)) == rows.height

def test_scoring_level_is_measured_against_the_market():
    shifted, still = small_study(11, (f"scoring_shift:strength=1.12,{ADDED}",)), small_study(11)
    known = pl.col("game_date") <= SMALL.trained_until
    k = [level_ratio(s.games.filter(known), SMALL.added()) for s in (still, shifted)]
    assert k[1]/k[0] == pytest.approx(1.12, abs=.01) and level_z(shifted.games, SMALL.added()) - level_z(still.games, SMALL.added()) > 3
    repaired = training_frame(shifted, frozenset({"level"}))
    mean = lambda f: f.filter(SMALL.added())["actual"].mean()
    assert mean(repaired)*k[1] == pytest.approx(mean(training_frame(shifted)))
    assert repaired.filter(inside(SMALL.base)).equals(training_frame(shifted).filter(inside(SMALL.base)))

# arms

def test_weight_zero_is_the_base_and_weight_one_the_wide_window(clean):
    key = lambda r: recipe_rows(clean, r).key
    assert key(Recipe("wide", change="weight", value=0.)) == key(Recipe("base")) and key(Recipe("wide", change="weight", value=1.)) == key(Recipe("wide")) != key(Recipe("base"))

def test_equal_rows_are_trained_once(clean):
    b = fit_arms(Bench(clean), jobs_of(clean, [Recipe("base"), Recipe("wide", change="weight", value=0.)], 2))
    assert b.fits == 2 and (predictions(b, Recipe("base"), clean.fresh) == predictions(b, Recipe("wide", change="weight", value=0.), clean.fresh)).all()

def test_changes_do_what_their_names_say(clean):
    rows = lambda **k: recipe_rows(clean, Recipe("wide", **k))
    n = {a: recipe_rows(clean, Recipe(a)).frame.height for a in ARMS}
    thin = rows(change="size").frame
    assert abs(thin.height - n["base"]) < 80 and thin["game_date"].n_unique() < recipe_rows(clean, Recipe("wide")).frame["game_date"].n_unique()
    whole = recipe_rows(clean, Recipe("wide")).frame.group_by("game_date").len()
    assert thin.group_by("game_date").len().join(whole, on=["game_date", "len"], how="anti").is_empty() # whole days
    slide = rows(change="slide").frame["game_date"]
    assert slide.max() <= SMALL.wide[1] and (SMALL.wide[1] - slide.min()) <= SMALL.base[1] - SMALL.base[0]
    assert rows(change="only").frame["game_date"].min() > SMALL.base[1]
    w = rows(change="recency", value=10).weight; order = rows(change="recency", value=10).frame["game_date"]
    assert w[order.arg_max()]/w[order.arg_min()] == pytest.approx(2**((order.max() - order.min()).days/10))
    mixed, plain_rows = rows(change="permute", value="composite").frame, recipe_rows(clean, Recipe("wide")).frame
    assert mixed.drop("fatigue_score", "pace_score", "usage_spike_score", "shot_zone_mismatch_score").equals(plain_rows.drop("fatigue_score", "pace_score", "usage_spike_score", "shot_zone_mismatch_score"))
    assert [sorted(g["fatigue_score"]) for g in mixed.partition_by("game_date")] == [sorted(g["fatigue_score"]) for g in plain_rows.partition_by("game_date")] # within each day
    assert mixed.filter(inside(SMALL.base)).equals(plain_rows.filter(inside(SMALL.base))) and sorted(mixed["fatigue_score"]) == sorted(plain_rows["fatigue_score"]) and not mixed.equals(plain_rows)
    gone = [set(plain_rows["game_date"]) - set(rows(change="week", value=k).frame["game_date"]) for k in range(3)]
    assert all(gone) and not gone[0] & gone[1] and all((max(g) - min(g)).days < 7 for g in gone)

def test_a_resample_treats_a_day_alike_in_every_arm_and_is_poisson():
    days = pl.Series([date(2025, 1, 1) + timedelta(days=k) for k in range(3000)])
    counts = day_counts(days, 1)
    assert counts.mean() == pytest.approx(1, abs=.06) and counts.var() == pytest.approx(1, abs=.12)
    assert (day_counts(days[500:], 1) == counts[500:]).all() and abs(np.corrcoef(counts, day_counts(days, 2))[0, 1]) < .06

def test_an_arm_that_cannot_be_trained_is_named_and_the_rest_goes_on(clean):
    s = replace(clean, method=replace(LIGHT, minimum=700, replicates=2))
    b = fit_arms(Bench(s), jobs_of(s, [Recipe("wide"), Recipe("base")], 1))
    assert b.has(Recipe("wide")) and not b.has(Recipe("base")) and "at least 700" in b.skipped["base"]

def test_a_spent_budget_is_kept_and_what_is_left_out_is_named(clean):
    b = fit_arms(Bench(clean), jobs_of(clean, [Recipe("base")], 1)); b.budget = .2*b.seconds; b.began = 0
    fit_arms(b, jobs_of(clean, [Recipe("wide")], 3))
    assert not b.has(Recipe("wide")) and b.skipped == {"wide": "the budget was used up"}

# gaps

def slow_gap(view: pl.DataFrame, a: np.ndarray, b: np.ndarray) -> list[float]: # models x rows each
    "Row by row and seed by seed."
    from scipy.stats import spearmanr
    def one(said):
        err, lean, wins, picks, rho, weight = [], [], 0, 0, [], []
        for p in said:
            for row, x in zip(view.iter_rows(named=True), p):
                err.append(abs(x - row["actual"])); lean.append(x - row["line"]); margin = row["actual"] - row["line"]
                if abs(x - row["line"]) >= 3 and margin != 0: picks += 1; wins += (x > row["line"]) == (margin > 0)
        for d in sorted(set(view["game_date"])):
            at = [k for k, x in enumerate(view["game_date"]) if x == d]
            if len(at) < 3: continue
            of = lambda p: spearmanr(p[at] - view["line"].to_numpy()[at], (view["actual"] - view["line"]).to_numpy()[at]).statistic
            rho.append(np.mean([of(p) for p in said])); weight.append(len(at) - 1)
        return np.array([np.mean(err), np.average(rho, weights=weight), wins/picks, np.mean(lean)])
    return (one(b) - one(a)).tolist()

def test_the_gap_equals_a_slow_count(clean, bench):
    view = judged_frame(clean, "wide")
    a, b = (predictions(bench, Recipe(k), view) for k in ARMS)
    assert gap_between(bench, (Recipe("base"),), (Recipe("wide"),)).value.tolist() == pytest.approx(slow_gap(view, a, b), abs=1e-9)

def test_the_plain_interval_is_that_of_ten_lines_of_numpy(clean, bench):
    view = judged_frame(clean, "wide")
    a, b = (np.abs(predictions(bench, Recipe(k), view) - view["actual"].to_numpy()).mean(0) for k in ARMS)
    days = view["game_date"].to_numpy(); each = [(b - a)[days == d] for d in np.unique(days)]
    rng = np.random.default_rng(0)
    draws = [np.concatenate([each[k] for k in rng.integers(0, len(each), len(each))]).mean() for _ in range(3000)]
    mine = plain(gap_between(bench, (Recipe("base"),), (Recipe("wide"),)), "error")
    low, high = np.quantile(draws, [.025, .975])
    assert mine.value == pytest.approx((b - a).mean()) and abs(mine.low - low) < .35*(high - low) and abs(mine.high - high) < .35*(high - low)

def test_equal_arms_have_no_gap_in_any_draw(bench):
    g = gap_between(bench, (Recipe("wide"),), (Recipe("wide"),))
    assert not g.value.any() and not g.draws.any() and not g.refits.any() and estimate(g, "error").p == 1

# shares

def test_a_measure_that_an_arm_cannot_have_is_missing_and_not_zero(clean, bench):
    blind = replace(clean, served={a: f.with_columns(line=pl.lit(None, pl.Float64)) if a == "wide" else f for a, f in clean.served.items()})
    g = gap_between(replace(bench, study=blind), (Recipe("base"),), (Recipe("wide"),))
    assert np.isfinite(g.value[0]) and np.isnan(g.value[1:]).all() and np.isnan(estimate(g, "hit").low) and estimate(g, "hit").p == 1
    assert attribution_table({"line": combine([(-1, g)])})["effect"].null_count() == 3

def test_a_day_has_the_same_fate_in_every_gap_of_a_study(clean):
    days = clean.fresh["game_date"].unique().sort().to_numpy()
    w = day_weights(clean, days)
    assert (day_weights(clean, days[3:]) == w[:, 3:]).all() and w.sum(1).min() == w.sum(1).max() == len(days)
    moved = small_study(11, w=OVERLAPPED)
    apart = day_weights(moved, np.concatenate([moved.served["wide"]["game_date"].unique().sort().to_numpy(), days]))
    k = moved.served["wide"]["game_date"].n_unique()
    assert (apart[:, :k].sum(1) == k).all() and (apart[:, k:].sum(1) == len(days)).all()

def test_no_result_of_an_evaluation_day_reaches_a_training_target(clean):
    late = replace(clean, games=clean.games.with_columns(points=pl.when(pl.col("game_date") > SMALL.trained_until).then(pl.col("points") + 50).otherwise("points")))
    assert training_frame(late, frozenset({"level"})).equals(training_frame(clean, frozenset({"level"})))

def test_a_recalibration_carries_its_own_uncertainty(clean):
    s = replace(clean, method=replace(SKETCH, replicates=6))
    b = fit_arms(Bench(s), jobs_of(s, [Recipe(a) for a in ARMS], 2) + replicas(s, [Recipe(a) for a in ARMS]) + content_jobs(s, frozenset()))
    lines = recalibration(b, "base", frozenset())
    assert len(lines) == 7 and np.std([shift for _, shift in lines[1:]]) > .3
    effect = fault_effects(content_gaps(b, frozenset()), PLAYERS)["calibration"]
    assert estimate(effect, "lean").noise > .1

def test_a_fault_of_the_judged_rows_trains_nothing_twice(clean):
    s = replace(clean, method=SKETCH)
    assert {r for r, *_ in repair_jobs(s, ["line", "label", "overlap"])} == {Recipe(a, f) for a in ARMS for f in (frozenset(), frozenset({"label"}))}

@given(st.integers(1, 5), st.integers(0, 10**6))
def test_shapley_shares_add_up_and_equal_the_mean_over_orders(n, seed):
    players, rng = list("abcde")[:n], np.random.default_rng(seed)
    worth = {c: float(rng.normal()) for c in coalitions(players)}
    mine = {p: sum(w*worth[c] for c, w in weights.items()) for p, weights in shares(players).items()}
    assert sum(mine.values()) == pytest.approx(worth[frozenset(players)] - worth[frozenset()], abs=1e-9)
    orders = list(permutations(players))
    for p in players: assert mine[p] == pytest.approx(np.mean([worth[frozenset(o[:o.index(p) + 1])] - worth[frozenset(o[:o.index(p)])] for o in orders]), abs=1e-9)

def test_random_orders_come_close_and_add_up_too():
    players = [f"p{k}" for k in range(9)]
    assert len(shares(players)["p0"]) < 2**9
    value = {p: k for k, p in enumerate(players)}
    worth = lambda c: sum(value[p] for p in c) + (5 if {"p1", "p2"} <= set(c) else 0)
    mine = {p: sum(w*worth(c) for c, w in order_weights(players, p).items()) for p in players}
    assert sum(mine.values()) == pytest.approx(worth(players), abs=1e-9) and mine["p1"] == pytest.approx(3.5, abs=.6) and mine["p8"] == pytest.approx(8)

def test_the_attribution_adds_up_to_the_reported_gap():
    s = replace(small_study(13, ("line_plus_2", f"inverted_fatigue:{ADDED}")), method=replace(LIGHT, seeds=2, others=2, replicates=2, resamples=500, trees=30))
    switches = failed(guards(s))
    gaps = repair_gaps(fit_arms(Bench(s), repair_jobs(s, switches)), switches)
    effects = fault_effects(gaps, switches)
    assert sum(e.value for e in effects.values()) == pytest.approx(gaps[frozenset()].value - gaps[frozenset(switches)].value, abs=1e-9)
    assert effects["line"].value[MEASURES.index("lean")] == pytest.approx(-2, abs=1e-9) and effects["line"].value[0] == 0

# verdicts

def made(error: list[float], rows: int = 40, rank: float = 0.0) -> Gap: # per-day gap of the error
    "A measured gap with given daily differences."
    k = len(error); n, d = np.zeros((2, 4, k)), np.full((2, 4, k), float(rows))
    n[1, 0] = np.array(error)*rows; n[1, 1] = rank*rows
    x = Sums(np.arange(k).astype("datetime64[D]"), n, d)
    return Gap(gap_of(x)[0], np.zeros((2000, 4)), np.empty((0, 4)), np.zeros((2, 4)), rows*k, k, x)

def test_the_rules_of_the_difference():
    noise = np.random.default_rng(1).normal(0, .05, 20)
    code = lambda *a, **k: difference(made(*a, **k), Method()).code
    assert code(list(noise)) == "no_real_difference" and code(list(noise + .3)) == "loss" and code(list(noise*12)) == "not_resolved" and code(list(noise[:5])) == "insufficient" and code(list(noise), rank=-.2) == "loss"
    assert difference(made(list(noise + .045)), Method(margin=.1)).code == "loss" and difference(made(list(noise + .045)), Method(margin=.1), {"error": .04}).code == "no_real_difference" # within the noise of one arm
    assert difference(made(list(noise - .3)), Method()).better and not difference(made(list(noise)), Method()).better
    assert difference(made(list(noise*12)), Method()).needed > 800

def test_a_failed_guard_comes_before_an_explanation_and_noise_is_no_cause():
    row = lambda switch, effect, p: dict(switch=switch, cause=switch, measure="error", effect=effect, low=effect - .02, high=effect + .02, sd=.01, noise=.0, p=p, refits=10)
    t = pl.DataFrame([row("line", .01, .6), row("size", .4, 1e-6), row("segment", .01, .5)])
    c = causes(t, ["line"], Method(), {})
    assert c.select("switch", "status").rows() == [("line", "found"), ("size", "established"), ("segment", "no effect shown")]
    assert causes(t, ["line"], Method(), {"error": .25})["status"].to_list() == ["found", "suspected", "no effect shown"] # below twice the noise floor
    assert causes(t, ["line"], Method(), {}, {"error": False})["status"].to_list() == ["found", "suspected", "no effect shown"] # the gap does not follow the dose
    assert causes(t.with_columns(refits=2), ["line"], Method(), {})["status"].to_list() == ["found", "suspected", "no effect shown"] # too few redraws

def test_explanations_do_not_enter_where_there_is_no_difference():
    g = made(list(np.random.default_rng(1).normal(0, .05, 20)))
    t = pl.DataFrame([dict(switch="size", cause="dilution", measure="error", effect=.4, low=.3, high=.5, sd=.01, noise=.0, p=1e-6, refits=10)])
    none = pl.DataFrame(schema=dict(guard=pl.String, verdict=pl.String, value=pl.Float64, switch=pl.String, words=pl.String))
    v = verdict(t, none, g, Method(), {})
    assert v.code == "no_real_difference" and v.named == [] and v.sentence.startswith("No real difference")

def test_the_headline_is_one_sentence_and_says_what_is_left():
    d = lambda code, better=False: Difference(code, better, "")
    assert headline(["line_provenance"], d("no_real_difference"), True) == "The comparison was invalid (line_provenance); repaired, there is no real difference."
    assert headline(["label_fault", "dilution"], d("loss"), True).count(".") == 1 and "and 1 more" in headline(["label_fault", "dilution"], d("loss"), True)
    assert headline([], d("no_real_difference", True), False) == "The wider window is better."
    assert headline(["dilution"], d("not_resolved"), False, True).endswith("; suspected: dilution.") and "comes from" in headline(["dilution"], d("loss"), False, True)

# by arm

def test_an_arms_table_is_the_evaluation_of_its_seeds(clean, bench):
    from nbprops.model.evaluation import metrics
    view = judged_frame(clean, "wide").with_columns(season_avg=pl.col("points_avg_season"))
    each = [metrics(view.with_columns(predicted=pl.Series(p))) for p in predictions(bench, Recipe("wide"), view)]
    mine = arm_metrics(bench).filter(arm="wide").row(0, named=True)
    for k in ("mae", "hr_3", "n_3", "pvl", "spread"): assert mine[k] == pytest.approx(np.mean([e[k] for e in each])), k
    assert mine["hr_3_over"] != mine["hr_3_under"]

def test_disagreements_are_counted_row_by_row(clean, bench):
    view = judged_frame(clean, "wide")
    a, b = (predictions(bench, Recipe(k), view).mean(0) for k in ARMS)
    rows = decided = won = 0
    for x, y, line, actual in zip(a, b, view["line"], view["actual"]):
        if (x > line) == (y > line): continue
        rows += 1
        if actual != line: decided += 1; won += (y > line) == (actual > line)
    assert disagreements(bench).row(0)[:3] == (rows, decided, pytest.approx(won/decided)) and rows > 20

def test_a_recorded_gap_that_fits_do_not_reproduce_is_not_explained(clean):
    record = lambda k: replace(clean, served={a: clean.served[a].with_columns(predicted=pl.col("line") + (k if a == "wide" else 0.)) for a in ARMS})
    g = recorded_gap(record(4.))
    view = clean.served["wide"]
    assert g.value[MEASURES.index("lean")] == pytest.approx(4) and g.value[0] == pytest.approx(((view["line"] + 4 - view["actual"]).abs() - (view["line"] - view["actual"]).abs()).mean())
    none = replace(g, value=np.zeros(4))
    assert recorded_gap(clean) is None and unexplained(g, none, .05) == 1 and unexplained(g, g, .05) == 0 and unexplained(g, none, 99) == 0

# claims

def test_a_claim_from_training_days_is_recognised_and_an_honest_one_is_not_accused(clean, bench):
    trained = clean.stored.filter(SMALL.added() & pl.col("line").is_not_null())
    mae = lambda rows: float(np.abs(predictions(bench, Recipe("wide"), rows).mean(0) - rows["actual"].to_numpy()).mean())
    inside_claim, outside = mae(trained), mae(clean.fresh)
    assert inside_claim < outside - .3
    fits = lambda v: weigh_claim(bench, {"mae": v}, 15)["fits"][0]
    assert fits(inside_claim) == "training" and fits(outside) == "clean" and fits(1.0) == "neither"

@pytest.mark.parametrize("text, says", [("mae", "is no claim"), ("mae=x", "is no claim"), ("roi=4", "cannot be claimed")])
def test_a_claim_that_cannot_be_read_says_how_to_write_it(text, says):
    with pytest.raises(Refusal, match=says): parse_claim(text)

@pytest.mark.parametrize("change, says", [(dict(budget=.01), "give --budget at least"), (dict(minimum=700), "choose a longer window")])
def test_a_window_that_cannot_be_trained_is_one_sentence(clean, change, says):
    budget = change.pop("budget", None)
    s = replace(clean, method=replace(LIGHT, seeds=3, replicates=2, **change))
    with pytest.raises(Refusal, match=says): examine(s, budget)

# the whole

@pytest.fixture(scope="module")
def quick(): return replace(SKETCH, seeds=4, replicates=4)

def test_a_clean_league_shows_no_difference_and_skips_what_cannot_change_that(quick):
    found = examine(small_study(14, method=quick))
    assert found.verdict.code == "no_real_difference" and found.attribution.is_empty() and "wide size" in found.skipped and {"wide week(0)", "wide", "base"} <= set(found.arms["arm"])

def test_an_overlap_makes_most_of_the_gap_and_is_named_first(quick):
    found = examine(small_study(15, w=OVERLAPPED, method=quick))
    effect = found.attribution.filter(switch="overlap", measure="error")["effect"][0]
    assert found.verdict.named[0] == "evaluation_overlap" and effect/found.reported.value[0] > .8 and "training days" in found.sentence

def test_everything_trains_every_arm_and_equal_studies_give_equal_answers(quick):
    tiny = replace(quick, seeds=2, others=2, replicates=2, resamples=200, trees=12)
    one, two = (examine(small_study(14, method=tiny), everything=True) for _ in range(2))
    assert set(explaining(one.study)) <= set(one.arms["arm"]) | set(one.skipped) and one.attribution.filter(switch="segment").height == 4
    assert one.sentence == two.sentence and one.attribution.equals(two.attribution) and one.arms.equals(two.arms)

def test_the_clean_study_and_the_faulted_one_share_their_random_numbers():
    a, b = small_study(16), small_study(16, ("line_plus_2",))
    assert a.stored.equals(b.stored) and a.fresh.equals(b.fresh) and b.served["wide"]["line"].sum() - a.served["wide"]["line"].sum() == pytest.approx(2*a.served["wide"].height)

def test_the_page_survives_an_arm_without_lines(quick):
    from nbprops.model.window_record import markdown_of, record_of
    from nbprops.ops import window_page as page
    r = record_of(examine(small_study(17, ("null_lines",), method=replace(quick, seeds=2, others=2, replicates=2, trees=20))), "again")
    whole = "".join((page.answer(r), page.pictures(r), page.validity(r), page.numbers(r), page.drift_part(r), page.end(r)))
    words = re.sub(r"<svg.*?</svg>", "", whole, flags=re.S)
    assert r["named"][0] == "line_provenance" and whole.count("<svg") == 6 and not re.search(r"\b(None|nan)\b", words) and "line_provenance" in markdown_of(r)

# faults themselves

FRAME = pl.DataFrame({"game_id": [f"g{k}" for k in range(6)], "player_lookup": ["a", "b"]*3, "game_date": [date(2026, 1, 1 + k//2) for k in range(6)], "line_value": [10.5]*6, "vegas_points_line": [10.5]*6, "points_avg_last_5": [1., 2, 3, 4, 5, 6], "games_in_last_7_days": [5.]*6,
                      "fatigue_score": [30.]*6, "default_feature_count": [0]*6})

@pytest.mark.parametrize("name, touched", [("line_plus_2", {"line_value"}), ("null_lines", {"line_value", "vegas_points_line"}), ("inverted_fatigue", {"fatigue_score"}), ("default_fill:strength=1", {"points_avg_last_5", "default_feature_count"}), ("same_day_leak", {"points_avg_last_5"})])
def test_a_fault_spoils_what_it_says_on_its_dates_and_nothing_else(name, touched):
    from nbprops.data.faults import parse_fault
    f = parse_fault(name + (",from=2026-01-02" if ":" in name else ":from=2026-01-02"))
    after = apply_fault(f, "ml_feature_store_v2", FRAME)
    changed = {c for c in FRAME.columns if not after[c].equals(FRAME[c])}
    assert changed == touched and after.head(2).equals(FRAME.head(2))

def test_a_leak_looks_one_game_ahead_of_the_same_player():
    after = apply_fault(Fault("same_day_leak"), "ml_feature_store_v2", FRAME.sample(fraction=1, shuffle=True, seed=3)).sort("game_id")
    assert after["points_avg_last_5"].to_list() == [3, 4, 5, 6, 5, 6]

def test_shifted_scoring_keeps_every_box_score_consistent():
    from nbprops.data.league import simulate
    a, b = simulate(seed=5, light=True), simulate(seed=5, light=True, faults=(f"scoring_shift:strength=1.25,{ADDED}",))
    box, team = "nba_raw.nbac_player_boxscores", "nba_raw.nbac_team_boxscore"
    made_of = 2*pl.col("fg_makes") + pl.col("three_pt_makes") + pl.col("ft_makes")
    assert b[box].filter(pl.col("points") != made_of).is_empty()
    sums = b[box].group_by("game_id", "team_abbr").agg(pl.col("points").sum()).join(b[team], on=["game_id", "team_abbr"])
    assert sums.filter(pl.col("points") != pl.col("points_right")).is_empty()
    ends = b["nba_raw.nbac_schedule"].select("game_id", both=pl.col("home_team_score") + pl.col("away_team_score")).join(b[team].group_by("game_id").agg(pl.col("points").sum()), on="game_id")
    assert ends.filter(pl.col("both") != pl.col("points")).is_empty()
    hit = pl.col("game_date").is_between(date(2025, 11, 22), date(2025, 12, 12))
    ratio = lambda e: b[box].filter(e)["points"].sum()/a[box].filter(e)["points"].sum()
    assert ratio(hit) == pytest.approx(1.25, abs=.01) and ratio(~hit) == 1 and b["nba_raw.odds_api_game_lines"].equals(a["nba_raw.odds_api_game_lines"])
