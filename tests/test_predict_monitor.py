"The performance monitor: set-based rows against a slow oracle in plain Python, and the rules around them."
import json, random
from datetime import date, datetime, timedelta, timezone
import numpy as np
import polars as pl, pytest
from hypothesis import given, settings, strategies as st
from typer.testing import CliRunner
from nbprops.data.tables import table
from nbprops.model.registry import REGISTRY
from nbprops.predict.grading import ACC, PRED
from nbprops.predict.monitor import STORED, evaluation_low, monitor, one_sided
from nbprops.predict.monitor_states import LEVEL, bound_expr, complete, deff_expr, delays, drawn_days, judge_days, shares, windowed
from nbprops.settings import Refusal
from nbprops.stats import Z95, design_effect, hit_rate, wilson, z_bound

D0, TRAINED = date(2026, 1, 12), date(2026, 1, 10)
day = lambda i: D0 + timedelta(i)
UTC = pl.Datetime("us", "UTC")
noon = lambda d, h=16: datetime(d.year, d.month, d.day, h, tzinfo=timezone.utc)

def graded(model="m1", family="v9_mae", system=None, days=40, per_day=30, seed=0, first=D0, skill=.1, gaps=(), price=-110, trained=TRAINED, **over):
    "Made-up graded rows of one model; days in `gaps` have no games."
    rng, n = np.random.default_rng(seed), days*per_day
    d = [first + timedelta(int(i)) for i in np.arange(n)//per_day]
    line, edge = np.floor(rng.uniform(14, 28, n)) + .5*(rng.random(n) < .8), rng.normal(0, 3, n).round(3)
    actual = np.clip(np.round(line + skill*edge + rng.normal(0, 6, n)), 0, None).astype(int)
    side = np.where(edge >= 1, "OVER", np.where(edge <= -1, "UNDER", "PASS"))
    void = rng.random(n) < .05
    result = np.where(void, "VOID", np.where(side == "PASS", "PASS", np.where(actual == line, "PUSH", np.where((actual > line) == (side == "OVER"), "WIN", "LOSS"))))
    f = pl.DataFrame(dict(model_id=model, system_id=system or model, model_family=family, game_date=d, game_id=[f"{x:%Y%m%d}_A_B" for x in d], player_lookup=[f"p{i % per_day:03d}" for i in range(n)], recommendation=side, result=result,
        predicted_points=line + edge, line_value=line, actual_points=pl.Series(actual).set(pl.Series(void), None), over_price_american=price, under_price_american=price, predicted_at=[noon(x) for x in d], model_training_end_date=trained, prediction_made_before_game=True),
        schema_overrides={"over_price_american": pl.Int64, "under_price_american": pl.Int64, "predicted_at": UTC, "model_training_end_date": pl.Date})
    return f.filter(~pl.col("game_date").is_in([first + timedelta(g) for g in gaps])).with_columns(**{k: pl.lit(v) for k, v in over.items()})

def store(wh, *frames):
    "Write graded rows."
    fill = dict(team_abbr="A", opponent_team_abbr="B", line_source="ACTUAL_PROP", prediction_run_mode="SAME_DAY", model_version="v", attribution_source="recorded", build_commit_sha="c", grading_commit_sha="c", confidence_score=.5, has_prop_line=True,
                is_actionable=True, is_active=True, is_voided=False, grade_version=1)
    for f in frames: wh.write(ACC, f.with_columns(prediction_id=pl.format("{}|{}|{}", "system_id", "game_id", "player_lookup"), graded_at="predicted_at", **{k: pl.lit(v) for k, v in fill.items() if k not in f.columns}))

def registered(wh, model="m1", state="production", family="v9_mae", **over):
    "A registry row with plausible fillings."
    status = dict(production=("production", True, True), shadow=("active", True, False), retired=("deprecated", False, False))[state]
    known = dict(model_id=model, model_family=family, state=state, status=status[0], enabled=status[1], is_production=status[2], system_id=model, sha256="0"*64, training_start_date=date(2025, 11, 2), training_end_date=TRAINED, model_trained_at=noon(TRAINED)) | over
    fill = {pl.String: "x", pl.Int64: 1, pl.Boolean: False, UTC: noon(TRAINED)}
    t = table(REGISTRY)
    wh.write(REGISTRY, pl.DataFrame([{c.name: fill[c.frame] for c in t.columns if c.required and c.name in t.content and c.name not in known} | known]))

def stored(wh): return wh.sql(f"SELECT * FROM {STORED} ORDER BY model_id, game_date")

# --- the rolling numbers -------------------------------------------------------------------------------------------

def oracle(rows: list[dict], d: date) -> dict:
    "A row of the table, day by day and pick by pick."
    back = lambda k: [r for r in rows if d - timedelta(k - 1) <= r["game_date"] <= d]
    far = lambda r: abs(r["predicted_points"] - r["line_value"]) >= 3 and r["recommendation"] in ("OVER", "UNDER")
    won = lambda rs: [r["result"] == "WIN" for r in rs if far(r) and r["result"] in ("WIN", "LOSS")]
    out = {}
    for k in (7, 14, 28, 30):
        w = won(back(k))
        out |= {f"rolling_n_{k}d": len(w), f"rolling_hr_{k}d": 100*sum(w)/len(w) if w else None}
    def rate(k, z):
        rs = [r for r in back(k) if far(r) and r["result"] in ("WIN", "LOSS")]
        return hit_rate(pl.Series([r["result"] == "WIN" for r in rs], dtype=pl.Boolean), pl.Series([r["game_date"] for r in rs], dtype=pl.Date), z)
    if out["rolling_n_7d"]: out |= dict(hr_7d_wilson_low=100*rate(7, Z95).low, hr_7d_wilson_high=100*rate(7, Z95).high)
    if out["rolling_n_28d"]: out |= dict(hr_28d_low95=100*rate(28, z_bound()).low, hr_28d_high95=100*rate(28, z_bound()).high, hr_28d_low90=100*rate(28, z_bound(.1)).low, hr_28d_high90=100*rate(28, z_bound(.1)).high)
    for s in ("OVER", "UNDER"):
        w = won([r for r in back(7) if r["recommendation"] == s])
        out[f"{s.lower()}_hr_7d"] = 100*sum(w)/len(w) if w else None
    played = [r for r in back(28) if far(r) and r["result"] in ("WIN", "LOSS", "PUSH")]
    odds = [r["over_price_american"] if r["recommendation"] == "OVER" else r["under_price_american"] for r in played]
    implied = [100/(o + 100) if o > 0 else -o/(100 - o) for o in odds if o is not None]
    out["break_even_28d"] = 100*sum(implied)/len(implied) if played and len(implied) >= .8*len(played) else 100*110/210
    picks = [r for r in back(7) if far(r)]
    out["over_share_7d"] = 100*sum(r["recommendation"] == "OVER" for r in picks)/len(picks) if picks else None
    lines = [r for r in back(7) if r["actual_points"] is not None]
    mean = lambda f: sum(map(f, lines))/len(lines) if lines else None
    out |= dict(pred_bias_7d=mean(lambda r: r["predicted_points"] - r["actual_points"]), pred_vs_line_7d=mean(lambda r: r["predicted_points"] - r["line_value"]), model_mae_7d=mean(lambda r: abs(r["predicted_points"] - r["actual_points"])), vegas_mae_7d=mean(lambda r: abs(r["line_value"] - r["actual_points"])))
    if len(lines) > 1: out |= dict(mae_gap_7d=out["model_mae_7d"] - out["vegas_mae_7d"], pred_line_std_7d=float(np.std([r["predicted_points"] - r["line_value"] for r in lines], ddof=1)))
    today = [r for r in rows if r["game_date"] == d and far(r)]
    return out | {f"daily_{k}": sum(r["result"] == v for r in today) for k, v in dict(wins="WIN", losses="LOSS", pushes="PUSH", voids="VOID").items()} | dict(daily_picks=len(today), days_since_training=(d - TRAINED).days)

def test_rows_equal_a_slow_oracle(wh):
    "Would catch a window one day too long, a wrong population, a wrong interval or a wrong mean."
    rng = random.Random(1)
    frames = [graded("m1", seed=1, gaps=(3, 4, 17, 18, 19, 20, 21, 22)), graded("m2", seed=2, price=105, days=25, first=day(9)).with_columns(pl.when(pl.int_range(pl.len()) % 4 != 0).then("over_price_american").alias("over_price_american"))]
    store(wh, *frames)
    got = monitor(wh, start=D0, end=day(39)).rows
    for f in frames:
        rows = f.to_dicts()
        for d in rng.sample(sorted(set(f["game_date"])), 12):
            want, have = oracle(rows, d), got.filter((pl.col("model_id") == f["model_id"][0]) & (pl.col("game_date") == d)).row(0, named=True)
            for k, v in want.items(): assert (have[k] is None) == (v is None) and (v is None or have[k] == pytest.approx(v, abs=1.1e-3 if k == "pred_line_std_7d" else 2e-4)), (d, k)

@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12), st.floats(0, 1)), min_size=1, max_size=45))
def test_bounds_equal_the_plain_functions(days):
    "Would catch a design effect or a Wilson bound that differs from those of the statistics room."
    dates, wins, losses, at = [], [], [], D0
    for skip, n, share in days:
        at += timedelta(skip + 1); w = round(n*share)
        dates.append(at); wins.append(w); losses.append(n - w)
    f = windowed(complete(pl.DataFrame(dict(model_id="m", game_date=dates, wins=wins, losses=losses)))).with_columns(deff=deff_expr(28), low=bound_expr(28, 1.645), high=bound_expr(28, 1.282, True))
    for i, r in enumerate(f.iter_rows(named=True)):
        inside = [j for j in range(i + 1) if dates[j] > dates[i] - timedelta(28)]
        w, n = np.array([wins[j] for j in inside]), np.array([wins[j] + losses[j] for j in inside])
        assert r["n_28"] == n.sum() and r["deff"] == pytest.approx(design_effect(w, n), abs=1e-9)
        if n.sum(): assert (r["low"], r["high"]) == pytest.approx((100*wilson(w.sum(), n.sum(), 1.645, r["deff"])[0], 100*wilson(w.sum(), n.sum(), 1.282, r["deff"])[1]), abs=1e-6)

