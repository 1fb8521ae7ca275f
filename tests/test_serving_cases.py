"One evening with everything that goes wrong on evenings, through the real worker and the real grader; and what a bettor reads."
import json
from datetime import date, datetime, time, timedelta, timezone
import numpy as np, polars as pl, pytest
from hypothesis import given, strategies as st
from nbprops.core import expected_value_expr, fair_expr, no_vig_expr
from nbprops.data.reference import build_reference
from nbprops.features.facts import AsOf, resolve
from nbprops.predict.gate import MODES, REASONS, first_reason, gate, marks, run_mode
from nbprops.predict.grading import ACC, grade
from nbprops.predict.systems import FileSystem, baseline_contract
from tests.predict_world import DAY, LAST, PRED, copy_world, utc
from tests.test_predict_systems import model, rows as gate_rows
from tests.test_serving_parity import featured

HOMELESS = {"moving_average", "zone_matchup_v1", "ensemble_v1", "ensemble_v1_1"} # code that does without a home side
CODE = HOMELESS | {"similarity_balanced_v1"}

PROPS, REPORTS, BOX, SCHEDULE = "nba_raw.odds_api_player_points_props", "nba_raw.nbac_injury_report", "nba_raw.nbac_player_boxscores", "nba_raw.nbac_schedule"
G1, G2 = "20251218_CLE_BKN", "20251218_SAC_GSW" # 19:30 and 22:00 Eastern: both on the next day in UTC
at = lambda h, m=0: utc(2025, 12, 18, h, m)
NOON, AFTERNOON, LATE = at(16, 30), at(21), at(21, 40)

@pytest.fixture
def served(light_home, tmp_path): return copy_world(light_home, tmp_path/"home")

def rows_of(wh, where="TRUE", **k): return wh.sql(f"SELECT * FROM {PRED} WHERE {where} ORDER BY game_id, player_lookup, system_id, created_at, line_value", **k)

def quotes(wh, game: str, market: dict) -> None:
    "Replace the lines of some players of a game: player -> [(book, time, line, over price, under price)]."
    wh.sql(f"DELETE FROM {PROPS} WHERE game_id = @g AND player_lookup IN ({', '.join(map(repr, market))})", g=game)
    one = lambda p, i, b, t, line, over, under: dict(game_id=game, game_date=DAY, player_lookup=p, bookmaker=b, data_source="simulated", snapshot_id=f"{game}{p}{b}{i}", snapshot_timestamp=t, points_line=line, over_price_american=over, under_price_american=under, ladder_rungs=1, tip_verified=True)
    wh.write(PROPS, pl.DataFrame([one(p, i, *q) for p, qs in market.items() for i, q in enumerate(qs)], schema_overrides={"over_price_american": pl.Int64, "under_price_american": pl.Int64, "points_line": pl.Float64}))

def say(wh, player: str, status: str, when: datetime, game: str = G1) -> None:
    wh.write(REPORTS, pl.DataFrame([dict(report_timestamp=when, report_date=DAY, player_lookup=player, team_abbr="BKN", injury_status=status, game_id=game)]))

ROLES = ("push", "half", "books", "pickem", "moved", "late", "clv_over", "clv_under", "clv_same", "out", "doubt", "traded", "bare", "ladder")

def cast(wh, worker) -> dict[str, dict]: # role -> player_lookup, predicted, points
    "Who plays which part: the largest miss of the model has the push."
    worker.predict(DAY, mode="SAME_DAY")
    rows = wh.sql(f"SELECT p.player_lookup, p.predicted_points AS predicted, s.points FROM {PRED} AS p JOIN nba_analytics.player_game_summary AS s ON s.game_id = p.game_id AND s.player_lookup = p.player_lookup WHERE p.game_id = @g AND p.system_id = 'catboost_v9' AND NOT s.is_dnp AND p.predicted_points > 6 ORDER BY ABS(p.predicted_points - s.points) DESC, 1", g=G1)
    wh.sql(f"DELETE FROM {PRED}")
    assert rows.height >= len(ROLES)
    return dict(zip(ROLES, rows.to_dicts()))

def write_market(wh, who: dict) -> None:
    "The lines of the evening, by role."
    low, high = (lambda r: float(int(who[r]["predicted"]) - 4) - .5), (lambda r: float(int(who[r]["predicted"]) + 6) + .5)
    dk = lambda t, line, over=-110, under=-110: ("draftkings", t, line, over, under)
    market = dict(push=[dk(at(10), float(who["push"]["points"]))], half=[dk(at(10), low("half"), -120, 100)],
        books=[dk(at(10), low("books")), ("fanduel", at(10), low("books") + 1.5, 105, -125), ("betmgm", at(10), low("books"), 100, -120), ("prizepicks", at(10), low("books") - 3, None, None)],
        pickem=[("prizepicks", at(10), low("pickem"), None, None)], moved=[dk(at(10), 24.5), dk(at(15), 25.0)], late=[dk(at(15), low("late"))],
        clv_over=[dk(at(10), low("clv_over")), dk(at(22, 30), low("clv_over") + 1)], clv_under=[dk(at(10), high("clv_under")), dk(at(22, 30), high("clv_under") + 1)],
        clv_same=[dk(at(10), low("clv_same")), dk(at(22, 30), low("clv_same"), -150, 120)], bare=[], ladder=[], **{r: [dk(at(10), low(r))] for r in ("out", "doubt", "traded")})
    quotes(wh, G1, {who[role]["player_lookup"]: qs for role, qs in market.items()} | {"newcomer": [dk(at(10), 7.5)]})
    wh.sql(f"DELETE FROM {PROPS} WHERE game_id = @g", g=G2)
    wh.write("nba_reference.nba_players_registry", pl.DataFrame([dict(player_lookup="newcomer", season="2025-26", team_abbr="CLE", universal_player_id="nba_1", player_name="New Comer")]))

