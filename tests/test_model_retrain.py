"Retrain: from a request to a verdict, on a light simulated league; refusals leave no trace."
import hashlib, json, shutil, time
from itertools import product
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
import polars as pl
import pytest
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.model import judging as J
from nbprops.model import plans as P
from nbprops.model import retrain as X
from nbprops.model import training as T
from nbprops.model.plans import Reader, market_at
from nbprops.model.requests import LINES_AS_OF, week_windows
from nbprops.model.evaluation import evaluation_rows
from nbprops.model.predictor import load_bundle, semantic_id
from nbprops.model.registry import Registry
from nbprops.model.training import training_rows
from nbprops.settings import Refusal

FIRST, LAST = date(2025, 11, 4), date(2025, 12, 19)
FAST = dict(iterations=60, learning_rate=.15, depth=4)
ASK = X.Request(name="T", train_start=FIRST, train_end=date(2025, 12, 8), eval_days=11, seeds=2, params=FAST)

PROFILES = {}
@pytest.fixture(autouse=True)
def profiles_once(monkeypatch):
    "The feed profile of the one league is measured once per windows; measuring it is most of the cost of a plan."
    real = P.feed_profile
    def feed_profile(wh, windows): return PROFILES[tuple(windows)] if tuple(windows) in PROFILES else PROFILES.setdefault(tuple(windows), real(wh, windows))
    for module in (P, J): monkeypatch.setattr(module, "feed_profile", feed_profile)

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
    (dict(train_end=None), "together"), (dict(eval_start=date(2025, 12, 9)), "together"), (dict(train_start=None, train_end=None), "no dates"), (dict(train_start=None, train_end=None, eval_start=FIRST, eval_end=LAST), "need --train-start"),
    (dict(eval_start=date(2025, 12, 9), eval_end=LAST), "both given"), (dict(train_start=LAST, train_end=FIRST), "ends before"), (dict(eval_days=None, eval_start=date(2025, 12, 1), eval_end=LAST), "temporal_disjoint"),
    (dict(eval_days=0), "no number of days"), (dict(eval_days=-3), "no number of days"), (dict(family="v9_mae", feature_set="v9"), "already says"), (dict(family="v9_mae", no_vegas=True), "already says"), (dict(family="v9_mae", loss_function="mae"), "already says"),
    (dict(family="v9_mae", quantile_alpha=.4), "already says"), (dict(loss_function="mae", quantile_alpha=.4), "name the loss twice"), (dict(quantile_alpha=1.2), "no family name"), (dict(loss_function="rmse"), "no model family"), (dict(feature_set="v13"), "No feature set|no model family"),
    (dict(family="v9_rmse"), "no model family"), (dict(feature_set="v12_nomarket", no_vegas=True), "does not apply"), (dict(ensemble=True, seeds=1), "two seeds"), (dict(seeds=0), "seeds"), (dict(seed=-1), "below 0"), (dict(recency_weight=0), "half-life"),
    (dict(force=True), "--force needs"), (dict(initial=True, reason="r"), "belongs to"), (dict(promote=True, initial=True), "needs --reason"), (dict(reason="just so"), "--reason explains"), (dict(enable=True, skip_auto_register=True), "registry row"),
    (dict(promote=True, skip_auto_upload=True), "registry row"), (dict(policy="lenient"), "No gate policy"), (dict(promote=True, policy="incident-2026-02"), "default policy"), (dict(params=dict(iteration=5)), "Unknown training parameter"),
    (dict(walkforward="foo"), "unknown"), (dict(line_as_of="run:NOON"), "unknown"), (dict(line_as_of="bogus"), "unknown"), (dict(loss_function="anchored", line_as_of="run:EARLY"), "line of record"), (dict(train_end=date(2025, 11, 10)), "training-ready rows"), (dict(train_end=LAST, strict_window=True), "--strict-window"),
    (dict(strict_window=True, eval_days=None, eval_start=date(2025, 12, 9), eval_end=LAST), "--strict-window"), (dict(name=" "), "--name"), (dict(name=""), "--name is missing"), (dict(every=True), "--all names each run"), (dict(every=True, name="", family="v9_mae"), "--family and --all")])
