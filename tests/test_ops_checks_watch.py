"The checks of those who watch: each is silent on a healthy day, heard on a broken one, and deaf to the false alarms on record."
from datetime import date, datetime, timedelta
import numpy as np
import polars as pl
import pytest
from nbprops.model.reminder import overall, reminders
from nbprops.ops.checks import CHECKS, ORDER, PIPELINE, in_pipeline
from nbprops.ops.judge import Check, Limit, ask, eastern, situation
from nbprops.ops.rehearsal import CLOCK, DAY, TRAINED, broken, rehearse
from nbprops.predict.monitor_states import bias_expr

PRED, ACC, REGISTRY, HISTORY = "nba_predictions.player_prop_predictions", "nba_predictions.prediction_accuracy", "nba_predictions.model_registry", "nba_predictions.model_registry_history"
REPORTS, MONITOR, COLOURS, HEALTH = "nba_raw.nbac_injury_report", "nba_predictions.model_performance_daily", "nba_predictions.daily_prediction_signals", "nba_predictions.signal_health_daily"
PICKS, CANDIDATES, DEPLOYMENTS = "nba_predictions.signal_best_bets_picks", "nba_predictions.best_bets_candidates", "nba_orchestration.deployments"

def sick(k: int, shift: int = 0) -> list[str]: # statements
    "The first `k` players of Boston are out by the report, `shift` hours later than usual, and their rows stay actionable."
    who = ", ".join(f"'bosplayer{i}'" for i in range(k))
    said = [f"INSERT INTO {REPORTS} SELECT * REPLACE ('bosplayer{i}' AS player_lookup, 'out' AS injury_status, TIMESTAMP_ADD(report_timestamp, INTERVAL {shift} HOUR) AS report_timestamp) FROM {REPORTS} WHERE report_date = @d AND player_lookup = 'bosplayer10'" for i in range(k)]
    return said + [f"UPDATE {PRED} SET is_actionable = TRUE WHERE game_date = @d AND player_lookup IN ({who})"]

state = lambda word, model="m_prod": f"UPDATE {MONITOR} SET state = '{word}' WHERE game_date = @d AND model_id = '{model}'"
gap = lambda points, days: f"UPDATE {MONITOR} SET mae_gap_7d = {points} WHERE game_date > DATE_SUB(@d, INTERVAL {days} DAY)"
older = lambda days: f"UPDATE {REGISTRY} SET training_end_date = DATE_SUB(training_end_date, INTERVAL {days} DAY) WHERE TRUE"
quiet = lambda days: f"DELETE FROM {PRED} WHERE model_id = 'm_shadow' AND game_date > DATE_SUB(@d, INTERVAL {days} DAY)"
answers = lambda change, tag: f"UPDATE {HEALTH} SET {change} WHERE game_date = @d AND signal_tag = '{tag}'"
by_commit = lambda commit: f"UPDATE {PRED} SET build_commit_sha = '{commit}' WHERE game_date = @d AND team_abbr = 'MIA'"

