"Every check is silent on a healthy day and heard on a broken one; the false alarms on record stay silent."
from datetime import date, datetime, timedelta, timezone
import json, shutil
import numpy as np
import polars as pl
import pytest
from nbprops.data.warehouse import Warehouse
from nbprops.ops.checks import CHECKS, RESULTS, catalogue, changes, newest_run, validate_daily
from nbprops.ops.judge import Check, Limit, ask, ask_all, eastern, judge, proof, situation
from nbprops.ops.phases import reconcile
from nbprops.ops.rehearsal import CLOCK, DAY, broken, rehearse, rehearse_check
from nbprops.settings import Refusal
from tests.test_ops_checks_record import DAMAGE as RECORD
from tests.test_ops_checks_watch import DAMAGE as WATCH

PRED, ACC, PGS, STORE, CTX, RAW = ("nba_predictions.player_prop_predictions", "nba_predictions.prediction_accuracy", "nba_analytics.player_game_summary", "nba_predictions.ml_feature_store_v2",
                                   "nba_analytics.upcoming_player_game_context", "nba_raw.nbac_player_boxscores")
REFUSE = ("INSERT INTO nba_orchestration.quarantine (quarantine_id, table_name, rule_id, field, unit, value_text, row_json, run_id, game_date, quarantined_at) "
          "SELECT player_lookup, '{}', 'x:0..1', 'x', '', '9', '{{}}', 'r', @d, CURRENT_TIMESTAMP() FROM nba_analytics.upcoming_player_game_context WHERE game_date = @d AND team_abbr IN ({})")
phase = lambda n, change, where="TRUE": f"UPDATE nba_orchestration.phase_completion SET {change} WHERE phase = {n} AND game_date = @d AND {where}"

