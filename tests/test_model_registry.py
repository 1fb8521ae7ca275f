"Registry: every illegal move is refused and leaves no trace, and files are what they say."
import json, shutil
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
import numpy as np
import polars as pl
import pytest
from nbprops.data.artifacts import Store
from nbprops.data.tables import table
from nbprops.data.warehouse import Warehouse
from nbprops.model import moves, registry as R
from nbprops.settings import Refusal, canonical_json, now, today
from tests.model_toys import bundle

@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    "An empty, migrated warehouse to copy."
    w = Warehouse(tmp_path_factory.mktemp("registry")/"empty.duckdb"); w.migrate()
    return w.path

@pytest.fixture
def reg(migrated, tmp_path):
    "A registry on a warehouse and a store of its own."
    return R.Registry(Warehouse(shutil.copy(migrated, tmp_path/"w.duckdb")), Store(str(tmp_path/"store")))

def enter(reg, minute=0, verdict="PROMOTE", state="candidate", **k):
    "Upload and register a toy model; returns its id."
    b = bundle(minute, seed=minute, **k)
    return reg.register(b, reg.upload(b), state, gate_policy="default", gate_verdict=verdict)["model_id"]

def put(reg, minute, state):
    "A model in a wanted state, by legal moves only."
    m = enter(reg, minute, "REJECT" if state == "rejected" else "PROMOTE", "rejected" if state == "rejected" else "candidate", family=f"v9_q{10 + minute}")
    for step in {"shadow": [reg.enable], "production": [reg.enable, reg.promote], "retired": [lambda x: reg.retire(x, "r")], "blocked": [lambda x: reg.block(x, "r")]}.get(state, []): step(m)
    assert reg.get(m)["state"] == state
    return m

SOON = datetime.now(timezone.utc) + timedelta(days=300)
COMMANDS = {"enable": (lambda g, m: g.enable(m), "shadow"), "disable": (lambda g, m: g.disable(m, "r"), "candidate"), "promote": (lambda g, m: g.promote(m), "production"),
            "retire": (lambda g, m: g.retire(m, "r"), "retired"), "rollback": (lambda g, m: g.rollback(g.get(m)["model_family"], m, "r"), "production"),
            "block": (lambda g, m: g.block(m, "r"), "blocked"), "unblock": (lambda g, m: g.unblock(m, "r"), "shadow"), "override": (lambda g, m: g.override(m, "vegas_bias", "r", SOON), "candidate")}

def everything(reg):
    "Rows, history and manifests: what must not change when a move is refused."
    history = reg.wh.sql(f"SELECT * FROM {R.HISTORY} ORDER BY transition_id")
    return reg.rows(), history, {p: reg.store.get(p) for p in reg.store.list()}

def same(a, b): return a[0].equals(b[0]) and a[1].equals(b[1]) and a[2] == b[2]

def test_every_illegal_transition_is_refused(reg):
    "Fails when any command moves a model in a way that the table does not allow, or leaves something changed."
    models = {s: put(reg, i, s) for i, s in enumerate(R.DERIVED)}
    before, tried = everything(reg), 0
    for state, m in models.items():
        for command, (act, to) in COMMANDS.items():
            if command in R.TRANSITIONS.get((state, to), ()): continue
            with pytest.raises(Refusal): act(reg, m)
            tried += 1
    assert tried == 6*8 - 13 and same(before, everything(reg))

def test_every_legal_transition_works(reg):
    "Fails when a move of the table cannot be made."
    for i, ((state, to), commands) in enumerate(R.TRANSITIONS.items()):
        for command in commands & set(COMMANDS):
            if (state, to, command) in {("production", "retired", "promote"), ("production", "retired", "rollback"), ("retired", "production", "rollback")}: continue
            m = put(reg, 20 + i, state)
            COMMANDS[command][0](reg, m)
            row = reg.get(m)
            assert (row["state"], row["status"], row["enabled"], row["is_production"]) == (to, *R.DERIVED[to])
    assert reg.validate().height == 0

