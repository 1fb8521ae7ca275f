"Grading: the rules around the set-based grader; the slow grader stands in a file of its own."
import json
from datetime import date, datetime, timedelta, timezone
import polars as pl, pytest
from nbprops.data.tables import conform
from nbprops.predict import grading
from nbprops.predict.grading import ACC, GRADES, PRED, VERSIONS, grade, grade_history
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

def test_a_game_with_an_open_box_stays_pending(wh, monkeypatch):
    "Would catch half-loaded box scores that turn players into voids."
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-03T06:00:00Z")
    g1, g2, g3 = game(wh, D0, "BOS", "NYK", players=7, off=11), game(wh, D0, "DEN", "LAL", status=2), game(wh, D0, "MIA", "CHI")
    wh.write(PRED, frame([pred(g, D0, p) for g, p in ((g1, "bos0"), (g2, "den0"), (g3, "mia0"))]))
    r = grade(wh, D0)
    assert dict(r.games.select("game_id", "state").iter_rows()) == {g1: "PENDING", g2: "PENDING", g3: "COMPLETE"}
    assert wh.sql(f"SELECT game_id, result FROM {ACC}").rows() == [(g3, "LOSS")] and "box not closed" in str(r)

@pytest.mark.parametrize("fault, finding", [(dict(off=2), "points do not add up"), (dict(score=False), "score not held"), (dict(players=7), "fewer than eight played")])
def test_a_doubtful_final_game_waits_two_days(wh, monkeypatch, fault, finding):
    "Would catch grading on a box that misses points, a day that is blocked for ever, and seven players who are never graded."
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

def announced(d, known, **over):
    "The league's announcement of one and the same game."
    return dict(game_id=f"{d:%Y%m%d}_YYY_XXX", nba_game_id="0022500999", season="2025-26", home_team_tricode="XXX", away_team_tricode="YYY", game_date=d, game_status=1, game_start_utc=at(d, 23), tip_known_at=known, is_regular_season=True, is_playoffs=False, is_all_star=False, neutral_site=False) | over

def test_a_game_announced_anew_under_another_date_is_void_and_has_no_close(wh, monkeypatch):
    "Would catch picks of a postponed game that stay open for ever, and lines of the new evening taken for its close."
    from nbprops.data.reference import build_reference
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    wh.write("nba_raw.nbac_schedule", pl.DataFrame([announced(D0, at(D0, 1)), announced(D0 + timedelta(days=18), at(D0, 20))]))
    build_reference(wh)
    g = announced(D0, None)["game_id"]
    wh.write("nba_raw.odds_api_player_points_props", pl.DataFrame([dict(game_id=g, game_date=D0, player_lookup="zed", bookmaker="draftkings", data_source="the_odds_api", snapshot_id=f"s{h}", snapshot_timestamp=at(D0, h), commence_timestamp=at(D0, 23), minutes_before_tipoff=60*(23 - h), over_price_american=-110, under_price_american=-110, points_line=12.5, tip_verified=True) for h in (15, 22)]))
    wh.write(PRED, frame([pred(g, D0, "zed", line_snapshot_at=at(D0, 15))]))
    r = grade(wh, D0)
    assert wh.sql(f"SELECT result, void_reason, is_voided, actual_points, closing_line, clv_points FROM {ACC}").rows() == [("VOID", "postponed", True, None, None, None)]
    assert "re-scheduled to 2026-02-20" in str(r) and r.coverage["gradable"].to_list() == [0] and r.verdict == "NOT_APPLICABLE"

def test_a_game_that_is_on_no_schedule_waits_and_grows_old(wh, monkeypatch):
    "Would catch a feed that lost a game and so voids its picks, or a game that is forgotten."
    game(wh, D0, "BOS", "NYK", status=1)
    wh.write(PRED, frame([pred("20260202_XXX_YYY", D0, "zed"), pred("20260202_NYK_BOS", D0, "bos0")]))
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-03T12:00:00Z")
    young = grade(wh, D0)
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    old = grade(wh, D0)
    assert wh.sql(f"SELECT COUNT(*) AS n FROM {ACC}").item() == 0 and sorted(old.pending["finding"]) == ["not final", "not on the schedule"]
    assert "days ago" not in str(young) and str(old).count("27 days ago") == 2 and (young.overdue.height, old.overdue.height) == (0, 2)
    assert (young.verdict, old.verdict, old.exit_code) == ("NOT_APPLICABLE", "WARN", 0)