DAMAGE = { # check -> [(verdict, statements)]
    "schedule_loaded": [("CRIT", ["DELETE FROM nba_reference.nba_schedule WHERE game_date = @d AND home_team_tricode = 'BOS'"]), ("CRIT", ["DELETE FROM nba_reference.nba_schedule WHERE game_date = @d", "DELETE FROM nba_raw.nbac_schedule WHERE game_date = @d"])],
    "box_games": [("WARN", [f"DELETE FROM {RAW} WHERE game_date = @d AND team_abbr = 'ATL'"]), ("CRIT", [f"DELETE FROM {RAW} WHERE game_date = @d AND team_abbr IN ('ATL', 'CHI', 'GSW')"])],
    "box_rows": [("WARN", [f"DELETE FROM {RAW} WHERE game_date = @d AND team_abbr = 'ATL' AND player_lookup LIKE '%player_'"]), ("CRIT", [f"DELETE FROM {RAW} WHERE game_date = @d AND team_abbr IN ('ATL', 'BOS')"])],
    "minutes_coverage": [("WARN", [f"UPDATE {PGS} SET minutes_played = NULL WHERE game_date = @d AND team_abbr = 'ATL'"]), ("CRIT", [f"UPDATE {PGS} SET minutes_played = NULL WHERE game_date = @d AND team_abbr < 'CHJ'"])],
    "usage_coverage": [("WARN", [f"UPDATE {PGS} SET usage_rate = NULL WHERE game_date = @d AND team_abbr < 'CHJ'"]), ("CRIT", [f"UPDATE {PGS} SET usage_rate = NULL WHERE game_date = @d AND team_abbr > 'CHI'"])],
    "zone_coverage": [("CRIT", [f"UPDATE {PGS} SET has_complete_shot_zones = FALSE WHERE game_date = @d"])],
    "team_rows": [("CRIT", ["DELETE FROM nba_analytics.team_offense_game_summary WHERE game_date = @d AND team_abbr = 'MIA'"]), ("CRIT", ["DELETE FROM nba_analytics.team_defense_game_summary WHERE game_date = @d AND defending_team_abbr = 'MIA'"])],
    "dnp_nulls": [("CRIT", [f"UPDATE {PGS} SET points = 0 WHERE game_date = @d AND is_dnp"])],
    "phase3_complete": [("CRIT", [phase(3, "status = 'FAILED'", "processor = 'player_game_summary'")]), ("CRIT", [phase(3, "trigger_state = 'pending'")]), ("WARN", [phase(3, "status = 'PARTIAL'", "processor LIKE 'team%'")]), ("WARN", [phase(3, "trigger_state = 'sent'")]),
                        ("CRIT", ["DELETE FROM nba_orchestration.phase_completion WHERE phase = 3 AND game_date = @d"])],
    "phase4_complete": [("CRIT", [phase(4, "status = 'BLOCKED'")]), ("CRIT", [phase(4, "trigger_state = 'pending'")]), ("WARN", [phase(4, "trigger_state = 'sent'")])],
    "quarantine_open": [("WARN", [REFUSE.format("nba_raw.nbac_player_boxscores", "'ATL'")]), ("CRIT", [REFUSE.format("nba_raw.nbac_player_boxscores", "'ATL', 'BOS', 'CHI', 'DEN', 'GSW'")])],
    "backfill_failed": [("CRIT", ["INSERT INTO nba_orchestration.backfill_state (job, game_date, processor, status, run_id, attempts, rows_expected, rows_written, rows_quarantined, created_at, build_commit_sha) VALUES ('grading', @d, 'all', 'FAILED', 'r', 1, 80, 0, 0, CURRENT_TIMESTAMP(), 'x')"])],
    "mlfs_coverage": [("WARN", [f"DELETE FROM {STORE} WHERE game_date = @d AND team_abbr < 'CHI'"]), ("CRIT", [f"DELETE FROM {STORE} WHERE game_date = @d AND team_abbr < 'GSW'"])],
    "feature_quality": [("CRIT", [f"UPDATE {STORE} SET is_quality_ready = FALSE WHERE game_date = @d AND team_abbr < 'LAL'"]), ("WARN", [f"UPDATE {STORE} SET quality_alert_level = 'red' WHERE game_date = @d AND team_abbr = 'ATL'"]), ("CRIT", [f"UPDATE {STORE} SET matchup_quality_pct = 40 WHERE game_date = @d"])],
    "feature_constants": [("CRIT", [f"UPDATE {STORE} SET team_win_pct = 0.5 WHERE game_date = @d"])],
    "feature_ranges": [("CRIT", [REFUSE.format("nba_precompute.team_defense_zone_analysis", "'ATL'")])],
    "leak_canary": [("CRIT", [f"UPDATE {STORE} AS f SET points_avg_last_5 = (SELECT p.points FROM {PGS} AS p WHERE p.game_id = f.game_id AND p.player_lookup = f.player_lookup) WHERE TRUE"])],
    "line_coverage": [("WARN", [f"UPDATE {CTX} SET has_prop_line = FALSE WHERE game_date = @d AND team_abbr > 'DEN'"]), ("CRIT", [f"UPDATE {CTX} SET has_prop_line = FALSE WHERE game_date = @d AND team_abbr > 'ATL'"])],
    "line_sources": [("CRIT", ["DELETE FROM nba_raw.odds_api_player_points_props WHERE game_date = @d"]), ("WARN", ["DELETE FROM nba_raw.odds_api_player_points_props WHERE game_date = @d AND bookmaker = 'fanduel'"]),
                     ("WARN", ["UPDATE nba_raw.odds_api_player_points_props SET snapshot_timestamp = TIMESTAMP_SUB(snapshot_timestamp, INTERVAL 3 HOUR) WHERE game_date = @d"])],
    "line_in_game": [("CRIT", [f"UPDATE {PRED} SET line_snapshot_at = TIMESTAMP_ADD(line_snapshot_at, INTERVAL 4 HOUR) WHERE game_date = @d AND team_abbr = 'LAL'"]), ("CRIT", [f"UPDATE {CTX} SET line_minutes_before_game = -5 WHERE game_date = @d AND team_abbr = 'LAL'"]),
                     ("CRIT", [f"UPDATE {STORE} SET line_snapshot_at = TIMESTAMP_ADD(line_snapshot_at, INTERVAL 4 HOUR) WHERE game_date = @d"])],
    "predictions_unique": [("CRIT", [f"INSERT INTO {PRED} SELECT * REPLACE (line_value + 1 AS line_value) FROM {PRED} WHERE game_date = @d AND system_id = 'catboost_v9' AND team_abbr = 'MIA' AND has_prop_line"]), ("CRIT", [f"INSERT INTO {PRED} SELECT * FROM {PRED} WHERE game_date = @d AND NOT has_prop_line"])],
    "system_parity": [("CRIT", [f"DELETE FROM {PRED} WHERE game_date = @d AND system_id = 'catboost_v9_shadow'"]), ("WARN", [f"DELETE FROM {PRED} WHERE game_date = @d AND system_id = 'moving_average' AND team_abbr < 'MIA'"]), ("CRIT", [f"DELETE FROM {PRED} WHERE game_date = @d AND system_id = 'catboost_v9'"])],
    "attribution": [("CRIT", [f"UPDATE {PRED} SET model_expected_mae = NULL WHERE game_date = @d AND system_id = 'catboost_v9' AND team_abbr = 'ATL'"]), ("CRIT", [f"UPDATE {PRED} SET model_sha256 = NULL WHERE game_date = @d AND system_id = 'catboost_v9_shadow'"])],
    "model_identity": [("CRIT", ["DELETE FROM nba_predictions.model_registry WHERE model_id = 'm_shadow'"]), ("CRIT", [f"UPDATE {PRED} SET model_load_source = 'BUILTIN' WHERE game_date = @d AND system_id = 'catboost_v9'"]), ("WARN", [f"UPDATE {PRED} SET model_load_source = 'SNAPSHOT' WHERE game_date = @d AND system_id = 'catboost_v9'"]),
                       ("CRIT", ["UPDATE nba_predictions.model_registry SET sha256 = 'f' WHERE model_id = 'm_prod'"])],
    "zero_tolerance": [("CRIT", [f"UPDATE {PRED} SET default_feature_count = 1 WHERE game_date = @d AND team_abbr = 'NYK'"])],
    "tip_guard": [("CRIT", [f"UPDATE {PRED} SET predicted_at = TIMESTAMP_ADD(predicted_at, INTERVAL 3 HOUR) WHERE game_date = @d AND team_abbr = 'CHI'"])],
    "pvl": [("CRIT", [f"UPDATE {PRED} SET predicted_points = predicted_points - 2.3 WHERE game_date = @d AND system_id = 'catboost_v9'"]), ("WARN", [f"UPDATE {PRED} SET predicted_points = predicted_points + 1.2 WHERE game_date = @d AND system_id = 'catboost_v9'"])],
    "direction_share": [("CRIT", [f"UPDATE {PRED} SET predicted_points = predicted_points - 2.3 WHERE game_date = @d AND system_id = 'catboost_v9'"])],
    "edge_spread": [("CRIT", [f"UPDATE {PRED} SET predicted_points = line_value + (predicted_points - line_value)*.4 WHERE game_date = @d AND has_prop_line"]), ("WARN", [f"UPDATE {PRED} SET predicted_points = line_value + (predicted_points - line_value)*.6 WHERE game_date = @d AND has_prop_line"])],
    "grading_coverage": [("WARN", [f"DELETE FROM {ACC} WHERE game_date = @d AND team_abbr < 'DEN'"]), ("CRIT", [f"DELETE FROM {ACC} WHERE game_date = @d AND team_abbr > 'BOS'"])],
    "grading_nonzero": [("CRIT", [f"DELETE FROM {ACC} WHERE game_date = @d"])],
    "grade_integrity": [("CRIT", [f"UPDATE {ACC} SET predicted_points = predicted_points*1.71 WHERE game_date = @d AND team_abbr = 'BOS'"]), ("CRIT", [f"INSERT INTO {ACC} SELECT * FROM {ACC} WHERE game_date = @d AND team_abbr = 'BOS'"]), ("CRIT", [f"DELETE FROM {PRED} WHERE game_date = @d AND team_abbr = 'BOS'"]),
                        ("CRIT", [f"UPDATE {ACC} SET line_value = line_value + 2 WHERE game_date = @d AND team_abbr = 'BOS' AND has_prop_line"])],
    "label_level": [("CRIT", [f"UPDATE {PGS} SET points = CAST(ROUND(points*1.4) AS INT64) WHERE game_date = @d AND NOT is_dnp"])],
    "tier_bias": [("CRIT", [f"UPDATE {ACC} SET signed_error = signed_error - 9 WHERE scoring_tier = 'star'"]), ("WARN", [f"UPDATE {ACC} SET signed_error = signed_error + 4 WHERE scoring_tier = 'role'"])],
    "registry_valid": [("CRIT", ["UPDATE nba_predictions.model_registry SET enabled = FALSE WHERE is_production"]), ("CRIT", ["UPDATE nba_predictions.model_registry SET is_production = TRUE, state = 'production', status = 'production' WHERE model_id = 'm_shadow'"]), ("CRIT", ["DELETE FROM nba_predictions.model_registry_history"]),
                       ("WARN", ["UPDATE nba_predictions.model_registry SET created_at = TIMESTAMP_SUB(created_at, INTERVAL 9 DAY)", f"DELETE FROM {PRED} WHERE system_id = 'catboost_v9_shadow'"])],
    "audit_tables_alive": [("CRIT", ["DELETE FROM nba_predictions.prediction_worker_runs WHERE game_date = @d"]), ("CRIT", ["DELETE FROM nba_predictions.slate_publications WHERE game_date = @d"])],
}
CASES = [pytest.param(id, verdict, sql, id=f"{id}-{verdict}-{i}") for id, cases in DAMAGE.items() for i, (verdict, sql) in enumerate(cases)]