# --- states --------------------------------------------------------------------------------------------------------

def walk(rows: list[dict]) -> list[tuple]:
    "States of one model by a loop over its days."
    out, runs, legacy, level, gaps = [], dict(d=0, w=0, below58=0, below55=0, above=0), "HEALTHY", 0, []
    for r in rows:
        be, low = r["break_even_28d"], r["evaluation_low"]
        short = r["rolling_n_28d"] < 20 or (r["coverage_7d"] is not None and r["coverage_7d"] < 80)
        known7 = r["rolling_n_7d"] >= 20 and not (r["coverage_7d"] is not None and r["coverage_7d"] < 80)
        has, hr = r["rolling_n_28d"] > 0, r["rolling_hr_7d"]
        def run(name, holds): runs[name] = runs[name] + (1 if r["graded"] else 0) if holds else 0
        run("d", has and r["hr_28d_high90"] < be)
        run("w", has and low is not None and r["hr_28d_low95"] < low - 5 and r["rolling_hr_28d"] < be)
        run("below58", known7 and hr < 58); run("below55", known7 and hr < 55); run("above", known7 and hr >= 58)
        state = ("INSUFFICIENT_DATA" if short else "BLOCKED" if r["hr_28d_high95"] < be else "DEGRADING" if runs["d"] >= 3 else "WATCH" if runs["w"] >= 5 else "HEALTHY" if r["hr_28d_low90"] >= be else "UNPROVEN")
        if known7: legacy = "BLOCKED" if hr < 52.4 else "DEGRADING" if runs["below55"] >= 3 else "WATCH" if runs["below58"] >= 2 else "HEALTHY" if runs["above"] >= 2 else legacy
        now = LEVEL.get(state)
        action = "NO_CHANGE" if now is None or now == level else "DEGRADED" if now > level else "RECOVERED"
        level = level if now is None else now
        gaps.append(r["mae_gap_7d"] if r["lines_7"] >= 20 else None)
        often = lambda above, of: sum(g is not None and g > above for g in gaps[-of:])
        bias = "INSUFFICIENT_DATA" if r["lines_7"] < 20 else "LOSING_BAD" if often(2, 5) >= 3 else "LOST_EDGE" if often(1, 7) >= 5 else "WATCH" if r["mae_gap_7d"] > .5 else "OK"
        out.append((state, legacy if known7 else "INSUFFICIENT_DATA", action, bias, runs["below58"], runs["below55"]))
    return out

