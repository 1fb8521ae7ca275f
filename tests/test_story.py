"The demo, played as a stranger would, and everything that must hold after it."
import json, os, re, subprocess, sys
from pathlib import Path
import polars as pl
import pytest
from tests.player import ask, run
from tests.test_ops_reports import assert_quiet

def test_the_demo_ends_with_reports_and_honest_verdicts(played):
    "An honest month ends at best in SHADOW; attribution is complete; both reports exist."
    home, out = played
    assert {m["verdict"] for m in out["models"].values()} <= {"SHADOW", "PROMOTE", "REJECT"} and out["models"]["narrow"]["verdict"] != "REJECT"
    assert out["attribution"] == "PASS"
    for html in (out["daily"]["html"], out["card"]["html"]): assert Path(html).stat().st_size > 10_000

def test_the_demo_card_holds_what_a_signer_needs(played):
    "Whose games, verdict, way out, profile, both policies, looks, line, comparison, pictures, hashes, a place to sign, the words; stored beside the model; and the daily page is as quiet."
    _, out = played
    html = Path(out["card"]["html"]).read_text()
    seen, plain = assert_quiet(html), html.replace("<wbr>", "")
    order = ["Simulated league", "What changed", "What would change the verdict", "What to do", "Feeds and features", "Evidence", "Both policies side by side", "What this many picks can show", "Looks at these dates", "Does it know the line?", "Comparison", "Pictures", "Bias by tier", "Seeds", "Data", "Identity", "History", "Decision", "Words"]
    at = [re.search(rf">{re.escape(w)}", plain).start() for w in order]
    assert at == sorted(at) and seen.tags.count("svg") == 5
    for word in ("sha256 of the file", "semantic id", "incident-2026-02", "blind to skill", "narrow", "wide", "5 models with 5 verdicts", out["card"]["model_id"]): assert word in plain, word
    assert Path(out["card"]["stored"]).read_bytes() == Path(out["card"]["html"]).read_bytes() and out["card"]["stored"].endswith(".card.html")
    daily = Path(out["daily"]["html"]).read_text()
    assert_quiet(daily)
    assert daily.index("Simulated league") < daily.index("Daily validation ·")

def test_owner_queries_run_unchanged_and_answer(played):
    "Every statement must run; what the demo's data can answer may not be empty."
    home, _ = played
    out = run(home, "query", "--file", "tests/owner_queries.sql", "--json")
    assert out.returncode == 0, out.stderr
    answers = json.loads(out.stdout)
    empty = [a["comment"][:60] for a in answers if a["sql"].startswith("SELECT") and not a["rows"] and not a["comment"].startswith("E3")]
    assert len(answers) > 40 and empty == []

def test_every_prediction_names_its_bytes(played):
    home, out = played
    rows = ask(home, "SELECT system_id, model_sha256, COUNT(*) AS n, COUNTIF(model_file_name IS NULL) AS nameless FROM player_prop_predictions WHERE model_load_source != 'CODE' GROUP BY 1, 2")
    assert rows["nameless"].sum() == 0 and set(rows["model_sha256"]) == {m["sha256"] for k, m in out["models"].items() if m["verdict"] != "REJECT" or k in ("v8", "record")}

def test_all_eight_systems_have_predictions(played):
    "Would catch a legacy model that does not serve, or a formula that is silent on complete feeds."
    home, out = played
    eight = {"moving_average", "zone_matchup_v1", "similarity_balanced_v1", "ensemble_v1", "ensemble_v1_1", "catboost_v8", "catboost_v9", "catboost_v9_2026_02"}
    assert eight <= set(out["systems"]) and min(out["systems"].values()) > 500
    rows = ask(home, "SELECT system_id, model_training_start_date AS a, model_training_end_date AS b, model_family, feature_set FROM player_prop_predictions WHERE system_id IN ('catboost_v8', 'catboost_v9_2026_02') GROUP BY 1, 2, 3, 4, 5 ORDER BY 1")
    assert rows["feature_set"].to_list() == ["v8", "v9"] and [str(x) for x in rows.row(1)[1:3]] == ["2025-11-02", "2026-01-24"] and str(rows["b"][0]) < "2025-07-01"
    heard = ask(home, "SELECT COUNTIF(JSON_VALUE(features_snapshot_json, '$.catboost_v8_points') IS NOT NULL) AS n, COUNT(*) AS of FROM player_prop_predictions WHERE system_id = 'ensemble_v1_1'").row(0)
    assert heard[0] > .9*heard[1]