@pytest.fixture(scope="module")
def world(tmp_path_factory):
    "The rehearsal warehouse with its phases reconciled; nobody may change it."
    import os
    w = rehearse(tmp_path_factory.mktemp("rehearsal")/"world.duckdb")
    os.environ["NBPROPS_NOW"] = CLOCK.isoformat()
    reconcile(w, DAY)
    del os.environ["NBPROPS_NOW"]
    return w

@pytest.fixture
def own_world(world, tmp_path):
    "A copy that may be changed."
    path = tmp_path/"world.duckdb"
    shutil.copyfile(world.path, path)
    return Warehouse(path)

def ask_at(world, id: str, day: date = DAY, at: datetime = CLOCK, mode: str = "full", damage: tuple = ()):
    "One check at any time."
    with broken(world, list(damage)) as tx: return ask(tx, CHECKS[id], situation(tx, day, mode, at))

def test_every_check_has_a_bad_fixture():
    "A check without a rehearsal may be dead and nobody would know."
    assert set(DAMAGE) | set(RECORD) | set(WATCH) == set(CHECKS)

def test_a_healthy_day_is_silent(world):
    "A finding on a healthy day is a false alarm."
    with world.transaction() as tx: s = situation(tx, DAY, at=CLOCK)
    assert {r.check_id: r.reason for r in ask_all(world, list(CHECKS.values()), s) if r.verdict != "OK"} == {}

