"The checks of the record are heard on a broken day, agree with an oracle of their own, and keep still where nothing was promised."
from datetime import date, datetime, timedelta, timezone
import numpy as np
import polars as pl
import pytest
from nbprops.data.lines import as_of_frame, line_of_record
from nbprops.ops.checks import CHECKS, ORDER, PIPELINE, in_pipeline, validate_daily
from nbprops.ops.checks_record import ORACLE, OFFERS, agrees
from nbprops.ops.judge import Check, Limit, ask, eastern, query_params, situation
from nbprops.ops.rehearsal import CLOCK, DAY, broken, rehearse
from nbprops.settings import Refusal

PRED, ACC, PGS, STORE, CTX, RAW = ("nba_predictions.player_prop_predictions", "nba_predictions.prediction_accuracy", "nba_analytics.player_game_summary", "nba_predictions.ml_feature_store_v2",
                                   "nba_analytics.upcoming_player_game_context", "nba_raw.nbac_player_boxscores")
CACHE, FACTORS, PROPS, LOG, GAMES = "nba_precompute.player_daily_cache", "nba_precompute.player_composite_factors", "nba_raw.odds_api_player_points_props", "nba_predictions.prediction_execution_log", "nba_reference.nba_schedule"
GONE = f"DELETE FROM {GAMES} WHERE game_date = @d AND home_team_tricode = 'BOS'"
MOVED = f"UPDATE {GAMES} SET game_start_utc = TIMESTAMP_ADD(game_start_utc, INTERVAL {{}} MINUTE) WHERE game_date = @d AND home_team_tricode = 'BOS'"
FAR = [f"INSERT INTO {PROPS} SELECT * REPLACE ('betmgm' AS bookmaker, points_line - 2 AS points_line, snapshot_id || 'x' AS snapshot_id) FROM {PROPS} WHERE game_date = @d AND bookmaker = 'fanduel'", f"UPDATE {PROPS} SET points_line = points_line - 2 WHERE game_date = @d AND bookmaker = 'fanduel'"]
LATER = "INSERT INTO {0} SELECT * REPLACE (points_line + 1 AS points_line, snapshot_id || 'x' AS snapshot_id, TIMESTAMP_ADD(snapshot_timestamp, INTERVAL {1} MINUTE) AS snapshot_timestamp) FROM {0} WHERE game_date = @d AND bookmaker = 'draftkings'"
SHOTS = """INSERT INTO nba_raw.player_shot_counts (game_id, game_date, player_lookup, team_abbr, paint_attempts, paint_makes, mid_range_attempts, mid_range_makes, three_pt_attempts, three_pt_makes, source_file, source_hash, ingested_at)
SELECT game_id, game_date, player_lookup, team_abbr, fg_attempts, fg_makes, 0, 0, 0, 0, 'f', 'h', @d FROM nba_raw.nbac_player_boxscores WHERE game_date = @d AND points IS NOT NULL"""

