"Completion is counted, never believed."
from datetime import date, datetime, timedelta, timezone
import shutil
import polars as pl
import pytest
from nbprops.data.warehouse import Warehouse
from nbprops.ops.phases import PHASES, PROCESSORS, expected_processors, held, readiness, reconcile, sent, status
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
    rows = world.read(PHASES, DAY - timedelta(days=9), DAY, where="phase <> 5")
    assert rows.height == 10*len(PROCESSORS) and rows["status"].null_count() == 0

# phase 6

SIX, TAGS = "annotate best_bets daily_signal notify subsets".split(), "nba_predictions.pick_signal_tags"
PRED = "nba_predictions.player_prop_predictions"
counts = lambda w, day=DAY: {r["processor"]: (r["status"], r["rows_expected"], r["rows_written"]) for r in status(w, 6, [day]).iter_rows(named=True)}

def tag(w, where: str = "TRUE"):
    "Tags for the active predictions of the day."
    rows = w.sql(f"SELECT game_date, player_lookup, game_id, system_id FROM {PRED} WHERE game_date = @d AND is_active AND {where}", d=DAY)
    none = pl.lit([], pl.List(pl.String))
    w.write(TAGS, rows.with_columns(missing_inputs_json=pl.lit("{}"), registry_version=pl.lit("x"), signal_tags=none, shadow_signal_tags=none, cannot_evaluate_tags=none, signal_count=pl.lit(0), evaluated_at=pl.lit(CLOCK)))

def log(w, channel: str, state: str, k: int = 1, kind: str = "picks"):
    from nbprops.data.tables import one_row
    name = "nba_orchestration.notification_log"
    w.write(name, one_row(name, dict(notification_id=f"{channel}#{k}", kind=kind, channel=channel, idempotency_key=channel, status=state, payload_json="{}", game_date=DAY, sent_at=CLOCK + timedelta(minutes=k))))

def file_of(day: date):
    from nbprops.signals.files import FOLDER, published
    published().put_json(f"{FOLDER}/{day}.json", {"date": str(day)})

