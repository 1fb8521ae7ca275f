"Attribution: PASS, PARTIAL, FAIL and NOT_APPLICABLE, and what each names."
import os
from datetime import date
import polars as pl
import pytest
from nbprops.model.registry import Registry, paths
from nbprops.predict.attribution import COPIED_LATER, verify_attribution
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.data.tables import table
from nbprops.predict.grading import ACC, grade
from nbprops.predict.publish import DIGESTED, MUTABLE, NEWEST_SET, PUBLICATIONS, digest
from nbprops.predict.worker import Worker
from tests.predict_world import DAY, PRED, copy_world

@pytest.fixture(scope="module")
def built(tmp_path_factory, light_home):
    home = tmp_path_factory.mktemp("world")/"home"
    os.environ["NBPROPS_HOME"] = str(home)
    copy_world(light_home, home)
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

@pytest.fixture
def findings(world):
    "What the chain says now, and a way back after each edit."
    from nbprops.predict.publish import broken_links
    def ask():
        with world[0].transaction() as tx: return broken_links(tx, DAY, DAY)
    return ask

def test_the_newest_set_is_every_column_but_the_mutable_ones():
    "Would catch a new column of the table that no digest covers."
    assert {*DIGESTED[NEWEST_SET]} == {*table(PRED).names} - {*MUTABLE, "features_snapshot_json"} and DIGESTED["1"] == [c for c in DIGESTED["2"] if c != "as_of"]

def as_first_release(wh) -> None:
    "Make the publications what the release before wrote: the first set of columns, no version, no knowledge time."
    wh.sql(f"UPDATE {PRED} SET as_of = NULL WHERE TRUE"); wh.sql(f"UPDATE {ACC} SET {', '.join(f'{c} = NULL' for c in COPIED_LATER)} WHERE TRUE")
    links = wh.sql(f"SELECT * FROM {PUBLICATIONS} ORDER BY published_at, game_date")
    assert links.height == 1
    rows = wh.sql(f"SELECT {', '.join(DIGESTED['1'])} FROM {PRED} WHERE superseded_by IS NULL ORDER BY game_date, game_id, player_lookup, system_id, line_value")
    wh.sql(f"UPDATE {PUBLICATIONS} SET digest_version = NULL, slate_digest = @d WHERE TRUE", d=digest(rows, links["previous_digest"][0]))

def test_a_slate_of_the_first_release_still_gives_its_digest(world, findings):
    "Would catch an upgrade after which every old slate looks edited, and one after which no edit of it is seen."
    wh, store = world
    as_first_release(wh)
    assert findings() == [] and verify_attribution(wh, store).verdict == "PASS"
    wh.sql(f"UPDATE {PRED} SET predicted_points = predicted_points + 1e-9 WHERE system_id = 'moving_average'")
    assert any("no longer give the digest of publication 1" in f for f in findings())

def test_a_first_set_is_not_a_way_around_the_second(world, findings):
    "Would catch an edit of a new column that is hidden by lowering the version."
    wh, _ = world
    wh.sql(f"UPDATE {PUBLICATIONS} SET digest_version = NULL WHERE TRUE")
    assert any("no longer give" in f for f in findings())
    wh.sql(f"UPDATE {PUBLICATIONS} SET digest_version = '7' WHERE TRUE")
    assert any("unknown set 7" in f for f in findings())

OTHER = {pl.String: "'edited'", pl.Float64: "COALESCE({c}, 0) + 0.5", pl.Int64: "COALESCE({c}, 0) + 1", pl.Boolean: "NOT COALESCE({c}, FALSE)", pl.Date: "DATE_ADD(COALESCE({c}, DATE '2025-01-01'), INTERVAL 1 DAY)"}

def edit_of(column: str) -> str:
    "An expression that changes a column, whatever it holds."
    kind = table(PRED).column(column).frame
    if isinstance(kind, pl.List): return "['edited']"
    if isinstance(kind, pl.Datetime): return f"COALESCE(TIMESTAMP_ADD({column}, INTERVAL 1 SECOND), CURRENT_TIMESTAMP())"
    return OTHER[kind].format(c=column)

def test_every_edit_of_one_column_of_one_row_is_found(world):
    "Would catch a column that can be changed after publication without a trace: every column is edited, one after the other."
    from nbprops.predict.publish import broken_links
    unseen = []
    with world[0].transaction() as tx:
        one = tx.sql(f"SELECT prediction_id FROM {PRED} WHERE has_prop_line AND model_sha256 IS NOT NULL ORDER BY prediction_id").row(0)[0]
        tx.sql(f"CREATE TEMP TABLE kept AS SELECT * FROM {PRED} WHERE prediction_id = @p", p=one)
        for c in [*DIGESTED[NEWEST_SET], "features_snapshot_json"]:   # sixty-eight columns
            tx.sql(f"UPDATE {PRED} SET {c} = {edit_of(c)} WHERE prediction_id = @p", p=one)
            if not broken_links(tx, DAY, DAY): unseen.append(c)
            tx.sql(f"DELETE FROM {PRED} WHERE prediction_id IN (@p, 'edited')", p=one); tx.sql(f"INSERT INTO {PRED} SELECT * FROM kept")
        assert unseen == [] and broken_links(tx, DAY, DAY) == []