DAMAGE = { # check -> [(verdict, statements)]
    "rolling_recompute": [("CRIT", [f"UPDATE {STORE} AS f SET points_avg_last_5 = (4*points_avg_last_5 + (SELECT p.points FROM {PGS} AS p WHERE p.game_id = f.game_id AND p.player_lookup = f.player_lookup))/5 WHERE game_date = @d"]), ("CRIT", [f"UPDATE {FACTORS} SET fatigue_score = 100 - fatigue_score WHERE game_date = @d"]),
                          ("CRIT", [f"UPDATE {STORE} SET fatigue_score = 100 - fatigue_score WHERE game_date = @d"]), ("CRIT", [f"UPDATE {CACHE} SET usage_rate_last_10 = NULL WHERE cache_date = @d"]), ("CRIT", [f"UPDATE {CACHE} SET points_avg_last_10 = 10 WHERE cache_date = @d"]),
                          ("WARN", [f"UPDATE {CACHE} SET points_avg_last_5 = points_avg_last_5 + 1 WHERE cache_date = @d AND player_lookup IN ('atlplayer0', 'bosplayer9')"]), ("OK", [f"UPDATE {CACHE} SET points_avg_last_5 = points_avg_last_5 + 1 WHERE cache_date = @d AND player_lookup = 'atlplayer0'"])],
    "cross_source": [("CRIT", [f"UPDATE {RAW} SET points = points + 6 WHERE game_date = @d AND player_lookup = 'atlplayer0'"]), ("OK", [SHOTS]), ("WARN", [SHOTS, f"UPDATE {RAW} SET points = points + 1 WHERE game_date = @d AND player_lookup LIKE '%player5' AND team_abbr < 'CHJ'"]), ("CRIT", [f"UPDATE {RAW} SET points = points + 1 WHERE game_date = @d AND player_lookup LIKE '%player5'"]),
                     ("CRIT", [SHOTS, f"UPDATE {RAW} SET points = points + IF(player_lookup = 'atlplayer0', 3, -3) WHERE game_date = @d AND player_lookup IN ('atlplayer0', 'atlplayer1')"]), ("CRIT", [f"DELETE FROM {RAW} WHERE game_date = @d AND player_lookup = 'nykplayer0'"])],
    "training_contamination": [("CRIT", [f"UPDATE {STORE} SET default_feature_count = 6 WHERE team_abbr IN ('ATL', 'BOS')"]), ("WARN", [f"UPDATE {STORE} SET default_feature_count = 1 WHERE team_abbr = 'ATL'"]), ("OK", [f"UPDATE {STORE} SET default_feature_count = 1, is_training_ready = FALSE WHERE team_abbr < 'LAL'"])],
    "line_record": [("CRIT", [f"UPDATE {PRED} SET line_value = line_value + 2 WHERE game_date = @d AND player_lookup = 'miaplayer0'"]), ("CRIT", [f"UPDATE {PRED} SET line_value = NULL, sportsbook = NULL, line_snapshot_id = NULL WHERE game_date = @d AND team_abbr = 'MIA'"]),
                    ("CRIT", [f"UPDATE {PRED} SET sportsbook = 'fanduel', line_snapshot_id = REPLACE(line_snapshot_id, 'draftkings', 'fanduel') WHERE game_date = @d AND team_abbr = 'MIA'"]), ("CRIT", [LATER.format(PROPS, 20)]), ("OK", [LATER.format(PROPS, 40)]), ("CRIT", FAR)],
    "schedule_moves": [("CRIT", [MOVED.format(240)]), ("CRIT", [MOVED.format(-30)]), ("CRIT", [GONE]), ("WARN", [GONE, f"UPDATE {ACC} SET result = 'VOID', void_reason = 'postponed', actual_points = NULL WHERE game_date = @d AND team_abbr IN ('ATL', 'BOS')"]),
                       ("WARN", [MOVED.format(240), f"UPDATE {PRED} SET line_minutes_before_game = line_minutes_before_game + 240, restatement_reason = 'tip_moved' WHERE game_date = @d AND team_abbr IN ('ATL', 'BOS')"]),
                       ("CRIT", [f"UPDATE {GAMES} SET game_status = 1 WHERE game_date = @d AND home_team_tricode = 'BOS'", f"DELETE FROM {RAW} WHERE game_date = @d AND team_abbr IN ('ATL', 'BOS')"]), ("OK", [f"UPDATE {GAMES} SET game_status = 1 WHERE game_date = @d AND home_team_tricode = 'BOS'"])],
    "identity": [("WARN", [f"UPDATE {RAW} SET team_abbr = 'DEN' WHERE game_date = @d AND player_lookup = 'chiplayer3'"]), ("CRIT", [f"UPDATE {RAW} SET team_abbr = 'DEN', nba_player_id = NULL WHERE game_date = @d AND player_lookup = 'chiplayer3'"]),
                 ("WARN", [f"UPDATE {RAW} SET nba_player_id = 7 WHERE game_date < @d AND player_lookup = 'chiplayer3'"]), ("CRIT", [f"UPDATE {RAW} SET nba_player_id = IF(game_date = @d, NULL, 7) WHERE (game_date = @d OR game_date < DATE_SUB(@d, INTERVAL 9 DAY)) AND player_lookup = 'chiplayer3'"]),
                 ("CRIT", [f"UPDATE {RAW} SET player_lookup = 'chiplayer3', nba_player_id = NULL WHERE player_lookup IN ('chiplayer3', 'lalplayer3')"])],
    "stat_corrections": [("CRIT", [f"UPDATE {RAW} SET points = points + 2 WHERE game_date = @d AND player_lookup IN ('atlplayer0', 'bosplayer1')"]), ("CRIT", [f"UPDATE {RAW} SET player_status = 'dnp', minutes = NULL WHERE game_date = DATE_SUB(@d, INTERVAL 4 DAY) AND player_lookup = 'atlplayer0'"]),
                         ("CRIT", [f"UPDATE {ACC} SET actual_points = NULL, result = 'VOID', void_reason = 'dnp_unknown' WHERE game_date = @d AND player_lookup = 'atlplayer0'"]), ("CRIT", [f"UPDATE {RAW} SET points = points + 2 WHERE game_date = @d AND player_lookup = 'atlplayer0'", f"UPDATE {ACC} SET actual_points = actual_points + 2, grade_version = 2 WHERE game_date = @d AND player_lookup = 'atlplayer0' AND system_id = 'catboost_v9'"]),
                         ("WARN", [f"UPDATE {RAW} SET points = points + 2 WHERE game_date = @d AND player_lookup = 'atlplayer0'", f"UPDATE {ACC} SET actual_points = actual_points + 2, grade_version = 2 WHERE game_date = @d AND player_lookup = 'atlplayer0'"])],
    "run_done": [("CRIT", [f"DELETE FROM {LOG} WHERE game_date = @d"]), ("CRIT", [f"UPDATE {LOG} SET rows_written = 0, players_predicted = 0 WHERE game_date = @d"]), ("CRIT", [f"UPDATE {LOG} SET status = 'failed' WHERE game_date = @d"]), ("WARN", [f"UPDATE {LOG} SET execution_start_timestamp = TIMESTAMP_ADD(execution_start_timestamp, INTERVAL 1 HOUR) WHERE game_date = @d"]),
                 ("OK", [f"UPDATE {LOG} SET rows_written = 0 WHERE game_date = @d"])],
    "prediction_volume": [("WARN", [f"DELETE FROM {PRED} WHERE game_date = @d AND team_abbr > 'LAL' OR (game_date = @d AND team_abbr = 'ATL')"]), ("CRIT", [f"DELETE FROM {PRED} WHERE game_date = @d AND team_abbr < 'LAL'"]), ("CRIT", [f"DELETE FROM {PRED} WHERE game_date = @d"]),
                          ("WARN", [f"INSERT INTO {PRED} SELECT * FROM {PRED} WHERE game_date = @d AND team_abbr < 'LAL'"]), ("OK", [f"INSERT INTO {PRED} SELECT * REPLACE ('new_shadow' AS system_id) FROM {PRED} WHERE game_date = @d"])],
    "monitor_heartbeat": [("CRIT", [f"DELETE FROM {LOG} WHERE game_date > DATE_SUB(@d, INTERVAL 2 DAY)"]), ("WARN", [f"DELETE FROM {LOG} WHERE game_date = @d"]), ("WARN", [f"DELETE FROM {ACC} WHERE game_date >= DATE_SUB(@d, INTERVAL 1 DAY)"])],
}
CASES = [pytest.param(id, verdict, sql, id=f"{id}-{verdict}-{i}") for id, cases in DAMAGE.items() for i, (verdict, sql) in enumerate(cases)]

