"Grading: the set-based grader against a slow one in plain Python, and the rules around it."
import json, random
from datetime import date, datetime, timedelta, timezone
import polars as pl, pytest
from nbprops.data.lines import line_of_record
from nbprops.data.reference import shipped
from nbprops.data.tables import conform
from nbprops.predict.grading import ACC, COPIED, PRED, VERSIONS, grade
from nbprops.predict.publish import json_rows
from nbprops.settings import Refusal

D0 = date(2026, 2, 2)
NOW = "2026-03-01T12:00:00Z"
at = lambda d, h, m=0: datetime(d.year, d.month, d.day, h, m, tzinfo=timezone.utc)

def game(wh, d, home, away, players=9, played=None, status=3, off=0, tip=23, score=True, dnp=(), absent=()):
    "A game; `played` maps a player to his points (default 10), names in `dnp` did not play, names in `absent` have no row."
    gid, rows = f"{d:%Y%m%d}_{away}_{home}", []
    for t, o in ((home, away), (away, home)):
        for i in range(players):
            p = f"{t.lower()}{i}"
            if p in absent: continue
            out = p in dnp
            rows.append(dict(game_id=gid, game_date=d, player_lookup=p, player_full_name=p, team_abbr=t, opponent_team_abbr=o, season="2025-26", player_status="dnp" if out else "active", is_dnp=out, has_complete_shot_zones=False,
                             minutes_played=None if out else 20.0, points=None if out else (played or {}).get(p, 10)))
    total = lambda t: sum(r["points"] or 0 for r in rows if r["team_abbr"] == t)
    wh.write("nba_analytics.player_game_summary", pl.DataFrame(rows, infer_schema_length=None))
    wh.write("nba_reference.nba_schedule", pl.DataFrame([dict(game_id=gid, season="2025-26", home_team_tricode=home, away_team_tricode=away, game_date=d, game_start_utc=None if tip is None else at(d, tip), game_status=status,
        home_team_score=total(home) + off if score else None, away_team_score=total(away) if score else None, is_playoffs=False, neutral_site=False)], schema_overrides={"game_start_utc": pl.Datetime("us", "UTC"), "home_team_score": pl.Int64, "away_team_score": pl.Int64}))
    return gid

def pred(gid, d, player, predicted=12.0, line=10.5, rec="OVER", system="alpha", when=None, n=0, **over):
    "One prediction row."
    when = when or at(d, 16)
    return dict(prediction_id=f"{system}|{gid}|{player}|{n}", system_id=system, player_lookup=player, game_id=gid, game_date=d, team_abbr="AAA", opponent_team_abbr="BBB", recommendation=rec, line_source="ACTUAL_PROP" if line is not None else "NO_PROP_LINE",
        prediction_run_mode="SAME_DAY", run_id="r", model_id=system, model_version="v", model_family="baseline", model_load_source="CODE", attribution_source="recorded", feed_profile="box", build_commit_sha="c", deployment_revision="local",
        predicted_points=predicted, confidence_score=.5, line_margin=None if line is None else predicted - line, has_prop_line=line is not None, is_active=True, is_actionable=False, prediction_made_before_game=True, line_value=line,
        predicted_at=when, created_at=when, updated_at=when, filter_reasons=[], no_vig_over=None, over_price_american=None, under_price_american=None, line_snapshot_at=None, superseded_by=None, invalidation_reason=None, invalidated_at=None) | over

FRAME = {"invalidated_at": pl.Datetime("us", "UTC"), "invalidation_reason": pl.String, "line_value": pl.Float64, "line_margin": pl.Float64, "no_vig_over": pl.Float64, "over_price_american": pl.Int64, "under_price_american": pl.Int64, "line_snapshot_at": pl.Datetime("us", "UTC"), "superseded_by": pl.String}
frame = lambda rows: pl.DataFrame(rows, schema_overrides=FRAME, infer_schema_length=None)

