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
    assert run_job(jobs, "j", "all", DAYS, work(), 3, dry_run=True) == [] and not job_status(jobs, "j", DAYS[0], DAYS[-1]).height
    run_job(jobs, "j", "all", DAYS, work(**fault), 3)
    assert job_status(jobs, "j", DAYS[0], DAYS[-1]).filter(status="FAILED")["game_date"].to_list() == DAYS[3:4]
    assert [(r["game_date"], r["attempts"]) for r in run_job(jobs, "j", "all", DAYS, work(), 3)] == [(DAYS[3], 2)]
    assert run_job(jobs, "j", "all", DAYS, work(), 3) == []

def test_other_build(jobs):
    jobs.write("nba_orchestration.deployments", pl.DataFrame([dict(deployment_id="d", service="s", commit_sha="f"*40, deployment_revision="r", deployed_by="t", model_env_json="{}", is_healthy=True, deployed_at=datetime(2026, 2, 1, tzinfo=timezone.utc))]))
    with pytest.raises(Refusal): check_build(jobs, "s")
    check_build(jobs, "s", "known difference"); check_build(jobs, "other")
