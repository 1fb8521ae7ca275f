"Retrain: from a request to a verdict, on a light simulated league; refusals leave no trace."
import json, shutil
from dataclasses import replace
from datetime import date, timedelta
import polars as pl
import pytest
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.model import retrain as X
from nbprops.model.evaluation import evaluation_rows
from nbprops.model.predictor import load_bundle, semantic_id
from nbprops.model.registry import Registry
from nbprops.model.training import training_rows
from nbprops.settings import Refusal

FIRST, LAST = date(2025, 11, 4), date(2025, 12, 19)
FAST = dict(iterations=60, learning_rate=.15, depth=4)
ASK = X.Request(name="T", train_start=FIRST, train_end=date(2025, 12, 8), eval_days=11, seeds=2, params=FAST)

@pytest.fixture(scope="module")
def league(tmp_path_factory):
    "A warehouse with a light league and its features."
    from nbprops.data.league import simulate
    from nbprops.data.reference import build_reference
    from nbprops.data.sources import land
    from nbprops.features.facts import Facts
    from nbprops.features.store import build, write_features
    w = Warehouse(tmp_path_factory.mktemp("league")/"league.duckdb")
    w.migrate(); land(simulate(light=True), w); build_reference(w)
    write_features(w, build(Facts.read(w, FIRST, LAST), FIRST, LAST))
    return w

@pytest.fixture
def house(league, tmp_path):
    "A copy of the league and an empty store."
    return Warehouse(shutil.copy(league.path, tmp_path/"w.duckdb")), Store(str(tmp_path/"store"))

@pytest.fixture(scope="module")
def done(league, tmp_path_factory):
    "A league in which ASK was carried out once: warehouse, store, outcome."
    folder = tmp_path_factory.mktemp("done")
    wh, store = Warehouse(shutil.copy(league.path, folder/"w.duckdb")), Store(str(folder/"store"))
    return wh, store, X.retrain(replace(ASK, promote=True, initial=True, reason="first"), wh, store)

@pytest.fixture
def after(done, tmp_path):
    "A copy of `done` to work on: warehouse, store."
    shutil.copytree(done[1].root, tmp_path/"store")
    return Warehouse(shutil.copy(done[0].path, tmp_path/"w.duckdb")), Store(str(tmp_path/"store"))

def trace(wh, store): return [wh.sql(f"SELECT COUNT(*) AS n FROM nba_predictions.{t}")["n"][0] for t in ("model_registry", "model_registry_history", "ml_experiments")] + [store.list()]

@pytest.mark.parametrize("change, why", [
    (dict(train_end=None), "together"), (dict(eval_start=date(2025, 12, 9)), "together"), (dict(train_start=None, train_end=None), "no dates"), (dict(train_start=None, train_end=None, eval_start=FIRST, eval_end=LAST), "needs --train-start"),
    (dict(eval_start=date(2025, 12, 9), eval_end=LAST), "both given"), (dict(train_start=LAST, train_end=FIRST), "ends before"), (dict(eval_days=None, eval_start=date(2025, 12, 1), eval_end=LAST), "temporal_disjoint"),
    (dict(family="v9_mae", feature_set="v9"), "already says"), (dict(loss_function="mae", quantile_alpha=.4), "name the loss twice"), (dict(loss_function="rmse"), "no model family"), (dict(feature_set="v13"), "No feature set|no model family"),
    (dict(feature_set="v12_nomarket", no_vegas=True), "does not apply"), (dict(ensemble=True, seeds=1), "two seeds"), (dict(seeds=0), "seeds"), (dict(force=True), "--force needs"), (dict(initial=True, reason="r"), "belongs to"),
    (dict(promote=True, initial=True), "needs --reason"), (dict(enable=True, skip_auto_register=True), "registry row"), (dict(policy="lenient"), "No gate policy"), (dict(promote=True, policy="incident-2026-02"), "default policy"), (dict(params=dict(iteration=5)), "Unknown training parameter"),
    (dict(loss_function="anchored"), "not built yet"), (dict(walkforward="retrain"), "not available"), (dict(line_as_of="run:EARLY"), "not available"), (dict(train_end=date(2025, 11, 10)), "training-ready rows"), (dict(train_end=LAST, strict_window=True), "--strict-window"),
    (dict(name=" "), "--name")])