def implied(a): return 100/(a + 100) if a > 0 else -a/(100 - a)

def oracle(rows, versions, games, stats, reports, closing):
    "The record row of every key, graded one by one."
    out, keys = {}, sorted({(r["game_id"], r["player_lookup"], r["system_id"]) for r in [*rows, *versions]})
    for key in keys:
        tip = games[key[0]]
        mine = [(r, False) for r in rows if (r["game_id"], r["player_lookup"], r["system_id"]) == key] + [(r, True) for r in versions if (r["game_id"], r["player_lookup"], r["system_id"]) == key]
        live = [x for x in mine if x[0]["predicted_at"] < tip]
        pool = live or [x for x in mine if x[0]["is_active"] and not x[1]]
        if not pool: continue
        r = max(pool, key=lambda x: (x[0]["predicted_at"], not x[1]))[0]
        s = stats.get((key[0], key[1]))
        points = None if s is None or s["is_dnp"] else s["points"]
        g = dict(prediction_id=r["prediction_id"], actual=points, void_reason=None)
        if points is None:
            g["result"] = "VOID"
            seen = [i for i in reports if i["player_lookup"] == key[1] and tip - timedelta(hours=24) <= i["report_timestamp"] < tip]
            status = max(seen, key=lambda i: i["report_timestamp"])["injury_status"] if seen else None
            g["void_reason"] = "dnp_injury_confirmed" if status in ("out", "doubtful") else "dnp_late_scratch" if status in ("questionable", "probable") else "dnp_unknown"
        elif r["line_value"] is None: g["result"] = "NO_LINE"
        elif r["recommendation"] == "PASS": g["result"] = "PASS"
        elif points == r["line_value"]: g["result"] = "PUSH"
        else: g["result"] = "WIN" if (points > r["line_value"]) == (r["recommendation"] == "OVER") else "LOSS"
        c, sign = closing.get((key[0], key[1])), {"OVER": 1, "UNDER": -1}.get(r["recommendation"])
        later = c and r["line_snapshot_at"] and c["snapshot_timestamp"] > r["line_snapshot_at"] and sign
        g["clv_points"] = sign*(c["line"] - r["line_value"]) if later and r["line_value"] is not None else None
        o, u = (c["over_price_american"], c["under_price_american"]) if c else (None, None)
        equal = later and c["line"] == r["line_value"] and o is not None and r["no_vig_over"] is not None
        g["clv_prob"] = sign*(implied(o)/(implied(o) + implied(u)) - r["no_vig_over"]) if equal else None
        out[key] = g
    return out