@pytest.fixture(scope="module")
def world(tmp_path_factory):
    "The rehearsal warehouse; nobody may change it."
    return rehearse(tmp_path_factory.mktemp("rehearsal")/"world.duckdb")

def ask_at(world, id: str, day: date = DAY, at: datetime = CLOCK, mode: str = "full", damage: tuple = ()):
    "One check at any time."
    with broken(world, list(damage)) as tx: return ask(tx, CHECKS[id], situation(tx, day, mode, at))

@pytest.mark.parametrize("id", DAMAGE)
def test_a_healthy_day_is_silent(world, id):
    "Asked and found in order: a check that could not be asked would prove nothing."
    r = ask_at(world, id)
    assert r.verdict == "OK" and r.n, r.detail

@pytest.mark.parametrize("id, verdict, sql", CASES)
def test_a_broken_day_is_heard(world, id, verdict, sql):
    "The check must fire with the right weight; the cases marked OK must not fire."
    bad = ask_at(world, id, damage=sql)
    assert bad.verdict == verdict, bad.detail

# -- when it may be asked --------------------------------------------------------

def test_a_home_without_a_scheduler_is_not_red(world):
    "Runs are expected only where the season has shown three of them; a back-fill is no schedule."
    for damage in ([f"DELETE FROM {LOG}"], [f"UPDATE {LOG} SET prediction_run_mode = 'BACKFILL' WHERE TRUE"], [f"DELETE FROM {LOG} WHERE game_date NOT IN (DATE_SUB(@d, INTERVAL 1 DAY), DATE_SUB(@d, INTERVAL 2 DAY))"]):
        for id in ("run_done", "monitor_heartbeat"):
            r = ask_at(world, id, damage=damage)
            assert r.verdict == "NOT_APPLICABLE" and "no run was seen" in r.reason

