"Rollback: after a promotion and its rollback yesterday's slate comes out to the same numbers, from the same bytes."
import polars as pl
from nbprops.model.registry import Registry
from tests.predict_world import DAY, PRED, copy_world
from tests.test_model_registry import graded
from tests.test_model_registry_faults import _verdict

def slate(wh, worker) -> pl.DataFrame:
    "The slate of a past evening under the system users see, made anew."
    worker().predict(DAY, force=True, systems=["catboost_v9"])
    rows = wh.sql(f"SELECT game_id, player_lookup, line_value, predicted_points, recommendation, model_id, model_sha256 FROM {PRED} WHERE system_id = 'catboost_v9' AND is_active ORDER BY 1, 2, 3")
    assert rows.height > 20
    return rows

def test_promote_and_rollback_replay_to_the_same_numbers(light_home, tmp_path, monkeypatch):
    "Fails when a rollback needs more than one command, or the returned model says anything else than before."
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"home"))
    wh, store, worker = copy_world(light_home, tmp_path/"home")
    reg, said = Registry(wh, store), []
    first, second = reg.production("v9_mae")["model_id"], reg.shadows()["model_id"][0]
    wh.sql("UPDATE nba_predictions.model_registry SET state = 'shadow', status = 'active', is_production = FALSE, system_id = model_id WHERE model_id = @m", m=first)
    for m in (first, second): _verdict(reg, m, "PROMOTE")
    reg = Registry(wh, store, said.append); reg.promote(first)
    assert len(said) == 1 and "manifest" in said[0] # the rows were changed behind the registry's back
    before = slate(wh, worker)
    graded(reg, second, first, days=5, rows=20); reg.promote(second)
    other = slate(wh, worker)
    assert set(other["model_id"]) == {second} and not other["predicted_points"].equals(before["predicted_points"])
    reg.rollback("v9_mae", reason="it leaned UNDER")
    after = slate(wh, worker)
    assert after.equals(before) and set(after["model_sha256"]) == {reg.get(first)["sha256"]}
    assert [reg.get(m)["state"] for m in (first, second)] == ["production", "retired"] and reg.validate().height == 0
