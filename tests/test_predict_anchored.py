"An anchored model in service: it starts from the line, its probability from the price, and a bet needs value."
import os
from datetime import date
import polars as pl
import pytest
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.model.registry import Registry
from tests.predict_world import DAY, PRED, copy_world, utc

@pytest.fixture(scope="module")
def anchored(tmp_path_factory, light_home):
    "A served world with one anchored shadow that exaggerates its residual, so that it has opinions."
    from nbprops.features.catalogue import contract
    from nbprops.model.families import Family, model_stem, resolve_params
    from nbprops.model.predictor import make_bundle
    from nbprops.model.training import scaled, train, training_rows
    home = tmp_path_factory.mktemp("anchored")/"home"
    os.environ["NBPROPS_HOME"] = str(home)
    copy_world(light_home, home)
    wh, store = Warehouse(home/"nbprops.duckdb"), Store(str(home/"models"))
    f, c, end, at = Family.parse("v9_anchored"), contract("v9"), date(2025, 12, 8), utc(2025, 12, 19, 2)
    t = train(training_rows(wh, date(2025, 11, 4), end), c, f, resolve_params(iterations=40), seeds=[42], minimum=200)
    facts = {**t.spec, "anchor": {**t.spec["anchor"], "factor": 15.0}}
    w = dict(start="2025-11-04", end=str(end))
    b = make_bundle(scaled(t.artefact, 15.0, t.x), c, t.x, t.loss, model_stem(f, c.count, date(2025, 11, 4), end, at), f.name, windows=dict(requested=w, effective=w, evaluation=None), seeds=[42], trees={"42": 40}, params={}, options=dict(refit=True, ensemble=False, half_life=None),
        line_as_of="tip", edge_scale="probability", quantile_alpha=None, data_snapshot_hash="7"*64, params_hash="0"*64, git_commit="0"*40, trained_at=at.isoformat(), training_samples=t.rows.height, evaluation=dict(mae=4.9, hr_3=None, n_3=0), expected_offset=0.0, **facts)
    reg = Registry(wh, store)
    reg.register(b, reg.upload(b)); reg.enable(b.model_id, alias="anchored", reason="test")
    return home

@pytest.fixture
def rows(anchored, tmp_path):
    wh, store, worker = copy_world(anchored, tmp_path/"home")
    out = worker().predict(DAY)
    return wh, wh.sql(f"SELECT * FROM {PRED} WHERE system_id = 'anchored' ORDER BY game_id, player_lookup"), out

def test_only_players_with_a_line(rows):
    "Fails when an anchored model speaks about a player without a line, or leaves one with a line out for no named reason."
    wh, own, out = rows
    everyone = wh.sql(f"SELECT * FROM {PRED} WHERE system_id = 'catboost_v9'")
    assert own.height and own["line_value"].null_count() == 0 and own["predicted_points"].is_finite().all()
    assert set(own["player_lookup"]) == set(everyone.filter(pl.col("line_value").is_not_null())["player_lookup"])

def test_it_stays_near_the_line(rows):
    "Fails when the served prediction is not line plus shrunken residual."
    _, own, _ = rows
    gap = own["predicted_points"] - own["line_value"]
    assert gap.abs().max() < 12 and .1 < gap.std() < 6 and (own["line_margin"] - gap).abs().max() < 1e-9

def test_probability_starts_from_the_price(rows):
    "Fails when a probability ignores the price, or moves against the shift."
    _, own, _ = rows
    p = own.with_columns(p=pl.col("p_over")/(1 - pl.col("p_push")), shift=pl.col("predicted_points") - pl.col("line_value")).drop_nulls("no_vig_over")
    assert p.height > 15 and ((p["p"] - p["no_vig_over"]).sign() == p["shift"].sign()).all()

def test_actionable_means_value_at_the_price(rows):
    "Fails when points of edge decide instead of expected value."
    _, own, _ = rows
    worth = own["expected_value"].fill_null(-1) > 0
    low = own["filter_reasons"].list.contains("low_edge") if own["filter_reasons"].dtype == pl.List else own["filter_reasons"].str.contains("low_edge")
    assert (low == (~worth | own["no_vig_over"].is_null())).all() and set(own["recommendation"]) <= {"OVER", "UNDER"} and worth.sum() > 0

def test_it_is_graded_like_any_other(rows):
    "Fails when its picks are not graded, or their result is not that of the side it named."
    wh, own, _ = rows
    from nbprops.predict.grading import grade
    grade(wh, DAY, DAY)
    done = wh.sql("SELECT * FROM nba_predictions.prediction_accuracy WHERE system_id = 'anchored' AND result IN ('WIN', 'LOSS')")
    won = (done["actual_points"] > done["line_value"]) == (done["recommendation"] == "OVER")
    assert done.height > 15 and ((done["result"] == "WIN") == won).all()