def ladder(wh, player: str, folder) -> None:
    "Three rungs of one book, as its file has them."
    from nbprops.data.sources import ingest
    name = wh.sql(f"SELECT MAX(player_full_name) AS n FROM {BOX} WHERE player_lookup = @p", p=player).item()
    rung = lambda line, over, under: f"e1,{name},player_points,{line},draftkings,Cleveland Cavaliers @ Brooklyn Nets,2025-12-19T00:30:00Z,{over},{under}\n"
    (folder/"ladder.csv").write_text("event_id,player,market,line,bookmaker,game,game_time,over_odds,under_odds\n" + rung(9.5, -220, 170) + rung(11.5, -112, -108) + rung(13.5, 165, -210))
    ingest(folder/"ladder.csv", wh, snapshot_at=at(9).isoformat())

def evening(wh, worker, who: dict, clock) -> dict[str, pl.DataFrame]: # run -> the table after it
    "Four runs; between them lines move, reports come, one tip-off moves forward, another is past before anyone hears."
    seen = {}
    def run(name, t, **k):
        clock(t)
        seen[name + "_result"] = worker.predict(DAY, **k)
        seen[name] = rows_of(wh)
    run("overnight", at(12), mode="OVERNIGHT"); run("noon", NOON, mode="SAME_DAY")
    wh.sql(f"UPDATE nba_reference.nba_schedule SET first_game_start_utc = game_start_utc, tip_known_at = @k, game_start_utc = @t WHERE game_id = @g", k=at(17), t=at(23), g=G1)
    say(wh, who["out"]["player_lookup"], "out", at(20)); say(wh, who["doubt"]["player_lookup"], "questionable", at(20))
    featured(wh, at(20, 30), DAY, DAY)
    run("retry", AFTERNOON, mode="RETRY"); run("late", LATE, mode="SAME_DAY", force=True, systems=["catboost_v9"])
    wh.sql(f"UPDATE nba_reference.nba_schedule SET first_game_start_utc = game_start_utc, tip_known_at = @k, game_start_utc = @t WHERE game_id = @g", k=at(21, 50), t=at(21, 30), g=G2)
    run("after", at(22), mode="SAME_DAY", force=True)
    return seen

def night(wh, who: dict, clock) -> None:
    "The box scores as they were in the end, and the grader."
    for role in ("out", "doubt"): wh.sql(f"UPDATE {BOX} SET player_status = 'inactive', points = NULL, minutes = NULL WHERE game_id = @g AND player_lookup = @p", g=G1, p=who[role]["player_lookup"])
    wh.sql(f"UPDATE {BOX} SET game_id = @h, team_abbr = 'GSW' WHERE game_id = @g AND player_lookup = @p", h=G2, g=G1, p=who["traded"]["player_lookup"])
    wh.sql("DELETE FROM nba_analytics.player_game_summary WHERE game_date = @d", d=DAY)
    clock(utc(2025, 12, 24, 12))
    featured(wh, "tip", DAY, LAST)
    grade(wh, DAY)

@pytest.fixture(scope="module")
def story(light_home, tmp_path_factory):
    "The whole evening, played once: who, the table after each run, the graded rows."
    with pytest.MonkeyPatch.context() as mp:
        home = tmp_path_factory.mktemp("story")/"home"
        mp.setenv("NBPROPS_HOME", str(home))
        clock = lambda t: mp.setenv("NBPROPS_NOW", t.isoformat())
        wh, _, make = copy_world(light_home, home)
        clock(NOON)
        who = cast(wh, make())
        write_market(wh, who); ladder(wh, who["ladder"]["player_lookup"], home)
        seen = evening(wh, make(), who, clock)
        night(wh, who, clock)
        return dict(who=who, wh=wh, graded=wh.sql(f"SELECT * FROM {ACC}"), **seen)

def part(story, table: str, role: str, system: str = "catboost_v9") -> pl.DataFrame: return story[table].filter(player_lookup=story["who"][role]["player_lookup"], system_id=system)
def active(story, table: str, role: str, system: str = "catboost_v9") -> dict: return part(story, table, role, system).filter("is_active").row(0, named=True)
def result(story, role: str, system: str = "catboost_v9") -> dict: return part(story, "graded", role, system).row(0, named=True)

def test_half_lines_cannot_push_and_whole_lines_can(story):
    "Would catch a push probability at a half point, or none at a whole one, and a push graded as anything else."
    half, whole = active(story, "noon", "half"), active(story, "noon", "push")
    assert half["p_push"] == 0 and whole["p_push"] > 0 and whole["line_value"] == story["who"]["push"]["points"]
    g = result(story, "push")
    assert (g["result"], g["prediction_correct"], g["recommendation"] in ("OVER", "UNDER")) == ("PUSH", None, True)
    won = result(story, "half")
    assert won["recommendation"] == "OVER" and won["result"] == ("WIN" if story["who"]["half"]["points"] > won["line_value"] else "LOSS")

def test_a_line_that_moves_by_half_a_point_makes_a_new_row(story):
    "Would catch 24.5 and 25.0 under one key, or the old line still active."
    first, then = part(story, "overnight", "moved"), part(story, "noon", "moved")
    assert first["line_value"].to_list() == [24.5] and first["is_active"].to_list() == [True]
    old, new = then.filter(line_value=24.5).row(0, named=True), then.filter(line_value=25.0).row(0, named=True)
    assert then.height == 2 and (old["is_active"], new["is_active"]) == (False, True) and old["superseded_by"] == new["prediction_id"] and old["prediction_id"] == first["prediction_id"][0]

