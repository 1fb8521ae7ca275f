"Inference: gaps are closed from records, never over a value, never on a guess, and with a new link."
import os
from datetime import timedelta
import polars as pl
import pytest
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.model.registry import HISTORY, REGISTRY
from nbprops.predict.attribution import verify_attribution
from nbprops.predict.grading import ACC, grade
from nbprops.predict.inference import FROM_REGISTRY, decide, fillable, infer
from nbprops.predict.publish import PUBLICATIONS, broken_links, publication_rows
from nbprops.predict.worker import Worker
from tests.predict_world import DAY, PRED, copy_world

SIX = ("model_file_name", "model_sha256", "model_training_start_date", "model_training_end_date", "model_expected_mae", "model_expected_hit_rate", "model_trained_at")
LOST = [*SIX, "model_id", "model_family", "contract_hash"]

@pytest.fixture(scope="module")
def built(tmp_path_factory, light_home):
    "A graded evening of an earlier release: nothing is known about the rows of catboost_v9, and so they were published."
    home = tmp_path_factory.mktemp("world")/"home"
    os.environ["NBPROPS_HOME"] = str(home)
    copy_world(light_home, home)
    wh = Warehouse(home/"nbprops.duckdb")
    Worker.from_registry(wh, Store(str(home/"models")), quiet=True).predict(DAY)
    grade(wh, DAY)
    wh.sql(f"CREATE TABLE nba_predictions.truth AS SELECT prediction_id, {', '.join(fillable(PRED))} FROM {PRED}")
    for t in (PRED, ACC): wh.sql(f"UPDATE {t} SET {', '.join(f'{c} = NULL' for c in LOST)}, model_version = 'v9' WHERE system_id = 'catboost_v9'")
    renew(wh)
    return home

def renew(wh) -> None:
    "Publish the rows as they are, as the first link."
    with wh.transaction() as tx:
        tx.sql(f"DELETE FROM {PUBLICATIONS} WHERE TRUE")
        tx.write(PUBLICATIONS, publication_rows(tx, {DAY: "r1"}))

@pytest.fixture
def world(built, tmp_path): return copy_world(built, tmp_path/"home")[:2]

def made_at(wh): return wh.sql(f"SELECT MIN(predicted_at) AS t FROM {PRED}")["t"][0]

def production(wh) -> dict: return wh.sql(f"SELECT * FROM {REGISTRY} WHERE is_production").row(0, named=True)

def serve(wh, model_id: str, since, until=None, n: int = 1) -> None:
    "A period in production, in the history."
    moves = [(n, "production", since)] + ([(n + 1, "retired", until)] if until else [])
    wh.write(HISTORY, pl.DataFrame([dict(transition_id=f"u{i:06d}.{model_id}", model_id=model_id, to_state=to, reason="test", actor="test", sha256="a"*64, is_override=False, occurred_at=at) for i, to, at in moves]))

def deploy(wh, at, env: str, i: str = "1", healthy: bool = True) -> None:
    wh.write("nba_orchestration.deployments", pl.DataFrame([dict(deployment_id=i, service="prediction-worker", commit_sha="c0ffee", deployment_revision=f"rev-{i}", deployed_by="us", model_env_json=env, is_healthy=healthy, deployed_at=at)]))

def state(wh) -> tuple:
    return tuple(wh.sql(f"SELECT * FROM {t}").sort(pl.first()).rows() for t in (PRED, ACC, PUBLICATIONS))