def test_bad_requests_are_refused_and_leave_no_trace(league, tmp_path, change, why):
    "Fails when a partial or contradictory request is completed by a guess, or writes anything."
    store = Store(str(tmp_path/"store")); before = trace(league, store)
    with pytest.raises(Refusal, match="(?i)" + why): X.retrain(replace(ASK, **change), league, store)
    assert trace(league, store) == before

ALL = X.Request(every=True)
@pytest.mark.parametrize("change, why", [(dict(name="X"), "names each run"), (dict(family="v9_mae"), "--family and --all"), (dict(feature_set="v9"), "from the registry"), (dict(no_vegas=True), "from the registry"), (dict(loss_function="mae"), "from the registry"),
    (dict(quantile_alpha=.43), "from the registry"), (dict(strict_window=True), "--strict-window"), (dict(eval_start=FIRST, eval_end=LAST), "need --train-start"), (dict(initial=True, reason="r"), "belongs to"), ({}, "No family has")])
def test_bad_requests_for_all_families(league, tmp_path, change, why):
    "Fails when --all takes a word that it would ignore."
    store = Store(str(tmp_path/"store")); before = trace(league, store)
    with pytest.raises(Refusal, match=why): X.retrain_all(replace(ALL, **change), league, store)
    assert trace(league, store) == before

GOOD = [dict(walkforward="retrain"), dict(line_as_of="run:EARLY"), dict(ensemble=True, seeds=3), dict(recency_weight=30.), dict(refit=False), dict(enable=True, promote=True, reason="r"), dict(promote=True, initial=True, reason="r"), dict(force=True, reason="r"),
        dict(quantile_alpha=.43), dict(no_vegas=True), dict(policy="incident-2026-02"), dict(eval_days=9), dict(skip_auto_upload=True, skip_auto_register=True), dict(dry_run=True)]
def test_what_makes_sense_together_is_not_refused():
    "Fails when two flags that do not touch each other are refused as a pair."
    alone = [{}, *GOOD]
    for a, b in product(alone, alone):
        both = {**a, **b}
        clash = both.get("promote") and both.get("policy") or both.get("skip_auto_upload") and (both.get("enable") or both.get("promote"))
        if not clash: X.check_flags(replace(ASK, **both))
        else:
            with pytest.raises(Refusal): X.check_flags(replace(ASK, **both))

def test_windows_of_the_record():
    "Fails when MAR_MONTHLY is not carved into February, or a family's default window is not 56 days before the newest 28."
    ask = X.Request(name="MAR_MONTHLY", train_start=date(2025, 11, 2), train_end=date(2026, 2, 28))
    w = X.plan_windows(ask, lambda a, b: 99, None)
    assert (w.effective, w.evaluation, w.carved) == ((date(2025, 11, 2), date(2026, 1, 31)), (date(2026, 2, 1), date(2026, 2, 28)), True)
    free = X.plan_windows(ask, lambda a, b: 100, None)
    assert free.evaluation == (date(2026, 3, 1), date(2026, 3, 28)) and not free.carved
    f = X.plan_windows(X.Request(name="F", family="v9_mae"), None, lambda: date(2026, 2, 28))
    assert f.evaluation == (date(2026, 2, 1), date(2026, 2, 28)) and f.effective == (date(2025, 12, 7), date(2026, 1, 31)) and (f.effective[1] - f.effective[0]).days == 55

def whole(wh, store): return hashlib.sha256(wh.path.read_bytes()).hexdigest(), {p: hashlib.sha256(store.get(p)).hexdigest() for p in store.list()}