def test_a_line_that_comes_later_supersedes_no_line(story):
    "Would catch a NO_LINE row that stays active beside the line."
    first, then = part(story, "overnight", "late"), part(story, "noon", "late")
    assert first["line_value"].to_list() == [None] and first["recommendation"].to_list() == ["NO_LINE"] and first["p_over"].to_list() == [None]
    assert sorted(then.select(pl.col("line_value").is_not_null(), "is_active").iter_rows()) == [(False, False), (True, True)]

def test_no_line_again_is_the_same_key(story):
    "Would catch NULL that differs from NULL: two rows without a line for one player and system, or a first one that is lost."
    before, bare = (story[t].filter(pl.col("line_value").is_null(), system_id="catboost_v9") for t in ("retry", "late"))
    again = bare.filter(predicted_at=LATE)
    versions = story["wh"].sql("SELECT prediction_id, replaced_by FROM nba_predictions.prediction_versions")
    assert again.height > 5 and bare.select("game_id", "player_lookup").is_unique().all() and bare.height == before.height and again["is_active"].all()
    assert set(again["prediction_id"]) <= set(versions["replaced_by"]) and set(before["prediction_id"]) - set(bare["prediction_id"]) <= set(versions["prediction_id"])

def test_without_any_line_nothing_is_priced(story):
    "Would catch a price, a probability or a pick out of nothing."
    r = active(story, "noon", "bare")
    assert r["recommendation"] == "NO_LINE" and r["line_source"] == "NO_PROP_LINE" and not r["is_actionable"]
    assert all(r[c] is None for c in ("line_value", "p_over", "p_push", "no_vig_over", "fair_price_american", "expected_value", "best_line", "best_price_american", "best_sportsbook", "line_margin"))
    assert result(story, "bare")["result"] == "NO_LINE"

def test_pickem_lines_have_chances_but_no_price(story):
    "Would catch a value at a price that nobody offers."
    r = active(story, "noon", "pickem")
    assert r["sportsbook"] == "prizepicks" and 0 < r["p_over"] < 1 and r["p_push"] == 0
    assert (r["no_vig_over"], r["expected_value"], r["best_price_american"]) == (None, None, None) and (r["best_line"], r["best_sportsbook"]) == (r["line_value"], "prizepicks")

def test_the_best_offer_stands_beside_the_line_of_record(story):
    "Would catch the best line taken for the line of record, a pick'em line that beats a sportsbook's, or the best side for the other direction."
    r = active(story, "noon", "books")
    x = r["line_value"]
    assert (r["sportsbook"], r["recommendation"], r["over_price_american"]) == ("draftkings", "OVER", -110)
    assert (r["best_line"], r["best_price_american"], r["best_sportsbook"]) == (x, 100, "betmgm")
    vector = json.loads(part(story, "noon", "books")["features_snapshot_json"][0])
    assert vector["vegas_points_line"] == x and vector["has_vegas_line"] == 1
    under = pl.DataFrame(dict(recommendation=["UNDER"], p_over=[.4], p_push=[0.], over_price_american=[-110], under_price_american=[-110], best_line_OVER=[x], best_price_OVER=[100], best_book_OVER=["betmgm"], best_line_UNDER=[x + 1.5], best_price_UNDER=[-125], best_book_UNDER=["fanduel"]))
    from nbprops.predict.rows import add_prices
    assert add_prices(under).select("best_line", "best_price_american", "best_sportsbook").row(0) == (x + 1.5, -125, "fanduel")

def test_a_ladder_is_served_at_its_middle_rung(story):
    "Would catch base + 2 for everybody: of several rungs the one nearest even money is the line of record."
    r = active(story, "noon", "ladder")
    assert (r["line_value"], r["over_price_american"], r["line_source_api"]) == (11.5, -112, "the_odds_api")

def test_a_game_that_nobody_quotes(story):
    "Would catch a game without a line that is dropped, or whose players have a price."
    bare = story["noon"].filter(game_id=G2, system_id="catboost_v9")
    assert bare.height > 5 and set(bare["recommendation"]) == {"NO_LINE"} and bare["p_over"].null_count() == bare.height and {json.loads(t)["has_vegas_line"] for t in bare["features_snapshot_json"]} == {0.0}

def test_a_player_without_history_is_asked_and_not_predicted(story):
    "Would catch a newcomer who is predicted out of nothing, or vanishes without a word."
    assert story["after"].filter(player_lookup="newcomer").height == 0
    runs = story["wh"].sql("SELECT * FROM nba_predictions.prediction_worker_runs WHERE player_lookup = 'newcomer' ORDER BY created_at")
    run = runs.row(0, named=True)
    assert runs.height == 5 and (run["success"], run["skip_reason"], run["line_values_requested"]) == (False, "missing_required", [7.5]) and "points_avg_season" in run["missing_features"] and set(run["systems_failed"]) >= {"catboost_v9", "moving_average"}

def test_the_closing_line_speaks_for_and_against(story):
    "Would catch a closing-line value with the sign of the other side."
    over, under, same = (result(story, r) for r in ("clv_over", "clv_under", "clv_same"))
    assert (over["recommendation"], over["clv_points"], over["clv_prob"]) == ("OVER", 1.0, None) and over["closing_line"] == over["line_value"] + 1
    assert (under["recommendation"], under["clv_points"], under["clv_prob"]) == ("UNDER", -1.0, None)
    assert same["clv_points"] == 0 and same["clv_prob"] == pytest.approx(.6/(.6 + 100/220) - .5)
    assert result(story, "half")["clv_points"] is None