def test_a_scheduler_dead_for_weeks_stays_red(world):
    "The expectation does not fade with the silence (the last run lies seventeen dates back)."
    old = [f"DELETE FROM {LOG} WHERE game_date > @d", f"UPDATE {LOG} SET game_date = DATE_SUB(game_date, INTERVAL 17 DAY) WHERE TRUE"]
    assert ask_at(world, "run_done", damage=old).verdict == "CRIT"
    assert ask_at(world, "monitor_heartbeat", damage=old).value == pytest.approx(17 + 1.25)

def test_a_mode_is_expected_by_its_own_history(world):
    "A SAME_DAY run tried once by hand does not make SAME_DAY a duty."
    once = [f"INSERT INTO {LOG} SELECT * REPLACE ('SAME_DAY' AS prediction_run_mode, execution_id || 's' AS execution_id) FROM {LOG} WHERE game_date = DATE_SUB(@d, INTERVAL 3 DAY)"]
    assert ask_at(world, "run_done", damage=once).n == 1

@pytest.mark.parametrize("hour, minute, verdict", [(6, 59, "NOT_APPLICABLE"), (7, 20, "NOT_APPLICABLE"), (7, 31, "CRIT")])
def test_a_run_is_missed_half_an_hour_after_its_time(world, hour, minute, verdict):
    "Before its time, and while it may still be at work, nothing is missing."
    at = eastern(DAY, datetime(2026, 1, 1, hour, minute).time())
    assert ask_at(world, "run_done", at=at, damage=[f"DELETE FROM {LOG} WHERE game_date = @d"]).verdict == verdict
    assert ask_at(world, "prediction_volume", at=at, damage=[f"DELETE FROM {PRED} WHERE game_date = @d"]).verdict == verdict

@pytest.mark.parametrize("day", [date(2026, 2, 15), date(2026, 7, 20)], ids=["all-star", "summer"])
def test_days_without_games_age_nobody(world, day):
    "The All-Star break and the summer are no dead schedulers."
    at = datetime(day.year, day.month, day.day, 18, tzinfo=timezone.utc) + timedelta(days=1)
    cut = [f"DELETE FROM {GAMES} WHERE game_date > @d", "DELETE FROM nba_raw.nbac_schedule WHERE game_date > @d"]
    for id in ("run_done", "prediction_volume", "identity"): assert ask_at(world, id, day, at, damage=cut).verdict == "NOT_APPLICABLE"
    assert ask_at(world, "monitor_heartbeat", day, at, damage=cut).verdict == ("OK" if day.month == 2 else "NOT_APPLICABLE")

def test_an_old_date_asked_again_is_no_dead_job(world):
    "A replay months later sees the same pulse."
    assert ask_at(world, "monitor_heartbeat", at=CLOCK + timedelta(days=200)).verdict == "OK"

def test_what_a_feed_does_not_deliver_is_never_red(world):
    "No lines, no shots, no team rows, no ids, no injury reports: not applicable, or fine."
    poor = [f"UPDATE {STORE} SET feed_profile = 'box', usage_rate_last_5 = NULL WHERE TRUE", f"UPDATE {CACHE} SET usage_rate_last_5 = NULL, usage_rate_last_10 = NULL WHERE TRUE", "DELETE FROM nba_raw.nbac_team_boxscore", "DELETE FROM nba_raw.player_shot_counts", f"DELETE FROM {PROPS}",
            f"UPDATE {RAW} SET nba_player_id = NULL WHERE TRUE", "INSERT INTO nba_raw.nbac_injury_report (player_lookup, team_abbr, injury_status, report_date, report_timestamp, source_file, source_hash, ingested_at) SELECT player_lookup, 'XXX', 'out', @d, CURRENT_TIMESTAMP(), 'f', 'h', CURRENT_TIMESTAMP() FROM nba_analytics.upcoming_player_game_context WHERE game_date = @d"]
    seen = {id: ask_at(world, id, damage=poor).verdict for id in ("rolling_recompute", "cross_source", "line_record", "identity")}
    assert seen == {"rolling_recompute": "OK", "cross_source": "NOT_APPLICABLE", "line_record": "NOT_APPLICABLE", "identity": "OK"}