@pytest.mark.parametrize("more", [dict(promote=True, enable=True, walkforward="retrain"), dict(line_as_of="run:EARLY", skip_auto_upload=True)])
def test_dry_run_checks_everything_and_writes_nothing(after, more, monkeypatch):
    "Fails when a dry run fits, or changes one byte of warehouse or store."
    wh, store = after
    monkeypatch.setattr(X, "train", None)
    wh.sql("CHECKPOINT")
    before = whole(wh, store)
    o = X.retrain(replace(ASK, seed=9, dry_run=True, **more), wh, store)
    assert o.verdict == "DRY_RUN" and o.exit_code == 0 and o.bundle is None and "fit 2 seeds" in str(o)
    with pytest.raises(Refusal, match="trained on exactly this"): X.retrain(replace(ASK, dry_run=True), wh, store)
    all_ = X.retrain_all(replace(ALL, dry_run=True, eval_days=11, seeds=2, params=FAST, **more), wh, store)
    assert [(o.family, o.verdict) for o in all_] == [("v9_mae", "DRY_RUN")] and X.exit_code_of(all_) == 0
    assert whole(wh, store) == before

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
        case, _ = real(p, bundle, t, registry, faults)
        case = X.Case(case.rows.with_columns(pl.col("predicted", "seed_42", "seed_43") - 4.0), p.family.name, *p.windows.effective)
        return case, X.run_gates(case)
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
    "Fails when a look at other rows is free, a repetition on identical rows costs, or a verdict moves a model."
    (wh, store), o = after, done[2]
    for first, n in ((9, 1), (9, 1), (10, 2), (10, 2), (11, 3), (9, 3)):
        r = X.judge_again(wh, store, o.bundle.model_id, date(2025, 12, first), LAST)
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
    monkeypatch.setattr(J, "feed_profile", lambda wh, windows: "box")
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

def test_all_families_share_what_was_read_and_are_judged_together(after, monkeypatch):
    "Fails when --all reads the games once per family, forgets the correction for K candidates, or one family stops the others."
    wh, store = after
    asked = []
    for name in ("training_rows", "evaluation_rows", "feed_profile"):
        real = getattr(P, name)
        def spy(*a, _real=real, _name=name): asked.append(_name); return _real(*a)
        spy.__name__ = name
        monkeypatch.setattr(P, name, spy)
    real = X.train
    def train(rows, c, family, *a):
        if family.name == "v9_q45": raise RuntimeError("the power went")
        return real(rows, c, family, *a)
    monkeypatch.setattr(X, "train", train)
    said, names = [], ["v9_mae", "v9_q45", "v12_noveg_q43", "v77_mae"]
    out = X.retrain_all(X.Request(every=True, train_start=FIRST, train_end=date(2025, 12, 8), eval_days=11, seeds=2, seed=7, params=FAST, enable=True, reason="all"), wh, store, names, said.append)
    assert sorted(asked) == ["evaluation_rows", "feed_profile", "training_rows"]
    assert [o.family for o in out] == names and [o.verdict in ("FAILED", "REFUSED") for o in out] == [False, True, False, True] and (out[1].exit_code, out[3].exit_code) == (3, 2)
    assert {o.report.summary["looks"] for o in out if o.report} == {3} and [o.report.summary["runs_to_date"] for o in out if o.report] == [2, 4]
    assert X.exit_code_of(out) == (1 if any(o.verdict == "REJECT" for o in out) else 3) and all(o.row["state"] == ("rejected" if o.verdict == "REJECT" else "shadow") for o in out if o.report)
    failed = wh.sql("SELECT name, error_message FROM nba_predictions.ml_experiments WHERE status = 'failed'").row(0)
    assert failed[1] == "the power went" and failed[0].startswith("V9_Q45_2")
    assert X.record_of(out[3])["error"]["what"].startswith("No feature set") and X.record_of(out[0])["name"].startswith("V9_MAE_")

@pytest.mark.parametrize("codes, code", [([0, 0], 0), ([0, 2], 3), ([2, 2], 2), ([0, 1, 3], 1), ([0, 3, 2], 3), ([], 0)])
def test_exit_code_of_several(codes, code):
    "Fails when a rejected, broken or refused family hides behind a good one."
    assert X.exit_code_of([type("O", (), dict(exit_code=c))() for c in codes]) == code

@pytest.mark.full
def test_initial_with_all_applies_to_families_without_production(after):
    "Fails when --all --initial overthrows a production model, or skips a family that has none."
    wh, store = after
    out = X.retrain_all(X.Request(every=True, eval_days=11, seeds=1, params=FAST, promote=True, initial=True, reason="first"), wh, store, ["v9_mae", "v12_noveg_mae"])
    assert out[0].row["state"] in ("candidate", "rejected") and out[1].row["state"] == ("rejected" if out[1].verdict == "REJECT" else "production")
    assert Registry(wh, store).production("v9_mae")["model_id"] != out[0].bundle.model_id