@pytest.mark.parametrize("id, verdict, sql", CASES)
def test_a_broken_day_is_heard(world, id, verdict, sql):
    "The check must fire, with the right weight."
    bad = ask_at(world, id, damage=sql)
    assert bad.verdict == verdict, bad.detail

def test_a_rehearsal_leaves_no_trace(world):
    "The damage of one rehearsal must not be there in the next."
    good, bad = rehearse_check(world, "grading_nonzero", f"DELETE FROM {ACC} WHERE game_date = @d")
    assert (good.verdict, bad.verdict, ask_at(world, "grading_nonzero").verdict) == ("OK", "CRIT", "OK")

def test_every_check_can_be_asked_again_from_its_proof(world):
    "The query shown with a finding must run as it stands and give the same number."
    with world.transaction() as tx:
        s = situation(tx, DAY, at=CLOCK)
        for c in CHECKS.values():
            text = proof(c, s)
            first = next(iter(c.limits))
            assert "@" not in text.replace("'@", "") and tx.sql(text)[first][0] == pytest.approx(tx.sql(c.sql, **s.params())[first][0]), c.id

def test_every_check_says_what_to_do():
    "A finding without impact, cause and command leaves the reader alone."
    assert [c.id for c in CHECKS.values() if not (c.statistic and c.limits and c.impact and c.cause and c.command)] == []
    assert catalogue().height == len(CHECKS)