def test_a_starter_ruled_out_after_the_run(story):
    "Would catch a scratched player who is still a pick, or counts as a loss."
    r, g = active(story, "retry", "out"), result(story, "out")
    assert active(story, "noon", "out")["invalidation_reason"] is None
    assert (r["is_actionable"], r["invalidation_reason"], r["restatement_reason"]) == (False, "late_scratch", "late_scratch") and r["invalidated_at"] == AFTERNOON
    assert (g["result"], g["void_reason"], g["is_voided"], g["prediction_correct"]) == ("VOID", "dnp_injury_confirmed", True, None)

def test_questionable_and_then_absent(story):
    "Would catch a late scratch graded as a loss, or called an injury that was known."
    r, g = active(story, "retry", "doubt"), result(story, "doubt")
    assert r["invalidation_reason"] is None and (g["result"], g["void_reason"]) == ("VOID", "dnp_late_scratch")

def test_traded_at_noon(story):
    "Would catch a traded player graded with his new team's game, or served for two teams."
    mine = part(story, "after", "traded")
    g = result(story, "traded")
    assert set(mine["game_id"]) == {G1} and part(story, "graded", "traded").height == 1 and (g["game_id"], g["result"], g["void_reason"]) == (G1, "VOID", "dnp_unknown")
    assert story["wh"].sql("SELECT COUNT(*) AS n FROM nba_analytics.upcoming_player_game_context WHERE game_date = @d AND player_lookup = @p", d=LAST, p=story["who"]["traded"]["player_lookup"]).item() == 0

def test_a_tip_that_moves_forward_recounts_the_minutes(story):
    "Would catch minutes before an old tip-off, or a restatement without its reason."
    before, after = active(story, "noon", "half"), active(story, "retry", "half")
    assert before["line_minutes_before_game"] == 14*60 + 30 and after["line_minutes_before_game"] == 13*60
    assert after["restatement_reason"] == "tip_moved" and after["prediction_made_before_game"] and before["restatement_reason"] is None

def test_a_row_written_after_the_new_earlier_tip_is_no_served_row(story):
    "Would catch a record row from after the tip-off because nobody knew yet that it had come."
    late = story["late"].filter(game_id=G2, system_id="catboost_v9", predicted_at=LATE)
    graded = story["graded"].filter(game_id=G2, system_id="catboost_v9")
    assert late.height > 5 and graded.height >= late.height and (graded["predicted_at"] < at(21, 30)).all()

def test_nothing_is_written_after_the_tip_off(story):
    "Would catch a live run that still writes a game which began before it."
    result, gone = story["after_result"], story["after"].filter(game_id=G2)
    assert "after_tip_off" in set(result.skipped["reason"]) and (gone["predicted_at"] <= LATE).all() and (story["after"].filter(game_id=G1)["predicted_at"] == at(22)).any()

def test_games_of_one_evening_on_two_days_of_utc(story):
    "Would catch a game that is missed, or graded on another date, because it tips after midnight UTC."
    noon, graded = story["noon"], story["graded"]
    assert set(noon["game_id"]) == {G1, G2} and set(noon["game_date"]) == set(graded["game_date"]) == {DAY} and set(graded["game_id"]) == {G1, G2}

# --- smaller evenings, each on a copy of the same world ---

def live(monkeypatch, make, t=NOON, **k):
    monkeypatch.setenv("NBPROPS_NOW", t.isoformat())
    return make().predict(DAY, **{"mode": "SAME_DAY"} | k)

def test_a_row_of_the_new_tip_counts_as_made_after_it(served, monkeypatch):
    "Would catch a row from after the moved tip-off that is graded as if it had been served before."
    wh, _, make = served
    live(monkeypatch, make, LATE)
    wh.sql("UPDATE nba_reference.nba_schedule SET first_game_start_utc = game_start_utc, tip_known_at = @k, game_start_utc = @t WHERE game_id = @g", k=at(21, 50), t=at(21, 30), g=G2)
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-24T12:00:00Z")
    grade(wh, DAY)
    flags = wh.sql(f"SELECT DISTINCT game_id, prediction_made_before_game FROM {ACC} ORDER BY 1").rows()
    assert flags == [(G1, True), (G2, False)]

def test_a_postponed_game_is_void(served, monkeypatch):
    "Would catch picks of a game that was moved to another day: lost, open for ever, or graded with the other date."
    wh, _, make = served
    live(monkeypatch, make)
    wh.sql(f"UPDATE {SCHEDULE} SET game_status = 1, home_team_score = NULL, away_team_score = NULL WHERE game_id = @g", g=G2)
    wh.sql(f"DELETE FROM {BOX} WHERE game_id = @g", g=G2)
    moved = wh.read(SCHEDULE).filter(game_id=G2).select(pl.exclude("source_file", "source_hash", "ingested_at", "replay_now")).with_columns(game_id=pl.lit("20260122_SAC_GSW"), game_date=pl.lit(date(2026, 1, 22)), game_start_utc=pl.lit(utc(2026, 1, 23, 3)), tip_known_at=pl.lit(at(19)))
    wh.write(SCHEDULE, moved.cast({c: wh.read(SCHEDULE).schema[c] for c in moved.columns}))
    build_reference(wh)
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-24T12:00:00Z")
    grade(wh, DAY)
    got = wh.sql(f"SELECT game_id, void_reason FROM {ACC} WHERE result = 'VOID' AND game_id = @g", g=G2)
    assert got.height == rows_of(wh, "game_id = @g", g=G2).height > 20 and set(got["void_reason"]) == {"postponed"}
    assert "WIN" in wh.sql(f"SELECT DISTINCT result FROM {ACC} WHERE game_id = @g", g=G1)["result"].to_list()