def test_a_row_switched_by_hand_is_found(world, findings):
    "Would catch picks that vanish, or come back, after the game."
    wh, store = world
    ids = wh.sql(f"SELECT prediction_id FROM {PRED} WHERE has_prop_line ORDER BY prediction_id")["prediction_id"]
    wh.sql(f"UPDATE {PRED} SET is_active = FALSE WHERE prediction_id = @p", p=ids[0])
    assert findings() == [f"{DAY}: 1 rows were deactivated, though nothing superseded or withdrew them"]
    assert verify_attribution(wh, store).verdict == "PARTIAL"
    wh.sql(f"UPDATE {PRED} SET is_active = FALSE, invalidated_at = CURRENT_TIMESTAMP(), invalidation_reason = 'model blocked: test' WHERE prediction_id = @p", p=ids[0])
    assert findings() == []
    wh.sql(f"UPDATE {PRED} SET is_active = TRUE WHERE prediction_id = @p", p=ids[0])
    assert findings() == [f"{DAY}: 1 rows were re-activated, though they are superseded or withdrawn"]

def test_a_superseded_row_switched_back_on_is_found(world, findings):
    "Would catch an older line that is made the active one again, and the newer one switched off for it."
    wh, store = world
    row = wh.sql(f"SELECT * FROM {PRED} WHERE has_prop_line ORDER BY prediction_id").row(0, named=True)
    wh.sql(f"CREATE TABLE nba_predictions.kept AS SELECT * REPLACE ('older' AS prediction_id, CAST(line_value + 1 AS NUMERIC) AS line_value, FALSE AS is_active, '{row['prediction_id']}' AS superseded_by) FROM {PRED} WHERE prediction_id = '{row['prediction_id']}'")
    wh.sql(f"INSERT INTO {PRED} SELECT * FROM nba_predictions.kept")
    assert findings() == []
    wh.sql(f"UPDATE {PRED} SET is_active = TRUE WHERE prediction_id = 'older'")
    assert any("re-activated" in f for f in findings())
    wh.sql(f"UPDATE {PRED} SET superseded_by = NULL WHERE prediction_id = 'older'")
    assert any("no longer give the digest" in f for f in findings())

LACKS = [("contract_hash", "contract"), ("feature_hash", "vector"), ("features_snapshot_json", "vector"), ("line_snapshot_id", "line snapshot"), ("line_snapshot_at", "line snapshot"), ("prediction_run_mode", "run mode"), ("build_commit_sha", "build")]
OF_FILES = [("model_file_name", "file name"), ("model_training_end_date", "training dates"), ("model_expected_mae", "expected mae"), ("model_trained_at", "trained at"), ("model_sha256", "sha256")]

@pytest.mark.parametrize("system, fields", [("catboost_v9", LACKS + OF_FILES), ("moving_average", LACKS)])
def test_every_field_of_every_system_is_asked_for(world, system, fields):
    "Would catch attribution that stops at the file name, or at the models from files."
    from nbprops.predict.attribution import gaps_step
    with world[0].transaction() as tx:
        ids = tx.sql(f"SELECT prediction_id AS p FROM {PRED} WHERE system_id = '{system}' AND has_prop_line ORDER BY 1")["p"].to_list()
        for (column, _), one in zip(fields, ids): tx.sql(f"UPDATE {PRED} SET {column} = NULL WHERE prediction_id = @p", p=one)   # each field in a row of its own
        for asked in (system, None):
            (fault,) = gaps_step(tx, DAY, DAY, asked).faults
            assert fault.startswith(f"{system}: {len(fields)} rows") and {*fault.split("they lack ")[1].split(", ")} == {word for _, word in fields}
        assert gaps_step(tx, DAY, DAY, "catboost_v9_shadow").faults == []

def test_a_gap_of_the_baseline_spoils_the_verdict_of_all(world):
    "Would catch a PASS over rows of hand-written systems that cannot be traced."
    wh, store = world
    wh.sql(f"UPDATE {PRED} SET contract_hash = NULL WHERE system_id = 'moving_average'")
    r = verify_attribution(wh, store)
    assert r.verdict == "PARTIAL" and r.coverage_pct == 100.0 and "hand-written systems lack attribution. moving_average: 33 rows" in r.reason
    assert verify_attribution(wh, store, system_id="moving_average").verdict == "FAIL"