def test_no_system_has_two_active_rows(played):
    home, _ = played
    assert ask(home, "SELECT game_id, player_lookup, system_id, COUNT(*) AS n FROM player_prop_predictions WHERE is_active GROUP BY 1, 2, 3 HAVING COUNT(*) > 1").is_empty()

def test_results_follow_from_line_and_points(played):
    "An independent reading of the graded rows: WIN, LOSS and PUSH recomputed from the box score."
    home, _ = played
    rows = ask(home, """SELECT a.result, a.recommendation, a.line_value, b.points FROM nba_predictions.prediction_accuracy a
                        JOIN nba_analytics.player_game_summary b ON a.game_id = b.game_id AND a.player_lookup = b.player_lookup WHERE a.result IN ('WIN', 'LOSS', 'PUSH')""")
    def expected(r): return "PUSH" if r["points"] == r["line_value"] else "WIN" if (r["points"] > r["line_value"]) == (r["recommendation"] == "OVER") else "LOSS"
    assert rows.height > 500 and [r["result"] for r in rows.iter_rows(named=True)] == [expected(r) for r in rows.iter_rows(named=True)]

def test_the_ledger_accounts_for_the_demo(played):
    home, _ = played
    runs = ask(home, "SELECT step, status, rows_read, rows_written + rows_quarantined + rows_already_present + rows_set_aside AS fate FROM nba_orchestration.run_ledger")
    assert set(runs["status"]) == {"DONE"} and (runs["rows_read"] == runs["fate"]).all() and runs.height >= 6

def test_a_second_demo_in_the_same_home_is_refused(played):
    home, _ = played
    out = run(home, "demo")
    assert out.returncode == 2 and "two stories" in out.stderr and "Traceback" not in out.stderr

def test_serving_again_changes_nothing(played):
    "A slate that was served is skipped: same line, same bytes."
    home, _ = played
    count = "SELECT COUNT(*) AS n, COUNTIF(is_active) AS k FROM player_prop_predictions"
    before = ask(home, count).row(0)
    out = run(home, "predict", "--mode", "SAME_DAY", "--date", "2026-02-10", NBPROPS_NOW="2026-02-10T16:30:00Z")
    assert out.returncode == 0, out.stderr
    assert ask(home, count).row(0) == before

def test_after_the_tip_nothing_is_written(played):
    home, _ = played
    count = "SELECT COUNT(*) AS n FROM player_prop_predictions"
    before = ask(home, count).item()
    run(home, "predict", "--mode", "SAME_DAY", "--date", "2026-02-10", "--force", NBPROPS_NOW="2026-02-12T16:30:00Z")
    assert ask(home, count).item() == before

@pytest.mark.parametrize("words", [("registry", "list"), ("registry", "validate"), ("registry", "production"), ("worker", "status"), ("verify-attribution", "--game-date", "2026-02-10"), ("phase", "status", "--phase", "4", "--date", "2026-02-10"), ("tables",), ("tables", "prediction_accuracy")])
def test_commands_answer_people_and_programs(played, words):
    home, _ = played
    people, programs = run(home, *words), run(home, *words, "--json")
    assert people.returncode == programs.returncode == 0, people.stderr + programs.stderr
    assert people.stdout.strip() and "\x1b[" not in people.stdout and json.loads(programs.stdout) is not None

@pytest.mark.real
@pytest.mark.full
def test_the_demo_on_real_feeds(tmp_path):
    "The same story on real box scores and lines."
    out = run(tmp_path/"real", "demo", "--data", os.environ["NBPROPS_DATA"], "--json")
    assert out.returncode == 0, out.stderr[-3000:]
    found = json.loads(out.stdout)
    assert found["attribution"] == "PASS" and found["models"]["narrow"]["features"] == 26 and found["models"]["noveg"]["features"] == 36
    assert (found["models"]["v8"]["profile"], found["models"]["v8"]["features"]) == ("box+props", 22)
    assert set(found["systems"]) >= {"moving_average", "catboost_v9", "catboost_v8", "catboost_v9_2026_02", "ensemble_v1_1"} and not {"zone_matchup_v1", "similarity_balanced_v1", "ensemble_v1"} & set(found["systems"])
    said = dict(ask(tmp_path/"real", "SELECT DISTINCT system_id, error_message FROM prediction_execution_log WHERE system_id IN ('zone_matchup_v1', 'similarity_balanced_v1')").iter_rows())
    assert said == {s: "opponent_def_rating needs team_box" for s in ("zone_matchup_v1", "similarity_balanced_v1")}