def test_states_equal_a_walk_through_the_days():
    "Would catch a persistence rule that counts wrongly, a wrong order of rules, or a recovery that comes too early."
    rng = np.random.default_rng(3)
    f = pl.concat([drawn_days(p, picks, 6, 120, after=q, judged=(.57, 150), seed=s).with_columns(model_id=pl.format("{}-{}", "model_id", pl.lit(s))) for s, (p, q, picks) in enumerate([(.5, .42, 4), (.55, .45, 12), (.6, .5, 9), (.53, .53, 3)])])
    n = f.height
    f = f.with_columns(graded=pl.Series((rng.random(n) < .8).astype(int)), gradable=10, covered=pl.Series(np.where(rng.random(n) < .12, 0, 10)), lines=pl.Series(rng.integers(0, 12, n)), abs_error=pl.Series(rng.integers(0, 60_000, n)), line_error=pl.Series(rng.integers(0, 40_000, n)))
    j = judge_days(f)
    for (m,), g in j.partition_by("model_id", as_dict=True).items():
        assert g.select("state", "legacy_state", "action", "bias_state", "consecutive_days_below_watch", "consecutive_days_below_alert").rows() == walk(g.to_dicts()), m
    seen = lambda c: set(j[c])
    assert seen("state") == {*LEVEL, "INSUFFICIENT_DATA"} and seen("legacy_state") == {"INSUFFICIENT_DATA", "HEALTHY", "WATCH", "DEGRADING", "BLOCKED"} and seen("action") == {"NO_CHANGE", "DEGRADED", "RECOVERED"}
    assert seen("bias_state") == {"INSUFFICIENT_DATA", "OK", "WATCH", "LOST_EDGE", "LOSING_BAD"}

