"Completion is counted, never believed."
from datetime import date, datetime, timedelta, timezone
import shutil
import polars as pl
import pytest
from nbprops.data.warehouse import Warehouse
from nbprops.ops.phases import PHASES, PROCESSORS, expected_processors, readiness, reconcile, status, status_expr
from nbprops.ops.rehearsal import CLOCK, DAY, rehearse
from nbprops.settings import Refusal

@pytest.fixture(scope="module")
def made(tmp_path_factory): return rehearse(tmp_path_factory.mktemp("phases")/"world.duckdb")

@pytest.fixture
def world(made, tmp_path, monkeypatch):
    "A fresh copy of the healthy warehouse on the day after."
    shutil.copyfile(made.path, tmp_path/"w.duckdb")
    monkeypatch.setenv("NBPROPS_NOW", CLOCK.isoformat())
    return Warehouse(tmp_path/"w.duckdb")

def states(w, phase: int, day: date = DAY, column: str = "status") -> dict: return dict(status(w, phase, [day]).select("processor", column).iter_rows())

def test_a_whole_day_is_complete_and_confirmed(world):
    "Every processor of phases 2 to 4 is done, and rows downstream confirm that the next one was started."
    reconcile(world, DAY)
    assert set(states(world, 3).values()) == set(states(world, 4).values()) == {"COMPLETE"}
    assert set(states(world, 3, column="trigger_state").values()) == set(states(world, 4, column="trigger_state").values()) == {"confirmed"}
    assert states(world, 5) == {"OVERNIGHT": "COMPLETE"}

def test_a_second_look_changes_nothing(world):
    "A reconciliation without news writes nothing, so it may run every ten minutes."
    reconcile(world, DAY - timedelta(days=3), DAY)
    again = reconcile(world, DAY - timedelta(days=3), DAY)
    assert again.written == 0 and again.present == again.read > 60

def test_the_content_hash_sees_one_changed_value(world):
    "Equal counts with other content are another state."
    reconcile(world, DAY)
    before = world.read(PHASES, DAY, DAY, where="processor = 'player_game_summary'")["content_hash"][0]
    world.sql("UPDATE nba_analytics.player_game_summary SET points = points + 1 WHERE game_date = @d AND player_lookup = 'atlplayer0'", d=DAY)
    reconcile(world, DAY)
    assert world.read(PHASES, DAY, DAY, where="processor = 'player_game_summary'")["content_hash"][0] != before

def test_self_reported_success_is_ignored(world):
    "A processor that says COMPLETE with no rows is not complete."
    reconcile(world, DAY)
    world.sql(f"UPDATE {PHASES} SET status = 'COMPLETE', rows_written = 999 WHERE game_date = @d", d=DAY)
    world.sql("DELETE FROM nba_precompute.player_daily_cache WHERE cache_date = @d", d=DAY)
    reconcile(world, DAY)
    rows = status(world, 4, [DAY]).filter(pl.col("processor") == "player_daily_cache")
    assert rows["status"][0] == "PENDING" and rows["rows_written"][0] == 0 and "none of 96" in rows["last_error"][0]

@pytest.mark.parametrize("table, where, phase, processor, expected", [
    ("nba_raw.nbac_player_boxscores", "TRUE", 2, "player_box", "PENDING"), ("nba_raw.nbac_team_boxscore", "team_abbr = 'ATL'", 2, "team_box", "PARTIAL"), ("nba_analytics.player_game_summary", "team_abbr = 'ATL'", 3, "player_game_summary", "PARTIAL"),
    ("nba_analytics.upcoming_player_game_context", "team_abbr < 'GSW'", 3, "upcoming_player_game_context", "PARTIAL"), ("nba_predictions.ml_feature_store_v2", "team_abbr = 'ATL'", 4, "ml_feature_store", "PARTIAL")])
def test_missing_rows_are_seen(world, table, where, phase, processor, expected):
    "Half a box, half a slate, half a store: each is PARTIAL at its own processor."
    world.sql(f"DELETE FROM {table} WHERE game_date = @d AND {where}", d=DAY)
    reconcile(world, DAY)
    assert states(world, phase)[processor] == expected

def test_a_lost_box_blocks_what_is_made_from_it(world):
    "The finding belongs to the upstream: what could not be computed is BLOCKED."
    for t in ("nba_raw.nbac_player_boxscores", "nba_raw.nbac_team_boxscore", "nba_analytics.player_game_summary", "nba_analytics.team_offense_game_summary", "nba_analytics.team_defense_game_summary"): world.sql(f"DELETE FROM {t} WHERE game_date = @d", d=DAY)
    reconcile(world, DAY)
    got = states(world, 3)
    assert {got[k] for k in got if k != "upcoming_player_game_context"} == {"BLOCKED"} and got["upcoming_player_game_context"] == "COMPLETE"