def test_bad_requests_are_refused_and_leave_no_trace(league, tmp_path, change, why):
    "Fails when a partial or contradictory request is completed by a guess, or writes anything."
    store = Store(str(tmp_path/"store")); before = trace(league, store)
    with pytest.raises(Refusal, match="(?i)" + why): X.retrain(replace(ASK, **change), league, store)
    assert trace(league, store) == before

def test_windows_of_the_record():
    "Fails when MAR_MONTHLY is not carved into February, or a family's default window is not 56 days before the newest 28."
    ask = X.Request(name="MAR_MONTHLY", train_start=date(2025, 11, 2), train_end=date(2026, 2, 28))
    w = X.plan_windows(ask, lambda a, b: 99, None)
    assert (w.effective, w.evaluation, w.carved) == ((date(2025, 11, 2), date(2026, 1, 31)), (date(2026, 2, 1), date(2026, 2, 28)), True)
    free = X.plan_windows(ask, lambda a, b: 100, None)
    assert free.evaluation == (date(2026, 3, 1), date(2026, 3, 28)) and not free.carved
    f = X.plan_windows(X.Request(name="F", family="v9_mae"), None, lambda: date(2026, 2, 28))
    assert f.evaluation == (date(2026, 2, 1), date(2026, 2, 28)) and f.effective == (date(2025, 12, 7), date(2026, 1, 31)) and (f.effective[1] - f.effective[0]).days == 55

def test_dry_run_checks_everything_and_writes_nothing(done):
    "Fails when a dry run fits, writes, or skips a check."
    before = trace(*done[:2])
    o = X.retrain(replace(ASK, seed=9, dry_run=True), *done[:2])
    assert o.verdict == "DRY_RUN" and o.exit_code == 0 and o.bundle is None
    with pytest.raises(Refusal, match="trained on exactly this"): X.retrain(replace(ASK, dry_run=True), *done[:2])
    assert trace(*done[:2]) == before

def test_the_whole_flow(done):
    "Fails when bundle, registry, experiment, store and verdict do not tell one story."
    wh, store, o = done
    reg, b = Registry(wh, store), o.bundle
    row = reg.get(b.model_id)
    assert (row["state"], row["gate_verdict"], row["system_id"]) == ("production", "SHADOW", "catboost_v9") and reg.standing(b.model_id) == "unproven"
    assert row["loss_function"] == "MAE" and row["training_start_date"] == FIRST and row["training_samples"] == o.plan.rows.height and row["evaluation_n_edge_3plus"] == o.report.summary["n_3"]
    e = wh.sql("SELECT * FROM nba_predictions.ml_experiments").row(0, named=True)
    assert (e["status"], e["model_id"], e["gate_verdict"], e["runs_to_date"]) == ("completed", b.model_id, "SHADOW", 1) and len(e["experiment_id"]) == 8 == len(row["experiment_id"])
    served = reg.load(row)
    assert (served.predict(o.plan.holdout) == o.scored["predicted"].to_numpy()).all() and semantic_id(served.model, "MAE") == row["semantic_id"]
    assert len(served.residuals) == o.scored.height and served.gates["policy_hash"] == o.report.policy_hash and reg.validate().height == 0
    assert json.loads(row["gates_json"])["verdict"] == "SHADOW" and set(c for c in o.scored.columns if c.startswith("seed_")) == {"seed_42", "seed_43"}

def test_incumbent_is_compared_and_default_window_works(after, done):
    "Fails when a second model is not judged against the production model on identical rows."
    (wh, store), first = after, done[2]
    second = X.retrain(X.Request(name="F", family="v9_mae", eval_days=11, seeds=2, params=FAST, enable=True), wh, store)
    paired = second.report["paired_incumbent"]
    assert second.plan.windows.evaluation == (date(2025, 12, 9), LAST) and paired.n == second.plan.holdout.height and first.bundle.model_id in paired.detail
    assert second.row["state"] == "shadow" and second.row["parent_model_id"] == first.bundle.model_id and second.report.summary["runs_to_date"] == 2
    with pytest.raises(Refusal, match="has a production model"): X.retrain(replace(ASK, promote=True, initial=True, reason="again", seed=7), wh, store)