def test_a_run_does_not_cross_the_summer():
    "Would catch last season's bad days counting as yesterday's."
    f = pl.DataFrame(dict(model_id="m", game_date=[day(i) for i in range(6)] + [day(300)], season=["a"]*6 + ["b"], wins=4, losses=20, graded=10))
    assert judge_days(f)["consecutive_days_below_alert"].to_list() == [1, 2, 3, 4, 5, 6, 1]

def test_a_sound_model_is_rarely_called_sick():
    "Would catch states that cry wolf: at the record's ceiling fixed thresholds alarm on most days, the bounds on few."
    j = judge_days(drawn_days(.534, 12, 200, judged=(.534, 80), seed=7))
    k = j.filter(pl.col("rolling_n_7d").is_between(70, 100))
    assert 76 < 100*(k["rolling_hr_7d"] < 58).mean() < 82 and 40 < 100*(k["rolling_hr_7d"] < 52.4).mean() < 45
    assert shares(k, "legacy_state")["HEALTHY"] < 24 and 40 < shares(k, "legacy_state")["BLOCKED"] < 46
    for picks in (3.3, 12):
        s = shares(judge_days(drawn_days(.534, picks, 200, seed=8)))
        assert s["BLOCKED"] + s["DEGRADING"] <= 5.5 and s["UNPROVEN"] > 70
    even = shares(judge_days(drawn_days(110/210, 3.3, 200, seed=9)))
    assert even["BLOCKED"] <= 5.5 and even["BLOCKED"] + even["DEGRADING"] <= 8.5