def test_derived_columns_cannot_disagree(reg):
    "Fails when a row may say enabled and blocked at once: two days without picks in the record."
    m = enter(reg)
    for wrong in (dict(enabled=True), dict(is_production=True), dict(status="production"), dict(state="shadow"), dict(sha256="abc"), dict(enabled=None)):
        before = everything(reg)
        with pytest.raises(Refusal, match="contradicts"):
            with moves.opened(reg) as here: moves._save(here, {**here.get(m), **wrong})
        assert same(before, everything(reg))

def test_one_production_per_family(reg):
    "Fails when two promotions of one family can both succeed."
    a, b = enter(reg, 1), enter(reg, 2)
    reg.enable(a); reg.enable(b); reg.promote(a)
    row = reg.get(b)
    with pytest.raises(Refusal, match="2 production models"):
        with moves.opened(reg) as here: moves.move(here, b, "production", "promote", "race", "me")
    assert reg.production("v9_mae")["model_id"] == a and reg.get(b) == row

def test_races_of_two_promotions(reg):
    "Fails when two processes that both saw a free family leave two production models, or none."
    from concurrent.futures import ThreadPoolExecutor
    a, b = enter(reg, 1), enter(reg, 2)
    reg.enable(a); reg.enable(b)
    def go(m):
        try: reg.promote(m, initial=True, reason="race"); return True
        except Refusal: return False
    with ThreadPoolExecutor(2) as two: won = list(two.map(go, (a, b)))
    assert sum(won) == 1 and reg.rows("is_production").height == 1 and reg.validate().height == 0

def test_promote_retires_the_old_one_and_rollback_returns_it(reg):
    "Fails when a promotion is not one transaction, or a rollback needs more than one command."
    a, b = enter(reg, 1), enter(reg, 2)
    reg.enable(a); reg.promote(a); reg.enable(b, alias="catboost_v9_shadow")
    assert reg.get(b)["system_id"] == "catboost_v9_shadow" and reg.get(a)["system_id"] == "catboost_v9"
    graded(reg, b, a, days=5, rows=20)
    reg.promote(b)
    assert (reg.get(a)["state"], reg.get(b)["system_id"]) == ("retired", "catboost_v9") and reg.get(a)["production_end_date"] is not None and reg.get(b)["production_start_date"] is not None
    assert reg.rollback("v9_mae", reason="leaned UNDER")["model_id"] == a and reg.get(b)["state"] == "retired"
    assert reg.manifest("v9_mae")["production_model"] == a and reg.store.get_json("catboost/v9_mae/manifest.json")["models"][b]["deprecation_reason"].startswith("succeeded by")

