"A job resumes, isolates what is poisoned, and refuses another build."
from datetime import date, datetime, timezone
import polars as pl
import pytest
from nbprops.data.jobs import Job, check_build, days_between, job_status, run_job
from nbprops.data.warehouse import Warehouse
from nbprops.settings import Refusal
DAYS, J = [date(2026, 2, d) for d in range(1, 8)], Job("j", chunk_days=3)

def work(bad=(), silent=()):
    def go(a, b):
        if any(a <= d <= b for d in bad): raise ValueError("poison")
        return pl.DataFrame({"game_date": [d for d in DAYS if a <= d <= b and d not in silent]}).with_columns(status=pl.lit("OK"))
    return go

@pytest.fixture
def jobs(tmp_path):
    wh = Warehouse(tmp_path/"w.duckdb"); wh.migrate()
    return wh

@pytest.mark.parametrize("fault", [dict(bad=DAYS[3:4]), dict(silent=DAYS[3:4])])
def test_isolated_and_retried(jobs, fault):
    assert run_job(jobs, J, DAYS, work(), dry_run=True).n("PENDING") == len(DAYS) and not job_status(jobs, "j", DAYS[0], DAYS[-1]).height
    run_job(jobs, J, DAYS, work(**fault))
    assert job_status(jobs, "j", DAYS[0], DAYS[-1]).filter(status="FAILED")["game_date"].to_list() == DAYS[3:4]
    assert [(r["game_date"], r["attempts"]) for r in run_job(jobs, J, DAYS, work()).rows] == [(DAYS[3], 2)]
    assert run_job(jobs, J, DAYS, work()).rows == []

def test_other_build(jobs):
    jobs.write("nba_orchestration.deployments", pl.DataFrame([dict(deployment_id="d", service="s", commit_sha="f"*40, deployment_revision="r", deployed_by="t", model_env_json="{}", is_healthy=True, deployed_at=datetime(2026, 2, 1, tzinfo=timezone.utc))]))
    with pytest.raises(Refusal): check_build(jobs, "s")
    check_build(jobs, "s", "known difference"); check_build(jobs, "other")

def test_a_day_that_was_not_asked_for_is_not_touched(jobs):
    "Would catch a chunk that spans what is done already, or was never wanted."
    seen = []
    def note(a, b): seen.append((a, b)); return work()(a, b)
    run_job(jobs, Job("j"), [DAYS[0], DAYS[1], DAYS[4]], note)
    run_job(jobs, Job("j"), DAYS, note)
    assert seen == [(DAYS[0], DAYS[1]), (DAYS[4], DAYS[4]), (DAYS[2], DAYS[3]), (DAYS[5], DAYS[6])]

@pytest.fixture
def served(light_home, tmp_path):
    "A private small world with one production model and a shadow."
    from tests.predict_world import copy_world
    return copy_world(light_home, tmp_path/"home")

def test_predictions_of_a_range_resume_and_refuse(served):
    "Would catch a job that does things twice, goes on without features, or lets a reason be forgotten."
    from nbprops.predict.backfill import backfill_predictions
    from tests.predict_world import DAY, LAST, PRED, dump
    wh, _, make = served
    w, days = make(), days_between(DAY, LAST)
    first = backfill_predictions(w, days)
    assert first.exit_code == 0 and first.n("OK") == 2 and first.total("rows_written") == wh.sql(f"SELECT COUNT(*) AS n FROM {PRED}").item() > 0 and set(first.models) >= {"catboost_v9", "moving_average"}
    before = dump(wh)
    assert backfill_predictions(w, days).skipped == 2 and backfill_predictions(w, days, dry_run=True, force=True).n("PENDING") == 2 and dump(wh) == before
    wh.sql("DELETE FROM nba_predictions.ml_feature_store_v2 WHERE game_date = @d", d=LAST)
    bad = backfill_predictions(w, days, force=True, systems=["catboost_v9"])
    assert (bad.exit_code, bad.n("OK"), bad.n("FAILED")) == (1, 1, 1)
    said = bad.rows[-1]
    assert said["game_date"] == LAST and said["failure_class"] == "MISSING_UPSTREAM" and "0 of" in said["last_error"] and "nbprops backfill phase4" in said["last_error"]
    with pytest.raises(Refusal, match="reason"): backfill_predictions(w, days, skip_mlfs_check=True)
    with pytest.raises(Refusal, match="nobody"): backfill_predictions(w, days, systems=["nobody"])
    backfill_predictions(w, [DAY], force=True, systems=["catboost_v9"], skip_mlfs_check=True, reason="a trial")
    assert wh.sql("SELECT DISTINCT bypass_reason AS r, system_id FROM nba_predictions.prediction_execution_log WHERE bypass_reason IS NOT NULL").rows() == [("a trial", "catboost_v9")]
    wh.write("nba_orchestration.deployments", pl.DataFrame([dict(deployment_id="d", service="prediction-worker", commit_sha="f"*40, deployment_revision="r", deployed_by="t", model_env_json="{}", is_healthy=True, deployed_at=datetime(2025, 2, 1, tzinfo=timezone.utc))]))
    with pytest.raises(Refusal, match="build"): backfill_predictions(w, [DAY], force=True)
    backfill_predictions(w, [DAY], force=True, systems=["catboost_v9"], reason="a hotfix")
    assert wh.sql("SELECT DISTINCT ARRAY_TO_STRING(bypassed_checks, '+') AS c, requested_by IS NOT NULL AS who FROM nba_predictions.prediction_execution_log WHERE bypass_reason = 'a hotfix'").rows() == [("build", True)]