def test_days_with_a_common_fate_do_not_raise_false_alarms():
    "Would catch bounds that take the picks of one night for independent ones."
    s = shares(judge_days(drawn_days(.534, 12, 200, wobble=.10, seed=10)))
    assert s["BLOCKED"] + s["DEGRADING"] <= 6.5

def test_a_fallen_model_is_found():
    "Would catch states so cautious that they never alarm."
    assert delays(12, .45, seasons=100)["median"] <= 21 and delays(3.3, .40, seasons=100)["within_28_days"] >= 80

# --- population and evidence ---------------------------------------------------------------------------------------

def test_every_graded_row_is_accounted_for(wh):
    "Would catch a model judged on its own training days, or a player-game counted twice after a change of name."
    base = graded(days=20)
    shadow = base.filter(pl.col("game_date") < day(3)).with_columns(system_id=pl.lit("alias"), predicted_at=pl.col("predicted_at") - pl.duration(hours=1), result=pl.lit("LOSS"))
    store(wh, base, shadow, graded(days=5, first=TRAINED - timedelta(4), seed=5), graded("points_avg", "baseline", trained=None))
    r = monitor(wh, start=TRAINED - timedelta(4), end=day(19))
    assert r.population.set_aside == {"second name of the same model": 90, "inside the training window": 150} and r.population.read == 600 + 90 + 150
    assert set(r.rows["model_id"]) == {"m1"} and r.rows["game_date"].min() == D0
    alone = graded(days=20).filter(((pl.col("predicted_points") - pl.col("line_value")).abs() >= 3) & pl.col("result").is_in(["WIN", "LOSS"]))
    assert r.rows["daily_wins"].sum() + r.rows["daily_losses"].sum() == alone.height
    assert (r.rows["daily_picks"] == r.rows["daily_wins"] + r.rows["daily_losses"] + r.rows["daily_pushes"] + r.rows["daily_voids"]).all()

def test_probability_families_are_judged_on_positive_expected_value(wh):
    "Would catch an anchored model that never has a pick, or one that gets picks without prices."
    f = graded("a1", "v9_anchored", days=10).with_columns(recommendation=pl.lit("PASS"), result=pl.when(pl.col("actual_points").is_null()).then(pl.lit("VOID")).otherwise(pl.lit("PASS")), p_push=pl.lit(0.0), predicted_points=pl.col("line_value") + .1,
        p_over=pl.Series(np.random.default_rng(0).uniform(.4, .6, 300))).with_columns(pl.when(pl.int_range(pl.len()) % 5 != 0).then("over_price_american").alias("over_price_american"))
    store(wh, f)
    r = monitor(wh, start=D0, end=day(9)).rows
    want = dict(wins=0, losses=0)
    for x in f.to_dicts():
        if x["over_price_american"] is None or x["under_price_american"] is None: continue
        ev = {"OVER": x["p_over"]*100/110 - (1 - x["p_over"]), "UNDER": (1 - x["p_over"])*100/110 - x["p_over"]}
        side = max(ev, key=ev.get)
        if ev[side] <= 0 or x["actual_points"] is None or x["actual_points"] == x["line_value"]: continue
        want["wins" if (x["actual_points"] > x["line_value"]) == (side == "OVER") else "losses"] += 1
    assert (r["daily_wins"].sum(), r["daily_losses"].sum()) == (want["wins"], want["losses"]) and want["wins"] > 50