def test_production_period_fills_the_truth_and_links_it(world):
    "Would catch a wrong model, a value that is overwritten, a broken chain, and grades that stay empty."
    wh, store = world
    serve(wh, production(wh)["model_id"], made_at(wh) - timedelta(days=1))
    got = infer(wh, DAY, DAY)
    assert (got.counts[PRED].written, got.counts[ACC].written, got.exit_code) == (33, 33, 0) and got.counts[PRED].set_aside == {}
    cols = [c for c in fillable(PRED) if c != "model_version"]
    now_, then = (wh.sql(f"SELECT prediction_id, {', '.join(cols)} FROM {t} ORDER BY 1") for t in (PRED, "nba_predictions.truth"))
    assert now_.equals(then)
    assert wh.sql(f"SELECT DISTINCT system_id, attribution_source, model_version = 'v9' AS kept FROM {PRED} WHERE system_id LIKE 'catboost%' ORDER BY 1").rows() == [("catboost_v9", "inferred", True), ("catboost_v9_shadow", "recorded", False)]
    links = wh.sql(f"SELECT run_id, previous_digest FROM {PUBLICATIONS} ORDER BY publication_number")
    assert links.height == 2 and links["run_id"][1].startswith("backfill-attribution") and links["previous_digest"][1]
    r = verify_attribution(wh, store)
    assert r.verdict == "PASS" and "33 rows of" in str(r) and "(inferred)" in str(r), str(r)
    before = state(wh)
    assert infer(wh, DAY, DAY).counts[PRED].written == 0 and state(wh) == before
    grade(wh, DAY)
    assert verify_attribution(wh, store).verdict == "PASS"

def test_the_environment_of_the_deployment_goes_before_the_registry(world):
    "Would catch the registry's production model on rows that an explicit path served."
    wh, _ = world
    shadow = wh.sql(f"SELECT * FROM {REGISTRY} WHERE NOT is_production").row(0, named=True)
    serve(wh, production(wh)["model_id"], made_at(wh) - timedelta(days=1))
    deploy(wh, made_at(wh) - timedelta(hours=2), f'{{"CATBOOST_V9_MODEL_PATH": "gs://b/{shadow["model_file_name"]}"}}')
    deploy(wh, made_at(wh) - timedelta(hours=1), '{"CATBOOST_V9_MODEL_PATH": "gs://b/broken.cbm"}', "2", healthy=False)
    deploy(wh, made_at(wh) + timedelta(hours=1), "{}", "3")
    wh.sql(f"UPDATE {PRED} SET model_load_source = NULL WHERE system_id = 'catboost_v9'"); renew(wh)
    infer(wh, DAY, DAY)
    assert wh.sql(f"SELECT DISTINCT model_sha256, model_load_source FROM {PRED} WHERE system_id = 'catboost_v9'").rows() == [(shadow["sha256"], "ENV_PATH")]

@pytest.mark.parametrize("case, why", [("nobody", "no registered model was in service"), ("two", "ambiguous: 2 models"), ("gone", "not registered"), ("later", "no registered model was in service"), ("ended", "no registered model was in service"), ("dates", "other dates or another contract"), ("hash", "fits no registered model")])
def test_what_is_not_certain_stays_null_and_is_counted(world, case, why):
    "Would catch every guess."
    wh, _ = world
    t, one = made_at(wh), timedelta(days=1)
    a, b = wh.sql(f"SELECT model_id FROM {REGISTRY} ORDER BY is_production DESC")["model_id"]
    if case in ("two", "dates"): serve(wh, a, t - one)
    if case == "two": serve(wh, b, t - one, n=5)
    if case == "gone": deploy(wh, t - one, '{"CATBOOST_V9_MODEL_PATH": "/x/gone.cbm"}')
    if case == "later": serve(wh, a, t + one)
    if case == "ended": serve(wh, a, t - 2*one, t - one)
    if case == "dates": wh.sql(f"UPDATE {PRED} SET model_training_end_date = '2025-10-01' WHERE system_id = 'catboost_v9'"); wh.sql(f"UPDATE {ACC} SET model_training_end_date = '2025-10-01' WHERE system_id = 'catboost_v9'"); renew(wh)
    if case == "hash": wh.sql(f"UPDATE {PRED} SET model_sha256 = REPEAT('f', 64) WHERE system_id = 'catboost_v9'"); wh.sql(f"UPDATE {ACC} SET model_sha256 = REPEAT('f', 64) WHERE system_id = 'catboost_v9'"); renew(wh)
    before = state(wh)
    got = infer(wh, DAY, DAY)
    assert state(wh) == before and got.counts[PRED].written == 0 and sum(got.counts[PRED].set_aside.values()) == 33 and why in str(got) and "left NULL" in str(got)