DAMAGE = { # check -> [(verdict, statements)]
    "out_players": [("WARN", sick(1)), ("CRIT", sick(2))],
    "daily_signal": [("CRIT", [f"DELETE FROM {COLOURS} WHERE game_date = @d"]), ("CRIT", [f"UPDATE {COLOURS} SET daily_signal = 'BLUE' WHERE game_date = @d"])],
    "model_state": [("CRIT", [state("BLOCKED")]), ("WARN", [state("DEGRADING")]), ("WARN", [state("WATCH")]), ("WARN", [state("A WORD THAT NOBODY KNOWS")])],
    "mae_gap": [("WARN", [gap(.6, 1)]), ("WARN", [gap(1.1, 5)]), ("CRIT", [gap(2.1, 3)]), ("WARN", [gap(1.1, 6), gap(.4, 1)])],
    "family_age": [("WARN", [older(7)]), ("CRIT", [older(14)])],
    "shadow_running": [("WARN", [quiet(1)]), ("CRIT", [quiet(2)]), ("WARN", [f"DELETE FROM {ACC} WHERE model_id = 'm_shadow' AND game_date = @d"]), ("CRIT", [quiet(1), f"DELETE FROM {ACC} WHERE model_id = 'm_shadow' AND game_date = DATE_SUB(@d, INTERVAL 1 DAY)"])],
    "signal_firing": [("CRIT", [answers("cannot_evaluate_7d = 400", "pace_mismatch")]), ("WARN", [answers("fired_7d = 0", "high_edge")])],
    "bets_published": [("CRIT", [f"DELETE FROM {PICKS} WHERE game_date = @d"]), ("CRIT", [f"DELETE FROM {PICKS} WHERE game_date = @d", f"UPDATE {CANDIDATES} SET game_date = DATE_SUB(@d, INTERVAL 1 DAY) WHERE game_date = @d"])],
    "drift": [("CRIT", [by_commit("before")]), ("CRIT", [f"UPDATE {DEPLOYMENTS} SET is_healthy = FALSE WHERE deployment_id = 'prediction-worker.2'"]), ("CRIT", [f"UPDATE {DEPLOYMENTS} SET commit_sha = 'newer', deployed_at = TIMESTAMP_SUB(TIMESTAMP(@d), INTERVAL 2 DAY) WHERE deployment_id = 'prediction-worker.2'"])],
}
CASES = [pytest.param(id, verdict, sql, id=f"{id}-{verdict}-{i}") for id, cases in DAMAGE.items() for i, (verdict, sql) in enumerate(cases)]

@pytest.fixture(scope="module")
def world(tmp_path_factory):
    "The rehearsal warehouse; nobody may change it."
    return rehearse(tmp_path_factory.mktemp("watch")/"world.duckdb")

def ask_at(world, id: str, *damage: str, day: date = DAY, at: datetime = CLOCK, mode: str = "full"):
    "One check after some damage, at any time."
    with broken(world, list(damage)) as tx: return ask(tx, CHECKS[id], situation(tx, day, mode, at))

def on(day: date, hour: int, minute: int = 0) -> datetime:
    "An Eastern time of a day."
    return eastern(day, datetime(2026, 1, 1, hour, minute).time())

# -- silent and heard ----------------------------------------------------------

@pytest.mark.parametrize("id", DAMAGE)
def test_a_healthy_day_is_silent(world, id):
    "A finding on a healthy day is a false alarm."
    r = ask_at(world, id)
    assert r.verdict == "OK", r.detail

@pytest.mark.parametrize("id, verdict, sql", CASES)
def test_a_broken_day_is_heard(world, id, verdict, sql):
    "The check must fire, with the right weight."
    r = ask_at(world, id, *sql)
    assert r.verdict == verdict, r.detail

def test_the_catalogue_goes_downstream():
    "Findings are told in the order of the pipeline; a check that is not listed comes last."
    assert list(ORDER) == list(in_pipeline(CHECKS)) and set(DAMAGE) <= set(PIPELINE) and len(set(PIPELINE)) == len(PIPELINE)
    assert list(ORDER).index("out_players") < list(ORDER).index("pvl") < list(ORDER).index("daily_signal") < list(ORDER).index("model_state") < list(ORDER).index("drift")

# -- not applicable, never red ---------------------------------------------------

UNUSED = {"daily_signal": COLOURS, "model_state": MONITOR, "mae_gap": MONITOR, "signal_firing": COLOURS, "bets_published": CANDIDATES, "drift": DEPLOYMENTS}

@pytest.mark.parametrize("id", UNUSED)
def test_what_nobody_uses_is_not_missing(world, id):
    "A home without signals, monitor, bets or deployments is not ill."
    r = ask_at(world, id, f"DELETE FROM {UNUSED[id]} WHERE TRUE", *([f"DELETE FROM {PICKS} WHERE TRUE"] if id == "bets_published" else []))
    assert r.verdict == "NOT_APPLICABLE" and ("by this date" in r.reason or "recorded" in r.reason)

