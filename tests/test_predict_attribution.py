"Attribution: PASS, PARTIAL, FAIL and NOT_APPLICABLE, and what each names."
import os
from datetime import date
import pytest
from nbprops.model.registry import Registry, paths
from nbprops.predict.attribution import verify_attribution
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.predict.grading import grade
from nbprops.predict.worker import Worker
from tests.predict_world import DAY, PRED, build_world, copy_world

@pytest.fixture(scope="module")
def built(tmp_path_factory):
    home = tmp_path_factory.mktemp("world")/"home"
    home.mkdir()
    os.environ["NBPROPS_HOME"] = str(home)
    build_world(home)
    w = Worker.from_registry(Warehouse(home/"nbprops.duckdb"), Store(str(home/"models")), quiet=True)
    w.predict(DAY)
    grade(w.wh, DAY)
    return home

@pytest.fixture
def world(built, tmp_path): return copy_world(built, tmp_path/"home")[:2]

def test_pass_and_its_text(world):
    "Would catch a verdict without its five steps."
    r = verify_attribution(*world, seed=3)
    text = str(r).splitlines()
    assert r.verdict == "PASS" and r.exit_code == 0 and r.coverage_pct == 100.0 and text[-1] == "PASS: Model attribution is working correctly"
    assert text[0] == "Step 1: Checking model attribution coverage..." and text[1].startswith("game_date  | system_id") and sum(t.startswith("Step ") for t in text) == 5
    assert "moving_average" not in str(r)

def test_one_missing_field_is_partial(world):
    "Would catch a gap in one column that the file name hides."
    wh, store = world
    wh.sql(f"UPDATE {PRED} SET model_trained_at = NULL WHERE system_id = 'catboost_v9' AND player_lookup = (SELECT MIN(player_lookup) FROM {PRED})")
    r = verify_attribution(wh, store)
    assert r.verdict == "PARTIAL" and r.exit_code == 1 and "catboost_v9: 1 rows without full attribution, first written" in str(r) and "no deployment on record" in str(r)

def test_the_gap_names_the_deployment(world):
    "Would catch a report that cannot say since when."
    wh, store = world
    import polars as pl
    from tests.predict_world import utc
    wh.write("nba_orchestration.deployments", pl.DataFrame([dict(deployment_id="d1", service="prediction-worker", commit_sha="abcdef1234567890", deployment_revision="rev-7", deployed_by="me", model_env_json="{}", is_healthy=True, deployed_at=utc(2025, 1, 1))]))
    wh.sql(f"UPDATE {PRED} SET model_sha256 = NULL WHERE system_id = 'catboost_v9'")
    assert "deployment rev-7 (abcdef123456)" in str(verify_attribution(wh, store))

def test_no_attribution_at_all_is_a_failure(world):
    "Would catch columns that exist and are never filled."
    wh, store = world
    wh.sql(f"UPDATE {PRED} SET model_file_name = NULL WHERE model_load_source <> 'CODE'")
    assert verify_attribution(wh, store).verdict == "FAIL"

def test_no_rows_although_games_were_played_is_a_failure(world):
    "Would catch silence that is read as success."
    wh, store = world
    wh.sql(f"DELETE FROM {PRED}")
    r = verify_attribution(wh, store)
    assert r.verdict == "FAIL" and "games were played" in r.reason
    assert verify_attribution(wh, store, date(2026, 7, 4)).verdict == "NOT_APPLICABLE"

def test_a_swapped_file_is_found(world):
    "Would catch attribution that names bytes which are no longer there."
    wh, store = world
    path = store.path(paths(Registry(wh, store).rows("is_production").row(0, named=True))[0])
    data = open(path, "rb").read()
    open(path, "wb").write(data + b"!")
    r = verify_attribution(wh, store)
    assert r.verdict == "PARTIAL" and "not the file that was registered" in str(r)

def test_dates_that_differ_from_the_registry_are_found(world):
    "Would catch windows typed by hand."
    wh, store = world
    wh.sql("UPDATE nba_predictions.model_registry SET training_end_date = '2026-01-31' WHERE is_production")
    assert "training dates differ" in str(verify_attribution(wh, store, system_id="catboost_v9"))
    assert verify_attribution(wh, store, system_id="catboost_v9_shadow").verdict == "PASS"

def test_an_edited_row_is_found(world):
    "Would catch a prediction that was improved after the game."
    wh, store = world
    wh.sql(f"UPDATE {PRED} SET predicted_points = predicted_points + 1 WHERE system_id = 'moving_average'")
    r = verify_attribution(wh, store)
    assert r.verdict == "PARTIAL" and "no longer give the digest" in str(r)

def test_a_graded_row_that_differs_is_found(world):
    "Would catch a grader that recomputes."
    wh, store = world
    wh.sql("UPDATE nba_predictions.prediction_accuracy SET predicted_points = predicted_points * 2")
    r = verify_attribution(wh, store)
    assert r.verdict == "PARTIAL" and "predicted_points differ" in str(r)