@pytest.mark.full
def test_a_later_command_does_not_forgive_the_correction_for_several_candidates(house):
    "Fails when a model that was one of K candidates is judged again as if it had been alone."
    wh, store = house
    out = X.retrain_all(X.Request(every=True, train_start=FIRST, train_end=date(2025, 12, 8), eval_days=11, seeds=1, params=FAST), wh, store, ["v9_mae", "v9_q45", "v12_noveg_mae"])
    who = out[0].bundle.model_id
    assert [X.judge_again(wh, store, who, date(2025, 12, d), LAST).summary["looks"] for d in (9, 10)] == [3, 4]

def test_a_shifted_window_is_no_way_round_the_seeds(after, done):
    "Fails when a gate that the sister seeds held back passes on dates that overlap theirs, or stays held back after them, or a plain 'cannot tell' is taken for a veto."
    (wh, store), o = after, done[2]
    gates = json.loads(o.report.to_json())
    held = next(g for g in gates["results"] if g["id"] == "vegas_bias")
    assert held["verdict"] == "PASS"
    def then(detail, end=LAST): wh.sql("UPDATE nba_predictions.ml_experiments SET eval_end_date = @e, gates_json = @g WHERE experiment_type = 'retrain'", e=end, g=json.dumps(gates | dict(results=[g | dict(verdict="INSUFFICIENT", detail=detail) if g is held else g for g in gates["results"]])))
    judged = lambda d: X.judge_again(wh, store, o.bundle.model_id, date(2025, 12, d), LAST)["vegas_bias"]
    then("few rows")
    assert judged(10).verdict == "PASS"
    then("; the artefact passes, but only 1 of 2 seeds does", date(2025, 12, 10))
    again = {d: judged(d) for d in (9, 10, 11)}
    assert {d: g.verdict for d, g in again.items()} == {9: "INSUFFICIENT", 10: "INSUFFICIENT", 11: "PASS"} and "2025-12-09..2025-12-10, which these dates overlap" in again[10].detail
    assert judged(11).verdict == "PASS", "a veto that was carried over is not carried on"

def test_a_twin_shares_looks_and_vetoes(after, done):
    "Fails when one model under two names is judged twice as if for the first time."
    (wh, store), o = after, done[2]
    assert X.judge_again(wh, store, o.bundle.model_id, date(2025, 12, 10), LAST).summary["looks"] == 2
    gates = json.loads(o.report.to_json())
    veto = [g | dict(verdict="INSUFFICIENT", detail="the artefact passes, but only 1 of 2 seeds does") if g["id"] == "vegas_bias" else g for g in gates["results"]]
    wh.sql("UPDATE nba_predictions.ml_experiments SET gates_json = @g WHERE experiment_type = 'retrain'", g=json.dumps(gates | dict(results=veto)))
    twin = X.retrain(replace(ASK, seeds=1), wh, store)
    assert twin.bundle.semantic_id == o.bundle.semantic_id and twin.report.summary["looks"] == 2 and twin.report["vegas_bias"].verdict == "INSUFFICIENT"
    later = X.judge_again(wh, store, twin.bundle.model_id, date(2025, 12, 11), LAST)
    assert later.summary["looks"] == 3 and later["vegas_bias"].verdict == "INSUFFICIENT"

@pytest.mark.parametrize("change, why", [("feed_profile = 'unknown'", "which feeds it needs"), ("sha256 = 'unknown'", "no sha256"), ("gcs_path = gcs_path", "not in the store")])
def test_an_incumbent_that_cannot_be_loaded_does_not_freeze_its_family(after, done, change, why):
    "Fails when an imported production row without a file, hash or feeds stops a retrain or a `gates run` of its family, or is passed over in silence."
    (wh, store), first, said = after, done[2], []
    wh.sql(f"UPDATE nba_predictions.model_registry SET {change}")
    if why == "not in the store": store.remove(f"catboost/v9_mae/{first.bundle.model_id}.cbm")
    o = X.retrain(replace(ASK, seeds=1, seed=7, name="NEXT"), wh, store, said.append)
    paired = o.report["paired_incumbent"]
    assert (paired.verdict, paired.n, o.report.summary["incumbent"]) == ("INSUFFICIENT", 0, first.bundle.model_id) and o.verdict != "PROMOTE"
    assert why in o.report.summary["incumbent_note"] and o.report.summary["incumbent_note"] in said
    again = X.judge_again(wh, store, o.bundle.model_id, date(2025, 12, 10), LAST)
    assert again["paired_incumbent"].verdict == "INSUFFICIENT" and why in again.summary["incumbent_note"]