def test_without_shadows_nobody_is_silent(world):
    "A house with one model has no shadow to wait for."
    r = ask_at(world, "shadow_running", f"UPDATE {REGISTRY} SET state = 'candidate' WHERE model_id = 'm_shadow'")
    assert (r.verdict, r.reason) == ("NOT_APPLICABLE", "no shadow was running on this date")

def test_without_reports_nobody_is_out(world):
    "A feed that is not in the profile, and a day without a report, are no finding."
    poor = "UPDATE nba_predictions.ml_feature_store_v2 SET feed_profile = 'box+props' WHERE TRUE"
    assert "not in the profile" in ask_at(world, "out_players", poor, *sick(2)).reason
    assert ask_at(world, "out_players", f"DELETE FROM {REPORTS} WHERE report_date = @d").verdict == "NOT_APPLICABLE"

@pytest.mark.parametrize("id, at", [("out_players", on(DAY, 11, 59)), ("daily_signal", on(DAY, 17, 10)), ("bets_published", on(DAY, 11, 59)), ("model_state", on(DAY + timedelta(days=1), 10, 59)), ("mae_gap", on(DAY + timedelta(days=1), 10, 59))])
def test_what_is_not_due_is_not_asked(world, id, at):
    "The run was at 17:00; best bets are due at noon, grades on the next day at eleven."
    r = ask_at(world, id, *DAMAGE[id][0][1], at=at)
    assert r.verdict == "NOT_APPLICABLE" and ("asked from" in r.reason or "is due" in r.reason)

@pytest.mark.parametrize("day", [date(2026, 2, 15), date(2026, 7, 20)], ids=["all-star", "summer"])
def test_a_date_without_games_is_not_red(world, day):
    "The All-Star break and the summer once looked like an outage."
    seen = {id: ask_at(world, id, day=day, at=on(day + timedelta(days=1), 13)).verdict for id in DAMAGE}
    assert set(seen.values()) <= {"OK", "NOT_APPLICABLE"}, seen

# -- who is out --------------------------------------------------------------------

def test_a_late_scratch_is_no_fault_of_the_run(world):
    "Ruled out after the last run: told, and a finding only while a run can still mend it."
    late = sick(2, shift=4) # the run was two hours before the tip, the report one
    r = ask_at(world, "out_players", *late)
    assert r.verdict == "OK" and r.detail["note"]["scratched_after_the_last_run"] == 6
    assert ask_at(world, "out_players", *late, at=on(DAY, 18, 30)).verdict == "CRIT"

def test_a_player_cleared_later_is_not_out(world):
    "The newest report counts."
    cleared = f"INSERT INTO {REPORTS} SELECT * REPLACE (TIMESTAMP_ADD(report_timestamp, INTERVAL 1 HOUR) AS report_timestamp, 'available' AS injury_status) FROM {REPORTS} WHERE report_date = @d AND player_lookup = 'bosplayer0'"
    assert [ask_at(world, "out_players", *sick(2), *more).value for more in ((), (cleared,))] == [6, 3]

def test_a_report_for_another_game_does_not_count(world):
    "On a back-to-back the evening's report is about the next game."
    r = ask_at(world, "out_players", *sick(2), f"UPDATE {REPORTS} SET game_id = '20260211_ATL_BOS' WHERE report_date = @d AND player_lookup IN ('bosplayer0', 'bosplayer1')")
    assert (r.verdict, r.value) == ("OK", 0)

def test_a_withdrawn_pick_is_not_counted(world):
    "What the run took off the list is what it should have done."
    assert ask_at(world, "out_players", *sick(3), f"UPDATE {PRED} SET is_actionable = FALSE WHERE game_date = @d AND player_lookup LIKE 'bosplayer%'").verdict == "OK"

# -- colours, states, gaps -----------------------------------------------------------