def test_coverage_counts_what_could_have_been_graded(wh):
    "Would catch a rate over half of the picks that is shown as the rate of the model."
    f = graded(days=8)
    store(wh, f.filter((pl.col("game_date") < day(5)) | (pl.int_range(pl.len()) % 2 == 0)))
    games = f.select("game_id", "game_date").unique()
    wh.write("nba_reference.nba_schedule", games.with_columns(season=pl.lit("2025-26"), home_team_tricode=pl.lit("B"), away_team_tricode=pl.lit("A"), game_status=3, is_playoffs=False, neutral_site=False, game_start_utc=pl.col("game_date").cast(UTC)))
    fill = dict(team_abbr="A", opponent_team_abbr="B", line_source="ACTUAL_PROP", prediction_run_mode="SAME_DAY", run_id="r", model_version="v", model_load_source="CODE", attribution_source="recorded", feed_profile="box", build_commit_sha="c", deployment_revision="l", confidence_score=.5,
                has_prop_line=True, is_active=True, is_actionable=True, filter_reasons=[])
    keep = ["model_id", "system_id", "model_family", "game_date", "game_id", "player_lookup", "recommendation", "predicted_points", "line_value", "predicted_at", "model_training_end_date", "prediction_made_before_game"]
    wh.write(PRED, f.select(keep).with_columns(prediction_id=pl.format("{}|{}", "game_id", "player_lookup"), line_minutes_before_game=pl.lit(30), created_at="predicted_at", updated_at="predicted_at", **{k: pl.lit(v, pl.List(pl.String)) if v == [] else pl.lit(v) for k, v in fill.items()}))
    rows = monitor(wh, start=D0, end=day(7)).rows
    sided = f.filter(pl.col("recommendation") != "PASS").with_columns(done=(pl.col("game_date") < day(5)) | pl.Series(np.arange(f.height) % 2 == 0).filter(f["recommendation"] != "PASS"))
    for i in (4, 5, 6, 7):
        last = sided.filter(pl.col("game_date").is_between(day(i - 6), day(i)))
        assert rows.filter(pl.col("game_date") == day(i))["coverage_7d"][0] == pytest.approx(100*last["done"].mean(), abs=1e-3)
    assert rows.tail(1).select("state").item() == "INSUFFICIENT_DATA" and rows.filter(pl.col("game_date") == day(4))["coverage_7d"][0] == 100

def test_the_bound_of_the_evaluation_is_recovered():
    "Would catch WATCH comparing a one-sided bound with a two-sided one."
    for wins, n, deff in ((60, 100, 1.0), (150, 260, 1.4), (40, 79, 2.2)):
        assert one_sided(wins/n, wilson(wins, n, Z95, deff)[0]) == pytest.approx(100*wilson(wins, n, 1.645, deff)[0], abs=1e-6)
    assert one_sided(0.0, 0.0) is None and evaluation_low(dict(gates_json=json.dumps(dict(results=[dict(id="hit_rate_edge3", value=None, ci95_low=None)])))) is None

# --- writing -------------------------------------------------------------------------------------------------------

def test_a_second_run_finds_every_row(wh):
    "Would catch rows that change without a reason."
    store(wh, graded(), graded("m2", seed=3))
    one, two = monitor(wh, start=D0, end=day(39)), monitor(wh, start=D0, end=day(39))
    assert one.counts.written == 80 and (two.counts.present, two.counts.written, two.counts.quarantined) == (80, 0, 0)

def test_one_day_alone_equals_the_day_in_a_range(wh):
    "Would catch runs or sums that depend on where the range begins."
    store(wh, graded(gaps=(5, 6)), graded("m2", seed=3, skill=-.6))
    monitor(wh, start=D0, end=day(39))
    assert {monitor(wh, day(i)).counts.present for i in (0, 20, 39)} == {2}
    assert monitor(wh, start=day(10), end=day(30)).counts.written == 0

def test_corrected_grades_renew_the_rows(wh):
    "Would catch a monitor that keeps the verdict on results that were corrected, or rows of days that are gone."
    f = graded()
    store(wh, f)
    monitor(wh, start=D0, end=day(39))
    before = stored(wh)
    wh.sql(f"UPDATE {ACC} SET result = 'LOSS', prediction_correct = FALSE WHERE game_date = @d AND result = 'WIN'", d=day(20))
    wh.sql(f"DELETE FROM {ACC} WHERE game_date = @d", d=day(39))
    r = monitor(wh, start=D0, end=day(39))
    after = stored(wh)
    assert r.counts.present == 20 and after.height == 39 and day(39) not in after["game_date"].to_list()
    assert after.filter(pl.col("game_date") == day(20))["daily_wins"][0] == 0 < before.filter(pl.col("game_date") == day(20))["daily_wins"][0]

