"The grader against a slow one in plain Python, row by row, on ten thousand random rows."
import random
from collections import Counter
from datetime import date, datetime, timedelta, timezone
import polars as pl, pytest
from nbprops.data.reference import shipped
from nbprops.data.warehouse import Warehouse
from nbprops.predict.grading import ACC, COPIED, PRED, RENEWED, VERSIONS, grade
from nbprops.predict.publish import json_rows
from tests.test_predict_grading import frame, pred

D0, DAYS, NOW = date(2026, 2, 2), 14, datetime(2026, 2, 16, 12, tzinfo=timezone.utc) # the last evening is younger than 48 hours
TEAMS = ["ATL", "BOS", "CHI", "DAL", "DEN", "GSW", "LAL", "MIA", "NYK", "UTA"]
KINDS = ["plain"]*10 + ["seven", "short", "points_off", "no_score", "live", "put_off", "lost", "no_tip", "earlier", "later", "no_box"]
at = lambda d, h, m=0, s=0: datetime(d.year, d.month, d.day, h, m, s, tzinfo=timezone.utc)

def random_game(rnd, k, j, kind):
    "One game with its box, without predictions."
    d, (h, a) = D0 + timedelta(days=k), TEAMS[2*j:2*j + 2]
    g = dict(id=f"{d:%Y%m%d}_{a}_{h}", date=d, home=h, away=a, kind=kind, tip={"no_tip": None, "earlier": at(d, 19), "later": at(d + timedelta(days=1), 2)}.get(kind, at(d, 23)), status=2 if kind == "live" else 1 if kind in ("put_off", "lost") else 3)
    g["box"], g["names"] = {}, [(f"{t.lower()}{i}", t) for t in (h, a) for i in range(13)]
    for n, t in g["names"]:
        i = int(n[3:])
        plays = i < (7 if t == h and kind in ("seven", "short") else 10)
        if plays: g["box"][n] = dict(team=t, dnp=False, minutes=rnd.choice([.5, 12.0, 30.5]), points=rnd.choice([0, 0, 5, 10, 11, 12, 20, 31]))
        elif rnd.random() < .6: g["box"][n] = dict(team=t, dnp=True, minutes=None, points=None) # dnp or inactive; the rest has no row
    if kind in ("put_off", "lost", "no_box"): g["box"] = {}
    total = lambda t: sum(r["points"] or 0 for r in g["box"].values() if r["team"] == t)
    off = {"points_off": 2, "short": 9}.get(kind, 0)
    g["score"] = None if kind == "no_score" else (total(h) + off if g["box"] else 101, total(a) if g["box"] else 99)
    return g

def random_rows(rnd, g):
    "Predictions, versions, reports, lines and season averages around one game."
    rows, versions, reports, props, averages, d = [], [], [], [], {}, g["date"]
    for n, t in g["names"]:
        if rnd.random() < .85: averages[(n, d)] = rnd.choice([None, 3.0, 4.9, 5.0, 14.9, 15.0, 24.9, 25.0, 31.2])
        for hour in rnd.sample([1, 9, 15, 18, 21], rnd.choice([0, 0, 1, 2])): reports.append(dict(player_lookup=n, team_abbr=t, injury_status=rnd.choice(["out", "doubtful", "questionable", "probable", "available"]), report_date=d, report_timestamp=at(d, hour, rnd.randrange(60)) - timedelta(days=rnd.choice([0, 0, 0, 1]))))
        for book in ("draftkings", "fanduel"):
            for hour in rnd.sample([12, 15, 18, 21], rnd.choice([0, 1, 2])):
                one_sided = rnd.random() < .15
                props.append(dict(game_id=g["id"], game_date=d, player_lookup=n, bookmaker=book, data_source="the_odds_api", snapshot_id=f"{g['id']}{n}{book}{hour}", snapshot_timestamp=at(d, hour), commence_timestamp=g["tip"], minutes_before_tipoff=60*(23 - hour),
                    over_price_american=rnd.choice([-120, -110, 105]), under_price_american=None if one_sided else rnd.choice([-110, 100]), points_line=rnd.choice([9.5, 10.0, 10.5, 12.0]), tip_verified=True))
        for system in ("alpha", "beta", "gamma"):
            rows, versions = rows + (some := random_predictions(rnd, g, n, system))[0], versions + some[1]
    return rows, versions, reports, props, averages