@pytest.fixture
def graded(served):
    "Two slates predicted and graded by the job."
    from nbprops.predict.backfill_grading import backfill_grading
    from tests.predict_world import DAY, LAST
    wh, _, make = served
    make().predict_range(DAY, LAST, mode="BACKFILL")
    return wh, lambda **k: backfill_grading(wh, k.pop("start", DAY), k.pop("end", LAST), quiet=True, **k), backfill_grading(wh, DAY, LAST, quiet=True)

def test_grading_does_what_has_changed(graded):
    "Would catch a job that grades once for ever, one that grades all again, and a report that covers half of what was asked."
    from tests.predict_world import DAY, LAST, dump
    wh, fill, first = graded
    c = first.job.counts
    assert first.job.n("OK") == 2 and c.read == c.written == first.job.total("rows_written") > 100 and first.exit_code == 0
    before, again = dump(wh), fill()
    assert not again.job.rows and again.job.skipped == 2 and dump(wh) == before and again.report.coverage.equals(first.report.coverage) and again.report.results.equals(first.report.results)
    PGS = "nba_analytics.player_game_summary"
    who = wh.sql("SELECT player_lookup AS p FROM nba_predictions.prediction_accuracy WHERE game_date = @d AND actual_points > 9 LIMIT 1", d=DAY).item()
    wh.write(PGS, wh.read(PGS, DAY, DAY).filter(player_lookup=who).with_columns(points=pl.col("points") + 1))
    after = fill()
    versions = wh.sql("SELECT player_lookup AS p, MAX(grade_version) AS v FROM nba_predictions.prediction_accuracy GROUP BY player_lookup HAVING MAX(grade_version) > 1").rows()
    assert list(after.job.dates) == [DAY] and versions == [(who, 2)] and after.report.end == LAST and after.report.results["game_date"].n_unique() == 2

@pytest.mark.parametrize("name", ["nba_raw.odds_api_player_points_props", "nba_raw.nbac_injury_report", "nba_reference.nba_schedule", "nba_predictions.player_prop_predictions", "nba_predictions.prediction_accuracy"])
def test_grading_watches_what_it_reads_and_wrote(graded, name):
    "Would catch a line, a report or a lost grade that the job does not notice."
    from nbprops.data.tables import table
    from tests.predict_world import LAST
    wh, fill, _ = graded
    wh.sql(f"DELETE FROM {name} WHERE {table(name).partition} = @d", d=LAST)
    assert LAST in fill(dry_run=True).job.dates

def test_grading_tells_failures_from_waiting(graded):
    "Would catch an evening that is not over and counts as done, and played games that nobody predicted and nobody misses."
    from tests.predict_world import DAY, LAST
    wh, fill, _ = graded
    wh.sql("UPDATE nba_reference.nba_schedule SET game_status = 2, updated_at = CURRENT_TIMESTAMP() WHERE game_id = (SELECT MIN(game_id) FROM nba_reference.nba_schedule WHERE game_date = @d)", d=DAY)
    m = fill().job
    assert m.dates == {DAY: "PENDING"} and m.exit_code == 0 and m.rows[0]["failure_class"] == "EXPECTED_INCOMPLETE" and "not final" in m.rows[0]["last_error"]
    assert list(fill().job.dates) == [DAY] # asked again although nothing changed
    bare = fill(start=date(2025, 12, 12), end=date(2025, 12, 12))
    assert bare.exit_code == 1 and bare.job.rows[0]["failure_class"] == "MISSING_UPSTREAM" and "nbprops backfill predictions" in bare.job.rows[0]["last_error"]

def test_an_evening_without_a_finished_game_waits(served):
    "Would catch a date whose games are all to come and that fails because none of its no grades was written."
    from nbprops.predict.backfill_grading import backfill_grading
    from tests.predict_world import LAST
    wh, _, _ = served
    wh.sql("UPDATE nba_reference.nba_schedule SET game_status = 1 WHERE game_date = @d", d=LAST)
    m = backfill_grading(wh, LAST, LAST, quiet=True).job
    assert m.dates == {LAST: "PENDING"} and m.exit_code == 0 and (m.rows[0]["rows_expected"], m.rows[0]["failure_class"]) == (0, "EXPECTED_INCOMPLETE")

def test_a_poisoned_date_does_not_stop_the_others(graded, monkeypatch):
    "Would catch a grader that gives up a range for one date, or forgets which one it was."
    import nbprops.predict.backfill_grading as module
    from tests.predict_world import DAY, LAST
    _, fill, _ = graded
    real = module.grade
    def poisoned(wh, a, b):
        if a <= DAY <= b: raise ValueError("poison")
        return real(wh, a, b)
    monkeypatch.setattr(module, "grade", poisoned)
    out = fill(resume=False)
    assert out.job.dates == {DAY: "FAILED", LAST: "OK"} and out.exit_code == 1 and "poison" in str(out)

def test_another_build_may_not_grade(graded):
    wh, fill, _ = graded
    wh.write("nba_orchestration.deployments", pl.DataFrame([dict(deployment_id="d", service="nba-grading-service", commit_sha="f"*40, deployment_revision="r", deployed_by="t", model_env_json="{}", is_healthy=True, deployed_at=datetime(2025, 2, 1, tzinfo=timezone.utc))]))
    with pytest.raises(Refusal, match="build"): fill(resume=False)
    assert "a hotfix" in str(fill(resume=False, reason="a hotfix"))