def test_a_neutral_site_without_home(served, monkeypatch):
    "Would catch a home team where nobody is at home: an unknown required feature blocks the models, the baseline leaves the term out."
    wh, _, make = served
    wh.sql("UPDATE nba_reference.nba_schedule SET neutral_site = TRUE, home_team_tricode = 'CLE', away_team_tricode = 'BKN' WHERE game_id = @g", g=G1)
    live(monkeypatch, make)
    assert set(rows_of(wh, "game_id = @g", g=G1)["system_id"]) == HOMELESS and set(rows_of(wh, "game_id = @g", g=G2)["system_id"]) >= {"catboost_v9", "moving_average"}
    runs = wh.sql("SELECT missing_features FROM nba_predictions.prediction_worker_runs WHERE game_id = @g", g=G1)
    assert all("home_away" in m for m in runs["missing_features"]) and all(json.loads(t)["home_away"] is None for t in rows_of(wh, "game_id = @g AND system_id IN ('moving_average', 'zone_matchup_v1')", g=G1)["features_snapshot_json"])

def test_the_second_night_in_a_row(served, monkeypatch):
    "Would catch a back-to-back that is not one, or is one for the rested team."
    wh, _, make = served
    monkeypatch.setenv("NBPROPS_NOW", utc(2025, 12, 19, 16, 30).isoformat())
    make().predict(LAST, mode="SAME_DAY")
    last = dict(wh.sql(f"SELECT b.player_lookup, MAX(b.game_date) AS d FROM {BOX} AS b WHERE b.game_date < @l AND b.player_status = 'active' AND b.points IS NOT NULL GROUP BY 1", l=LAST).iter_rows())
    rows = rows_of(wh, "system_id = 'catboost_v9'")
    said = {p: json.loads(t)["back_to_back"] for p, t in rows.select("player_lookup", "features_snapshot_json").iter_rows()}
    assert said == {p: float(last[p] == DAY) for p in said} and set(said.values()) == {0.0, 1.0}

def test_overtime_counts_in_points_and_not_in_pace(served, monkeypatch):
    "Would catch points of overtime that are not graded, or a pace that calls it a fast game."
    wh, _, make = served
    g = wh.sql("SELECT game_id, MIN(game_date) AS d, MAX(overtime_periods) AS n FROM nba_raw.nbac_team_boxscore WHERE overtime_periods > 0 AND game_date BETWEEN '2025-12-01' AND '2025-12-17' GROUP BY 1 ORDER BY 2 DESC LIMIT 1").row(0, named=True)
    team = wh.sql("SELECT t.team_abbr, t.fg_attempts + 0.44*t.ft_attempts + t.turnovers - t.offensive_rebounds AS poss, o.pace FROM nba_raw.nbac_team_boxscore AS t JOIN nba_analytics.team_offense_game_summary AS o ON o.game_id = t.game_id AND o.team_abbr = t.team_abbr WHERE t.game_id = @g", g=g["game_id"])
    assert all(abs(pace - poss*48/(48 + 5*g["n"])) < 1e-9 for _, poss, pace in team.iter_rows())
    make().predict(g["d"]); grade(wh, g["d"])
    got = wh.sql(f"SELECT a.actual_points, a.minutes_played, b.points FROM {ACC} AS a JOIN {BOX} AS b ON b.game_id = a.game_id AND b.player_lookup = a.player_lookup WHERE a.game_id = @g AND a.result <> 'VOID'", g=g["game_id"])
    assert got.height > 20 and (got["actual_points"] == got["points"]).all() and got["minutes_played"].max() > 40

def test_a_day_without_games_is_a_quiet_success(served, monkeypatch):
    "Would catch the All-Star Sunday that turns the job red."
    from typer.testing import CliRunner
    from nbprops.cli import app
    wh, _, make = served
    monkeypatch.setenv("NBPROPS_HOME", str(wh.path.parent)); monkeypatch.setenv("NBPROPS_NOW", "2026-02-15T16:30:00Z")
    out = CliRunner().invoke(app, ["predict", "--date", "2026-02-15"])
    assert out.exit_code == 0 and "no games" in out.output and rows_of(wh).height == 0

def test_a_date_without_any_line(served, monkeypatch):
    "Would catch a whole date without a quote whose players count as 'not offered': the models miss a required feature, the baseline speaks."
    wh, _, make = served
    wh.sql(f"DELETE FROM {PROPS} WHERE game_date = @d", d=DAY)
    r = live(monkeypatch, make)
    assert set(rows_of(wh)["system_id"]) == CODE and ("catboost_v9", "missing_required") in r.skipped.select("system_id", "reason").rows()

def test_two_players_of_one_name(served, monkeypatch):
    "Would catch the line of one Smith on the row of the other."
    wh, _, make = served
    a, b = wh.sql(f"SELECT player_lookup, nba_player_id FROM {BOX} WHERE game_id = @g AND team_abbr = 'CLE' AND minutes IS NOT NULL AND points > 8 ORDER BY 1 LIMIT 2", g=G1).rows()
    twin = f"{a[0]}_{b[1]}"
    for t in (BOX, PROPS, REPORTS, "nba_raw.nbac_play_by_play"): wh.sql(f"UPDATE {t} SET player_lookup = @n WHERE player_lookup = @o", n=twin, o=b[0])
    wh.sql(f"UPDATE {BOX} SET player_full_name = (SELECT MAX(player_full_name) FROM {BOX} WHERE player_lookup = @a) WHERE player_lookup = @n", a=a[0], n=twin)
    build_reference(wh)
    quotes(wh, G1, {a[0]: [("draftkings", at(10), 7.5, -110, -110)], twin: [("draftkings", at(10), 19.5, -105, -115)]})
    live(monkeypatch, make)
    mine = {p: (line, u) for p, line, u in rows_of(wh, "system_id = 'catboost_v9'").select("player_lookup", "line_value", "universal_player_id").iter_rows()}
    assert mine[a[0]] == (7.5, f"nba_{a[1]}") and mine[twin] == (19.5, f"nba_{b[1]}") and b[0] not in mine