def test_a_season_of_five_models_has_a_row_for_each_day(wh):
    "Would catch days or models that are left out of a long range."
    store(wh, *(graded(f"m{i}", seed=i, days=165, per_day=90, first=date(2025, 10, 25), trained=date(2025, 10, 20)) for i in range(5)))
    r = monitor(wh, start=date(2025, 10, 25), end=date(2026, 4, 7))
    assert r.counts.written == 5*165

# --- the report ----------------------------------------------------------------------------------------------------

def lose(f): return f.with_columns(result=pl.when(pl.col("result") == "WIN").then(pl.lit("LOSS")).otherwise("result"))

def test_blocked_is_critical_and_changes_nothing(wh, monkeypatch, tmp_path):
    "Would catch a monitor that acts on its own, alarms for a retired model, or hides a proven loss."
    store(wh, lose(graded("m1")), graded("m2", seed=4, skill=.3), lose(graded("gone", seed=6)))
    for m, s in (("m1", "production"), ("m2", "shadow"), ("gone", "retired")): registered(wh, m, s, family=f"v{9 if m == 'm1' else 12}_mae")
    models = wh.sql(f"SELECT * FROM {REGISTRY} ORDER BY model_id").rows()
    r = monitor(wh, day(39))
    assert (r.verdict, r.exit_code) == ("CRIT", 1) and r.alarms["model_id"].to_list() == ["m1"] and "CRIT m1: BLOCKED" in str(r)
    assert wh.sql(f"SELECT * FROM {REGISTRY} ORDER BY model_id").rows() == models
    assert set(stored(wh).filter(pl.col("state") == "BLOCKED")["model_id"]) == {"m1", "gone"}
    from nbprops.commands.watch import monitor_app
    monkeypatch.setenv("NBPROPS_DB", str(wh.path))
    out = CliRunner().invoke(monitor_app, ["performance", "--date", str(day(39)), "--json"])
    assert out.exit_code == 1 and json.loads(out.output)["verdict"] == "CRIT" and len(json.loads(out.output)["rows"]) == 3

def test_unproven_is_no_alarm(wh):
    "Would catch a morning report that warns about the normal state."
    store(wh, graded(skill=.12, seed=11)); registered(wh)
    r = monitor(wh, day(39))
    assert r.rows["state"][0] == "UNPROVEN" and (r.verdict, r.exit_code) == ("OK", 0) and not r.alarms.height

def test_a_silent_model_and_an_unregistered_one_are_named(wh):
    "Would catch silence that is read as health."
    store(wh, graded(seed=11, skill=.12), graded("stray", seed=12)); registered(wh); registered(wh, "m2", "shadow")
    r = monitor(wh, day(39))
    assert r.silent == ["m2"] and r.verdict == "WARN" and "m2 is live but has no row" in str(r) and "stray is graded but stands in no registry row" in str(r)

def test_a_registry_that_cannot_be_read_is_replaced_by_the_snapshot(wh):
    "Would catch a monitor that stops, or that hides where its roster comes from."
    from nbprops.predict.loading import registry_rows, save_snapshot
    store(wh, lose(graded())); registered(wh)
    with wh.transaction() as tx: save_snapshot(*registry_rows(tx), {})
    wh.sql(f"ALTER TABLE {REGISTRY} RENAME TO away")
    r = monitor(wh, day(39))
    assert r.source == "SNAPSHOT" and "registry cannot be read" in str(r) and r.alarms["state"].to_list() == ["BLOCKED"] and r.counts.written == 1

def test_half_a_question_is_refused_and_every_run_is_on_record(wh):
    "Would catch a range that is guessed, and a monitor whose death nobody sees."
    for bad in (dict(start=D0), dict(game_date=D0, end=D0), dict(start=day(2), end=D0)):
        with pytest.raises(Refusal): monitor(wh, **bad)
    assert monitor(wh, D0).counts.read == 0
    assert wh.sql("SELECT command, status, game_date FROM nba_orchestration.run_ledger").rows() == [("monitor performance", "DONE", D0)]
