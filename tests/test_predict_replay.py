"Replay: equal to the bit from file and facts, or the difference and the fact behind it."
import math, os
import polars as pl
import pytest
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.features.facts import Facts
from nbprops.features.store import build, write_features
from nbprops.model.registry import Registry, paths
from nbprops.predict import worker as W
from nbprops.predict.grading import ACC, VERSIONS, grade
from nbprops.predict.replay import replay, stored_row, typed_row
from nbprops.predict.worker import Worker
from nbprops.settings import Refusal
from tests.predict_world import DAY, LAST, PRED, copy_world, utc

BOX = "nba_raw.nbac_player_boxscores"

@pytest.fixture(scope="module")
def built(tmp_path_factory, light_home):
    home = tmp_path_factory.mktemp("world")/"home"
    os.environ["NBPROPS_HOME"] = str(home)
    copy_world(light_home, home)
    Worker.from_registry(Warehouse(home/"nbprops.duckdb"), Store(str(home/"models")), quiet=True).predict(DAY)
    return home

@pytest.fixture
def world(built, tmp_path): return copy_world(built, tmp_path/"home")

def one(wh, system: str = "catboost_v9", where: str = "has_prop_line") -> dict:
    "One stored prediction of a system."
    return wh.sql(f"SELECT * FROM {PRED} WHERE system_id = @s AND {where} ORDER BY player_lookup LIMIT 1", s=system).row(0, named=True)

@pytest.mark.parametrize("system", ["catboost_v9", "catboost_v9_shadow", "moving_average"])
def test_every_system_comes_out_again_and_nothing_is_written(world, system):
    "Would catch a replay with a formula of its own, and one that leaves traces."
    wh, store, _ = world
    before = wh.sql(f"SELECT COUNT(*) AS n FROM nba_predictions.prediction_execution_log").item()
    for where in ("has_prop_line", "NOT has_prop_line"):
        r = replay(one(wh, system, where)["prediction_id"], wh, store)
        assert (r.verdict, r.exit_code, r.table.height) == ("MATCH", 0, 0), str(r)
    assert wh.sql(f"SELECT COUNT(*) AS n FROM nba_predictions.prediction_execution_log").item() == before

def test_an_unknown_id_is_refused(world):
    "Would catch an empty report about a row that does not exist."
    with pytest.raises(Refusal, match="No prediction has the id") as e: replay("nothing", *world[:2])
    assert e.value.exit_code == 2

EDITS = {"predicted_points": lambda v: math.nextafter(v, 99), "line_value": lambda v: v + .5, "p_over": lambda v: v + 1e-12, "over_price_american": lambda v: v + 1, "sportsbook": lambda v: "elsewhere", "line_snapshot_id": lambda v: "f"*64, "confidence_score": lambda v: v - .01, "recommendation": lambda v: "OTHER"}

def test_every_edit_of_a_row_is_named(world):
    "Would catch a comparison that rounds, or that forgets a column."
    wh, store, _ = world
    r = one(wh)
    for column, value in EDITS.items(): wh.sql(f"UPDATE {PRED} SET {column} = @v WHERE prediction_id = @p", v=value(r[column]), p=r["prediction_id"])
    got = replay(r["prediction_id"], wh, store)
    assert got.exit_code == 1 and set(got.table.filter(verdict="differs")["name"]) == set(EDITS) and all(c in str(got) for c in EDITS) and not got.checks[2][1]

def test_an_edited_vector_is_found_three_times(world):
    "Would catch a replay that trusts the vector it is given."
    wh, store, _ = world
    r = one(wh)
    wh.sql(f"UPDATE {PRED} SET features_snapshot_json = REPLACE(features_snapshot_json, '\"points_avg_season\":', '\"points_avg_season\":1') WHERE prediction_id = @p", p=r["prediction_id"])
    got = replay(r["prediction_id"], wh, store)
    assert [ok for _, ok, _ in got.checks] == [True, False, False, False] and got.table["name"].to_list() == ["points_avg_season"] and "outside the contract's range" in str(got)
    wh.sql(f"UPDATE {PRED} SET features_snapshot_json = NULL WHERE prediction_id = @p", p=r["prediction_id"])
    assert "holds no vector" in str(replay(r["prediction_id"], wh, store))

def test_a_swapped_file_is_never_loaded(world):
    "Would catch a replay with bytes that are not the row's."
    wh, store, _ = world
    path = store.path(paths(Registry(wh, store).rows("is_production").row(0, named=True))[0])
    open(path, "ab").write(b"!")
    got = replay(one(wh)["prediction_id"], wh, store)
    assert got.exit_code == 1 and got.checks[0][:2] == ("artefact", False) and "not the file that was registered" in str(got)

def test_a_replaced_row_can_be_replayed(world):
    "Would catch history that is kept and cannot be read."
    wh, store, worker = world
    r = one(wh)
    worker().predict(DAY, force=True)
    assert wh.sql(f"SELECT COUNT(*) AS n FROM {VERSIONS} WHERE prediction_id = @p", p=r["prediction_id"]).item() == 1
    with wh.transaction() as tx: again = stored_row(tx, r["prediction_id"])
    assert again == {k: r[k] for k in again}
    assert replay(r["prediction_id"], wh, store).verdict == "MATCH"
    assert typed_row(wh.sql(f"SELECT row_json FROM {VERSIONS} LIMIT 1").item())["game_date"] == DAY