def random_world(wh, seed=7):
    "Games, box scores, reports, lines and 2,500 predictions at random."
    rnd = random.Random(seed)
    teams, games, stats, reports, rows, versions, props = ["BOS", "NYK", "DEN", "LAL", "MIA", "CHI", "DAL", "UTA"], {}, {}, [], [], [], []
    for k in range(7):
        d = D0 + timedelta(days=k)
        for j in range(0, 8, 2):
            h, a = teams[j], teams[j + 1]
            names = [f"{t.lower()}{i}" for t in (h, a) for i in range(14)]
            dnp, absent = set(rnd.sample(names, 3)), set(rnd.sample(names, 2))
            dnp -= absent
            points = {n: rnd.choice([0, 5, 10, 11, 12, 20]) for n in names}
            gid = game(wh, d, h, a, players=14, played=points, dnp=dnp, absent=absent)
            games[gid] = at(d, 23)
            for n in names:
                if n not in absent: stats[(gid, n)] = dict(is_dnp=n in dnp, points=points[n])
                if rnd.random() < .3: reports += [dict(player_lookup=n, team_abbr=h, injury_status=rnd.choice(["out", "doubtful", "questionable", "probable", "available"]), report_date=d, report_timestamp=at(d, rnd.choice([1, 15, 22]), rnd.randrange(60)) - timedelta(days=rnd.choice([0, 0, 1]))) for _ in range(rnd.choice([1, 2]))]
                for hour in rnd.sample([12, 15, 18, 21], rnd.choice([0, 1, 2])):
                    props.append(dict(game_id=gid, game_date=d, player_lookup=n, bookmaker="draftkings", data_source="the_odds_api", snapshot_id=f"{gid}{n}{hour}", snapshot_timestamp=at(d, hour), commence_timestamp=at(d, 23), minutes_before_tipoff=60*(23 - hour),
                        over_price_american=rnd.choice([-120, -110, 105]), under_price_american=rnd.choice([-110, 100]), points_line=rnd.choice([9.5, 10.0, 10.5, 12.0]), tip_verified=True))
                for system in ("alpha", "beta"):
                    for i in range(rnd.choice([1, 1, 1, 2, 3])):
                        late = rnd.random() < .2
                        line = rnd.choice([None, 9.5, 10.0, 10.5, 12.0])
                        predicted = round(rnd.uniform(5, 16), 3)
                        rec = "NO_LINE" if line is None else "PASS" if abs(predicted - line) < 1 else "OVER" if predicted > line else "UNDER"
                        when = at(d, rnd.randrange(8, 23), rnd.randrange(60)) if not late else at(d + timedelta(days=1), rnd.randrange(0, 12), rnd.randrange(60))
                        r = pred(gid, d, n, predicted, line, rec, system, when, i, is_active=False, no_vig_over=None if line is None or rnd.random() < .3 else .52, line_snapshot_at=None if line is None else at(d, rnd.choice([11, 12, 15, 18])), prediction_made_before_game=not late)
                        (versions if i and rnd.random() < .3 else rows).append(r)
    newest, seen = {}, set()
    rows = [r for r in rows if not ((k := (r["game_id"], r["player_lookup"], r["system_id"], r["line_value"])) in seen or seen.add(k))]
    for r in rows:
        k = (r["game_id"], r["player_lookup"], r["system_id"])
        if k not in newest or r["predicted_at"] > newest[k]["predicted_at"]: newest[k] = r
    for r in rows:
        r["is_active"] = r is newest[(r["game_id"], r["player_lookup"], r["system_id"])]
        r["superseded_by"] = None if r["is_active"] else "x"
    reports = list({(r["report_timestamp"], r["player_lookup"]): r for r in reports}.values())
    return rows, versions, games, stats, reports, props

def test_the_grader_agrees_with_a_slow_one(wh, monkeypatch):
    "Would catch a wrong record row, result, void reason or closing-line value in any of 2,000 rows."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    rows, versions, games, stats, reports, props = random_world(wh)
    for name, f in shipped().items(): wh.write(name, f)
    wh.write(PRED, frame(rows))
    v = frame(versions)
    wh.write(VERSIONS, v.select("prediction_id", "system_id", "player_lookup", "game_id", "game_date", "predicted_at", replaced_at="predicted_at", replaced_by=pl.lit("x")).with_columns(row_json=json_rows(v)), mode="append")
    wh.write("nba_raw.nbac_injury_report", pl.DataFrame(reports))
    wh.write("nba_raw.odds_api_player_points_props", pl.DataFrame(props))
    asof = pl.DataFrame({"game_id": list(games), "as_of": list(games.values()), "game_start_utc": list(games.values())})
    closing = {(r["game_id"], r["player_lookup"]): r for r in line_of_record(wh.read("nba_raw.odds_api_player_points_props"), asof, wh.read("nba_reference.sportsbooks"), wh.read("nba_reference.feeds")).iter_rows(named=True)}
    want = oracle(rows, versions, games, stats, reports, closing)
    report = grade(wh, D0, D0 + timedelta(days=7))
    got = {(r["game_id"], r["player_lookup"], r["system_id"]): r for r in wh.sql(f"SELECT * FROM {ACC}").iter_rows(named=True)}
    assert len(rows) + len(versions) >= 2000 and got.keys() == want.keys() and report.counts.written == len(want)
    assert {k: (g["prediction_id"], g["actual_points"], g["result"], g["void_reason"]) for k, g in got.items()} == {k: (w["prediction_id"], w["actual"], w["result"], w["void_reason"]) for k, w in want.items()}
    for m in ("clv_points", "clv_prob"):
        assert {k for k, w in want.items() if w[m] is not None} == {k for k, g in got.items() if g[m] is not None}
        assert all(abs(got[k][m] - w[m]) < 1e-9 for k, w in want.items() if w[m] is not None)
    assert {r["result"] for r in got.values()} == {"WIN", "LOSS", "PUSH", "VOID", "PASS", "NO_LINE"} and sum(w["clv_prob"] is not None for w in want.values()) > 10
    source = {r["prediction_id"]: r for r in [*rows, *versions]}
    assert all(g[c] == source[g["prediction_id"]][c] for g in got.values() for c in COPIED if c in source[g["prediction_id"]] and c != "is_active")
    assert all(g["prediction_correct"] is {"WIN": True, "LOSS": False}.get(g["result"]) for g in got.values())
    assert grade(wh, D0, D0 + timedelta(days=7)).counts.written == 0
    decided = [k for k in want if (r := source[want[k]["prediction_id"]])["recommendation"] in ("OVER", "UNDER")]
    assert report.coverage["gradable"].sum() == len(decided) and report.coverage["coverage_pct"].to_list() == [100.0, 100.0] and report.verdict == "OK"

