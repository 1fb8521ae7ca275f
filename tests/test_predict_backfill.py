"A job resumes, isolates what is poisoned, and refuses another build."
from datetime import date, datetime, timezone
import polars as pl
import pytest
from nbprops.data.jobs import check_build, job_status, run_job
from nbprops.data.warehouse import Warehouse
from nbprops.settings import Refusal
DAYS = [date(2026, 2, d) for d in range(1, 8)]

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
    assert run_job(jobs, "j", "all", DAYS, work(), 3, dry_run=True).n("PENDING") == len(DAYS) and not job_status(jobs, "j", DAYS[0], DAYS[-1]).height
    run_job(jobs, "j", "all", DAYS, work(**fault), 3)
    assert job_status(jobs, "j", DAYS[0], DAYS[-1]).filter(status="FAILED")["game_date"].to_list() == DAYS[3:4]
    assert [(r["game_date"], r["attempts"]) for r in run_job(jobs, "j", "all", DAYS, work(), 3).rows] == [(DAYS[3], 2)]
    assert run_job(jobs, "j", "all", DAYS, work(), 3).rows == []

def test_other_build(jobs):
    jobs.write("nba_orchestration.deployments", pl.DataFrame([dict(deployment_id="d", service="s", commit_sha="f"*40, deployment_revision="r", deployed_by="t", model_env_json="{}", is_healthy=True, deployed_at=datetime(2026, 2, 1, tzinfo=timezone.utc))]))
    with pytest.raises(Refusal): check_build(jobs, "s")
    check_build(jobs, "s", "known difference"); check_build(jobs, "other")

def test_a_day_that_was_not_asked_for_is_not_touched(jobs):
    "Would catch a chunk that spans what is done already, or was never wanted."
    seen = []
    def note(a, b): seen.append((a, b)); return work()(a, b)
    run_job(jobs, "j", "all", [DAYS[0], DAYS[1], DAYS[4]], note)
    run_job(jobs, "j", "all", DAYS, note)
    assert seen == [(DAYS[0], DAYS[1]), (DAYS[4], DAYS[4]), (DAYS[2], DAYS[3]), (DAYS[5], DAYS[6])]

@pytest.fixture
def served(light_home, tmp_path):
    "A private small world with one production model and a shadow."
    from tests.predict_world import copy_world
    return copy_world(light_home, tmp_path/"home")

def test_predictions_of_a_range_resume_and_refuse(served):
    "Would catch a job that does things twice, goes on without features, or lets a reason be forgotten."
    from nbprops.predict.backfill import backfill_predictions, days_between
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