# -- false alarms on record ----------------------------------------------------

def test_players_who_did_not_play_are_no_missing_minutes(world):
    "59-63 % and CRIT: DNPs stood in the denominator."
    half = [f"UPDATE {RAW} SET player_status = 'dnp', minutes = NULL, points = NULL WHERE game_date = @d AND player_lookup LIKE '%player5'", f"UPDATE {PGS} SET is_dnp = TRUE, minutes_played = NULL, points = NULL, usage_rate = NULL, has_complete_shot_zones = FALSE WHERE game_date = @d AND player_lookup LIKE '%player5'"]
    for id in ("minutes_coverage", "usage_coverage", "zone_coverage"):
        r = ask_at(world, id, damage=half)
        assert (r.verdict, r.value, r.n) == ("OK", 100.0, 72)

def test_the_denominator_is_not_the_numerator(world):
    "The repair of that alarm compared a number with itself and showed 100 % for ever."
    r = ask_at(world, "minutes_coverage", damage=[f"DELETE FROM {PGS} WHERE game_date = @d AND team_abbr < 'DEN'"])
    assert r.verdict == "CRIT" and r.value == pytest.approx(62.5) and r.n == 80

def test_passes_and_missing_lines_are_not_gradable(world):
    "8.8-26.5 % and CRIT: the denominator was all predictions."
    r = ask_at(world, "grading_coverage")
    assert r.verdict == "OK" and r.value == 100 and r.detail["note"]["naive_ratio_which_is_not_coverage"] < 70

def test_stars_are_judged_by_what_was_known_before(world):
    "'Star bias -9': tiers by actual points show a bias in any honest model."
    by_actual = world.sql(f"SELECT AVG(signed_error) AS m FROM {ACC} WHERE system_id = 'catboost_v9' AND game_date >= @a AND actual_points >= 25", a=DAY - timedelta(days=29))["m"][0]
    assert by_actual < -2.5 and ask_at(world, "tier_bias").verdict == "OK"

def test_a_scheduled_date_has_its_slate_as_denominator(world):
    "'0 features of 148': a post-game denominator for games not yet played."
    r = ask_at(world, "mlfs_coverage", day=DAY + timedelta(days=1), at=eastern(DAY + timedelta(days=1), datetime(2026, 1, 1, 9).time()))
    assert (r.verdict, r.value, r.n) == ("OK", 100.0, 80)

def test_in_the_morning_phase_3_is_the_slate(own_world, monkeypatch):
    "'1 of 5 complete': before the games the mode expects fewer processors."
    tomorrow = DAY + timedelta(days=1)
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-11T15:00:00+00:00")
    report = validate_daily(own_world, tomorrow, "pre-game")
    assert report["phase3_complete"].verdict == "OK" and report["phase3_complete"].n == 1
    assert report["box_games"].verdict == "NOT_APPLICABLE" and "post-game" in report["box_games"].reason

def test_feeds_may_be_absent_before_morning(world):
    "A box score that is not there at 23:00 is normal."
    at = eastern(DAY, datetime(2026, 1, 1, 23).time())
    gone = [f"DELETE FROM {RAW} WHERE game_date = @d", f"DELETE FROM {PGS} WHERE game_date = @d", f"DELETE FROM {ACC} WHERE game_date = @d"]
    assert {ask_at(world, id, at=at, damage=gone).verdict for id in ("box_games", "box_rows", "minutes_coverage", "zone_coverage", "team_rows", "grading_coverage", "grading_nonzero", "label_level")} == {"NOT_APPLICABLE"}