def test_a_game_with_an_open_box_stays_pending(wh, monkeypatch):
    "Would catch half-loaded box scores that turn players into voids."
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-03T06:00:00Z")
    g1, g2, g3 = game(wh, D0, "BOS", "NYK", players=7), game(wh, D0, "DEN", "LAL", status=2), game(wh, D0, "MIA", "CHI")
    wh.write(PRED, frame([pred(g, D0, p) for g, p in ((g1, "bos0"), (g2, "den0"), (g3, "mia0"))]))
    r = grade(wh, D0)
    assert dict(r.games.select("game_id", "state").iter_rows()) == {g1: "PENDING", g2: "PENDING", g3: "COMPLETE"}
    assert wh.sql(f"SELECT game_id, result FROM {ACC}").rows() == [(g3, "LOSS")] and "box not closed" in str(r)

@pytest.mark.parametrize("fault, finding", [(dict(off=2), "points do not add up"), (dict(score=False), "score not held")])
def test_a_score_that_does_not_add_up_waits_two_days(wh, monkeypatch, fault, finding):
    "Would catch grading on a box that misses points, or a day that is blocked for ever."
    g = game(wh, D0, "BOS", "NYK", **fault)
    wh.write(PRED, frame([pred(g, D0, "bos0")]))
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-04T22:59:00Z")
    early = grade(wh, D0)
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-04T23:00:00Z")
    late = grade(wh, D0)
    assert (early.counts.written, late.counts.written) == (0, 1) and early.findings["finding"].to_list() == late.findings["finding"].to_list() == [finding]

def test_a_correction_raises_the_version_of_its_rows_only(wh, monkeypatch):
    "Would catch a corrected box score that is not graded again, or everything being rewritten."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    g = game(wh, D0, "BOS", "NYK")
    wh.write(PRED, frame([pred(g, D0, "bos0"), pred(g, D0, "bos1")]))
    grade(wh, D0)
    wh.sql("UPDATE nba_analytics.player_game_summary SET points = 12 WHERE player_lookup = 'bos0'")
    wh.sql("UPDATE nba_reference.nba_schedule SET home_team_score = home_team_score + 2")
    monkeypatch.setenv("NBPROPS_NOW", "2026-03-02T12:00:00Z")
    r = grade(wh, D0)
    rows = wh.sql(f"SELECT player_lookup, result, grade_version, graded_at FROM {ACC} ORDER BY 1").rows()
    assert (r.counts.written, r.counts.present) == (1, 1)
    assert [x[:3] for x in rows] == [("bos0", "WIN", 2), ("bos1", "LOSS", 1)] and rows[0][3] > rows[1][3]