@pytest.mark.parametrize("day, hours", [(date(2025, 11, 2), {"EARLY": 7.5, "OVERNIGHT": 12, "SAME_DAY": 16.5, "LAST_CALL": 21}), (date(2026, 3, 8), {"EARLY": 7.5, "OVERNIGHT": 11, "SAME_DAY": 15.5, "LAST_CALL": 20})])
def test_both_days_on_which_the_clock_changes(day, hours):
    "Would catch a run an hour early or late, a tip guard of the wrong hour, or a game on the wrong date; half past two does not exist on the day in March."
    midnight = datetime.combine(day, time(), timezone.utc)
    games = pl.DataFrame(dict(game_date=[day]*2, game_start_utc=[midnight + timedelta(hours=20, minutes=30), midnight + timedelta(hours=26)], first_game_start_utc=[None, None], tip_known_at=[None, None]), schema_overrides={c: pl.Datetime("us", "UTC") for c in ("game_start_utc", "first_game_start_utc", "tip_known_at")})
    for mode, h in hours.items():
        r, wish = resolve(games, AsOf.run(mode)), midnight + timedelta(hours=h)
        assert r["as_of"].to_list() == [min(wish, t) for t in games["game_start_utc"]] and r["cut"].to_list() == [day]*2, mode
        assert all(k < t and k <= wish for k, t in r.select("known_until", "tip").iter_rows())

def test_a_thin_slate_warns(served, monkeypatch):
    "Would catch a run that lost half of its players without a word."
    wh, _, make = served
    w = make()
    w.predict_range(DAY - timedelta(days=6), DAY - timedelta(days=1))
    assert not any("usually" in x for x in w.predict(DAY).warnings)
    wh.sql(f"DELETE FROM {PRED} WHERE game_date = @d", d=DAY)
    kept = wh.sql("SELECT player_lookup FROM nba_analytics.upcoming_player_game_context WHERE game_date = @d AND is_eligible ORDER BY 1", d=DAY)["player_lookup"].to_list()[::3]
    wh.sql(f"DELETE FROM nba_analytics.upcoming_player_game_context WHERE game_date = @d AND player_lookup NOT IN ({', '.join(repr(k) for k in kept)})", d=DAY)
    assert {x.split()[0] for x in w.predict(DAY).warnings if "usually" in x} == {"catboost_v9", "catboost_v9_shadow"} | CODE

@pytest.mark.parametrize("system, code", [("catboost_v9_shadow", 0), pytest.param("catboost_v9", 1, marks=pytest.mark.full)])
def test_a_slate_all_in_one_direction_is_refused_for_its_system_only(served, monkeypatch, system, code):
    "Would catch a lopsided model that is published, or that takes the others with it."
    wh, _, make = served
    live(monkeypatch, make)
    mine = rows_of(wh, "system_id = 'catboost_v9'").with_row_index("i")
    wh.sql(f"DELETE FROM {PROPS} WHERE game_date = @d", d=DAY)
    wh.write(PROPS, mine.select("game_id", "game_date", "player_lookup", bookmaker=pl.lit("draftkings"), data_source=pl.lit("simulated"), snapshot_id=pl.format("x{}", "i"), snapshot_timestamp=pl.lit(at(10)), over_price_american=pl.lit(-110), under_price_american=pl.lit(-110),
        points_line=(pl.col("predicted_points").floor() + .5 + pl.when(pl.col("i") % 2 == 0).then(3).otherwise(-3)).clip(.5), ladder_rungs=pl.lit(1), tip_verified=pl.lit(True)))
    wh.sql(f"DELETE FROM {PRED}")
    w = make()
    real = FileSystem.predict
    monkeypatch.setattr(FileSystem, "predict", lambda self, rows: real(self, rows) + 9*(self.system_id == system))
    r = w.predict(DAY, mode="SAME_DAY")
    others = ({"catboost_v9", "catboost_v9_shadow"} | CODE) - {system}
    assert set(rows_of(wh)["system_id"]) == others and r.exit_code == code and r.systems.filter(system_id=system)["status"].to_list() == ["refused"] and any("in one direction" in x for x in r.warnings)
    log = dict(wh.sql("SELECT system_id, status FROM nba_predictions.prediction_execution_log WHERE execution_id = @r", r=r.run_id).iter_rows())
    assert log[system] == "refused" and {log[s] for s in others} == {"completed"}

# --- the gate ---

def toy(*names: str):
    "A model of a few optional features."
    return FileSystem("m", baseline_contract("toy", [], list(names)), dict(model_load_source="REGISTRY", model_id="m"))

def crafted() -> dict:
    "A row and a system for every reason; the later ones pass every test before."
    lost, some = {n: None for n in ("shot_zone_mismatch_score", "pace_score", "usage_spike_score")}, ("shot_zone_mismatch_score", "pace_score", "usage_spike_score", "fatigue_score")
    return {"already_predicted": (gate_rows(done=True, withdrawn=True, feature_version=None), model()), "line_withdrawn": (gate_rows(withdrawn=True, feature_version=None), model()), "no_feature_row": (gate_rows(feature_version=None, team_pace=None), model()),
            "feed_missing": (gate_rows(feeds=("box", "props"), points_avg_season=None), model()), "missing_required": (gate_rows(team_pace=None, pct_three=35.0), model()), "out_of_range": (gate_rows(pct_three=35.0), model()),
            "matchup_below_50": (gate_rows(**lost), toy(*some)), "alert_red": (gate_rows(pct_three=None), toy("pct_three"))}