def test_red_is_no_finding(world):
    "'RED every day' was the symptom of a biased model; pvl and direction_share carry the weight."
    r = ask_at(world, "daily_signal", f"UPDATE {COLOURS} SET daily_signal = 'RED' WHERE TRUE")
    assert r.verdict == "OK" and "RED" in r.detail["note"]["note"]

def test_a_tiny_slate_has_no_colour(world):
    "Below ten lines there is no signal to wait for."
    assert ask_at(world, "daily_signal", f"DELETE FROM {COLOURS} WHERE game_date = @d", f"UPDATE {PRED} SET line_value = NULL WHERE game_date = @d AND team_abbr > 'ATL'").verdict == "NOT_APPLICABLE"

@pytest.mark.parametrize("word", ["HEALTHY", "UNPROVEN", "INSUFFICIENT_DATA"])
@pytest.mark.parametrize("legacy", ["BLOCKED", "WATCH", "DEGRADING", "HEALTHY"])
def test_fixed_thresholds_are_shown_and_not_judged(world, word, legacy):
    "They called a sound model BLOCKED or WATCH on 42-79 % of its days."
    r = ask_at(world, "model_state", state(word), f"UPDATE {MONITOR} SET legacy_state = '{legacy}' WHERE TRUE")
    assert r.verdict == "OK" and legacy in r.detail["note"]["note"]

def test_only_production_and_only_its_newest_state_count(world):
    "Neither a shadow nor last week is the state of today."
    shadow = f"INSERT INTO {MONITOR} SELECT * REPLACE ('m_shadow' AS model_id, 'BLOCKED' AS state) FROM {MONITOR} WHERE game_date = @d"
    assert ask_at(world, "model_state", shadow, f"UPDATE {MONITOR} SET state = 'BLOCKED' WHERE game_date < @d").verdict == "OK"

@pytest.mark.parametrize("seed", range(12))
def test_the_gap_is_judged_as_the_monitor_does(world, seed):
    "Oracle: the monitor's own rule on the same fourteen days."
    gaps = np.random.default_rng(seed).choice([-.2, .3, .6, 1.2, 2.4], 14, p=[.2, .2, .2, .2, .2] if seed % 2 else [.05, .15, .1, .4, .3])
    days = pl.DataFrame({"model_id": "m_prod", "season": "s", "game_date": [DAY - timedelta(days=13 - i) for i in range(14)], "mae_gap_7d": gaps, "lines_7": 448})
    said = days.with_columns(b=bias_expr())["b"][-1]
    sets = [f"UPDATE {MONITOR} SET mae_gap_7d = {g} WHERE game_date = DATE_SUB(@d, INTERVAL {13 - i} DAY)" for i, g in enumerate(gaps)]
    assert ask_at(world, "mae_gap", *sets).verdict == {"OK": "OK", "WATCH": "WARN", "LOST_EDGE": "WARN", "LOSING_BAD": "CRIT"}[said]

def test_few_lines_say_nothing_about_errors(world):
    "Below twenty graded lines in the week the gap is noise."
    r = ask_at(world, "mae_gap", gap(3, 14), f"DELETE FROM {ACC} WHERE model_id = 'm_prod' AND (team_abbr <> 'ATL' OR game_date < DATE_SUB(@d, INTERVAL 1 DAY))")
    assert r.verdict == "NOT_APPLICABLE" and r.n == 16

# -- ages and shadows ----------------------------------------------------------------

@pytest.mark.parametrize("age", [1, 9, 10, 14, 15, 21, 22, 40])
def test_the_age_follows_the_reminder(world, age):
    "The same words as the command, on the day on which the report is due."
    due = DAY + timedelta(days=1)
    shift = age - (due - TRAINED["m_shadow"]).days
    move = f"UPDATE {REGISTRY} SET training_end_date = DATE_ADD(training_end_date, INTERVAL {-shift} DAY) WHERE TRUE"
    with broken(world, [move]) as tx:
        says, r = overall(reminders(tx, due)), ask(tx, CHECKS["family_age"], situation(tx, DAY, at=CLOCK))
    wanted = {"none": "OK", "ROUTINE": "OK", "OVERDUE": "WARN", "URGENT": "CRIT"}[says]
    assert (r.verdict, r.value) == (wanted, age)

