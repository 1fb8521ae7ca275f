"Training: whole days, equal results, and losses that are what they say."
import math
from datetime import date, timedelta
import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st
from nbprops.features.catalogue import contract
from nbprops.model import training as T
from nbprops.model.families import Family, resolve_params
from nbprops.model.predictor import semantic_id
from nbprops.settings import Refusal
from tests.model_toys import feature_rows

ROWS, C, MAE, SMALL = feature_rows(), contract("v9"), Family.parse("v9_mae"), resolve_params(iterations=50)

@pytest.fixture(scope="module")
def trained(): return T.train(ROWS, C, MAE, SMALL, seeds=[42, 43])

@given(st.lists(st.integers(0, 300), min_size=1, max_size=400).filter(lambda d: len(set(d)) > 1))
def test_validation_is_the_last_fifteen_percent_of_dates(days):
    "Fails when early stopping sees a date that is not after every date it fits, or splits a date."
    series = pl.Series([date(2025, 11, 1) + timedelta(d) for d in days])
    split, n = T.validation_start(series), len(set(days))
    assert series.filter(series < split).max() < split
    assert series.filter(series >= split).n_unique() == min(n - 1, max(1, math.ceil(.15*n - 1e-9)))

def test_pools_never_share_a_date():
    "Fails when a row of a validation date is fitted before the refit."
    x = T.transform(T.Transformer.of(C), ROWS)
    p = T.make_pools(x, T.usable_rows(ROWS, MAE))
    early = ROWS.filter(pl.col("game_date") < p.split)
    assert p.early.num_row() == early.height and p.early.num_row() + p.late.num_row() == p.whole.num_row() == ROWS.height
    assert early["game_date"].max() < ROWS.filter(pl.col("game_date") >= p.split)["game_date"].min()

def test_one_date_is_refused():
    "Fails when a window of one date is split inside the date."
    with pytest.raises(Refusal, match="one game date"): T.validation_start(pl.Series([date(2026, 1, 1)]*5))

def test_twice_is_the_same_to_the_bit(trained):
    "Fails when equal rows and seed give different predictions or another semantic id."
    again = T.train(ROWS.sample(fraction=1, shuffle=True, seed=3), C, MAE, SMALL, seeds=[42, 43])
    assert all((again.models[s].predict(again.x) == trained.models[s].predict(trained.x)).all() for s in (42, 43))
    assert semantic_id(again.artefact, again.loss) == semantic_id(trained.artefact, trained.loss) != semantic_id(trained.models[43], trained.loss)

def test_seeds_do_not_depend_on_each_other(trained):
    "Fails when training a seed alone gives another model than beside others."
    alone = T.train(ROWS, C, MAE, SMALL, seeds=[43])
    assert semantic_id(alone.artefact) == semantic_id(trained.models[43])

@pytest.mark.parametrize("loss, want", [("mae", "MAE"), ("huber", "Huber:delta=5"), ("q43", "Quantile:alpha=0.43")])
def test_loss_is_read_back(loss, want):
    "Fails when a family is trained with another loss than its name says."
    assert T.train(ROWS, C, Family("v9", loss), resolve_params(iterations=5), seeds=[42]).loss == want

def test_wrong_loss_is_refused(trained):
    "Fails when a file whose loss is not the family's gets through."
    with pytest.raises(Refusal, match="trained file says"): T.resolved_loss(list(trained.models.values()), Family.parse("v9_q43"), SMALL)

def test_refit_uses_all_rows_and_the_best_count():
    "Fails when the refit keeps another number of trees, or --no-refit still refits."
    a, b = (T.train(ROWS, C, MAE, SMALL, seeds=[42], refit=r) for r in (True, False))
    assert a.trees == b.trees and a.artefact.tree_count_ == b.artefact.tree_count_ == a.trees[42]
    assert (a.artefact.predict(a.x) != b.artefact.predict(b.x)).any()