@pytest.mark.parametrize("mode", MODES)
def test_every_reason_has_a_row_in_every_mode(mode):
    "Would catch a test of the gate that nothing can reach, an order that differs by mode, or a mode that forgives."
    got = {r: gate(f, marks(f), s, run_mode(mode))["reason"].to_list() for r, (f, s) in crafted().items()}
    assert got == {r: [r] for r in crafted()} and tuple(got) == tuple(r for r in REASONS if r in got)
    base = dict(done=False, withdrawn=False, feature_version="v2", default_feature_count=0, illegal=False, matchup_quality_pct=100.0, quality_alert_level="green", feature_quality_score=100.0, has_box=True, current_points_line=10.5)
    one = lambda **o: pl.DataFrame([base | o], schema_overrides={"current_points_line": pl.Float64, "feature_quality_score": pl.Float64, "default_feature_count": pl.Int64}).select(first_reason(run_mode(mode), ("box",), True)).item()
    assert one(feature_quality_score=MODES[mode].minimum - .1, current_points_line=None) == "score_below_minimum" and one(feature_quality_score=MODES[mode].minimum) is None and one(current_points_line=None) == "no_line_to_start_from"
    assert set(REASONS) == {*got, "score_below_minimum", "no_line_to_start_from", "too_few_similar_games", "too_few_members"} # the last two belong to systems with tests of their own

@pytest.mark.parametrize("column, reason", [("feature_quality_score", "score_below_minimum"), ("default_feature_count", "missing_required"), ("illegal", "out_of_range"), ("quality_alert_level", "alert_red"), ("has_box", "feed_missing")])
def test_unknown_blocks_and_is_never_zero(column, reason):
    "Would catch a NULL that counts as 0 missing features, or as a score."
    types = dict(feature_quality_score=pl.Float64, default_feature_count=pl.Int64, illegal=pl.Boolean, quality_alert_level=pl.String, has_box=pl.Boolean, matchup_quality_pct=pl.Float64)
    base = dict(done=False, withdrawn=False, feature_version="v2", default_feature_count=0, illegal=False, matchup_quality_pct=100.0, quality_alert_level="green", feature_quality_score=90.0, has_box=True)
    one = lambda **o: pl.DataFrame([base | o], schema_overrides=types).select(first_reason(run_mode("LAST_CALL"), ("box",))).item()
    assert one(**{column: None}) == reason and one(matchup_quality_pct=None) is None

# --- what a bettor reads ---

def chances_by_hand(residuals: list[float], predicted: float, line: float) -> tuple[float, float, float]: # over, push, under
    "Every residual of the evaluation is one possible evening: points are whole; half an evening more on either side."
    over = push = under = 0
    for r in residuals:
        points = int(np.floor(predicted + r + .5))
        if points > line: over += 1
        elif points == line: push += 1
        else: under += 1
    return tuple(x/(len(residuals) + 1) for x in (over + .5, push, under + .5))

def test_chances_are_counted_residuals_and_sum_to_one(story):
    "Would catch a probability that is not the share of the model's own misses, or three chances that are not all there is."
    wh, n = story["wh"], 0
    from nbprops.predict.worker import Worker
    from nbprops.data.artifacts import Store
    fleet = Worker.from_registry(wh, Store(str(wh.path.parent/"models")), quiet=True).fleet
    for m in fleet.models:
        for r in story["noon"].filter(pl.col("system_id") == m.system.system_id, pl.col("line_value").is_not_null()).iter_rows(named=True):
            over, push, under = chances_by_hand(m.system.bundle.spec["residuals"], r["predicted_points"], r["line_value"])
            assert (r["p_over"], r["p_push"]) == pytest.approx((over, push), abs=1e-12) and over + push + under == pytest.approx(1) and 1 - r["p_over"] - r["p_push"] == pytest.approx(under)
            n += 1
    assert n >= 26

def bet(p_win: float, p_push: float, american: int) -> float: # mean profit of a stake of 1
    "Win: the price pays; push: the stake comes back; lose: the stake is gone."
    gain = american/100 if american > 0 else 100/abs(american)
    return p_win*gain + p_push*0 - (1 - p_win - p_push)*1

def test_prices_of_the_served_rows_against_ten_lines(story):
    "Would catch the value of the other side, of another book's price, or a push that costs the stake."
    priced = story["noon"].filter(pl.col("recommendation").is_in(["OVER", "UNDER"]), pl.col("over_price_american").is_not_null(), pl.col("p_over").is_not_null())
    for r in priced.iter_rows(named=True):
        over = r["recommendation"] == "OVER"
        win, price = (r["p_over"], r["over_price_american"]) if over else (1 - r["p_over"] - r["p_push"], r["under_price_american"])
        assert r["expected_value"] == pytest.approx(bet(win, r["p_push"], price))
        step = max(bet(win, r["p_push"], r["fair_price_american"] + d) - bet(win, r["p_push"], r["fair_price_american"]) for d in (-1, 1) if abs(r["fair_price_american"] + d) >= 100)
        assert abs(bet(win, r["p_push"], r["fair_price_american"])) <= abs(step)
    assert priced.height > 20 and priced["p_push"].max() > 0