def test_a_family_kept_by_override_waits_for_its_end(world):
    "An old shadow that a person keeps for comparison presses when the override ends, and a production model always does."
    old = f"INSERT INTO {REGISTRY} SELECT * REPLACE ('m_old' AS model_id, 'v8_mae' AS model_family, 'catboost_v8' AS system_id, DATE '2024-12-31' AS training_end_date) FROM {REGISTRY} WHERE model_id = 'm_shadow'"
    kept = lambda until: f"INSERT INTO {HISTORY} SELECT * REPLACE ('m_old.1' AS transition_id, 'm_old' AS model_id, TRUE AS is_override, TIMESTAMP '{until} 00:00:00+00' AS override_expires_at) FROM {HISTORY} WHERE model_id = 'm_shadow'"
    asked = lambda *damage: ask_at(world, "family_age", *damage)
    assert asked(old).verdict == "CRIT" and asked(old, kept("2026-02-01")).verdict == "CRIT"
    r = asked(old, kept("2027-01-01"))
    assert r.verdict == "OK" and "kept by override" in r.detail["note"]["note"]
    assert asked(old, kept("2027-01-01"), f"UPDATE {REGISTRY} SET state = 'production' WHERE model_id = 'm_old'").verdict == "CRIT"

def test_a_day_without_any_run_is_not_the_shadow_s(world):
    "When nobody predicted, run_done speaks."
    assert ask_at(world, "shadow_running", f"DELETE FROM {PRED} WHERE game_date BETWEEN DATE_SUB(@d, INTERVAL 3 DAY) AND DATE_SUB(@d, INTERVAL 1 DAY)").verdict == "OK"

def test_a_new_shadow_owes_nothing_before_its_first_day(world):
    "Enabled on the day itself it owes nothing, enabled two days before it owes two days."
    new = lambda days: [f"INSERT INTO {REGISTRY} SELECT * REPLACE ('m_new' AS model_id, 'm_new' AS system_id) FROM {REGISTRY} WHERE model_id = 'm_shadow'",
                        f"INSERT INTO {HISTORY} SELECT * REPLACE ('m_new.1' AS transition_id, 'm_new' AS model_id, TIMESTAMP_SUB(occurred_at, INTERVAL {24*days} HOUR) AS occurred_at) FROM {HISTORY} WHERE model_id = 'm_shadow'"]
    assert [ask_at(world, "shadow_running", *new(k)).value for k in (0, 1, 2)] == [0, 1, 2]

def test_grades_that_are_not_due_are_not_missing(world):
    "In the night after the games nobody has been graded."
    gone = f"DELETE FROM {ACC} WHERE game_date = @d"
    assert ask_at(world, "shadow_running", gone, at=on(DAY + timedelta(days=1), 2)).verdict == "OK"
    assert ask_at(world, "shadow_running", gone).verdict == "WARN"

# -- rules, bets, builds -----------------------------------------------------------------

def test_a_rule_without_its_feed_is_left_out(world):
    "What nobody delivers cannot be evaluated; that is no news."
    blind = [answers("cannot_evaluate_7d = 400", t) for t in ("pace_mismatch", "dual_agree")]
    poor = "UPDATE nba_predictions.ml_feature_store_v2 SET feed_profile = 'box+props' WHERE TRUE"
    assert ask_at(world, "signal_firing", *blind).detail["note"]["note"].startswith("pace_mismatch") and ask_at(world, "signal_firing", *blind, poor).verdict == "OK"
    partner = f"UPDATE {REGISTRY} SET model_family = 'v12_noveg_mae' WHERE model_id = 'm_shadow'"
    assert "dual_agree" in ask_at(world, "signal_firing", *blind, poor, partner).detail["note"]["note"]