def test_as_served_holds_what_was_served(after, done):
    "Fails when back-filled rows, rows made after the tip-off or training days count as the served record."
    from nbprops.data.tables import table
    (wh, _), who = after, done[2].bundle.model_id
    name = "nba_predictions.prediction_accuracy"
    t = table(name)
    fill = {pl.String: "x", pl.Int64: 1, pl.Boolean: False, pl.Float64: 1.0, pl.Date: LAST}
    base = {c.name: fill.get(c.frame, datetime(2025, 12, 19, tzinfo=timezone.utc)) for c in t.columns if c.required and c.name in t.content}
    row = lambda i, day=LAST, mode="EARLY", before=True: base | dict(prediction_id=f"p{i}", player_lookup=f"p{i}", game_id=f"{day:%Y%m%d}_BOS_NYK", game_date=day, model_id=who, system_id="catboost_v9", prediction_run_mode=mode, prediction_made_before_game=before, predicted_points=20.0, actual_points=18, line_value=15.5, result="WIN", recommendation="OVER", has_prop_line=True)
    rows = [row(1), row(2, mode="BACKFILL"), row(3, before=False), row(4, day=date(2025, 12, 8)), row(5, day=date(2025, 12, 9))]
    frame = pl.DataFrame(rows, schema={k: t.schema()[k] for k in rows[0]})
    with wh.transaction() as tx:
        tx.hold("given", frame)
        tx.change(f"INSERT INTO {name} ({', '.join(frame.columns)}) SELECT * FROM given")
    assert J.as_served(wh, who, FIRST, LAST) == dict(n=2, days=2, mae=2.0, wins_3=2, losses_3=0)

def test_a_model_without_training_dates_is_refused(after, done):
    "Fails when `gates run` of an imported row ends in a TypeError, or judges it on days it may have learnt."
    (wh, store), who = after, done[2].bundle.model_id
    wh.sql("UPDATE nba_predictions.model_registry SET training_start_date = NULL, training_end_date = NULL")
    for days in ((None, None), (date(2025, 12, 9), LAST)):
        with pytest.raises(Refusal, match="Nobody wrote down when") as e: X.judge_again(wh, store, who, *days)
        assert e.value.exit_code == 2

def test_no_feature_sees_a_quote_after_the_run(house):
    "Fails when training as of a run reads a line stamped after that run."
    wh, _ = house
    props = "nba_raw.odds_api_player_points_props"
    rows = {m: market_at(wh, training_rows(wh, date(2025, 12, 9), LAST), m) for m in LINES_AS_OF}
    late = wh.read(props, date(2025, 12, 9), LAST).unique(["game_id", "player_lookup", "bookmaker", "data_source"], keep="first", maintain_order=True)
    late = late.with_columns(snapshot_timestamp=pl.col("game_date").cast(pl.Datetime("us", "UTC")) + timedelta(hours=11, minutes=45), points_line=pl.col("points_line") + 7, snapshot_id=pl.lit("late")) # 6.45 Eastern: after EARLY, before OVERNIGHT
    early_tip = (pl.col("commence_timestamp") - pl.col("snapshot_timestamp")).dt.total_minutes()
    wh.write(props, late.with_columns(minutes_before_tipoff=early_tip))
    now = {m: market_at(wh, training_rows(wh, date(2025, 12, 9), LAST), m) for m in LINES_AS_OF}
    assert now["run:EARLY"].equals(rows["run:EARLY"]) and not now["run:OVERNIGHT"].equals(rows["run:OVERNIGHT"])
    both = now["run:OVERNIGHT"].join(rows["run:EARLY"], on=["game_id", "player_lookup"])
    assert (both["line"] == both["line_right"]).all() and (both["actual"] == both["actual_right"]).all() # what is bet on and what happened stay