@given(st.floats(.02, .9), st.floats(0, .08), st.integers(100, 900) | st.integers(-900, -100), st.integers(100, 900) | st.integers(-900, -100))
def test_value_fair_price_and_margin_for_both_signs(p, push, price, other):
    "Would catch American odds read with the wrong sign, or a push that moves the value of a fair bet."
    f = pl.DataFrame(dict(p=[p], q=[push], a=[price], b=[other]))
    ev, fair, over = f.select(ev=expected_value_expr(pl.col("p"), pl.col("q"), pl.col("a")), fair=fair_expr(pl.col("p"), pl.col("q")), over=no_vig_expr(pl.col("a"), pl.col("b"))).row(0)
    assert ev == pytest.approx(bet(p, push, price)) and (fair > 0) == (p < 1 - p - push)
    assert abs(bet(p, push, fair)) < .006 and abs(fair) >= 100
    one, two = (1/(1 + (x/100 if x > 0 else 100/-x)) for x in (price, other))
    assert over == pytest.approx(one/(one + two)) and bet(over, 0, price) <= bet(one, 0, price) + 1e-12 if one + two >= 1 else over > one

def anchored_model(wh, store, end: date) -> None:
    "A model that starts from the line, as training makes it, in the shadow."
    from nbprops.features.catalogue import contract
    from nbprops.model.families import Family, model_stem, resolve_params
    from nbprops.model.predictor import make_bundle
    from nbprops.model.registry import Registry
    from nbprops.model.training import train, training_rows
    f, c, start, t0 = Family.parse("v9_anchored"), contract("v9"), date(2025, 11, 4), utc(2025, 12, 20, 2)
    t, w = train(training_rows(wh, start, end), c, f, resolve_params(iterations=60), seeds=[42], minimum=200), dict(start=str(start), end=str(end))
    b = make_bundle(t.artefact, c, t.x, t.loss, model_stem(f, c.count, start, end, t0), f.name, windows=dict(requested=w, effective=w, evaluation=None), seeds=[42], trees=dict(t.trees), params={}, options=t.options, line_as_of="tip", edge_scale="probability", quantile_alpha=None,
        data_snapshot_hash="7"*64, params_hash="0"*64, git_commit="0"*40, trained_at=t0.isoformat(), training_samples=t.rows.height, evaluation=dict(mae=4.9, hr_3=None, n_3=0), expected_offset=0.0, **t.spec)
    reg = Registry(wh, store)
    reg.register(b, reg.upload(b)); reg.enable(b.model_id, alias="anchored", reason="test")

@pytest.fixture(scope="module")
def month(tmp_path_factory):
    "A month served by models that were trained before it, with what happened: graded rows, residuals of the model of points."
    from nbprops.data.artifacts import Store
    from nbprops.data.league import simulate
    from nbprops.data.sources import land
    from nbprops.data.warehouse import Warehouse
    from nbprops.predict.worker import Worker
    from tests.predict_world import tiny_model
    home, begin, end = tmp_path_factory.mktemp("month"), date(2025, 12, 20), date(2026, 1, 25)
    with pytest.MonkeyPatch.context() as mp:
        mp.setenv("NBPROPS_HOME", str(home)); mp.setenv("NBPROPS_NOW", "2026-02-01T12:00:00Z")
        wh, store = Warehouse(home/"nbprops.duckdb"), Store(str(home/"models"))
        wh.migrate(); land(simulate(light=True, end=end), wh); build_reference(wh)
        featured(wh, "tip", date(2025, 11, 4), begin - timedelta(days=1))
        tiny_model(wh, store, date(2025, 11, 30), 0, system_id="catboost_v9"); anchored_model(wh, store, begin - timedelta(days=1))
        featured(wh, "tip", begin, end)
        w = Worker.from_registry(wh, store, quiet=True)
        w.predict_range(begin, end); grade(wh, begin, end)
        return wh.sql(f"SELECT system_id, predicted_points, p_over, p_push, actual_points, line_value FROM {ACC} WHERE actual_points IS NOT NULL"), next(m.system for m in w.fleet.models if m.system.is_production)

def bins_of(rows: pl.DataFrame) -> pl.DataFrame: # five bins of equal size: len, said, came, and how many standard errors lie between
    rows = rows.drop_nulls("p_over").sort("p_over").with_columns(bin=5*pl.int_range(pl.len())//pl.len(), over=(pl.col("actual_points") > pl.col("line_value")).cast(pl.Float64))
    out = rows.group_by("bin").agg(pl.len(), said=pl.col("p_over").mean(), came=pl.col("over").mean()).sort("bin")
    return out.with_columns(off=(pl.col("came") - pl.col("said"))/(pl.col("said")*(1 - pl.col("said"))/pl.col("len")).sqrt())

@pytest.mark.full
def test_chances_that_start_from_the_price_come_true(month):
    "Would catch chances that are exchanged, one-sided or too bold: in five bins the share of overs lies where binomial luck allows. The mirror: a model of points that is weaker than the line, judged at the line, must fail the same measure."
    graded, _ = month
    honest, bold = (bins_of(graded.filter(system_id=s)) for s in ("anchored", "catboost_v9"))
    assert honest["len"].sum() > 500 and honest["off"].abs().max() < 3.3, honest
    assert bold["off"].abs().max() > 3.3, bold

@pytest.mark.full
def test_chances_of_a_model_of_points_come_true_at_lines_that_know_nothing(month):
    "Would catch a residual distribution with the wrong sign, centre or width: at lines set from the prediction alone, where the market adds nothing."
    from nbprops.predict.systems import chances
    graded, system = month
    rows, m = graded.filter(system_id="catboost_v9"), len(system.residuals)
    for k in (-8, -4, 0, 4, 8):
        line = rows["predicted_points"].floor() + .5 + k
        said, came = chances(system, rows["predicted_points"], line, pl.Series([None]*rows.height, dtype=pl.Float64))["p_over"].mean(), (rows["actual_points"] > line).mean()
        assert abs(said - came) < 3.3*(said*(1 - said)*(1/rows.height + 1/m))**.5, (k, said, came)