def random_predictions(rnd, g, n, system):
    "One to five rows of a player and system: before and after the tip, replaced, withdrawn, inactive."
    out, versions, d, lines = [], [], g["date"], rnd.sample([None, 9.5, 10.0, 10.5, 11.0, 12.0], 5)
    for i in range(rnd.choice([1, 1, 1, 2, 3, 5])):
        late = rnd.random() < .15
        line, predicted = lines[i], round(rnd.uniform(5, 16), 3)
        rec = "NO_LINE" if line is None else "PASS" if abs(predicted - line) < 1 else "OVER" if predicted > line else "UNDER"
        when = at(d + timedelta(days=late), rnd.randrange(3, 12) if late else rnd.randrange(8, 23), rnd.randrange(60), 7*i + rnd.randrange(7))
        gone = rnd.random() < .12
        r = pred(g["id"], d, n, predicted, line, rec, system, when, i, is_active=False, prediction_made_before_game=not late, no_vig_over=None if line is None or rnd.random() < .2 else .52, line_snapshot_at=None if line is None or rnd.random() < .1 else at(d, rnd.choice([11, 12, 15, 18, 21])),
            invalidated_at=when + timedelta(minutes=rnd.choice([30, 600])) if gone else None, invalidation_reason=rnd.choice(["model blocked: x", "late_scratch"]) if gone else None, is_actionable=rnd.random() < .5)
        (versions if i and rnd.random() < .3 else out).append(r)
    if out and rnd.random() < .95:
        newest = max(out, key=lambda r: r["predicted_at"])
        newest["is_active"] = not (newest["invalidated_at"] and newest["invalidation_reason"] != "late_scratch")
    for r in out: r["superseded_by"] = None if r["is_active"] else "x"
    return out, versions

# The slow grader

def complete(g):
    "COMPLETE, PENDING or POSTPONED, and the finding."
    if g["kind"] == "put_off": return "POSTPONED", "re-scheduled to 2026-03-20"
    if g["kind"] == "lost": return "PENDING", "not on the schedule"
    if g["status"] != 3: return "PENDING", "not final"
    played = {t: [r for r in g["box"].values() if r["team"] == t and not r["dnp"] and r["minutes"] > 0] for t in (g["home"], g["away"])}
    whole, some = all(len(p) >= 8 for p in played.values()), all(len(p) >= 5 for p in played.values())
    adds_up = g["score"] is not None and all(sum(r["points"] for r in played[t]) == s for t, s in zip((g["home"], g["away"]), g["score"]))
    if not some or not (whole or adds_up): return "PENDING", "box not closed"
    finding = "fewer than eight played" if not whole else "score not held" if g["score"] is None else None if adds_up else "points do not add up"
    began = g["tip"] or at(g["date"], 12)
    return "PENDING" if finding and NOW - began < timedelta(hours=48) else "COMPLETE", finding

def record(rows, versions, tip):
    "The row that stood there at the tip-off; else the active back-filled one."
    stood = [(r, r in versions) for r in rows + versions if (r["predicted_at"] < tip if tip else r["prediction_made_before_game"])]
    filled = [r for r in rows if r["is_active"] and not any(r is s for s, _ in stood)]
    taken_off = lambda r: r["invalidated_at"] is not None and r["invalidation_reason"] != "late_scratch" and (tip is None or r["invalidated_at"] < tip)
    if stood:
        newest = max(stood, key=lambda x: x[0]["predicted_at"])[0]
        if not taken_off(newest): return newest
    for r in filled:
        if not taken_off(r): return r
    return None