def graded(reg, shadow, live, days, rows, worse=0.0):
    "Graded rows of two models on the same player-games."
    t, rng = table("nba_predictions.prediction_accuracy"), np.random.default_rng(0)
    n = days*rows
    actual = rng.integers(5, 30, n)
    for m, off in ((shadow, worse), (live, 0.0)):
        fill = {"STRING": "x", "DATE": date(2026, 2, 1), "FLOAT64": 1.0, "NUMERIC(5,1)": 20.5, "BOOL": False, "INT64": 1, "TIMESTAMP": datetime(2026, 2, 1, tzinfo=timezone.utc)}
        base = {c.name: [fill[c.type]]*n for c in t.columns[:t.declared] if c.required}
        own = dict(prediction_id=[f"{m}{i}" for i in range(n)], game_id=[f"g{i//rows}" for i in range(n)], player_lookup=[f"p{i}" for i in range(n)], system_id=[m]*n, model_id=[m]*n, game_date=[date(2026, 2, 1 + i//rows) for i in range(n)],
                   prediction_made_before_game=[True]*n, predicted_points=np.clip(actual + 3 + off, 0, 60).astype(float), actual_points=actual, line_value=[20.5]*n, recommendation=["OVER"]*n, result=["WIN"]*n, confidence_score=[.8]*n, grade_version=[1]*n)
        assert reg.wh.write("nba_predictions.prediction_accuracy", pl.DataFrame(base | own, strict=False)).quarantined == 0

@pytest.mark.parametrize("days, rows, worse, why", [(1, 80, 0.0, "1 dates"), (4, 10, 0.0, "40 graded rows"), (5, 20, 4.0, "shown to be worse")])
def test_promotion_needs_evidence_beside_production(reg, days, rows, worse, why):
    "Fails when a shadow without two dates, fifty rows or an even comparison becomes production."
    a, b = enter(reg, 1), enter(reg, 2)
    reg.enable(a); reg.promote(a); reg.enable(b); graded(reg, b, a, days, rows, worse)
    before = everything(reg)
    with pytest.raises(Refusal, match=why): reg.promote(b)
    assert same(before, everything(reg))

def test_insufficient_never_promotes_except_initially(reg):
    "Fails when a SHADOW verdict becomes production without an override on record, or a REJECT does at all."
    a = enter(reg, 1, "SHADOW"); reg.enable(a)
    with pytest.raises(Refusal, match="not PROMOTE"): reg.promote(a)
    with pytest.raises(Refusal, match="reason"): reg.promote(a, initial=True)
    reg.promote(a, initial=True, reason="first")
    assert reg.history(a)["is_override"].to_list() == [False, False, True] and reg.standing(a) == "unproven"
    b = enter(reg, 2, "PROMOTE"); reg.enable(b)
    with pytest.raises(Refusal, match="has a production model"): reg.promote(b, initial=True, reason="again")

def test_dirty_tree_backs_no_promotion(reg):
    "Fails when a verdict that nobody can repeat promotes."
    b = bundle(3, git_commit="0"*40 + "-dirty")
    m = reg.register(b, reg.upload(b), gate_policy="default", gate_verdict="PROMOTE")["model_id"]; reg.enable(m)
    with pytest.raises(Refusal, match="uncommitted"): reg.promote(m)

def test_at_most_five_shadows(reg):
    "Fails when a family can run a sixth shadow."
    for i in range(5): reg.enable(enter(reg, i))
    with pytest.raises(Refusal, match="5 shadows"): reg.enable(enter(reg, 9))

def test_rejected_needs_a_dated_override(reg):
    "Fails when an override has no expiry, or leads straight to shadow."
    m = enter(reg, 1, "REJECT", "rejected")
    with pytest.raises(Refusal, match="future"): reg.override(m, "vegas_bias", "r", datetime(2020, 1, 1, tzinfo=timezone.utc))
    row = reg.override(m, "vegas_bias", "known bad lines", SOON)
    last = reg.history(m).row(-1, named=True)
    assert row["state"] == "candidate" and last["is_override"] and last["override_expires_at"] is not None and json.loads(last["evidence_json"]) == {"gate": "vegas_bias"}

def _slate(reg, model_id):
    "One played and one unplayed game of today with an active prediction and a published pick each."
    day = today()
    games = pl.DataFrame([dict(game_id=g, season="2025-26", away_team_tricode="BOS", home_team_tricode="NYK", game_date=day, game_status=s, is_playoffs=False, neutral_site=False) for g, s in (("g1", 1), ("g3", 3))])
    reg.wh.write("nba_reference.nba_schedule", games)
    fill = {"STRING": "x", "DATE": day, "FLOAT64": 1.0, "BOOL": False, "INT64": 1, "TIMESTAMP": datetime(2026, 2, 1, tzinfo=timezone.utc), "ARRAY<STRING>": ["x"], "NUMERIC(5,1)": 20.5}
    both = [(g, m) for g in ("g1", "g3") for m in (model_id, "other")]
    preds = [dict(prediction_id=g + m, game_id=g, system_id=m, model_id=m, player_lookup="p", is_active=True, model_load_source="CODE", has_prop_line=True, line_value=20.5) for g, m in both]
    picks = [dict(player_lookup=g + m, game_id=g, source_model_id=m, policy="default", publication_version=1, line_value=20.5) for g, m in both]
    for name, own in (("nba_predictions.player_prop_predictions", preds), (R.PICKS, picks)):
        t = table(name)
        base = {c.name: fill[c.type] for c in t.columns[:t.declared] if c.required}
        assert reg.wh.write(name, pl.DataFrame([base | o for o in own])).quarantined == 0

def test_block_cascade(reg):
    "Fails when a blocked model stays on the slate, or another model's rows and played games are touched."
    m = enter(reg); reg.enable(m); _slate(reg, m)
    out = reg.block(m, "wrong lines")
    assert (out["predictions_withdrawn"], out["picks_retracted"]) == (1, 1)
    live = reg.wh.sql("SELECT game_id, model_id, is_active, invalidation_reason FROM nba_predictions.player_prop_predictions ORDER BY 1, 2")
    assert live.filter(~pl.col("is_active")).select("game_id", "model_id", "invalidation_reason").rows() == [("g1", m, "model blocked: wrong lines")]
    picks = reg.wh.sql(f"SELECT publication_version, game_id, source_model_id, is_retracted FROM {R.PICKS} ORDER BY 1, 2, 3")
    assert picks.height == 8 and picks.filter("is_retracted").rows() == [(2, "g1", m, True)]
    reg.unblock(m, "rebuilt"); assert reg.get(m)["state"] == "shadow"

def test_block_after_the_tip_touches_nothing(reg):
    "Fails when a schedule that lags behind the game lets a block erase what was served."
    m = enter(reg); reg.enable(m); _slate(reg, m)
    tip = lambda hours: reg.wh.sql("UPDATE nba_reference.nba_schedule SET game_start_utc = @t WHERE game_id = 'g1'", t=now() + timedelta(hours=hours))
    tip(-1)
    late = reg.block(m, "late"); reg.unblock(m, "again"); tip(1)
    early = reg.block(m, "in time")
    assert [x[k] for x in (late, early) for k in ("predictions_withdrawn", "picks_retracted")] == [0, 0, 1, 1]
    when = reg.wh.sql("SELECT game_id, model_id, invalidated_at IS NOT NULL AS dated FROM nba_predictions.player_prop_predictions ORDER BY 1, 2")
    assert when.filter("dated").select("game_id", "model_id").rows() == [("g1", m)]

def test_swapped_truncated_or_missing_files_are_refused(reg):
    "Fails when a model whose file is not the registered one can be given a role."
    m = enter(reg, 1); row = reg.get(m)
    path = Path(reg.store.path(R.paths(row)[0])); good = path.read_bytes()
    for bad in (good[:-100], bundle(2, seed=5).cbm, None):
        path.unlink() if bad is None else path.write_bytes(bad)
        before = everything(reg)
        with pytest.raises(Refusal): reg.enable(m)
        assert reg.validate().height == 1 and same(before, everything(reg))
        path.write_bytes(good)
    reg.enable(m)

def test_edited_sidecar_is_refused(reg):
    "Fails when the evidence in a sidecar can be edited after registration."
    m = enter(reg, 1); row = reg.get(m)
    path = Path(reg.store.path(R.paths(row)[1]))
    spec = json.loads(path.read_bytes()); spec["evaluation"]["mae"] = 3.0; path.write_text(canonical_json(spec))
    with pytest.raises(Refusal, match="not the file that was registered"): reg.enable(m)

def test_same_name_twice_is_refused(reg):
    "Fails when a second file can take the name of a registered one, or the same file again is refused."
    b = bundle(1); uri = reg.upload(b); reg.register(b, uri)
    assert reg.upload(b) == uri
    with pytest.raises(Refusal, match="exists already"): reg.upload(bundle(1, seed=9))
    with pytest.raises(Refusal, match="registered already"): reg.register(b, uri)

def test_manifest_failure_rolls_the_registry_back(reg, monkeypatch):
    "Fails when the registry moves although its manifest could not be written."
    m = enter(reg, 1); before = everything(reg)
    def broken(self, rel, obj, generation=None): raise OSError("disk full")
    monkeypatch.setattr(Store, "put_json", broken)
    with pytest.raises(OSError): reg.enable(m)
    monkeypatch.undo()
    assert same(before, everything(reg)) and reg.validate().height == 0

def test_killed_between_manifest_and_commit(reg, monkeypatch):
    "Fails when a process that dies after the manifest was written leaves a contradiction that nothing finds or mends."
    m = enter(reg, 1); real = moves.publish
    def dies(here, family): real(here, family); raise KeyboardInterrupt
    monkeypatch.setattr(moves, "publish", dies)
    with pytest.raises(KeyboardInterrupt): reg.enable(m)
    monkeypatch.undo()
    assert reg.get(m)["state"] == "candidate" and reg.validate()["fault"].to_list() == ["the manifest differs from the registry; it was renewed"]
    assert reg.repair() == [] and reg.validate().height == 0

def test_history_is_append_only_and_complete(reg):
    "Fails when a move leaves no reason, or the history does not end in the present state."
    m = enter(reg, 1); reg.enable(m); reg.disable(m, "too early"); reg.enable(m); reg.retire(m, "enough")
    h = reg.history(m)
    assert h["to_state"].to_list() == ["candidate", "shadow", "candidate", "shadow", "retired"] and h["from_state"].to_list()[1:] == h["to_state"].to_list()[:-1]
    assert h["reason"].str.len_chars().min() > 0 and h["sha256"].n_unique() == 1
    with pytest.raises(Refusal, match="reason"): reg.block(m, " ")

def test_shadow_filter_of_the_worker(reg):
    "Fails when the loading filter selects anything but the shadows."
    a, b, c = enter(reg, 1), enter(reg, 2), enter(reg, 3)
    reg.enable(a); reg.enable(b); reg.promote(b)
    found = reg.wh.sql("SELECT model_id FROM nba_predictions.model_registry WHERE enabled = TRUE AND is_production = FALSE AND status = 'active'")
    assert found["model_id"].to_list() == [a] == reg.shadows()["model_id"].to_list()

@pytest.mark.parametrize("spoil", ["game_date = DATE_SUB(game_date, INTERVAL 20 DAY)", "prediction_made_before_game = FALSE", "prediction_run_mode = 'BACKFILL'"])
def test_only_honest_forecasts_are_evidence(reg, spoil):
    "Fails when days of the training, back-filled rows or rows made after the game speak for a promotion."
    a, b = enter(reg, 1), enter(reg, 2)
    reg.enable(a); reg.promote(a); reg.enable(b); graded(reg, b, a, days=5, rows=20)
    assert reg.pairs(b, a).height == 100
    for m in (a, b):
        reg.wh.sql(f"UPDATE nba_predictions.prediction_accuracy SET {spoil} WHERE model_id = @m", m=m)
        if "game_date" not in spoil or m == b: assert reg.pairs(b, a).height == 0 == reg.shadow_report()["rows"][0]
    with pytest.raises(Refusal, match="0 graded rows"): reg.promote(b)

@pytest.mark.parametrize("commit", ["b"*40 + "-dirty", "unknown", ""])
def test_a_model_nobody_can_repeat_is_not_promoted(reg, commit):
    "Fails when a clean judgement hides that the model itself came from an uncommitted or unnamed tree."
    m = enter(reg, 1); reg.enable(m)
    reg.wh.sql("UPDATE nba_predictions.model_registry SET git_commit = @c WHERE model_id = @m", c=commit, m=m)
    reg.wh.write("nba_predictions.ml_experiments", pl.DataFrame([dict(experiment_id="e1", name="later", experiment_type="gates", status="completed", config_json="{}", data_snapshot_hash="0", git_commit="0"*40, tags=[], model_id=m, gate_policy="default", gate_verdict="PROMOTE", completed_at=now())]))
    with pytest.raises(Refusal, match="training"): reg.promote(m)

def test_an_override_names_a_real_gate(reg):
    "Fails when an override is recorded for a gate that no policy has."
    m = enter(reg, 1, "REJECT", "rejected")
    with pytest.raises(Refusal, match="No gate is called"): reg.override(m, "vegas_biass", "r", SOON)

@pytest.mark.parametrize("alias", ["catboost_v9", "catboost_v12_noveg_q43", "catboost_v31_huber"])
def test_names_of_production_are_reserved_before_the_family_exists(reg, alias):
    "Fails when a shadow speaks under the name that a family's first production model will need."
    m = enter(reg, 1, family="v9_huber")
    with pytest.raises(Refusal, match="name of a production model"): reg.enable(m, alias=alias)
    assert reg.enable(m, alias="catboost_v9_huber_shadow")["state"] == "shadow"