@pytest.mark.full
def test_line_as_of_is_used_stored_and_kept_for_later_verdicts(house):
    "Fails when a model of the early lines is trained or judged on the lines of the tip-off."
    wh, store = house
    o, tip = (X.retrain(replace(ASK, seeds=1, line_as_of=m), wh, store) for m in ("run:EARLY", "tip"))
    assert o.bundle.line_as_of == "run:EARLY" == json.loads(o.row["training_config_json"])["line_as_of"] and o.plan.snapshot != tip.plan.snapshot
    case = J.case_of(wh, Registry(wh, store), o.row, date(2025, 12, 9), LAST)
    assert case.looks == 1 and case.rows.select("predicted").equals(o.scored.select("predicted"))
    assert o.scored.join(tip.scored, on=["game_id", "player_lookup"]).select((pl.col("line") == pl.col("line_right")).all()).item()

def test_weekly_refits_never_look_ahead(house, monkeypatch):
    "Fails when a refit trains on its week or later, changes the artefact, or its early stopping reaches into the week."
    wh, store = house
    seen, real = [], J.train
    def spy(rows, *a): t = real(rows, *a); seen.append((rows["game_date"].min(), rows["game_date"].max(), t.split, rows.height)); return t
    monkeypatch.setattr(J, "train", spy)
    o = X.retrain(replace(ASK, walkforward="retrain"), wh, store)
    weeks = week_windows(o.plan.windows)
    assert [w.evaluation[0] for w in weeks] == [date(2025, 12, 9), date(2025, 12, 15)] and weeks[0].effective == o.plan.windows.effective
    (low, high, split, n), = seen
    assert weeks[1].effective[0] <= low < split <= high <= weeks[1].effective[1] < weeks[1].evaluation[0] and n > 500
    first = o.scored.filter(pl.col("game_date") < date(2025, 12, 15))
    assert (first["walked"] == first["predicted"]).all() and not o.scored["walked"].equals(o.scored["predicted"])
    alone = X.retrain(replace(ASK, walkforward=True, force=True, reason="compare"), wh, store)
    assert alone.bundle.semantic_id == o.bundle.semantic_id and "mae_refit" in o.weekly().columns and "mae_refit" not in alone.weekly().columns
    kept = json.loads(wh.sql("SELECT results_json FROM nba_predictions.ml_experiments WHERE experiment_id = @e", e=o.experiment_id)["results_json"][0])
    assert len(kept["weekly"]) == 2 and kept["refits"]["refits"] == 1 and kept["noise_floor"]["mae"] > 0 and kept["noise_floor"]["seeds"] == 2

def test_two_trainings_are_one_model(house, monkeypatch):
    "Fails when thread timing, the order of rows or the number of neighbours changes a bit of a model."
    wh, _ = house
    p = X.make_plan(replace(ASK, seeds=4), wh, Store(str(wh.path.parent/"s")))
    fit = lambda rows=p.rows, ensemble=False: X.train(rows, p.contract, p.family, p.params, p.seeds, True, None, ensemble, 1000)
    slow, real = iter((.2, 0, .1, 0, .15, 0, 0, .05)), T.fit_seed
    plain = {e: fit(ensemble=e) for e in (False, True)}
    monkeypatch.setattr(T, "fit_seed", lambda *a: (time.sleep(next(slow)), real(*a))[1])
    again = {e: fit(p.rows.sample(fraction=1, shuffle=True, seed=3), e) for e in (False, True)}
    for e in (False, True):
        assert semantic_id(plain[e].artefact, "MAE") == semantic_id(again[e].artefact, "MAE") and (plain[e].artefact.predict(plain[e].x) == again[e].artefact.predict(again[e].x)).all()

def test_an_uncommitted_tree_backs_no_promotion(house, monkeypatch):
    "Fails when a PROMOTE made with uncommitted changes reaches production."
    wh, store = house
    real = X.judge
    def passing(*a): case, report = real(*a); return case, replace(report, verdict="PROMOTE")
    monkeypatch.setattr(X, "judge", passing)
    monkeypatch.setenv("BUILD_COMMIT_SHA", "a"*40 + "-dirty")
    dirty = X.retrain(replace(ASK, promote=True), wh, store)
    assert dirty.row["state"] == "shadow" and wh.sql("SELECT git_commit FROM nba_predictions.ml_experiments")["git_commit"][0].endswith("-dirty") and dirty.bundle.git_commit.endswith("-dirty")
    with pytest.raises(Refusal, match="uncommitted"): Registry(wh, store).promote(dirty.bundle.model_id)
    monkeypatch.setenv("BUILD_COMMIT_SHA", "a"*40)
    clean = X.retrain(replace(ASK, promote=True, seed=9), wh, store)
    assert clean.row["state"] == "production"