def closing(props, tip):
    "The newest line of the first book that had one before the tip-off."
    for book in ("draftkings", "fanduel"):
        seen = [p for p in props if p["bookmaker"] == book and tip is not None and p["snapshot_timestamp"] < tip]
        if seen: return max(seen, key=lambda p: p["snapshot_timestamp"])
    return None

def implied(a): return 100/(a + 100) if a > 0 else -a/(100 - a)

def graded(r, g, state, reports, props, average):
    "What one record row turned out to be, from the text."
    tip, out = g["tip"], dict.fromkeys(["void_reason", "prediction_correct", "signed_error", "absolute_error", "within_3_points", "within_5_points", "actual_margin", "clv_points", "clv_prob", "scoring_tier", "closing_line"])
    box = g["box"].get(r["player_lookup"])
    points = None if state == "POSTPONED" or box is None or box["dnp"] else box["points"]
    out |= dict(prediction_id=r["prediction_id"], actual_points=points, is_voided=points is None, season_avg_at_prediction=average)
    if points is None:
        seen = [i for i in reports if tip and tip - timedelta(hours=24) <= i["report_timestamp"] < tip]
        status = max(seen, key=lambda i: i["report_timestamp"])["injury_status"] if seen else None
        why = {"out": "dnp_injury_confirmed", "doubtful": "dnp_injury_confirmed", "questionable": "dnp_late_scratch", "probable": "dnp_late_scratch"}.get(status, "dnp_unknown")
        out |= dict(result="VOID", void_reason="postponed" if state == "POSTPONED" else why)
    else:
        miss = r["predicted_points"] - points
        out |= dict(signed_error=miss, absolute_error=abs(miss), within_3_points=abs(miss) <= 3, within_5_points=abs(miss) <= 5, actual_margin=None if r["line_value"] is None else points - r["line_value"])
        if r["line_value"] is None: out["result"] = "NO_LINE"
        elif r["recommendation"] == "PASS": out["result"] = "PASS"
        elif points == r["line_value"]: out["result"] = "PUSH"
        else:
            out["prediction_correct"] = points > r["line_value"] if r["recommendation"] == "OVER" else points < r["line_value"]
            out["result"] = "WIN" if out["prediction_correct"] else "LOSS"
    if average is not None: out["scoring_tier"] = "star" if average >= 25 else "starter" if average >= 15 else "role" if average >= 5 else "bench"
    c, sign = None if state == "POSTPONED" else closing(props, tip), {"OVER": 1, "UNDER": -1}.get(r["recommendation"])
    if c is None: return out
    out["closing_line"] = c["points_line"]
    if sign is None or r["line_snapshot_at"] is None or c["snapshot_timestamp"] <= r["line_snapshot_at"]: return out
    out["clv_points"] = sign*(c["points_line"] - r["line_value"])
    if c["points_line"] == r["line_value"] and c["under_price_american"] is not None and r["no_vig_over"] is not None:
        over, under = implied(c["over_price_american"]), implied(c["under_price_american"])
        out["clv_prob"] = sign*(over/(over + under) - r["no_vig_over"])
    return out

# Both, side by side