def test_before_the_games_the_record_is_not_asked(world):
    "Results are not expected in the morning, and not from an unsettled game."
    morning = {id: ask_at(world, id, at=eastern(DAY, datetime(2026, 1, 1, 9).time()), mode="pre-game") for id in ("cross_source", "stat_corrections")}
    assert all(r.verdict == "NOT_APPLICABLE" for r in morning.values())
    assert ask_at(world, "cross_source", at=eastern(DAY, datetime(2026, 1, 1, 23).time())).reason == "asked from 6 h after the last tip-off"

def test_a_late_box_score_is_not_a_game_that_was_not_played(world):
    "A date on which nothing is final waits for its feed; `box_games` says so, not `schedule_moves`."
    late = [f"UPDATE {GAMES} SET game_status = 1 WHERE game_date = @d", f"DELETE FROM {RAW} WHERE game_date = @d"]
    assert ask_at(world, "schedule_moves", damage=late).verdict == "OK" and ask_at(world, "box_games", damage=late).verdict == "CRIT"

# -- oracles -----------------------------------------------------------------------

def test_the_drawn_players_depend_on_the_date_alone(world):
    "Twenty players, the same for everyone, others on another date."
    draw = lambda day: world.sql(f"WITH {ORACLE} SELECT player_lookup FROM truth ORDER BY 1", **query_params(day, CLOCK))["player_lookup"].to_list()
    assert draw(DAY) == draw(DAY) and len(draw(DAY)) == 20 and draw(DAY) != draw(DAY + timedelta(days=1))

def test_the_oracle_sees_nothing_of_the_day_itself(world):
    "Perturbation: whatever happens on the date or later leaves the oracle unmoved; a game inside the window does not."
    q, p = f"WITH {ORACLE} SELECT * FROM truth ORDER BY player_lookup", query_params(DAY, CLOCK)
    def after(*damage):
        with broken(world, list(damage)) as tx: return tx.sql(q, **p)
    change = f"UPDATE {RAW} SET points = points + 30, turnovers = 9, minutes = '47:00' WHERE player_status = 'active' AND game_date "
    assert after().equals(after(change + ">= @d")) and not after().equals(after(change + "= DATE_SUB(@d, INTERVAL 1 DAY)"))

def test_agreement_is_strict_about_missing_values(world):
    "NULL agrees with NULL alone."
    cases = {"1.0, 1.0": True, "1.0, 1.0000001": True, "1.0, 1.1": False, "NULL, NULL": True, "NULL, 1.0": False, "1.0, NULL": False}
    for pair, want in cases.items():
        a, b = (f"CAST({v} AS FLOAT64)" for v in pair.split(", "))
        assert world.sql(f"SELECT {agrees(a, b)} AS ok")["ok"][0] is want, pair

def test_the_line_rule_in_sql_is_the_line_rule_of_the_house(tmp_path):
    "Random boards: several books, sources, equal seconds, in-game snapshots, unknown and moved tip-offs; two implementations, one answer."
    from nbprops.data.reference import shipped
    from nbprops.data.tables import table
    from nbprops.data.warehouse import Warehouse
    rng, wh, day = np.random.default_rng(11), Warehouse(tmp_path/"lines.duckdb"), date(2026, 1, 20)
    wh.migrate()
    tip, n = datetime(2026, 1, 21, 0, tzinfo=timezone.utc), 900
    games = pl.DataFrame({"game_id": [f"g{i}" for i in range(6)], "season": "2025-26", "away_team_tricode": "ATL", "home_team_tricode": "BOS", "game_date": day, "game_start_utc": [tip, tip, None, tip + timedelta(hours=1), tip, tip - timedelta(hours=2)],
        "first_game_start_utc": [None, None, None, tip, tip - timedelta(hours=3), None], "tip_known_at": [None, None, None, tip - timedelta(hours=1), tip - timedelta(hours=9), None], "game_status": 1, "is_playoffs": False, "neutral_site": False})
    pick = lambda values: rng.choice(values, n).tolist()
    seen = [tip - timedelta(seconds=int(s)*900, microseconds=int(u)) for s, u in zip(rng.integers(-4, 30, n), rng.choice([0, 0, 250_000, 900_000], n))]
    props = pl.DataFrame({"game_id": pick([f"g{i}" for i in range(6)]), "game_date": day, "player_lookup": pick(["a", "b", "c"]), "bookmaker": pick(["fanduel", "betmgm", "prizepicks", "draftkings", "underdog"]), "data_source": pick(["the_odds_api", "rotowire", "bettingpros"]),
        "snapshot_id": [f"s{i}" for i in range(n)], "snapshot_timestamp": seen, "points_line": rng.integers(20, 60, n)/2, "minutes_before_tipoff": pick([30, 5, 0, -10, None]), "tip_verified": True}).unique(table("nba_raw.odds_api_player_points_props").key, maintain_order=True)
    base = dict(system_id="x", game_date=day, team_abbr="ATL", opponent_team_abbr="BOS", predicted_points=10.0, is_active=True, line_value=None)
    asked = pl.DataFrame([base | dict(game_id=f"g{g}", player_lookup=p, as_of=min(tip - timedelta(hours=4), tip - timedelta(hours=2)) + timedelta(minutes=17*g), predicted_at=tip) for g in range(6) for p in "abc"])
    for name, rows in (*shipped().items(), ("nba_reference.nba_schedule", games), ("nba_raw.odds_api_player_points_props", props)): wh.write(name, rows)
    with wh.transaction() as tx:
        tx.hold("asked_frame", asked); tx.change(f"INSERT INTO nba_predictions.player_prop_predictions ({', '.join(asked.columns)}) SELECT * FROM asked_frame")
        got = tx.sql(f"WITH {OFFERS} SELECT game_id, player_lookup, line, bookmaker, snapshot_id FROM record ORDER BY game_id, player_lookup", d=day)
    at = pl.col("game_id").replace_strict(dict(asked.select("game_id", "as_of").unique().iter_rows()), return_dtype=pl.Datetime("us", "UTC"))
    want = line_of_record(wh.read("nba_raw.odds_api_player_points_props"), as_of_frame(wh.read("nba_reference.nba_schedule"), at), wh.read("nba_reference.sportsbooks"), wh.read("nba_reference.feeds"))
    assert got.height > 10 and got.rows() == want.select("game_id", "player_lookup", "line", "bookmaker", "snapshot_id").rows()