def test_a_backfill_never_replaces_what_was_served(wh, monkeypatch):
    "Would catch history being rewritten by rows made after the game."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    g = game(wh, D0, "BOS", "NYK")
    served = pred(g, D0, "bos0", line=9.5, n=1, is_active=False, superseded_by="x")
    later = pred(g, D0, "bos0", predicted=5.0, line=10.5, rec="UNDER", n=2, when=at(D0 + timedelta(days=9), 1), prediction_made_before_game=False)
    only = pred(g, D0, "bos1", n=3, when=at(D0 + timedelta(days=9), 1), prediction_made_before_game=False)
    wh.write(PRED, frame([served, later, only]))
    grade(wh, D0)
    assert sorted(wh.sql(f"SELECT prediction_id FROM {ACC}")["prediction_id"]) == sorted([served["prediction_id"], only["prediction_id"]])

def test_a_blocked_row_is_not_graded(wh, monkeypatch):
    "Would catch a prediction that was switched off before the game and judged after it."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    g = game(wh, D0, "BOS", "NYK")
    wh.write(PRED, frame([pred(g, D0, "bos0", is_active=False, invalidation_reason="model blocked: x", invalidated_at=at(D0, 18)), pred(g, D0, "bos1")]))
    grade(wh, D0)
    assert wh.sql(f"SELECT player_lookup FROM {ACC}").rows() == [("bos1",)]

def test_a_row_withdrawn_before_the_tip_never_counts_again(wh, monkeypatch):
    "Would catch withdrawn rows that are graded after an unblock and a backfill, and older rows that step in for them."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    g, after = game(wh, D0, "BOS", "NYK"), at(D0 + timedelta(days=9), 1)
    gone = dict(is_active=False, superseded_by="x", invalidation_reason="model blocked: x", invalidated_at=at(D0, 18))
    filled = [pred(g, D0, p, line=11.5, n=9, when=after, prediction_made_before_game=False, prediction_run_mode="BACKFILL") for p in ("bos0", "bos1", "bos2", "bos3")]
    old = [pred(g, D0, "bos0", line=8.5, n=1, when=at(D0, 12), is_active=False, superseded_by="x"), pred(g, D0, "bos0", n=2, **gone)]
    late = [pred(g, D0, "bos2", n=3, **gone | dict(invalidated_at=at(D0, 23, 30))), pred(g, D0, "bos3", n=4, **gone | dict(invalidation_reason="late_scratch"))]
    wh.write(PRED, frame([*old, *late, *filled]))
    replaced = conform(PRED, frame([pred(g, D0, "bos1", line=11.5, n=5, **gone)]))
    wh.write(VERSIONS, replaced.select("prediction_id", "system_id", "player_lookup", "game_id", "game_date", "predicted_at", replaced_by=pl.lit("y"), replaced_at=pl.lit(after), row_json=json_rows(replaced)))
    grade(wh, D0)
    got = dict(wh.sql(f"SELECT player_lookup, prediction_id FROM {ACC}").iter_rows())
    assert got == {p: f"alpha|{g}|{p}|{n}" for p, n in (("bos0", 9), ("bos1", 9), ("bos2", 3), ("bos3", 4))}

def test_a_game_that_left_the_schedule_is_void(wh, monkeypatch):
    "Would catch picks of a postponed game that stay open for ever."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    game(wh, D0, "BOS", "NYK")
    wh.write(PRED, frame([pred("20260202_XXX_YYY", D0, "zed")]))
    grade(wh, D0)
    assert wh.sql(f"SELECT result, void_reason FROM {ACC}").rows() == [("VOID", "postponed")]