def land(wh, games, rows, versions, reports, props, averages):
    "The random world in the tables."
    for name, f in shipped().items(): wh.write(name, f)
    stats = [dict(game_id=g["id"], game_date=g["date"], player_lookup=n, player_full_name=n, team_abbr=b["team"], opponent_team_abbr=g["away"] if b["team"] == g["home"] else g["home"], season="2025-26", player_status=("dnp" if n[3:] == "11" else "inactive") if b["dnp"] else "active",
        is_dnp=b["dnp"], has_complete_shot_zones=False, minutes_played=b["minutes"], points=b["points"]) for g in games for n, b in g["box"].items()]
    wh.write("nba_analytics.player_game_summary", pl.DataFrame(stats, infer_schema_length=None))
    plan = lambda g, **k: dict(game_id=g["id"], season="2025-26", home_team_tricode=g["home"], away_team_tricode=g["away"], game_date=g["date"], game_start_utc=g["tip"], game_status=g["status"], is_playoffs=False, neutral_site=False) | k
    kinds = {"game_start_utc": pl.Datetime("us", "UTC"), "home_team_score": pl.Int64, "away_team_score": pl.Int64}
    wh.write("nba_reference.nba_schedule", pl.DataFrame([plan(g, home_team_score=g["score"] and g["score"][0], away_team_score=g["score"] and g["score"][1]) for g in games if g["kind"] not in ("put_off", "lost")], schema_overrides=kinds, infer_schema_length=None))
    raw = [plan(g, nba_game_id=f"00225{i:05d}", is_regular_season=True, is_all_star=False) for i, g in enumerate(games) if g["kind"] == "put_off"]
    wh.write("nba_raw.nbac_schedule", pl.DataFrame(raw + [r | dict(game_id="20260320" + r["game_id"][8:] + r["nba_game_id"], game_date=date(2026, 3, 20), game_start_utc=None) for r in raw], schema_overrides=kinds, infer_schema_length=None))
    wh.write(PRED, frame(rows))
    v = frame(versions)
    wh.write(VERSIONS, v.select("prediction_id", "system_id", "player_lookup", "game_id", "game_date", "predicted_at", replaced_at="predicted_at", replaced_by=pl.lit("x")).with_columns(row_json=json_rows(v)), mode="append")
    wh.write("nba_raw.nbac_injury_report", pl.DataFrame(reports))
    wh.write("nba_raw.odds_api_player_points_props", pl.DataFrame(props, schema_overrides={"under_price_american": pl.Int64, "commence_timestamp": pl.Datetime("us", "UTC")}, infer_schema_length=None))
    said = dict(game_id="x", team_abbr="x", opponent_team_abbr="x", feature_version="v", contract_hash="h", quality_tier="gold", quality_alert_level="green", origin="backfill", feed_profile="box", as_of=at(D0, 1), feature_quality_score=99.0, default_feature_count=0, missing_feature_names=[], is_quality_ready=True, is_training_ready=True)
    wh.write("nba_predictions.ml_feature_store_v2", pl.DataFrame([said | dict(player_lookup=n, game_date=d, points_avg_season=v) for (n, d), v in averages.items()], schema_overrides={"missing_feature_names": pl.List(pl.String), "points_avg_season": pl.Float64}, infer_schema_length=None))

@pytest.fixture(scope="module")
def both(tmp_path_factory):
    "The stored rows, the report, and what the slow grader says of the same world."
    wh = Warehouse(tmp_path_factory.mktemp("oracle")/"nbprops.duckdb")
    wh.migrate()
    rnd, rows, versions, props, every, want, told, final = random.Random(53), [], [], [], {}, {}, {}, Counter()
    kinds = iter(rnd.sample(KINDS*4, DAYS*5))
    games = [random_game(rnd, k, j, next(kinds)) for k in range(DAYS) for j in range(5)]
    worlds = [(g, random_rows(rnd, g)) for g in games]
    reports = list({(r["report_timestamp"], r["player_lookup"]): r for _, w in worlds for r in w[2]}.values())
    for g, (mine, old, _, offers, averages) in worlds:
        told[g["id"]] = state, _ = complete(g)
        for n, _ in g["names"]:
            seen = [i for i in reports if i["player_lookup"] == n]
            for s in ("alpha", "beta", "gamma"):
                some = ([r for r in x if r["player_lookup"] == n and r["system_id"] == s] for x in (mine, old))
                if (r := record(*some, g["tip"])) is None: continue
                if g["status"] == 3 and r["recommendation"] in ("OVER", "UNDER"): final[s] += 1
                if state != "PENDING": want[(g["id"], n, s)] = graded(r, g, state, seen, [p for p in offers if p["player_lookup"] == n], averages.get((n, g["date"]))), r
        rows, versions, props, every = rows + mine, versions + old, props + offers, every | averages
    with pytest.MonkeyPatch.context() as m:
        m.setenv("NBPROPS_NOW", NOW.isoformat())
        land(wh, games, rows, versions, reports, props, every)
        report = grade(wh, D0, D0 + timedelta(days=DAYS - 1))
    got = {(r["game_id"], r["player_lookup"], r["system_id"]): r for r in wh.sql(f"SELECT * FROM {ACC}").iter_rows(named=True)}
    return wh, games, len(rows) + len(versions), want, told, final, report, got