def test_the_volume_is_its_formula(world):
    "Rows per game of the date over the mean of the seven dates before, in polars."
    fewer = [f"DELETE FROM {PRED} WHERE game_date = DATE_SUB(@d, INTERVAL 2 DAY) AND team_abbr < 'DEN'", f"DELETE FROM {PRED} WHERE game_date = @d AND team_abbr = 'NYK'"]
    with broken(world, fewer) as tx:
        rows = tx.sql(f"SELECT game_date, COUNT(*) AS k FROM {PRED} WHERE is_active GROUP BY game_date ORDER BY game_date")
        value = ask(tx, CHECKS["prediction_volume"], situation(tx, DAY, at=CLOCK)).value
    past = rows.filter(pl.col("game_date") < DAY).tail(7)["k"]
    assert value == pytest.approx(100*rows.filter(pl.col("game_date") == DAY)["k"][0]/past.mean())

# -- the order ---------------------------------------------------------------------

def test_findings_come_in_the_order_of_the_pipeline():
    "Every check has its place, and the catalogue keeps it."
    assert list(CHECKS) == [i for i in PIPELINE if i in CHECKS] and list(ORDER) == list(CHECKS) and len(set(PIPELINE)) == len(PIPELINE)
    assert ORDER["rolling_recompute"] < ORDER["phase3_complete"] < ORDER["line_record"] < ORDER["run_done"] < ORDER["audit_tables_alive"]
    with pytest.raises(Refusal, match="does not name the check stray"): in_pipeline({"stray": Check("stray", "", {"value": Limit("= 0")}, "")})

def test_the_sentence_names_the_root(world, tmp_path, monkeypatch):
    "A line moved by two points shows in the grades as well; the first sentence names the line."
    import shutil
    from nbprops.data.warehouse import Warehouse
    own = Warehouse(shutil.copyfile(world.path, tmp_path/"own.duckdb"))
    monkeypatch.setenv("NBPROPS_NOW", CLOCK.isoformat())
    own.sql(f"UPDATE {PRED} SET line_value = line_value + 2 WHERE game_date = @d", d=DAY)
    report = validate_daily(own, DAY, only=["grade_integrity", "pvl", "line_record"])
    assert str(report).startswith("CRIT on 2026-02-10: line_record") and report.findings[0].check_id == "line_record"

def test_every_command_of_a_runbook_exists():
    "A finding that sends its reader to a command that is not there helps nobody."
    import re
    from typer.main import get_command
    from nbprops.cli import app
    root = get_command(app)
    for id in DAMAGE:
        for words in re.findall(r"nbprops ([a-z\-]+(?: [a-z0-9]+)?)", CHECKS[id].command):
            at = root
            for w in words.split():
                if hasattr(at, "commands"): at = at.commands[w]