def test_what_a_row_says_itself_decides(world):
    "Would catch a period that overrules the row's own hash."
    wh, _ = world
    a, b = wh.sql(f"SELECT model_id, sha256 FROM {REGISTRY} ORDER BY is_production DESC").rows()
    serve(wh, a[0], made_at(wh) - timedelta(days=1))
    for t in (PRED, ACC): wh.sql(f"UPDATE {t} SET model_sha256 = @s WHERE system_id = 'catboost_v9'", s=b[1])
    renew(wh); infer(wh, DAY, DAY)
    assert wh.sql(f"SELECT DISTINCT model_id FROM {PRED} WHERE system_id = 'catboost_v9'").rows() == [(b[0],)]

def test_no_value_is_overwritten(world):
    "Would catch a back-fill that corrects what was recorded."
    wh, _ = world
    serve(wh, production(wh)["model_id"], made_at(wh) - timedelta(days=1))
    wh.sql(f"UPDATE {PRED} SET model_expected_mae = 1.5, feature_set = 'mine' WHERE system_id = 'catboost_v9'"); renew(wh)
    infer(wh, DAY, DAY)
    assert wh.sql(f"SELECT DISTINCT model_expected_mae, feature_set, model_file_name IS NOT NULL AS filled FROM {PRED} WHERE system_id = 'catboost_v9'").rows() == [(1.5, "mine", True)]

def test_a_dry_run_says_the_same_and_changes_nothing(world):
    "Would catch a rehearsal that performs."
    wh, _ = world
    serve(wh, production(wh)["model_id"], made_at(wh) - timedelta(days=1))
    before = state(wh)
    dry = infer(wh, DAY, DAY, dry_run=True)
    assert state(wh) == before and wh.sql("SELECT COUNT(*) AS n FROM nba_orchestration.run_ledger").item() == 0
    real = infer(wh, DAY, DAY)
    assert dry.groups.equals(real.groups) and dry.counts == real.counts and "dry run" in str(dry)

def test_an_edited_slate_gets_no_new_link(world):
    "Would catch a back-fill that makes a forged row look published."
    wh, _ = world
    serve(wh, production(wh)["model_id"], made_at(wh) - timedelta(days=1))
    wh.sql(f"UPDATE {PRED} SET predicted_points = predicted_points + 1 WHERE system_id = 'moving_average'")
    before = state(wh)
    got = infer(wh, DAY, DAY)
    assert state(wh) == before and got.exit_code == 1 and f"{DAY}: left alone" in str(got)
    with wh.transaction() as tx: assert any("no longer give" in f for f in broken_links(tx, DAY, DAY))

def test_decide_never_names_a_model_that_the_records_contradict():
    "Would catch any path to a name that some record denies."
    from itertools import product
    models = [dict(model_id=m, sha256=m*64, model_file_name=f"{m}.cbm", model_version=f"v9_{m}") for m in "ab"]
    for sha, file, version, deployed, live in product([None, "a"*64, "b"*64, "c"*64], [None, "a.cbm", "b.cbm", "c.cbm"], [None, "v9", "v9_a", "v9_b"], [None, "a.cbm", "b.cbm", "c.cbm"], [[], ["a"], ["a", "b"]]):
        g = dict(system_id="catboost_v9", model_sha256=sha, model_file_name=file, model_id=None, model_version=version, deployment="r", deployed_file=deployed, in_service=live)
        chosen, why, _ = decide(g, models)
        if chosen is None: assert why; continue
        assert sha in (None, chosen*64) and file in (None, f"{chosen}.cbm") and version in (None, "v9", f"v9_{chosen}") and deployed in (None, "c.cbm", f"{chosen}.cbm")
        if (sha, file) == (None, None) and version in (None, "v9") and deployed is None: assert live == [chosen]
    assert set(FROM_REGISTRY) <= set(fillable(PRED))