@pytest.mark.parametrize("day", [date(2026, 2, 15), date(2026, 7, 20)], ids=["all-star", "summer"])
def test_a_date_without_games_is_not_red(own_world, monkeypatch, day):
    "The All-Star break and the summer once looked like an outage."
    monkeypatch.setenv("NBPROPS_NOW", f"{day + timedelta(days=1)}T18:00:00+00:00")
    report = validate_daily(own_world, day, only=[id for id in CHECKS if id != "registry_valid"])
    assert report.verdict == "OK" and report["mlfs_coverage"].reason == "no games on this date"

def test_a_season_that_goes_on_without_a_schedule_is_red(world):
    "No games on a date of the running season, and none later, means that the schedule was lost."
    assert ask_at(world, "schedule_loaded", day=date(2026, 3, 3), at=datetime(2026, 3, 3, 18, tzinfo=timezone.utc)).verdict == "CRIT"

def test_an_ordinary_share_of_lines_is_fine(world):
    "'Line coverage < 50 % CRIT': about 45 % of eligible players have lines."
    r = ask_at(world, "line_coverage", damage=[f"UPDATE {CTX} SET has_prop_line = FALSE WHERE game_date = @d AND player_lookup LIKE '%player5' OR player_lookup LIKE '%player6' OR player_lookup LIKE '%player7'"])
    assert (r.verdict, r.value) == ("OK", 50.0)

def test_a_small_slate_is_not_judged_by_few_rows(world):
    "Two games give too few lines for a mean; that is no finding."
    few = [f"DELETE FROM {PRED} WHERE game_date = @d AND team_abbr > 'BOS'"]
    assert {ask_at(world, id, damage=few).verdict for id in ("pvl", "direction_share", "edge_spread")} == {"NOT_APPLICABLE"}

@pytest.mark.parametrize("value, verdict", [(462.0, "ERROR"), (-3.0, "ERROR"), (172.0, "ERROR"), (100.0, "OK"), (100 + 1e-12, "OK")])
def test_impossible_shares_are_errors(value, verdict):
    "'Health 172 %, coverage 462 %' were shown as if they could be."
    assert judge(Check("c", "share", {"value": Limit(">= 90", unit="percent")}, ""), {"value": value}, {}).verdict == verdict

# -- feeds, crashes, moments ---------------------------------------------------

def test_what_a_feed_does_not_deliver_is_never_red(world):
    "A day of a feed without rosters, team boxes and shots must not be red for what it lacks."
    poor = [f"UPDATE {STORE} SET feed_profile = 'box' WHERE TRUE", f"UPDATE {PGS} SET usage_rate = NULL, has_complete_shot_zones = FALSE WHERE game_date = @d", f"DELETE FROM {RAW} WHERE game_date = @d AND player_status = 'dnp'", "DELETE FROM nba_raw.odds_api_player_points_props WHERE game_date = @d",
            f"UPDATE {CTX} SET has_prop_line = FALSE WHERE game_date = @d"]
    seen = {id: ask_at(world, id, damage=poor) for id in ("usage_coverage", "zone_coverage", "line_coverage", "line_sources", "label_level", "box_rows")}
    assert {id for id, r in seen.items() if r.verdict == "NOT_APPLICABLE" and "not in the profile" in r.reason} == set(seen) - {"box_rows"}
    assert seen["box_rows"].verdict == "OK" and seen["box_rows"].value == 20