def test_a_wish_that_fails_after_registration_is_told(house, monkeypatch):
    "Fails when a model that could not be enabled looks enabled, or is lost."
    wh, store = house
    monkeypatch.setattr(X, "after_verdict", lambda r, registry, row: (_ for _ in ()).throw(Refusal("Family v9_mae has 5 shadows")))
    o = X.retrain(replace(ASK, enable=True, reason="r"), wh, store)
    assert o.row["state"] == "candidate" and o.exit_code == 3 and "5 shadows" in str(o) and wh.sql("SELECT status FROM nba_predictions.ml_experiments")["status"][0] == "completed"

def test_a_sixth_shadow_is_refused_before_the_fit(house, monkeypatch):
    "Fails when somebody waits for a fit that cannot be enabled."
    wh, store = house
    monkeypatch.setattr(X, "MAX_SHADOWS", 0); monkeypatch.setattr(X, "train", None)
    with pytest.raises(Refusal, match="side by side"): X.retrain(replace(ASK, enable=True, reason="r"), wh, store)

def test_an_anchored_family_goes_the_whole_way(house):
    "Fails when an anchored model loses its residuals, counts rows without a line, or is judged in points."
    wh, store = house
    o = X.retrain(replace(ASK, loss_function="anchored", min_rows=500), wh, store)
    assert o.plan.family.name == "v9_anchored" and o.plan.rows["line"].null_count() == 0 and o.bundle.anchor["feature"] == "vegas_points_line" and o.bundle.edge_scale == "probability"
    kept = Registry(wh, store).load(o.row)
    assert kept.residuals == sorted(kept.residuals) and len(kept.residuals) != o.scored.height and "probability_vs_market" in {g.id for g in o.report.results} and o.report.summary["edge_scale"] == "probability"
    again = X.judge_again(wh, store, o.bundle.model_id, date(2025, 12, 9), LAST)
    assert again.verdict == o.verdict and again.summary["looks"] == 1 and again.summary["n_3"] == o.report.summary["n_3"]
    training = training_rows(wh, *o.plan.windows.effective)
    assert o.plan.set_aside.get("training rows without a line", 0) == training.height - o.plan.rows.height

def test_the_founding_incident(house):
    "Fails when a retrain inside its own training days is possible, or its splendid claims reach a verdict."
    from nbprops.data.league import simulate
    from nbprops.model.evaluation import metrics, picks
    wh, store = house
    with pytest.raises(Refusal, match="temporal_disjoint"): X.retrain(replace(ASK, eval_days=None, eval_start=date(2025, 11, 18), eval_end=date(2025, 12, 8)), wh, store)
    o = X.retrain(replace(ASK, seeds=1, params={}), wh, store)
    own = evaluation_rows(wh, date(2025, 11, 18), date(2025, 12, 8))
    own = own.with_columns(pl.Series("predicted", o.bundle.predict(own)))
    claim, clean = metrics(own), metrics(o.scored)
    right = lambda s: picks(s).join(simulate(light=True)["truth"], on=["game_id", "player_lookup"]).select(((pl.col("edge") > 0) == (pl.col("true_middle") > pl.col("line"))).mean()).item()
    assert claim["hr_3"] > 85 and claim["mae"] < claim["line_mae"] - 1 and right(own) < .65, "its own days look brilliant and the truth does not"
    assert clean["mae"] > clean["line_mae"] and clean["hr_3"] < 60 and o.verdict in ("SHADOW", "REJECT"), "clean days show the true skill"
    case = X.Case(own, "v9_mae", *o.plan.windows.effective)
    assert X.run_gates(case, "incident-2026-02").verdict == "PROMOTE" and X.run_gates(case)["temporal_disjoint"].verdict == "FAIL" and X.run_gates(case).verdict == "REJECT"
    with pytest.raises(Refusal, match="inside the training"): J.score(own.drop("predicted"), o.bundle)

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