def test_zero_graded_rows_on_a_complete_date_is_a_failure(wh, monkeypatch):
    "Would catch the green job that graded nothing for six days."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    game(wh, D0, "BOS", "NYK")
    r = grade(wh, D0)
    assert r.verdict == "FAIL" and r.exit_code == 1 and "no graded row" in str(r)

def test_a_postponed_game_does_not_make_a_date_graded(wh, monkeypatch):
    "Would catch a void of one game that hides a played game without a graded row."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    game(wh, D0, "BOS", "NYK")
    wh.write("nba_raw.nbac_schedule", pl.DataFrame([announced(D0, at(D0, 1)), announced(D0 + timedelta(days=18), at(D0, 20))]))
    wh.write(PRED, frame([pred(announced(D0, None)["game_id"], D0, "zed")]))
    r = grade(wh, D0)
    assert r.counts.written == 1 and r.verdict == "FAIL"

def correct(wh, points, player="bos0"):
    "The league changes a player's points, and the score with them."
    was = wh.sql("SELECT points FROM nba_analytics.player_game_summary WHERE player_lookup = @p", p=player).item()
    wh.sql("UPDATE nba_analytics.player_game_summary SET points = @k WHERE player_lookup = @p", k=points, p=player)
    wh.sql("UPDATE nba_reference.nba_schedule SET home_team_score = home_team_score + @k", k=points - was)

def test_every_replaced_row_is_kept_word_for_word(wh, monkeypatch):
    "Would catch a correction that overwrites what was graded before, a copy that lost a column, and a clock that stands still."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    g = game(wh, D0, "BOS", "NYK")
    wh.write(PRED, frame([pred(g, D0, "bos0"), pred(g, D0, "bos1")]))
    grade(wh, D0)
    words = lambda: json_rows(wh.sql(f"SELECT * FROM {ACC} WHERE player_lookup = 'bos0'"))[0]
    stood = [words()]
    for points in (12, 9):
        correct(wh, points)
        grade(wh, D0)
        stood.append(words())
    told = grade_history(wh, g, "bos0")
    kept = wh.sql(f"SELECT player_lookup, reason, grade_version, version_number, row_json FROM {GRADES} ORDER BY version_number")
    assert kept["row_json"].to_list() == stood[:2] and kept.drop("row_json").rows() == [("bos0", "statistic", 1, 1), ("bos0", "statistic", 2, 2)]
    assert json_rows(told.select(sorted(json.loads(stood[0])))).to_list() == stood and told["actual_points"].to_list() == [10, 12, 9] and told["grade_version"].to_list() == [1, 2, 3]
    assert grade(wh, D0).counts.written == 0 and wh.sql(f"SELECT COUNT(*) AS n FROM {GRADES}").item() == 2

def test_a_change_that_is_no_statistic_keeps_the_version_and_a_lost_record_is_withdrawn(wh, monkeypatch):
    "Would catch a late line that counts as a correction, copies that collide, and rows that vanish without a trace."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    g = game(wh, D0, "BOS", "NYK")
    wh.write(PRED, frame([pred(g, D0, "bos0"), pred(g, D0, "bos1")]))
    grade(wh, D0)
    for p in (.51, .52): # a prediction edited around the merge: the graded row follows, twice, under one version
        wh.sql(f"UPDATE {PRED} SET p_over = @p WHERE player_lookup = 'bos0'", p=p)
        grade(wh, D0)
    wh.sql(f"UPDATE {PRED} SET is_active = FALSE, invalidation_reason = 'model blocked: x', invalidated_at = @t WHERE player_lookup = 'bos1'", t=at(D0, 18))
    r = grade(wh, D0)
    assert wh.sql(f"SELECT player_lookup, reason, grade_version, version_number FROM {GRADES} ORDER BY 1, 4").rows() == [("bos0", "line_or_prediction", 1, 1), ("bos0", "line_or_prediction", 1, 2), ("bos1", "withdrawn", 1, 1)]
    assert wh.sql(f"SELECT player_lookup, grade_version, p_over FROM {ACC}").rows() == [("bos0", 1, .52)] and (r.counts.read, r.counts.present) == (1, 1)