def test_a_rule_that_does_not_count_is_left_out(world):
    "Prototypes may be blind; a rule that was switched off may, too."
    assert ask_at(world, "signal_firing", answers("cannot_evaluate_7d = 400", "home_dog")).verdict == "OK"
    off = "INSERT INTO nba_predictions.signal_mode_history (transition_id, subject_kind, subject_id, to_mode, reason, actor, occurred_at, created_at, build_commit_sha) VALUES ('t', 'signal', 'pace_mismatch', 'off', 'r', 'a', TIMESTAMP '2026-02-01 00:00:00+00', CURRENT_TIMESTAMP(), 'x')"
    assert ask_at(world, "signal_firing", answers("cannot_evaluate_7d = 400", "pace_mismatch"), off).verdict == "OK"

def test_a_rare_rule_may_be_silent(world):
    "Silence is news only where firings were due."
    assert ask_at(world, "signal_firing", answers("fired_7d = 0, picks_season = 20", "cold_snap")).verdict == "OK"
    assert ask_at(world, "signal_firing", answers("fired_7d = 0, picks_season = 60", "cold_snap")).verdict == "WARN"

def test_a_day_without_picks_is_published_when_it_says_why(world):
    "The reason stands on the candidates; a pick whose game had begun is a reason, too."
    none = f"DELETE FROM {PICKS} WHERE game_date = @d"
    r = ask_at(world, "bets_published", none, f"UPDATE {CANDIDATES} SET rank = NULL, decision = 'few_signals' WHERE game_date = @d")
    assert r.verdict == "OK" and "few_signals" in r.detail["note"]["note"]
    assert ask_at(world, "bets_published", none, f"UPDATE {CANDIDATES} SET evaluated_at = TIMESTAMP_ADD(evaluated_at, INTERVAL 3 HOUR) WHERE game_date = @d").verdict == "OK"

def test_a_retracted_pick_was_published(world):
    "A version that takes everything back is a version."
    assert ask_at(world, "bets_published", f"UPDATE {PICKS} SET is_retracted = TRUE, retraction_reason = 'late_scratch' WHERE game_date = @d").verdict == "OK"

def test_a_commit_nobody_has_seen_is_not_an_older_one(world):
    "A repair by hand after the deployment is not drift; rows from before the deployment are none either."
    assert ask_at(world, "drift", by_commit("by-hand")).verdict == "OK"
    assert ask_at(world, "drift", by_commit("before"), f"UPDATE {PRED} SET created_at = TIMESTAMP_SUB(created_at, INTERVAL 1000 HOUR) WHERE build_commit_sha = 'before'").verdict == "OK"

def test_a_deployment_that_was_repaired_is_healthy(world):
    "Only the newest deployment of a service counts."
    assert ask_at(world, "drift", f"UPDATE {DEPLOYMENTS} SET is_healthy = FALSE WHERE deployment_id LIKE '%.1'").verdict == "OK"

@pytest.mark.parametrize("behind, verdict", [(None, "OK"), (0, "OK"), (1, "WARN"), (2, "WARN"), (3, "CRIT")])
def test_commits_behind_come_from_the_room_of_the_services(world, monkeypatch, behind, verdict):
    "What no query can know is added by a function; an answer that is missing is not judged."
    monkeypatch.setattr("nbprops.ops.drift.commits_behind", lambda tx: behind)
    r = ask_at(world, "drift")
    assert r.verdict == verdict and r.detail["measures"]["commits_behind"] == behind

def test_any_check_may_add_a_measure(world):
    "The function sees the transaction and the situation; what it says wins over nothing, and a crash is the check's own."
    c = Check("c", "", {"a": Limit("= 1"), "b": Limit("= 4", "any")}, "SELECT 1 AS a", also=lambda tx, s: {"b": tx.sql("SELECT COUNT(*) AS k FROM nba_reference.nba_schedule WHERE game_date = @d", d=s.day)["k"][0]})
    with world.transaction() as tx: assert ask(tx, c, situation(tx, DAY, at=CLOCK)).detail["measures"] == {"a": 1, "b": 4}
