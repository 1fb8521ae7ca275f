"The bundle: one transformer, and a file that is loaded only when it is proven."
import json
import numpy as np
import polars as pl
import pytest
from hypothesis import given, strategies as st
from nbprops.features.catalogue import contract
from nbprops.model import predictor as P
from nbprops.model.families import DEFAULTS, Family, family_of, loss_of, model_version, params_hash, resolve_params
from nbprops.settings import Refusal, sha256_of
from tests.model_toys import bundle, feature_rows

@pytest.fixture(scope="module")
def toy(): return bundle()

@pytest.fixture(scope="module")
def rows(): return feature_rows(300)

@given(st.sampled_from(["v9", "v9_noveg", "v12", "v12_noveg", "v12_nomarket"]), st.sampled_from(["mae", "huber", "anchored", "q43", "q05", "q99"]))
def test_family_names_round_trip(feature_set, loss):
    "Fails when a family's name does not give back its parts."
    f = Family.parse(f"{feature_set}_{loss}")
    assert (f.feature_set, f.loss, f.name) == (feature_set, loss, f"{feature_set}_{loss}")

@pytest.mark.parametrize("bad", ["", "v9", "v9_rmse", "v9_q4", "v9_q00", "v9_q433", "v12_novegas_mae", "v9_mae "])
def test_bad_families_are_refused(bad):
    "Fails when an unknown family falls through to a default path."
    with pytest.raises(Refusal): Family.parse(bad)

@pytest.mark.parametrize("make", [lambda: loss_of("mae", .4), lambda: loss_of(alpha=1.0), lambda: loss_of(alpha=.435), lambda: family_of("v12_nomarket", no_vegas=True), lambda: resolve_params(learing_rate=.1)])
def test_unsupported_flags_are_refused(make):
    "Fails when a flag that cannot apply is ignored."
    with pytest.raises(Refusal): make()

def test_versions_of_known_files():
    "Fails when a version is not derived from the file name."
    want = {"catboost_v9_33features_20260201_011018.cbm": "v9_20260201_011018", "catboost_v9_feb_02_retrain.cbm": "v9_feb_02_retrain", "catboost_v9_2026_02.cbm": "v9_2026_02",
            "catboost_v12_noveg_50features_q43_train20251102-20260215_20260216_141500.cbm": "v12_noveg_q43_train20251102-20260215_20260216_141500", "final.cbm": "unknown_abcdef01"}
    assert {n: model_version(n, "abcdef01"*8) for n in want} == want

def test_params_hash_sees_every_parameter():
    "Fails when two trainings that differ in a parameter count as duplicates."
    f, base = Family.parse("v9_mae"), resolve_params()
    changed = [params_hash(f, {**base, k: "other"}, refit=True) for k in DEFAULTS] + [params_hash(f, base, refit=False), params_hash(Family.parse("v9_q43"), base, refit=True)]
    assert len({params_hash(f, base, refit=True), *changed}) == len(changed) + 1

@given(st.randoms())
def test_column_order_cannot_change_predictions(rnd):
    "Fails when a vector is built by position: 25 features fed to a model of 33 gave +29 points."
    rows = feature_rows(40)
    names = rows.columns[:]; rnd.shuffle(names)
    assert (TOY.predict(rows.select(names)) == TOY.predict(rows)).all()

TOY = bundle(7)

def test_missing_stays_missing(rows, toy):
    "Fails when a missing value is filled: NaN and NULL are the same, and nothing else is."
    x = P.select_features(toy.transformer, rows.with_columns(fatigue_score=pl.lit(None, dtype=pl.Float64)))
    assert x["fatigue_score"].is_nan().all() and x["pct_three"].is_nan().sum() == rows["pct_three"].is_nan().sum()

def test_a_missing_column_is_refused(rows, toy):
    "Fails when a feature that the frame lacks is invented."
    with pytest.raises(Refusal, match="fatigue_score"): toy.predict(rows.drop("fatigue_score"))

def test_a_wrong_unit_is_refused(rows, toy):
    "Fails when a percent reaches a feature that is a fraction."
    with pytest.raises(Refusal, match="pct_paint"): toy.predict(rows.with_columns(pl.col("pct_paint")*100))

def test_predictions_are_clamped(toy):
    "Fails when a served prediction leaves 0..60."
    class Wild:
        def predict(self, x, thread_count): return np.linspace(-20, 90, x.height)
    p = P.Bundle(Wild(), b"", toy.spec).predict(feature_rows(12))
    assert p.min() == 0 and p.max() == 60 and toy.predict(feature_rows(12).head(0)).shape == (0,)

def test_reloaded_bundle_predicts_to_the_bit(rows, toy, tmp_path):
    "Fails when the served file and the trained model differ."
    again = P.load_bundle(P.save_bundle(toy, tmp_path), toy.sha256)
    assert (again.predict(rows) == toy.predict(rows)).all() and again.spec == toy.spec