@pytest.mark.parametrize("first", [True, False])
def test_a_row_that_breaks_a_rule_is_quarantined_and_replaces_nothing(wh, monkeypatch, first):
    "Would catch rules that the short way forgets, and a copy of a row that still stands."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    g = game(wh, D0, "BOS", "NYK")
    wh.write(PRED, frame([pred(g, D0, "bos0"), pred(g, D0, "bos1")]))
    if not first: grade(wh, D0)
    correct(wh, 140)
    r = grade(wh, D0)
    c = r.counts
    assert (c.read, c.written, c.quarantined, c.present) == ((2, 1, 1, 0) if first else (2, 0, 1, 1))
    assert wh.sql("SELECT table_name, rule_id, value_text FROM nba_orchestration.quarantine").rows() == [(ACC, "actual_points:0..100", "140")]
    assert wh.sql(f"SELECT player_lookup, actual_points FROM {ACC} ORDER BY 1").rows() == ([] if first else [("bos0", 10)]) + [("bos1", 10)] and wh.sql(f"SELECT COUNT(*) AS n FROM {GRADES}").item() == 0

def test_a_break_after_the_write_leaves_everything_as_it_was(wh, monkeypatch):
    "Would catch a replaced row whose copy was lost on the way."
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    g = game(wh, D0, "BOS", "NYK")
    wh.write(PRED, frame([pred(g, D0, "bos0")]))
    grade(wh, D0)
    before = wh.sql(f"SELECT * FROM {ACC}").rows()
    correct(wh, 12)
    def burst(*_): raise RuntimeError("power cut")
    monkeypatch.setattr(grading, "keep_replaced", burst)
    with pytest.raises(RuntimeError): grade(wh, D0)
    assert wh.sql(f"SELECT * FROM {ACC}").rows() == before and wh.sql(f"SELECT COUNT(*) AS n FROM {GRADES}").item() == 0

def test_rows_of_a_query_are_written_as_rows_of_a_frame(wh, tmp_path, monkeypatch):
    "Would catch another type, audit column, rule, receipt or key on the way that never leaves the database."
    from nbprops.data.warehouse import Warehouse
    monkeypatch.setenv("NBPROPS_NOW", NOW)
    other, pgs = Warehouse(tmp_path/"other.duckdb"), "nba_analytics.player_game_summary"
    other.migrate()
    for w in (wh, other): game(w, D0 - timedelta(days=9), "BOS", "NYK")
    cols = "game_id, player_lookup, player_full_name, team_abbr, opponent_team_abbr, season, player_status, is_dnp, has_complete_shot_zones, minutes_played"
    moved = f"SELECT {cols}, CAST('NaN' AS FLOAT64) AS usage_rate, @d AS game_date, IF(player_lookup = 'bos3', @k, 7) AS points FROM {pgs} WHERE game_date = @old"
    span, old = (D0, D0 + timedelta(days=1)), D0 - timedelta(days=9)
    for k in (7, 8, 300): # new, one changed, one that breaks a rule; each of them twice
        for _ in (0, 1):
            with wh.transaction() as tx: a = tx.write_query(pgs, moved.replace("game_id,", "CONCAT('x', game_id) AS game_id,", 1), span, "r", d=D0, k=k, old=old)
            with other.transaction() as tx: b = tx.write(pgs, tx.sql(moved.replace("game_id,", "CONCAT('x', game_id) AS game_id,", 1), d=D0, k=k, old=old), run_id="r")
            assert a == b
            assert all(wh.sql(f"SELECT * FROM {t}").sort(pl.all()).equals(other.sql(f"SELECT * FROM {t}").sort(pl.all())) for t in (pgs, "nba_orchestration.quarantine"))

def test_a_query_that_doubles_a_key_or_leaves_its_dates_is_refused(wh, monkeypatch):
    "Would catch a fan-out join and rows that the proof of the key never sees."
    from nbprops.settings import Broken
    g = game(wh, D0, "BOS", "NYK")
    pgs, span = "nba_analytics.player_game_summary", (D0 + timedelta(days=1), D0 + timedelta(days=2))
    cols = "game_id, player_full_name, team_abbr, opponent_team_abbr, season, player_status, is_dnp, has_complete_shot_zones"
    once = f"SELECT {cols}, CONCAT(player_lookup, 'x') AS player_lookup, @d AS game_date FROM {pgs} WHERE game_date = @old"
    for query, d, why in ((f"{once} UNION ALL {once}", span[0], "no longer unique"), (once, span[1] + timedelta(days=1), "lie outside")):
        with pytest.raises(Broken, match=why), wh.transaction() as tx: tx.write_query(pgs, query, span, d=d, old=D0)
    with pytest.raises(Refusal, match="no column"), wh.transaction() as tx: tx.write_query(pgs, f"SELECT 1 AS nonsense, {once[7:]}", span, d=span[0], old=D0)
    assert wh.sql(f"SELECT COUNT(*) AS n FROM {pgs}").item() == 18

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