def test_ensemble_is_the_mean_of_its_members():
    "Fails when the summed model does not predict the mean of the seeds."
    e = T.train(ROWS, C, MAE, SMALL, seeds=[42, 43, 44], ensemble=True)
    assert np.abs(e.artefact.predict(e.x) - np.mean([m.predict(e.x) for m in e.models.values()], axis=0)).max() < 1e-9
    assert e.loss == "MAE" and list(e.artefact.feature_names_) == C.names

def test_recency_weights():
    "Fails when the weights do not halve, do not average one, or rise into the past."
    days = pl.Series([date(2026, 1, 1), date(2026, 1, 31)])
    w = T.recency_weights(days, 30.0)
    assert abs(w.mean() - 1) < 1e-12 and abs(w[1]/w[0] - 2) < 1e-12 and T.recency_weights(days, None) is None
    with pytest.raises(Refusal): T.recency_weights(days, 0)

def test_weights_change_the_model():
    "Fails when --recency-weight is silently ignored."
    a, b = (T.train(ROWS, C, MAE, SMALL, seeds=[42], half_life=h) for h in (None, 5.0))
    assert (a.artefact.predict(a.x) != b.artefact.predict(b.x)).any()

@pytest.mark.parametrize("change", [lambda r: r.with_columns(actual=pl.col("actual") + (pl.int_range(pl.len()) == 5)), lambda r: r.with_columns(pct_paint=pl.col("pct_paint")*1.0000001), lambda r: r.head(-1),
                                    lambda r: r.with_columns(player_lookup=pl.concat_str(pl.col("player_lookup"), pl.lit("x")))])
def test_snapshot_hash_sees_rows_vectors_labels_and_keys(change):
    "Fails when two different training sets count as the same data."
    assert T.data_snapshot_hash(change(ROWS), C.names) != T.data_snapshot_hash(ROWS, C.names)

def test_snapshot_hash_ignores_order_and_the_kind_of_missing():
    "Fails when the order of rows, or NaN against NULL, makes equal data look different."
    other = ROWS.reverse().with_columns(pl.col("pct_three").fill_nan(None))
    assert T.data_snapshot_hash(other, C.names) == T.data_snapshot_hash(ROWS, C.names)

def test_small_windows_are_refused():
    "Fails when too few rows are trained all the same."
    with pytest.raises(Refusal, match="at least 1000"): T.train(ROWS.head(999), C, MAE, SMALL)

def test_offset_of_a_quantile_family():
    "Fails when a quantile model is expected to lie on the line, or a median one off it."
    q = T.train(ROWS, C, Family.parse("v9_q43"), resolve_params(iterations=5), seeds=[42])
    assert -1.6 < T.expected_offset(q) < -.6 and T.expected_offset(T.train(ROWS, C, MAE, resolve_params(iterations=5), seeds=[42])) == 0

def test_fits_in_threads_leave_the_log_stream_alone(monkeypatch):
    "Fails when a fit exchanges CatBoost's global log stream while another runs; at that moment the process can die of a segmentation fault."
    from catboost import core
    from nbprops.model.executors import side_by_side
    rows, taken = T.usable_rows(ROWS, MAE), []
    pools = T.make_pools(T.transform(T.Transformer.of(C), rows), rows)
    with side_by_side() as each:
        monkeypatch.setattr(core, "_reset_logger", lambda: taken.append(1))
        assert len(list(each(lambda seed: T.fit_seed(MAE, SMALL, pools, seed), range(4)))) == 4
        assert taken == []
        monkeypatch.undo()

def test_only_one_place_makes_threads_for_fits():
    "Fails when a module of the model wing opens threads of its own."
    from pathlib import Path
    assert [p.stem for p in sorted(Path(T.__file__).parent.glob("*.py")) if "ThreadPoolExecutor" in p.read_text() or "Thread(" in p.read_text() or "joblib" in p.read_text() or "distributed" in p.read_text()] == ["executors"]