def test_a_corrected_box_score_is_named(world):
    "Would catch a difference without its cause."
    wh, store, _ = world
    r = one(wh)
    rows = wh.read(BOX, where="player_lookup = @p AND points > 0", p=r["player_lookup"]).filter(pl.col("game_date") < DAY).tail(1)
    wh.write(BOX, rows.with_columns(pl.col("points") + 2))
    got = replay(r["prediction_id"], wh, store)
    assert got.exit_code == 1 and "points_avg_last_5" in got.table["name"].to_list() and f"1 rows of {BOX}" in str(got) and f"1 of {r['player_lookup']}" in str(got)
    assert got.checks[2][1] # the stored vector still gives its points

def test_a_retracted_line_is_named(world):
    "Would catch a line that vanished from the feed."
    wh, store, _ = world
    r = one(wh)
    wh.sql("DELETE FROM nba_raw.odds_api_player_points_props WHERE snapshot_id = @s", s=r["line_snapshot_id"])
    got = replay(r["prediction_id"], wh, store)
    assert got.exit_code == 1 and "line_snapshot_id" in got.table["name"].to_list() and "was retracted" in str(got)

def test_a_game_that_left_the_schedule_is_no_crash(world):
    "Would catch a traceback where a sentence is due."
    wh, store, _ = world
    r = one(wh)
    wh.sql("DELETE FROM nba_reference.nba_schedule WHERE game_id = @g", g=r["game_id"])
    got = replay(r["prediction_id"], wh, store)
    assert got.exit_code == 1 and "not on the slate" in str(got)

def test_a_run_at_noon_on_features_of_the_morning(world, monkeypatch):
    "Would catch a replay that lets the features know what only the market knew, or that trusts a store rebuilt since."
    wh, store, worker = world
    with_now = lambda t: monkeypatch.setenv("NBPROPS_NOW", t.isoformat())
    with_now(utc(2025, 12, 19, 12))
    span = LAST, LAST
    write_features(wh, build(Facts.read(wh, *span), *span, utc(2025, 12, 19, 12), origin="live"), span)
    with_now(utc(2025, 12, 19, 17)); worker().predict(LAST, mode="SAME_DAY")
    with_now(utc(2026, 3, 1)); write_features(wh, build(Facts.read(wh, *span), *span), span)
    for system in ("catboost_v9", "moving_average"):
        got = replay(one(wh, system, f"game_date = '{LAST}'")["prediction_id"], wh, store)
        assert got.verdict == "MATCH", str(got)

def test_chances_of_a_baseline_rest_on_grades(world, monkeypatch):
    "Would catch a mismatch that no fact explains, or one that a regrade excuses wrongly."
    wh, store, worker = world
    grade(wh, DAY)
    monkeypatch.setattr(W, "MIN_RESIDUALS", 10)
    worker().predict(LAST)
    r = one(wh, "moving_average", f"game_date = '{LAST}' AND has_prop_line")
    assert r["p_over"] is not None and replay(r["prediction_id"], wh, store).verdict == "MATCH"
    wh.sql(f"UPDATE {ACC} SET signed_error = signed_error + 9 WHERE system_id = 'moving_average'")
    assert replay(r["prediction_id"], wh, store).exit_code == 1
    wh.sql(f"UPDATE {ACC} SET graded_at = CURRENT_TIMESTAMP() WHERE system_id = 'moving_average'")
    got = replay(r["prediction_id"], wh, store)
    assert got.exit_code == 0 and set(got.table["verdict"]) == {"not replayable"} and "p_over" in got.table["name"].to_list() and "grades which changed since" in str(got)

def test_a_file_of_an_explicit_path_is_found_by_its_log(world, monkeypatch):
    "Would catch a row that only the registry could explain."
    wh, store, worker = world
    row = Registry(wh, store).rows("is_production").row(0, named=True)
    monkeypatch.setenv("CATBOOST_V9_MODEL_PATH", store.path(paths(row)[0]))
    worker().predict(LAST)
    wh.sql("DELETE FROM nba_predictions.model_registry WHERE sha256 = @s", s=row["sha256"])
    r = one(wh, where=f"game_date = '{LAST}'")
    assert r["model_load_source"] == "ENV_PATH"
    got = replay(r["prediction_id"], wh, store)
    assert got.verdict == "MATCH", str(got)

def test_the_tracing_commands_and_their_exit_codes(world, tmp_path, capsys):
    "Would catch a verdict that a scheduler cannot read."
    import json
    from nbprops.cli import main
    wh, store, _ = world
    def run(*words):
        with pytest.raises(SystemExit) as e: main(list(words))
        return e.value.code, capsys.readouterr()
    r = one(wh)
    code, said = run("replay", r["prediction_id"], "--json")
    assert code == 0 and json.loads(said.out)["verdict"] == "MATCH"
    code, said = run("verify-attribution", "--system-id", "moving_average", "--game-date", str(DAY))
    assert code == 0 and said.out.splitlines()[-1].startswith("PASS:")
    code, said = run("backfill", "attribution", "--start-date", str(DAY), "--end-date", str(DAY), "--dry-run", "--json")
    assert code == 0 and json.loads(said.out)["counts"][PRED]["present"] == 66
    code, said = run("report", "by-model", "--system-id", "catboost_v9", "--min-edge", "1", "--json")
    assert code == 0 and json.loads(said.out)["lines"][0]["coverage_pct"] == 0
    assert run("report", "by-model", "--system-id", "nobody")[0] == 2 and run("replay", "nothing")[0] == 2
    wh.sql(f"UPDATE {PRED} SET line_value = line_value + 0.5 WHERE prediction_id = @p", p=r["prediction_id"])
    assert run("replay", r["prediction_id"])[0] == 1 and run("verify-attribution", "--game-date", str(DAY))[0] == 1