def test_the_baseline_by_name(world):
    "Would catch a system that is nobody's business because it has no file."
    r = verify_attribution(*world, system_id="moving_average", seed=1)
    assert r.verdict == "PASS" and r.coverage_pct == 100.0 and "with_contract" in str(r) and "code       | build" in str(r)

def test_a_row_without_load_source_is_not_overlooked(world):
    "Would catch rows so old that they do not even say that they come from a file."
    wh, store = world
    wh.sql(f"UPDATE {PRED} SET model_load_source = NULL, model_sha256 = NULL WHERE system_id = 'catboost_v9_shadow'")
    r = verify_attribution(wh, store)
    assert r.verdict == "PARTIAL" and "catboost_v9_shadow" in r.steps[2].faults[0]

def test_no_expected_hit_rate_because_there_is_none(world):
    "Would catch a verdict that calls an honest empty field a gap, and one that calls a gap honest."
    wh, store = world
    wh.sql(f"UPDATE {PRED} SET model_expected_hit_rate = NULL WHERE system_id = 'catboost_v9'")
    wh.sql("UPDATE nba_predictions.prediction_accuracy SET model_expected_hit_rate = NULL WHERE system_id = 'catboost_v9'")
    assert "they lack expected hit rate" in str(verify_attribution(wh, store))
    wh.sql("UPDATE nba_predictions.model_registry SET evaluation_hit_rate_edge_3plus = NULL WHERE is_production")
    r = verify_attribution(wh, store)
    assert r.steps[2].faults == [] and any("no pick with an edge of 3 points; this is no gap" in n for n in r.steps[2].notes) and r.coverage_pct == 100.0

def test_an_unregistered_file_of_an_explicit_path_says_so(world):
    "Would catch a PARTIAL that nobody can mend, or a PASS that says nothing."
    wh, store = world
    wh.sql(f"UPDATE {PRED} SET model_load_source = 'ENV_PATH', model_sha256 = REPEAT('a', 64), model_expected_mae = NULL, model_expected_hit_rate = NULL WHERE system_id = 'catboost_v9'")
    r = verify_attribution(wh, store, system_id="catboost_v9")
    assert r.steps[2].faults == [] and any("explicit path and are not registered" in n for n in r.steps[2].notes)
    wh.sql(f"UPDATE {PRED} SET model_load_source = 'REGISTRY' WHERE system_id = 'catboost_v9'")
    assert "expected mae" in verify_attribution(wh, store, system_id="catboost_v9").steps[2].faults[0]

def test_grades_of_an_earlier_release_are_no_mismatch(world):
    "Would catch an alarm after every upgrade, and a mend that does not mend."
    wh, store = world
    wh.sql(f"UPDATE {ACC} SET {', '.join(f'{c} = NULL' for c in COPIED_LATER)} WHERE TRUE")
    r = verify_attribution(wh, store)
    assert r.verdict == "PASS" and sum("were graded by an earlier release" in n for n in r.steps[3].notes) == 7 and f"nbprops backfill grading --start-date {DAY} --end-date {DAY}" in str(r)
    grade(wh, DAY)
    assert verify_attribution(wh, store).steps[3].notes == []

def test_a_graded_row_that_names_something_else_is_found_wherever_the_dice_fall(world):
    "Would catch a check that looks at one random row only: every copied column of one row is edited."
    from nbprops.predict.attribution import COMPARED, GRADED, graded_findings
    wh = world[0]
    ids = wh.sql(f"SELECT prediction_id FROM {ACC} WHERE has_prop_line ORDER BY prediction_id")["prediction_id"].to_list()
    with wh.transaction() as tx:
        for c, one in zip(COMPARED, ids, strict=False): tx.sql(f"UPDATE {ACC} SET {c} = {edit_of(c)} WHERE prediction_id = @p", p=one)   # forty-nine columns, each in a row of its own
        got = tx.sql(GRADED.format(who="TRUE"), start=DAY, end=DAY)
        assert len(ids) >= len(COMPARED) and {c: got[c].sum() for c in COMPARED} == dict.fromkeys(COMPARED, 1) and got["legacy"].sum() == got["orphans"].sum() == 0
        said = graded_findings(tx, DAY, DAY, None)[0]
        assert said and all("graded rows differ from their predictions in" in f for f in said) and any("more" in f for f in said)
        tx.sql(f"UPDATE {ACC} SET prediction_id = 'lost' WHERE prediction_id = @p", p=ids[-1])
        assert any(f.endswith("1 graded rows without their prediction") for f in graded_findings(tx, DAY, DAY, None)[0])

def test_a_replaced_prediction_is_compared_with_its_grade(world):
    "Would catch grades of replaced rows that are called orphans."
    wh, store = world
    Worker.from_registry(wh, store, quiet=True).predict(DAY, force=True)
    r = verify_attribution(wh, store)
    assert not any("graded rows" in f for f in r.faults), r.faults