def test_force_needs_a_reason_and_keeps_it(after):
    "Fails when a forced duplicate loses its reason, or two identical fits are not recognised as one model."
    wh, store = after
    again = X.retrain(replace(ASK, force=True, reason="proof of determinism"), wh, store)
    rows = Registry(wh, store).rows()
    assert rows["semantic_id"].n_unique() == 1 and rows["sha256"].n_unique() == 2 and rows["data_snapshot_hash"].n_unique() == 1
    assert "proof of determinism" in Registry(wh, store).history(again.bundle.model_id)["reason"][0]

def test_reject_is_kept_and_goes_nowhere(house, monkeypatch):
    "Fails when a failed gate exits 0, or the rejected model can be enabled or promoted."
    wh, store = house
    real = X.judge
    def leaning(p, bundle, t, registry, faults=()):
        scored, _ = real(p, bundle, t, registry, faults)
        scored = scored.with_columns(pl.col("predicted", "seed_42", "seed_43") - 4.0)
        return scored, X.run_gates(X.Case(scored, p.family.name, *p.windows.effective))
    monkeypatch.setattr(X, "judge", leaning)
    o = X.retrain(replace(ASK, enable=True), wh, store)
    assert (o.verdict, o.exit_code, o.row["state"]) == ("REJECT", 1, "rejected") and store.exists(f"catboost/v9_mae/{o.bundle.model_id}.cbm")
    with pytest.raises(Refusal): Registry(wh, store).enable(o.bundle.model_id)

@pytest.mark.parametrize("step", ["train", "judge", "keep"])
def test_a_run_that_breaks_says_so(house, monkeypatch, step):
    "Fails when a run that dies half-way leaves a registry row, or an experiment that looks finished."
    wh, store = house
    def dies(*a, **k): raise RuntimeError("the power went")
    monkeypatch.setattr(X, step, dies)
    with pytest.raises(RuntimeError): X.retrain(ASK, wh, store)
    monkeypatch.undo()
    e = wh.sql("SELECT status, error_message, gate_verdict FROM nba_predictions.ml_experiments").rows()
    assert e == [("failed", "the power went", None)] and trace(wh, store)[:2] == [0, 0] and Registry(wh, store).validate().height == 0

def test_skip_flags(house, tmp_path, monkeypatch):
    "Fails when --skip-auto-upload uploads, or --skip-auto-register registers."
    wh, store = house
    local = X.retrain(replace(ASK, skip_auto_upload=True), wh, store)
    assert store.list() == [] and local.row is None and load_bundle(local.path, local.bundle.sha256).model_id == local.bundle.model_id
    up = X.retrain(replace(ASK, skip_auto_register=True, seed=7), wh, store)
    assert up.row is None and len(store.list()) == 2 and trace(wh, store)[:2] == [0, 0]

def test_ensemble_is_one_model(house):
    "Fails when an ensemble registers its members, or is not flagged."
    wh, store = house
    o = X.retrain(replace(ASK, ensemble=True), wh, store)
    assert o.row["is_ensemble"] and len(store.list("catboost")) == 3 and Registry(wh, store).rows().height == 1
    mean = o.scored.select(pl.mean_horizontal("seed_42", "seed_43")).to_series()
    assert (o.scored["predicted"] - mean).abs().max() < 1e-6

def test_judged_again_counts_looks_and_changes_no_state(after, done):
    "Fails when a second look at the same dates is free, or a verdict moves a model."
    (wh, store), o = after, done[2]
    for n in (2, 3):
        r = X.judge_again(wh, store, o.bundle.model_id, date(2025, 12, 9), LAST)
        assert r.summary["looks"] == n and r.policy == "default"
    assert Registry(wh, store).get(o.bundle.model_id)["state"] == "production"
    with pytest.raises(Refusal, match="training window"): X.judge_again(wh, store, o.bundle.model_id, date(2025, 12, 1), LAST)
    with pytest.raises(Refusal, match="together"): X.judge_again(wh, store, o.bundle.model_id, date(2025, 12, 9))