def test_parity_of_stored_vectors(rows, toy):
    "Fails when a vector replayed from its stored JSON predicts another number."
    stored = [json.dumps({k: None if v != v else v for k, v in r.items()}) for r in P.select_features(toy.transformer, rows).head(20).to_dicts()]
    replay = pl.DataFrame([json.loads(s) for s in stored], schema={n: pl.Float64 for n in toy.transformer.features})
    assert np.abs(toy.predict(replay) - toy.predict(rows.head(20))).max() < 1e-6

def test_write_once(toy, tmp_path):
    "Fails when an artefact can be overwritten."
    P.save_bundle(toy, tmp_path)
    with pytest.raises(Refusal, match="exists already"): P.save_bundle(toy, tmp_path)

def _refused(check, *args):
    with pytest.raises(P.LoadError) as e: P.open_bundle(*args)
    assert e.value.check == check, str(e.value)

def test_truncated_file(toy):
    "Fails when half a file is served."
    _refused("sha256", toy.cbm[:-10], toy.sidecar())

def test_registry_hash_differs(toy):
    "Fails when a file other than the registered one is served."
    _refused("sha256", toy.cbm, toy.sidecar(), "0"*64)

def test_short_hash_is_not_accepted(toy):
    "Fails when a 12-digit hash passes for the full one."
    _refused("sha256", toy.cbm, toy.sidecar(), toy.sha256[:12])

def test_swapped_file_with_mended_sidecar(toy):
    "Fails when a sidecar edited to match another file gets past the golden rows."
    other = bundle(1, seed=9).cbm
    _refused("golden_rows", other, toy.with_spec(sha256=sha256_of(other)).sidecar())

def test_file_of_other_features(toy):
    "Fails when a file trained on another contract is served under this one."
    other = bundle(1, family="v9_noveg_mae").cbm
    _refused("feature_names", other, toy.with_spec(sha256=sha256_of(other)).sidecar())

def test_garbage_with_a_matching_hash(toy):
    "Fails when an unreadable file ends in a traceback."
    _refused("file", b"no model", toy.with_spec(sha256=sha256_of(b"no model")).sidecar())

def test_sidecar_that_is_no_json(toy):
    "Fails when a broken sidecar ends in a traceback."
    _refused("sidecar", toy.cbm, b"{")

def test_edited_contract(toy):
    "Fails when a sidecar may loosen a range or reorder features."
    c = json.loads(json.dumps(toy.spec["contract"])); c["features"][0]["high"] = 700.0
    _refused("contract", toy.cbm, toy.with_spec(contract=c).sidecar())

def test_unknown_contract_hash(toy):
    "Fails when a contract that this build does not know is served."
    _refused("contract_hash", toy.cbm, toy.with_spec(contract_hash="0"*64).sidecar())

def test_other_library_major(toy):
    "Fails when another major version of the library predicts: -8.6 points in the record."
    _refused("library_version", toy.cbm, toy.with_spec(library_versions={"catboost": "2.0"}).sidecar())

def test_missing_sidecar(toy, tmp_path):
    "Fails when a model file without its sidecar is served."
    path = P.save_bundle(toy, tmp_path); (tmp_path/f"{toy.model_id}.bundle.json").unlink()
    with pytest.raises(P.LoadError, match="does not exist"): P.load_bundle(path)

@given(st.floats(0, 45), st.sampled_from([4.5, 12.0, 20.5, 21.0, 33.5]))
def test_probabilities_add_up(predicted, line):
    "Fails when over, push and under do not make one, or a half-point line can push."
    r = np.random.default_rng(0).normal(0, 6, 500)
    over, push = P.probabilities(r, np.array([predicted]), np.array([line]))
    mirrored = P.probabilities(-r, np.array([-predicted]), np.array([-line]))[0]
    assert 0 < over[0] < 1 and over[0] + push[0] < 1 and (push[0] == 0) == (line % 1 == .5 or push[0] == 0)
    assert line % 1 != .5 or push[0] == 0
    assert abs(over[0] + push[0] + mirrored[0] - 1) < 1e-9

def test_probabilities_by_counting():
    "Fails when the cut is on the wrong side of the line: counted by hand."
    over, push = P.probabilities(np.array([-2., -1., 0., 1.]), np.array([20.0, 20.0]), np.array([20.0, 20.5]))
    assert over.tolist() == [(1 + .5)/5, (1 + .5)/5] and push.tolist() == [1/5, 0]

def test_golden_rows_keep_missing_values(toy):
    "Fails when a golden row loses its missing value on the way through JSON."
    rows = feature_rows(200).with_columns(pct_three=pl.lit(float("nan")))
    x = P.transform(P.Transformer.of(contract("v9")), rows)
    g = P.golden_rows(x, np.zeros(200))
    assert len(g["rows"]) == 20 and all(r["pct_three"] is None for r in json.loads(json.dumps(g["rows"])))