def same(a, b): return a == b or (isinstance(a, float) and isinstance(b, (int, float)) and abs(a - b) < 1e-9)

def test_ten_thousand_rows_are_graded_as_by_hand(both):
    "Would catch a wrong record row, result, void reason, error, tier, copy, closing value, game state or coverage anywhere."
    wh, games, n, want, told, final, report, got = both
    assert n >= 10_000 and got.keys() == want.keys() and report.counts.read == report.counts.written == len(want)
    wrong = [(k, c, got[k][c], v) for k, (w, _) in want.items() for c, v in w.items() if not same(got[k][c], v)]
    assert not wrong, wrong[:5]
    copies = [(k, c) for k, (_, r) in want.items() for c in COPIED if c in r and c not in RENEWED and got[k][c] != r[c]]
    assert not copies, copies[:5]
    tips = {g["id"]: g["tip"] for g in games}
    early = lambda r, tip: r["predicted_at"] < tip if tip else r["prediction_made_before_game"] # by the latest tip-off, whatever the row said
    late = [k for k, (_, r) in want.items() if got[k]["prediction_made_before_game"] != early(r, tips[k[0]])]
    assert not late, late[:5]
    assert {r["game_id"]: (r["state"], r["finding"]) for r in report.games.iter_rows(named=True)} == told
    done = Counter(k[2] for k, (w, r) in want.items() if told[k[0]][0] == "COMPLETE" and w["result"] in ("WIN", "LOSS", "PUSH", "VOID") and r["recommendation"] in ("OVER", "UNDER"))
    assert [(r["system_id"], r["gradable"], r["graded"], r["coverage_pct"]) for r in report.coverage.iter_rows(named=True)] == [(s, final[s], done[s], round(100*done[s]/final[s], 1)) for s in sorted(final)]

def test_the_random_world_holds_every_case(both):
    "Would catch a world so tame that the comparison proves nothing."
    wh, games, n, want, told, final, report, got = both
    results, voids = Counter(w["result"] for w, _ in want.values()), Counter(w["void_reason"] for w, _ in want.values())
    assert min(results[r] for r in ("WIN", "LOSS", "PUSH", "VOID", "PASS", "NO_LINE")) > 50 and min(voids[v] for v in ("dnp_injury_confirmed", "dnp_late_scratch", "dnp_unknown", "postponed")) > 20
    assert {f for _, f in told.values()} == {None, "fewer than eight played", "score not held", "points do not add up", "box not closed", "not final", "not on the schedule", "re-scheduled to 2026-03-20"}
    assert sum(w["clv_points"] is not None for w, _ in want.values()) > 500 and sum(w["clv_prob"] is not None for w, _ in want.values()) > 100 and sum(w["actual_points"] == 0 for w, _ in want.values()) > 100
    assert sum(r["invalidated_at"] is not None for _, r in want.values()) > 20 and sum(not r["prediction_made_before_game"] for _, r in want.values()) > 50 and {w["scoring_tier"] for w, _ in want.values()} == {None, "star", "starter", "role", "bench"}

def test_a_second_run_and_a_run_by_day_change_nothing(both, monkeypatch):
    "Would catch results that depend on how many dates are graded at once."
    wh, *_, report, got = both
    monkeypatch.setenv("NBPROPS_NOW", (NOW + timedelta(minutes=5)).isoformat())
    again = [grade(wh, D0 + timedelta(days=k)).counts for k in range(DAYS)]
    assert sum(c.written for c in again) == 0 and sum(c.present for c in again) == report.counts.written
    assert wh.sql("SELECT COUNT(*) AS n FROM nba_predictions.grade_versions").item() == 0