def test_zero_graded_rows_on_a_complete_date_is_a_failure(wh, monkeypatch):
    "Would catch the green job that graded nothing for six days."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    game(wh, D0, "BOS", "NYK")
    r = grade(wh, D0)
    assert r.verdict == "FAIL" and r.exit_code == 1 and "no graded row" in str(r)

def test_coverage_is_not_the_naive_ratio(wh, monkeypatch):
    "Would catch the denominator that turned a full week into 8.8 %."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    g = game(wh, D0, "BOS", "NYK")
    wh.write(PRED, frame([pred(g, D0, "bos0")] + [pred(g, D0, f"bos{i}", rec="PASS") for i in range(1, 6)] + [pred(g, D0, f"nyk{i}", line=None, rec="NO_LINE") for i in range(5)]))
    r = grade(wh, D0)
    assert r.coverage.row(0, named=True) == dict(system_id="alpha", gradable=1, graded=1, coverage_pct=100.0, verdict="OK", predictions=11, naive_pct=9.1)
    assert "which is not coverage" in str(r)

def test_an_unknown_tip_off_is_graded_by_the_rows_own_word(wh, monkeypatch):
    "Would catch games of feeds without tip-offs that are never graded."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    g = game(wh, D0, "BOS", "NYK", tip=None)
    wh.write(PRED, frame([pred(g, D0, "bos0", when=at(D0, 15)), pred(g, D0, "bos0", line=11.5, n=1, when=at(D0 + timedelta(days=3), 1), is_active=False, superseded_by="x", prediction_made_before_game=False)]))
    grade(wh, D0)
    assert wh.sql(f"SELECT line_value FROM {ACC}").item() == 10.5

def test_an_empty_range_is_refused(wh):
    "Would catch swapped dates that grade nothing."
    with pytest.raises(Refusal, match="empty"): grade(wh, D0, D0 - timedelta(days=1))

@pytest.mark.real
def test_real_results_agree_with_the_reference_answers(tmp_path, monkeypatch):
    "Would catch a grader that disagrees with published results of real games at the same line."
    from nbprops.data.reference import build_reference
    from nbprops.data.sources import ingest
    from nbprops.data.warehouse import Warehouse
    from nbprops.features.facts import Facts
    from nbprops.features.store import build, write_features
    from nbprops.settings import real_data
    start, end = date(2026, 1, 1), date(2026, 2, 28)
    wh = Warehouse(tmp_path/"real.duckdb")
    wh.migrate()
    ingest(real_data(), wh)
    build_reference(wh)
    write_features(wh, build(Facts.read(wh, start, end), start, end))
    ctx = wh.sql("SELECT game_id, game_date, player_lookup, current_points_line FROM nba_analytics.upcoming_player_game_context WHERE game_date BETWEEN @a AND @b AND current_points_line IS NOT NULL ORDER BY 1, 3", a=start, b=end)
    wh.write(PRED, frame([pred(g, d, p, line + 2, line, "OVER", when=at(d, 15)) for g, d, p, line in ctx.iter_rows()]))
    report = grade(wh, start, end)
    ids = wh.sql("SELECT DISTINCT player_lookup, nba_player_id AS player_id FROM nba_reference.nba_players_registry WHERE season = '2025-26' AND nba_player_id IS NOT NULL")
    mine = wh.sql(f"SELECT game_date, player_lookup, line_value, result FROM {ACC} WHERE result <> 'VOID'").join(ids, on="player_lookup")
    answers = pl.read_parquet(real_data()/"prop_consensus.parquet", columns=["player_id", "game_date", "line", "result"]).filter(pl.col("result").is_not_null())
    both = mine.join(answers, on=["player_id", "game_date"], suffix="_true").filter(pl.col("line_value") == pl.col("line"))
    said = pl.col("result").replace_strict({"WIN": "OVER", "LOSS": "UNDER", "PUSH": "PUSH"})
    assert both.height > 3000 and both.filter(said != pl.col("result_true")).height == 0
    assert report.coverage["coverage_pct"][0] > 95