@pytest.mark.parametrize("read", [training_rows, evaluation_rows])
def test_rows_stored_in_the_morning_get_the_market_of_the_tip(league, house, read):
    "Fails when a model learns from, or is judged on, lines that had moved on by the tip-off."
    from nbprops.features.facts import Facts
    from nbprops.features.store import STORE, TICKING, build, write_features
    wh, start = house[0], date(2025, 12, 16)
    morning = build(Facts.read(wh, start, LAST), start, LAST, "run:EARLY")
    write_features(wh, morning, (start, LAST))
    before, after = (read(w, date(2025, 12, 9), LAST) for w in (league, wh))
    keys = ["game_date", "game_id", "player_lookup"]
    stale = before.select(keys).join(morning[STORE], on=keys, maintain_order="left", how="left").filter(pl.col("game_date") >= start)
    assert not stale.select(TICKING).equals(before.filter(pl.col("game_date") >= start).select(TICKING))
    assert after.height > 0 and after.select(*keys, *TICKING, "line", "actual").equals(before.select(*keys, *TICKING, "line", "actual"))

def test_judged_again_leaves_out_an_incumbent_that_could_not_serve(after, done, monkeypatch):
    "Fails when `gates run` compares with an incumbent whose feeds these dates lack, which a retrain would not."
    (wh, store), first = after, done[2]
    second = X.retrain(X.Request(name="G", family="v9_mae", eval_days=11, seeds=1, params=FAST), wh, store)
    judge = lambda: X.case_of(wh, Registry(wh, store), second.row, date(2025, 12, 9), LAST)
    assert judge().rows["incumbent"].null_count() == 0
    monkeypatch.setattr(X, "feed_profile", lambda wh, windows: "box")
    case = judge()
    assert case.incumbent == first.bundle.model_id and case.rows["incumbent"].null_count() == case.rows.height

def test_evaluation_rows_are_player_games_with_a_pregame_line(league):
    "Fails when a DNP, a row without a line or a doubled player-game reaches a gate."
    rows = evaluation_rows(league, date(2025, 12, 9), LAST)
    assert rows.height == rows.select("game_id", "player_lookup").n_unique() > 100 and rows["line"].null_count() == 0
    dnp = league.sql("SELECT game_id, player_lookup FROM nba_analytics.player_game_summary WHERE is_dnp")
    assert rows.join(dnp, on=["game_id", "player_lookup"]).height == 0 and (rows["line"]*2 % 1 == 0).all()
    context = league.sql("SELECT game_id, player_lookup, current_points_line, over_price_american FROM nba_analytics.upcoming_player_game_context")
    both = rows.join(context, on=["game_id", "player_lookup"])
    assert both.height == rows.height and (both["line"] == both["current_points_line"]).all() and both["over_price_american"].eq_missing(both["over_price_american_right"]).all()

@pytest.mark.real
@pytest.mark.full
def test_a_real_month_is_carved_and_cannot_prove_much(wh, tmp_path):
    "Fails when real rows give a hit rate that only a leak gives, or one real month promotes a model."
    from nbprops.data.reference import build_reference
    from nbprops.data.sources import ingest
    from nbprops.features.facts import Facts
    from nbprops.features.store import build, write_features
    from nbprops.settings import real_data
    ingest(real_data(), wh); build_reference(wh)
    first, last = date(2025, 11, 4), date(2026, 2, 28)
    write_features(wh, build(Facts.read(wh, first, last), first, last))
    ask = X.Request(name="MAR_MONTHLY", train_start=date(2025, 11, 2), train_end=last, seeds=2, params=dict(iterations=200), feature_set="v12_nomarket")
    o = X.retrain(ask, wh, Store(str(tmp_path/"store")))
    s = o.report.summary
    assert o.plan.windows.effective[1] == date(2026, 1, 31) and s["eval_start"] >= date(2026, 2, 1) and s["feed_profile"] == "box+shots+props" and o.plan.contract.count == 32
    assert o.verdict != "PROMOTE" and 1.2 < s["market_residual"] < 2.0 and not s["market_leak"] and s["break_even_source"].startswith("52.38% (nominal")
    assert 4.6 < s["line_mae"] < 5.4 and s["line_mae"] - .1 < s["mae"] < 5.6 and s["n_3"] > 100 and s["hr_3"] < 60