def test_a_daily_feed_is_held_to_what_it_promises(world):
    "A pick'em board twelve hours old is fine; a sportsbook line twelve hours old is not."
    old = "UPDATE nba_raw.odds_api_player_points_props SET snapshot_timestamp = TIMESTAMP_SUB(snapshot_timestamp, INTERVAL 11 HOUR){} WHERE TRUE"
    one = "DELETE FROM nba_raw.odds_api_player_points_props WHERE bookmaker = 'fanduel'"
    assert ask_at(world, "line_sources", damage=[old.format("")]).verdict == "CRIT"
    assert ask_at(world, "line_sources", damage=[one, old.format(", bookmaker = 'prizepicks', data_source = 'prizepicks'")]).verdict == "OK"

def test_a_sportsbook_feed_that_fell_silent_is_not_a_daily_feed(world):
    "The rule of a day without any line follows from the week before."
    r = ask_at(world, "line_sources", damage=["DELETE FROM nba_raw.odds_api_player_points_props WHERE game_date >= @d"])
    assert r.verdict == "CRIT" and r.detail["note"]["age_ok"] == 3

def test_a_check_that_breaks_is_an_error_and_alone(world):
    "A crash must not look like OK, and must not take the other checks with it."
    bad = [Check("no_column", "", {"value": Limit("= 0")}, "SELECT nothing_here AS value"), CHECKS["dnp_nulls"], Check("at_run_time", "", {"value": Limit("= 0")}, "SELECT CAST('x' AS INT64) AS value"), Check("no_row", "", {"value": Limit("= 0")}, "SELECT 1 AS value FROM nba_raw.nbac_schedule WHERE FALSE"), CHECKS["team_rows"]]
    with world.transaction() as tx: s = situation(tx, DAY, at=CLOCK)
    assert [r.verdict for r in ask_all(world, bad, s)] == ["ERROR", "OK", "ERROR", "ERROR", "OK"]

# -- oracles -------------------------------------------------------------------

def test_a_value_of_one_player_is_no_constant(own_world):
    "Fails when a feature that one player alone has counts as the same for everybody."
    own_world.sql(f"UPDATE {STORE} SET avg_points_vs_opponent = NULL WHERE game_date = @d AND player_lookup <> (SELECT MIN(player_lookup) FROM {STORE} WHERE game_date = @d)", d=DAY)
    assert ask_at(own_world, "feature_constants").verdict == "OK"

def test_label_level_equals_its_formula(world):
    "Oracle in numpy: the t over game days, told as the normal deviate that is as rare."
    rows = world.sql(f"SELECT game_date, points - points_line AS m FROM {PGS} WHERE NOT is_dnp AND points_line IS NOT NULL AND game_date BETWEEN @a AND @b", a=DAY - timedelta(days=66), b=DAY)
    by = {d[0]: g["m"].to_numpy().astype(float) for d, g in rows.partition_by("game_date", as_dict=True).items()}
    old = [v for d, v in by.items() if d < DAY - timedelta(days=6)]
    mu, total = np.concatenate(old).mean(), sum(map(len, old))
    tau = np.sqrt(sum(len(v)*(v.mean() - mu)**2 for v in old)/(len(old) - 1))
    t, df = lambda v: np.sqrt(len(v))*(v.mean() - mu)/tau/np.sqrt(1 + len(v)/total), len(old) - 1
    z = lambda v: (8*df + 1)/(8*df + 3)*np.sqrt(df*np.log1p(t(v)**2/df))
    got = ask_at(world, "label_level").detail["measures"]
    assert got["day"] == pytest.approx(z(by[DAY])) and got["week"] == pytest.approx(z(np.concatenate([v for d, v in by.items() if d >= DAY - timedelta(days=6)])))