def test_phase_6_is_counted_from_what_is_there(world):
    "Fails when a processor of phase 6 is believed instead of counted: tags against predictions, picks with their file, notices by channel."
    reconcile(world, DAY)
    n = world.sql(f"SELECT COUNT(*) AS n FROM {PRED} WHERE game_date = @d AND is_active", d=DAY)["n"][0]
    assert counts(world) == {"annotate": ("PENDING", n, 0), "best_bets": ("PARTIAL", 2, 1), "daily_signal": ("COMPLETE", 3, 3), "notify": ("PENDING", 1, 0), "subsets": ("EMPTY_OK", 0, 0)}
    assert set(states(world, 6, column="trigger_state").values()) == {None} and states(world, 6, column="last_error")["best_bets"] == "published, and no file of it"
    tag(world, "team_abbr <> 'ATL'"); file_of(DAY); file_of(DAY - timedelta(days=1)); log(world, "slack", "SENT"); log(world, "sms", "SKIPPED_NO_CONFIG"); log(world, "email", "SENT", kind="grading")
    world.sql("DELETE FROM nba_predictions.daily_prediction_signals WHERE game_date = @d AND system_id = 'catboost_v9'", d=DAY)
    reconcile(world, DAY)
    got = counts(world); assert got == {"annotate": ("PARTIAL", n, n*7//8), "best_bets": ("COMPLETE", 2, 2), "daily_signal": ("PARTIAL", 3, 2), "notify": ("COMPLETE", 1, 1), "subsets": ("EMPTY_OK", 0, 0)}
    tag(world); log(world, "email", "FAILED", 2); reconcile(world, DAY)
    assert counts(world)["annotate"] == ("COMPLETE", n, n) and counts(world)["notify"] == ("FAILED", 2, 1)
    log(world, "email", "SENT", 3); reconcile(world, DAY)
    assert counts(world)["notify"] == ("COMPLETE", 2, 2)

def test_a_reason_is_a_publication_and_a_forgotten_pick_is_none(world):
    "Fails when a day without picks is never complete, or candidates that were chosen before the tip and not published count as published."
    world.sql("DELETE FROM nba_predictions.signal_best_bets_picks WHERE game_date = @d", d=DAY); file_of(DAY)
    reconcile(world, DAY); assert counts(world)["best_bets"] == ("PENDING", 2, 0)
    world.sql("UPDATE nba_predictions.best_bets_candidates SET rank = NULL, decision = 'low_edge' WHERE game_date = @d", d=DAY)
    reconcile(world, DAY); assert counts(world)["best_bets"] == ("COMPLETE", 2, 2)
    world.sql("DELETE FROM nba_predictions.best_bets_candidates WHERE game_date = @d", d=DAY)
    reconcile(world, DAY); assert counts(world)["best_bets"] == ("PENDING", 2, 0)

def test_no_predictions_block_everything_but_the_notice(world):
    "Fails when a date on which the run is missing looks like one with nothing to publish: only the notice can work, and it has to."
    world.sql(f"DELETE FROM {PRED} WHERE game_date = @d", d=DAY)
    for t in ("daily_prediction_signals", "signal_best_bets_picks", "best_bets_candidates"): world.sql(f"DELETE FROM nba_predictions.{t} WHERE game_date = @d", d=DAY)
    reconcile(world, DAY)
    assert {k: s for k, (s, *_) in counts(world).items()} == dict.fromkeys(SIX, "BLOCKED") | {"notify": "PENDING"}
    world.sql("DELETE FROM nba_predictions.model_registry"); reconcile(world, DAY)
    assert {s for s, *_ in counts(world).values()} == {"EMPTY_OK"}

def test_expected_lists_are_those_that_the_rule_makes(world):
    "Fails when the count of due lists and the rule that fills lists part ways."
    from nbprops.signals.annotate import read_predictions
    from nbprops.signals.subsets import DEFINITIONS, Subset, definition_rows, read_subsets, subset_rows
    extra = [Subset("over", "o", 2.0, recommendation_filter="OVER"), Subset("none", "n", 40.0), Subset("off", "x", 1.0, is_active=False), Subset("shadow", "s", 2.0, "GREEN", system_id="catboost_v9_shadow"), Subset("sure", "s", 1.0, min_confidence=.9), Subset("red", "r", 2.5, "RED", top_n=2)]
    shipped = definition_rows().with_columns(min_edge=pl.col("min_edge")/2)
    world.write(DEFINITIONS, pl.concat([shipped, pl.DataFrame([e.__dict__ for e in extra], schema=shipped.schema)]))
    for colour in ("RED", "GREEN", "YELLOW"):
        world.sql("UPDATE nba_predictions.daily_prediction_signals SET daily_signal = @c WHERE game_date = @d", c=colour, d=DAY)
        with world.transaction() as tx: due = subset_rows(read_predictions(tx, DAY, DAY, "is_active AND is_actionable"), tx.read("nba_predictions.daily_prediction_signals", DAY, DAY), read_subsets(tx))
        reconcile(world, DAY)
        assert counts(world)["subsets"] == ("PENDING", due["subset_id"].n_unique(), 0) and due["subset_id"].n_unique() > 3
    world.write("nba_predictions.subset_picks", due.with_columns(version=pl.lit(1))); reconcile(world, DAY)
    assert counts(world)["subsets"][0] == "COMPLETE"

# triggers

def ran(w, k: int, state: str = "FAILED", step: str = "predictions", at: datetime = CLOCK, day: date = DAY):
    "An attempt in the run ledger."
    from nbprops.data.runs import Step, ledger_row
    w.write("nba_orchestration.run_ledger", ledger_row(Step(f"run-{k}", "daily", step, game_date=day, started_at=at), state))

def unstarted(w):
    w.sql(f"DELETE FROM {PRED} WHERE game_date = @d", d=DAY)

def test_a_trigger_lives_from_pending_to_confirmed(world):
    "Fails when a trigger is sent without an id, when it is taken back, or confirmed by another run, by a failed one or by the sender."
    unstarted(world)
    with pytest.raises(Refusal, match="without an id"): sent(world, 4, DAY, DAY, "")
    reconcile(world, DAY); assert set(states(world, 4, column="trigger_state").values()) == {"pending"}
    world.sql("DELETE FROM nba_precompute.player_composite_factors WHERE game_date = @d AND player_lookup LIKE 'atl%'", d=DAY)
    assert sent(world, 4, DAY, DAY, "run-1") == 4
    now_ = states(world, 4, column="trigger_state"); assert now_.pop("player_composite_factors") == "pending" and set(now_.values()) == {"sent"}
    ran(world, 1, "FAILED"); ran(world, 9, "DONE"); ran(world, 1, "DONE", step="signals"); reconcile(world, DAY)
    assert states(world, 4, column="trigger_state")["ml_feature_store"] == "sent" and states(world, 4, column="attempts")["ml_feature_store"] == 2
    assert sent(world, 4, DAY, DAY, "run-2") == 4; ran(world, 2, "DONE"); reconcile(world, DAY)
    rows = world.read(PHASES, DAY, DAY, where="processor = 'ml_feature_store'").row(0, named=True)
    assert (rows["trigger_state"], rows["trigger_id"], rows["attempts"]) == ("confirmed", "run-2", 3) and rows["trigger_confirmed_at"] >= rows["trigger_sent_at"]
    assert sent(world, 4, DAY, DAY, "run-3") == 0, "what is confirmed is not sent again"
    assert reconcile(world, DAY).written == 0

def test_rows_downstream_confirm_without_any_message(world):
    "Fails when a run that somebody started by hand is not seen; and a box score that nobody summed up is no started step."
    reconcile(world, DAY); assert set(states(world, 4, column="trigger_state").values()) == {"confirmed"}
    world.sql("DELETE FROM nba_analytics.player_game_summary WHERE game_date = @d", d=DAY); reconcile(world, DAY)
    got = states(world, 2, column="trigger_state"); assert got["player_box"] == "pending" and got["schedule"] == "confirmed"

def test_tags_confirm_only_the_runs_before_them(world):
    "Fails when the tags of the morning confirm that something followed the run of noon."
    at = world.sql("SELECT MAX(execution_start_timestamp) AS t FROM nba_predictions.prediction_execution_log WHERE game_date = @d", d=DAY)["t"][0]
    tag(world)
    for minutes, want in ((-1, "pending"), (1, "confirmed")):
        world.sql(f"UPDATE {TAGS} SET evaluated_at = @t WHERE game_date = @d", t=at + timedelta(minutes=minutes), d=DAY)
        reconcile(world, DAY); assert states(world, 5, column="trigger_state") == {"OVERNIGHT": want}

@pytest.mark.parametrize("tries, minutes, want", [(0, 0, None), (1, 0, None), (2, 4, "attempt 3 of 5"), (2, 5, None), (3, 14, "attempt 4"), (3, 15, None), (4, 44, "attempt 5"), (4, 45, None)])
def test_attempts_keep_their_distance(world, monkeypatch, tries, minutes, want):
    "Fails when a step is tried too soon, or a person's first repetition has to wait."
    unstarted(world)
    for k in range(tries): ran(world, k, at=CLOCK)
    monkeypatch.setenv("NBPROPS_NOW", (CLOCK + timedelta(minutes=minutes)).isoformat())
    got = held(world, 4, DAY); assert got is None if want is None else want in got

def test_the_sixth_attempt_is_refused_until_it_succeeds_otherwise(world, monkeypatch):
    "Fails when a step is started a sixth time however long one waits, when skips count, or when it stays refused after success."
    from nbprops.ops.rehearsal import prediction_tables, predicted, shared_columns, shooting, named, nights
    unstarted(world)
    for k in range(5): ran(world, k, ("FAILED", "INTERRUPTED", "STARTED")[k % 3], at=CLOCK + timedelta(hours=k))
    ran(world, 7, "SKIPPED"); ran(world, 8, day=DAY - timedelta(days=1)); ran(world, 9, step="signals")
    monkeypatch.setenv("NBPROPS_NOW", (CLOCK + timedelta(days=9)).isoformat())
    with pytest.raises(Refusal, match="started 5 times"): held(world, 4, DAY)
    reconcile(world, DAY); assert states(world, 4, column="attempts")["ml_feature_store"] == 5
    world.write(PRED, prediction_tables(shared_columns(predicted(shooting(named(nights())))))[PRED].filter(pl.col("game_date") == DAY))
    assert held(world, 4, DAY) is None, "rows that another command wrote confirm the trigger"
    unstarted(world); ran(world, 10, "DONE", at=CLOCK + timedelta(days=1)); ran(world, 11, at=CLOCK + timedelta(days=2))
    assert held(world, 4, DAY) is None, "what failed before the last success is forgotten"