def test_an_absent_status_does_not_hide_an_absent_box(world):
    "A schedule feed that died leaves games 'scheduled'; six hours after the tip their boxes are due all the same."
    world.sql("UPDATE nba_reference.nba_schedule SET game_status = 1 WHERE game_date = @d", d=DAY)
    world.sql("DELETE FROM nba_analytics.player_game_summary WHERE game_date = @d", d=DAY)
    reconcile(world, DAY)
    assert status(world, 3, [DAY]).filter(pl.col("processor") == "player_game_summary")["rows_expected"][0] == 96

def test_many_refused_rows_are_a_failure(world):
    "More than 10 % refused is FAILED although the row count is nearly whole; a refused feature value is not a refused row."
    q = "INSERT INTO nba_orchestration.quarantine (quarantine_id, table_name, rule_id, field, unit, value_text, row_json, run_id, game_date, quarantined_at) SELECT CONCAT('{0}', player_lookup), '{0}', 'x', '{1}', '', '9', '{{}}', 'r', @d, CURRENT_TIMESTAMP() FROM nba_analytics.upcoming_player_game_context WHERE game_date = @d AND team_abbr < 'CHI'"
    world.sql(q.format("nba_analytics.player_game_summary", "points"), d=DAY)
    world.sql(q.format("nba_predictions.ml_feature_store_v2", "pace_score"), d=DAY)
    reconcile(world, DAY)
    assert states(world, 3)["player_game_summary"] == "FAILED" and states(world, 4)["ml_feature_store"] == "COMPLETE"

def test_dates_without_games_and_unknown_dates(world):
    "No games is EMPTY_OK; a date that was never reconciled says so."
    day = date(2026, 2, 15)
    reconcile(world, day)
    assert {v for p in (2, 3, 4) for v in states(world, p, day).values()} == {"EMPTY_OK"}
    assert status(world, 4, [date(2024, 1, 1)])["status"].to_list() == ["No record"]

def test_a_feed_outside_the_profile_is_not_expected(world):
    "Game lines are not in the rehearsal's profile and were never delivered: no finding."
    reconcile(world, DAY)
    got = states(world, 2)
    assert got["game_lines"] == "EMPTY_OK" and got["injuries"] == "COMPLETE" and got["play_by_play"] == "PENDING"

def test_sent_triggers_are_kept_until_rows_confirm_them(world):
    "`sent` is never taken back, and only rows downstream make it `confirmed`."
    world.sql("DELETE FROM nba_predictions.player_prop_predictions WHERE game_date = @d", d=DAY)
    reconcile(world, DAY)
    assert set(states(world, 4, column="trigger_state").values()) == {"pending"}
    world.sql(f"UPDATE {PHASES} SET trigger_state = 'sent', trigger_id = 't1' WHERE phase = 4 AND game_date = @d", d=DAY)
    reconcile(world, DAY)
    assert set(states(world, 4, column="trigger_state").values()) == {"sent"}

def test_readiness_follows_the_mode():
    "Overnight wants all or the critical ones after an hour; the same day wants the slate; phase 4 wants its store."
    done = dict.fromkeys(expected_processors(3), "COMPLETE")
    assert readiness(done, 3) == "all_complete" and readiness(done | {"team_offense_game_summary": "PENDING"}, 3) is None
    assert readiness(done | {"team_offense_game_summary": "PENDING"}, 3, minutes=61) == "critical_plus_60pct"
    assert readiness(done | {"player_game_summary": "FAILED"}, 3, minutes=600) is None
    assert readiness({"upcoming_player_game_context": "COMPLETE"}, 3, "tomorrow") == "all_complete"
    assert readiness(dict.fromkeys(expected_processors(4), "COMPLETE") | {"ml_feature_store": "PARTIAL"}, 4) is None
    with pytest.raises(Refusal, match="No mode"): expected_processors(3, "nightly")

def test_an_empty_range_is_refused(world):
    with pytest.raises(Refusal, match="empty"): reconcile(world, DAY, DAY - timedelta(days=1))

def test_every_processor_counts_every_date(world):
    "No date and no processor falls through a join."
    reconcile(world, DAY - timedelta(days=9), DAY)
    rows = world.read(PHASES, DAY - timedelta(days=9), DAY, where="phase < 5")
    assert rows.height == 10*len(PROCESSORS) and rows["status"].null_count() == 0