def test_label_level_is_calibrated():
    "Over clean days |z| must exceed 3 about as often as a normal variable, not every week; also in November, after ten days."
    import duckdb
    from nbprops.data.warehouse import to_duckdb
    from nbprops.ops.checks_results import LABEL_LEVEL
    rng, con = np.random.default_rng(5), duckdb.connect()
    days = [date(2025, 11, 1) + timedelta(days=i) for i in range(160)]
    rows = [(d, 15.0, round(15 + rng.normal(0, .25) + e)) for d in days for e in rng.normal(0, 6, rng.integers(60, 140))]
    frame = pl.DataFrame([(d, l, float(p), False) for d, l, p in rows], schema=["game_date", "points_line", "points", "is_dnp"], orient="row")
    con.execute("CREATE SCHEMA nba_analytics"); con.register("f", frame); con.execute("CREATE TABLE nba_analytics.player_game_summary AS SELECT * FROM f")
    z = np.array([con.execute(to_duckdb(LABEL_LEVEL), dict(base=d - timedelta(days=66), week=d - timedelta(days=6), d=d)).fetchone()[:2] for d in days[17:]])
    assert (z[:, 0] >= 3).mean() <= .03 and (z[:50, 0] >= 3).mean() <= .04 and .5 < np.sqrt((z**2).mean()) < 1.5

# -- the run -------------------------------------------------------------------

def test_a_run_is_stored_whole_and_once(own_world, monkeypatch):
    "Every answer becomes a row; the same run under the same clock is already there."
    monkeypatch.setenv("NBPROPS_NOW", CLOCK.isoformat())
    report = validate_daily(own_world, DAY)
    again = validate_daily(own_world, DAY)
    rows = own_world.read(RESULTS)
    assert report.verdict == "OK" and report.exit_code == 0 and rows.height == len(CHECKS) and report.run_id == again.run_id
    detail = json.loads(rows.filter(pl.col("check_id") == "pvl")["detail_json"][0])
    assert {"statistic", "measures", "limits", "impact", "cause", "command", "query", "mode"} <= set(detail)

def test_the_first_line_names_the_check_furthest_upstream(own_world, monkeypatch):
    "When several checks fire, the root comes first and the exit code is 1."
    monkeypatch.setenv("NBPROPS_NOW", CLOCK.isoformat())
    own_world.sql(f"DELETE FROM {RAW} WHERE game_date = @d", d=DAY); own_world.sql(f"DELETE FROM {ACC} WHERE game_date = @d", d=DAY)
    report = validate_daily(own_world, DAY)
    assert str(report).startswith("CRIT on 2026-02-10: box_games") and "box feed" in str(report) and report.exit_code == 1
    assert report["phase3_complete"].verdict != "ERROR" and [f.check_id for f in report.findings][:2] == ["box_games", "box_rows"]

def test_changes_tell_new_from_old(own_world, monkeypatch):
    "What was red yesterday and is red today is not news."
    monkeypatch.setenv("NBPROPS_NOW", (CLOCK - timedelta(days=1)).isoformat())
    validate_daily(own_world, DAY - timedelta(days=1), only=["pvl", "zero_tolerance"])
    monkeypatch.setenv("NBPROPS_NOW", CLOCK.isoformat())
    own_world.sql(f"UPDATE {PRED} SET default_feature_count = 2 WHERE game_date = @d", d=DAY)
    validate_daily(own_world, DAY, only=["pvl", "zero_tolerance"])
    moved = changes(newest_run(own_world, DAY), newest_run(own_world, DAY, before=True))
    assert moved.rows() == [("zero_tolerance", "OK", "CRIT")]

def test_unknown_words_are_refused(world):
    "A misspelled check or mode must not validate nothing and say OK."
    with pytest.raises(Refusal, match="No check is called 'pvll'"): validate_daily(world, DAY, only=["pvll"], store=False)
    with pytest.raises(Refusal, match="No validation mode"): validate_daily(world, DAY, mode="nightly", store=False)

@pytest.mark.parametrize("df", [9, 15, 59])
def test_a_deviation_from_few_days_is_told_as_the_normal_one_that_is_as_rare(wh, df):
    "Fails when the transformation is off by more than .03 of what the distributions say."
    from scipy.stats import norm, t
    from nbprops.ops.checks_results import normal
    for x in (-4., -2.5, .5, 3., 5.):
        got = wh.sql(f"SELECT {normal('@x', '@df')} AS z", x=x, df=float(df))["z"][0]
        assert abs(got - norm.isf(t.sf(abs(x), df))) < .03*abs(x)
