"A registry that returns nonsense, artefacts that changed, explicit paths: each leaves a sentence, never an exception and never another model."
import json, math, os, re, shutil
from datetime import date, datetime, timezone
from pathlib import Path
import polars as pl, pytest
from nbprops.model.registry import Registry, paths
from nbprops.predict import loading
from nbprops.predict.inspection import load_checks, status_now
from nbprops.predict.loading import ALLOW, ENV, Reading, attempts_json, due, load_fleet, read_live, require_production, snapshot_dir
from nbprops.settings import Refusal
from tests.predict_world import DAY, PRED, copy_world

LOG = "nba_predictions.prediction_execution_log"
NONE = object()

@pytest.fixture
def served(light_home, tmp_path, monkeypatch):
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"home"))
    monkeypatch.delenv(ALLOW, raising=False)
    return copy_world(light_home, tmp_path/"home")

@pytest.fixture(scope="module")
def one_copy(light_home, tmp_path_factory): return copy_world(light_home, tmp_path_factory.mktemp("shared")/"home")

@pytest.fixture
def shared(one_copy, monkeypatch):
    "A world that nobody changes."
    monkeypatch.setenv("NBPROPS_HOME", str(one_copy[0].path.parent))
    return one_copy

def _fleet(wh, store, proven=None):
    with wh.transaction() as tx: return load_fleet(tx, store, {} if proven is None else proven)

def _rows(wh):
    with wh.transaction() as tx: rows = read_live(tx).rows
    return [next(r for r in rows if r["is_production"]), next(r for r in rows if not r["is_production"])]

def _reading(monkeypatch, rows, **more): monkeypatch.setattr(loading, "read_live", lambda tx: Reading([dict(r) for r in rows], **more))

WRONG = [ # column, value, what the reason says
    ("sha256", None, "has no sha256"), ("sha256", 12, "sha256 is '12'"), ("sha256", "unknown", "64 lower-case"), ("sha256", "A"*64, "64 lower-case"), ("bundle_sha256", None, "has no bundle_sha256"), ("bundle_sha256", "0"*64, "0{12}"),
    ("contract_hash", "v9", "contract_hash"), ("contract_hash", "0"*64, "contract_hash is .* in the sidecar"), ("feature_set", "v12", "feature_set is v9 in the sidecar"), ("feature_set", ["v9"], "feature_set"), ("feed_profile", "box+tea_leaves", "feed_profile"),
    ("state", "limbo", "state 'limbo' is unknown"), ("state", None, "state None is unknown"), ("state", "retired", "do not follow"), ("status", "active?", "do not follow"), ("enabled", None, "do not follow"),
    ("model_family", "v12_noveg_q43", "speaks as|gcs_path"), ("model_family", "../../etc", "model_family"), ("model_family", None, "has no model_family"), ("model_file_name", "../passwd.cbm", "model_file_name"), ("model_id", "another", "model_id is"),
    ("gcs_path", "gs://elsewhere/model.cbm", "outside the store"), ("gcs_path", "/etc/passwd", "outside the store"), ("gcs_path", 7, "gcs_path is '7'"), ("system_id", "a b/c", "system_id"), ("training_end_date", "soon", "not a date"),
    ("training_end_date", date(2020, 1, 1), "training_end_date is"), ("model_trained_at", None, "has no model_trained_at"), ("evaluation_mae", math.nan, "not a finite number"), ("evaluation_mae", "4.9", "not a finite number"), ("model_version", "v9_other", "model_version is")]

@pytest.mark.parametrize("column, value, reason", WRONG, ids=[f"{c}={str(v)[:12]}" for c, v, _ in WRONG])
def test_a_row_of_nonsense_leaves_a_reason(shared, monkeypatch, column, value, reason):
    "Would catch a crash, a silent switch, or a shadow that takes production down."
    wh, store, _ = shared
    production, shadow = _rows(wh)
    _reading(monkeypatch, [production, shadow | {column: value}])
    fleet = load_fleet(None, store, {})
    require_production(fleet)
    assert [m.row["sha256"] for m in fleet.models] == [production["sha256"]]
    assert len(fleet.unavailable) == 1 and re.search(reason, fleet.unavailable[0]["reason"]) and not fleet.unavailable[0]["is_production"]
    assert fleet.attempts[fleet.unavailable[0]["system_id"]][-1]["outcome"] not in ("used", "not set")
    _reading(monkeypatch, [production | {column: value}, shadow])
    fleet = load_fleet(None, store, {})
    with pytest.raises(Refusal, match=reason): require_production(fleet)
    assert [m.row["sha256"] for m in fleet.models] == [shadow["sha256"]] and not any(m.system.is_production for m in fleet.models)

def _double(p, s): return [p, p | dict(model_id="m_2", model_file_name="m_2.cbm")], "2 production models of v9_mae", True
def _twice(p, s): return [p, s, dict(s)], "more than once|speak as", False
def _twice_production(p, s): return [p, dict(p), s], "more than once", True
def _borrowed(p, s): return [p, s | dict(system_id="catboost_v9")], "2 live models speak as catboost_v9", False
def _one_voice(p, s): return [p, s, s | dict(model_id="m_3", model_file_name="m_3.cbm")], "2 live models speak as", False
def _rival(p, s): return [p, p | dict(model_id="m_4", model_file_name="m_4.cbm", model_family="v9_q43")], "speak as catboost_v9", True

@pytest.mark.parametrize("case", [_double, _twice, _twice_production, _borrowed, _one_voice, _rival])
def test_rows_that_contradict_each_other(shared, monkeypatch, case):
    "Would catch a worker that picks one of two."
    wh, store, _ = shared
    rows, reason, fatal = case(*_rows(wh))
    _reading(monkeypatch, rows)
    fleet = load_fleet(None, store, {})
    assert any(re.search(reason, u["reason"]) for u in fleet.unavailable)
    if fatal:
        assert not any(m.system.system_id == "catboost_v9" for m in fleet.models)
        with pytest.raises(Refusal, match=reason): require_production(fleet)
    else:
        require_production(fleet)
        assert [m.system.system_id for m in fleet.models] == ["catboost_v9"]

def test_an_id_that_is_live_and_not_live(shared, monkeypatch):
    "Would catch a duplicate of which one half is retired."
    wh, store, _ = shared
    production, shadow = _rows(wh)
    _reading(monkeypatch, [production, shadow], dead=[production["model_id"]])
    with pytest.raises(Refusal, match="more than once"): require_production(load_fleet(None, store, {}))

JUNK = [None, 12, -1.5, math.nan, math.inf, "", "x", "../x", "0"*64, True, [], {}, date(2020, 1, 1), datetime(2020, 1, 1, tzinfo=timezone.utc), b"bytes"]

def test_no_value_in_no_column_is_an_exception(shared, monkeypatch):
    "Would catch the one column that was forgotten: every column times every kind of junk."
    wh, store, _ = shared
    (production, shadow), proven = _rows(wh), {}
    _fleet(wh, store, proven)
    kept = dict(proven)
    for column in production:
        for junk in JUNK:
            _reading(monkeypatch, [production | {column: junk}, shadow])
            fleet = load_fleet(None, store, dict(kept))
            live = [m for m in fleet.models if m.system.is_production]
            assert all(m.row["sha256"] == production["sha256"] and m.system.system_id == "catboost_v9" for m in live), (column, junk)
            assert live or any(u["is_production"] and u["reason"] for u in fleet.unavailable), (column, junk)
            assert json.loads(attempts_json(fleet)["catboost_v9"])

def test_hand_edits_in_the_table_are_named(served):
    "Would catch a model that vanishes because two columns disagree."
    wh, store, _ = served
    wh.sql("UPDATE nba_predictions.model_registry SET enabled = NULL WHERE system_id = 'catboost_v9_shadow'")
    fleet = _fleet(wh, store)
    assert [u["system_id"] for u in fleet.unavailable] == ["catboost_v9_shadow"] and "do not follow" in fleet.unavailable[0]["reason"]
    wh.sql("UPDATE nba_predictions.model_registry SET is_production = FALSE WHERE system_id = 'catboost_v9'")
    with pytest.raises(Refusal, match="do not follow"): require_production(_fleet(wh, store))

def test_the_log_keeps_what_was_tried(served):
    "Would catch a run whose log cannot say where its models came from."
    wh, _, worker = served
    w = worker()
    w.predict(DAY)
    kept = dict(wh.sql(f"SELECT system_id, load_attempts_json FROM {LOG}").iter_rows())
    assert json.loads(kept["catboost_v9"]) == [{"source": "ENV_PATH", "outcome": "not set"}, {"source": "REGISTRY", "outcome": "used"}]
    assert json.loads(kept["catboost_v9_shadow"]) == [{"source": "REGISTRY", "outcome": "used"}] and kept["moving_average"] is None
    wh.sql("ALTER TABLE nba_predictions.model_registry RENAME TO away")
    w.predict(DAY, force=True)
    last = json.loads(wh.sql(f"SELECT load_attempts_json FROM {LOG} WHERE system_id = 'catboost_v9' ORDER BY execution_start_timestamp DESC LIMIT 1").item())
    assert [a["source"] for a in last][:2] == ["ENV_PATH", "REGISTRY"] and last[1]["outcome"].startswith("cannot be read") and last[-1]["outcome"].startswith("used: in service since")

def test_the_snapshot_knows_its_age_and_keeps_no_dead_files(served, monkeypatch):
    "Would catch an age that counts from the last change, and the file of a blocked model that stays within reach."
    wh, store, _ = served
    production, shadow = _rows(wh)
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-20T10:00:00Z"); _fleet(wh, store)
    assert sorted(p.stem for p in snapshot_dir().glob("*.cbm")) == sorted([production["sha256"], shadow["sha256"]])
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-20T15:00:00Z"); _fleet(wh, store)
    (snapshot_dir()/f"{production['sha256']}.cbm").write_bytes(b"rotten")
    Registry(wh, store).block(shadow["model_id"], "test")
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-20T16:00:00Z"); _fleet(wh, store)
    assert [p.stem for p in snapshot_dir().glob("*.cbm")] == [production["sha256"]]
    wh.sql("ALTER TABLE nba_predictions.model_registry RENAME TO away")
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-20T18:00:00Z")
    fleet = _fleet(wh, store)
    assert [m.source for m in fleet.models] == ["SNAPSHOT"] and "2.0 h ago" in fleet.warnings[0] and fleet.models[0].path.endswith(f"{production['sha256']}.cbm")

def test_what_was_missing_is_missing_in_the_snapshot_too(served):
    "Would catch an outage that brings back the model before the last."
    wh, store, _ = served
    _fleet(wh, store)
    os.remove(store.path(paths(_rows(wh)[0])[0]))
    assert not any(m.system.is_production for m in _fleet(wh, store).models)
    wh.sql("ALTER TABLE nba_predictions.model_registry RENAME TO away")
    fleet = _fleet(wh, store)
    assert [m.source for m in fleet.models] == ["SNAPSHOT"]
    with pytest.raises(Refusal, match="not in the store"): require_production(fleet)

@pytest.mark.parametrize("text", ["", "[]", "{}", '{"live": 3}', '{"live": [1], "dead": [], "saved_at": "2025-12-20"}', '{"live": [], "dead": [], "lost": [{}], "saved_at": "2025-12-20"}', '{"live": [{"model_id": 1}], "dead": [], "saved_at": "2025-12-20"}'])
def test_a_snapshot_of_nonsense_serves_nothing(served, text):
    "Would catch an exception, or a model, out of a damaged snapshot."
    wh, store, _ = served
    snapshot_dir().mkdir(exist_ok=True)
    (snapshot_dir()/"registry.json").write_text(text)
    wh.sql("ALTER TABLE nba_predictions.model_registry RENAME TO away")
    fleet = _fleet(wh, store)
    assert not fleet.models and "cannot be read" in fleet.warnings[0]
    assert [a["source"] for a in fleet.attempts["catboost_v9"]][:2] == ["ENV_PATH", "REGISTRY"]
    with pytest.raises(Refusal): require_production(fleet)

def test_rotten_files_in_the_snapshot_are_refused(served, monkeypatch):
    "Would catch cached bytes that nobody hashes; a built-in entry serves only the very same bytes."
    wh, store, _ = served
    _fleet(wh, store)
    production = _rows(wh)[0]
    cached = snapshot_dir()/f"{production['sha256']}.cbm"
    cached.write_bytes(cached.read_bytes()[:-1] + b"x")
    wh.sql("ALTER TABLE nba_predictions.model_registry RENAME TO away")
    fleet = _fleet(wh, store)
    assert "sha256" in next(u["reason"] for u in fleet.unavailable if u["is_production"])
    monkeypatch.setattr(loading, "BUILTIN", (production,))
    fleet = _fleet(wh, store)
    assert next(m.source for m in fleet.models if m.system.is_production) == "BUILTIN"
    assert [a["source"] for a in fleet.attempts["catboost_v9"]] == ["ENV_PATH", "REGISTRY", "SNAPSHOT", "BUILTIN"]

def test_a_builtin_entry_that_is_not_live_stays_out(served, monkeypatch):
    "Would catch a disabled model that lives on in the package."
    wh, store, _ = served
    production, shadow = _rows(wh)
    monkeypatch.setattr(loading, "BUILTIN", (production, shadow))
    for r in (production, shadow): Registry(wh, store).block(r["model_id"], "test")
    _fleet(wh, store)
    wh.sql("ALTER TABLE nba_predictions.model_registry RENAME TO away")
    fleet = _fleet(wh, store)
    assert not fleet.models and fleet.source == "BUILTIN"

def test_without_a_place_for_the_snapshot_the_run_goes_on(served, monkeypatch):
    "Would catch a full disk that stops the slate."
    wh, store, _ = served
    monkeypatch.setattr(loading, "_write_file", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    fleet = _fleet(wh, store)
    assert len(fleet.models) == 2 and "No space left" in fleet.warnings[0]

def test_a_refresh_that_fails_keeps_everything(served, monkeypatch):
    "Would catch models that are lost with the registry when there is no snapshot, and one that asks at every request."
    wh, _, worker = served
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-18T16:00:00Z")
    w = worker()
    shutil.rmtree(snapshot_dir())
    wh.sql("ALTER TABLE nba_predictions.model_registry RENAME TO away")
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-18T16:30:00Z")
    assert due(w.fleet)
    with wh.transaction() as tx: w.refresh(tx)
    assert [m.source for m in w.fleet.models] == ["REGISTRY"]*2 and "were kept" in w.fleet.warnings[0] and not due(w.fleet)
    wh.sql("ALTER TABLE nba_predictions.away RENAME TO model_registry")
    with wh.transaction() as tx: w.refresh(tx)
    assert not w.fleet.warnings

def test_a_registry_that_was_read_is_obeyed(served):
    "Would catch a blocked model that stays in service because it was proven once."
    wh, store, worker = served
    w = worker()
    Registry(wh, store).block(_rows(wh)[0]["model_id"], "test")
    with pytest.raises(Refusal, match="No production model"): w.predict(DAY)
    assert len(w.proven) == 1

@pytest.fixture
def outside(served, tmp_path):
    "A model of the registry, copied to a file of its own under another hash of the registry."
    wh, store, _ = served
    target = tmp_path/"outside"
    target.mkdir()
    for rel in paths(_rows(wh)[1]): shutil.copy(store.path(rel), target)
    return next(target.glob("*.cbm"))

def _forget(wh): wh.sql("DELETE FROM nba_predictions.model_registry WHERE system_id = 'catboost_v9_shadow'")

def test_a_file_with_a_sidecar_and_no_row_serves_with_a_warning(served, outside, monkeypatch):
    "Would catch expected values that nobody measured, or a flag where none is needed."
    wh, _, worker = served
    _forget(wh); monkeypatch.setenv(ENV, str(outside))
    w = worker()
    assert "not in the registry" in w.fleet.warnings[0]
    w.predict(DAY)
    rows = wh.sql(f"SELECT * FROM {PRED} WHERE system_id = 'catboost_v9'")
    assert set(rows["model_load_source"]) == {"ENV_PATH"} and rows["model_expected_mae"].null_count() == rows.height and rows["model_training_end_date"].null_count() == 0
    log = wh.sql(f"SELECT model_path, load_attempts_json FROM {LOG} WHERE system_id = 'catboost_v9'").row(0)
    assert log == (str(outside), '[{"outcome":"used","source":"ENV_PATH"}]')

def test_a_bare_file_needs_permission_and_a_telling_name(served, outside, monkeypatch):
    "Would catch a file without contract that is served by guessing."
    wh, _, worker = served
    _forget(wh); monkeypatch.setenv(ENV, str(outside))
    outside.with_name(outside.stem + ".bundle.json").unlink()
    with pytest.raises(Refusal, match="allow-unregistered.*never falls through"): worker()
    monkeypatch.setenv(ALLOW, "1")
    w = worker()
    assert any("nothing proves" in x for x in w.fleet.warnings) and w.predict(DAY).exit_code == 0
    assert wh.sql(f"SELECT COUNT(*) FROM {PRED} WHERE system_id = 'catboost_v9' AND model_sha256 IS NOT NULL AND model_training_start_date IS NOT NULL AND p_over IS NULL").item() > 0
    outside.rename(outside.with_name("newest.cbm")); monkeypatch.setenv(ENV, str(outside.with_name("newest.cbm")))
    with pytest.raises(Refusal, match="cannot be served"): worker()

def _other_contract(path):
    side = path.with_name(path.stem + ".bundle.json")
    spec = json.loads(side.read_bytes()); spec["contract_hash"] = "0"*64
    side.write_text(json.dumps(spec))
def _nonsense_sidecar(path): path.with_name(path.stem + ".bundle.json").write_text("[]")
def _no_windows(path):
    side = path.with_name(path.stem + ".bundle.json")
    side.write_text(json.dumps({k: v for k, v in json.loads(side.read_bytes()).items() if k != "windows"}))
def _bent_golden(path):
    side = path.with_name(path.stem + ".bundle.json")
    spec = json.loads(side.read_bytes()); spec["golden"]["rows"] = [["a"]]
    side.write_text(json.dumps(spec))
def _flipped(path): path.write_bytes(path.read_bytes()[:-1] + b"x")
def _gone(path): path.unlink()
def _library(path):
    side = path.with_name(path.stem + ".bundle.json")
    spec = json.loads(side.read_bytes()); spec["library_versions"]["catboost"] = "0.26"
    side.write_text(json.dumps(spec))

@pytest.mark.parametrize("harm, reason", [(_other_contract, "contract_hash"), (_nonsense_sidecar, "sidecar"), (_no_windows, "windows"), (_bent_golden, "sidecar|Error"), (_flipped, "sha256"), (_gone, "does not exist"), (_library, "library_version")])
def test_an_explicit_path_that_is_unusable_refuses_to_start(served, outside, monkeypatch, harm, reason):
    "Would catch a fall through to the registry, whatever is wrong with the file."
    wh, store, worker = served
    _forget(wh); harm(outside); monkeypatch.setenv(ENV, str(outside))
    with pytest.raises(Refusal, match=f"(?s)cannot be served.*({reason}).*never falls through"): worker()
    status = status_now(wh, store)
    assert status.exit_code == 1 and [u["system_id"] for u in status.unavailable] == ["catboost_v9"] and re.search(reason, str(status))

def test_an_explicit_path_is_no_way_around_a_block(served, outside, monkeypatch):
    "Would catch a blocked model behind a forgotten setting."
    wh, store, worker = served
    shadow = _rows(wh)[1]
    Registry(wh, store).block(shadow["model_id"], "test")
    monkeypatch.setenv(ENV, str(outside))
    with pytest.raises(Refusal, match="blocked"): worker()

@pytest.mark.parametrize("state, status", [("candidate", None), ("shadow", "active"), ("retired", "deprecated"), ("rejected", None)])
@pytest.mark.parametrize("beside", [True, False])
def test_an_explicit_path_takes_its_facts_from_its_row_in_whatever_state(served, outside, monkeypatch, state, status, beside):
    "Would catch expected values that stay empty because the row is not live, a state that nobody is told, and a sidecar that is missed though the registry names one."
    wh, store, worker = served
    row = _rows(wh)[1]
    wh.sql("UPDATE nba_predictions.model_registry SET state = @s, status = COALESCE(@t, status), enabled = @s = 'shadow' WHERE model_id = @m", s=state, t=status, m=row["model_id"])
    if not beside: outside.with_name(outside.stem + ".bundle.json").unlink()
    monkeypatch.setenv(ENV, str(outside))
    w = worker()
    mine = next(m for m in w.fleet.models if m.system.system_id == "catboost_v9")
    assert mine.source == "ENV_PATH" and mine.row["model_id"] == row["model_id"] and mine.row["evaluation_mae"] == row["evaluation_mae"] is not None
    assert [x for x in w.fleet.warnings if outside.name in x] == [f"{outside.name} is served by its path, the registry calls it {state}"]
    w.predict(DAY, systems=["catboost_v9"])
    got = wh.sql(f"SELECT DISTINCT model_load_source, model_sha256, model_expected_mae, model_expected_hit_rate FROM {PRED}").rows()
    assert got == [("ENV_PATH", row["sha256"], row["evaluation_mae"], row["evaluation_hit_rate_edge_3plus"])]

def test_a_registry_that_cannot_be_asked_is_not_one_that_does_not_know(served, outside, monkeypatch):
    "Would catch a warning that a model is not registered when nobody could look."
    wh, store, worker = served
    Registry(wh, store).disable(_rows(wh)[1]["model_id"], reason="test")
    worker()
    wh.sql("ALTER TABLE nba_predictions.model_registry RENAME TO away")
    monkeypatch.setenv(ENV, str(outside))
    warned = [x for x in worker().fleet.warnings if outside.name in x]
    assert len(warned) == 1 and "cannot be looked up in the registry (" in warned[0] and "not in the registry" not in warned[0]

def test_status_shows_every_check(served):
    "Would catch a status that is green without having looked."
    wh, store, _ = served
    status = status_now(wh, store)
    assert status.exit_code == 0 and all(c["ok"] for m in status.models for c in m["checks"])
    assert {c["check"] for c in status.models[0]["checks"]} == {"file", "sha256", "sidecar", "contract", "names", "golden rows", "library"}
    text = str(status)
    assert all(m["sha256"] in text and m["model_id"] in text for m in status.models) and "largest gap" in text and "ENV_PATH: not set" in text and "last read" in text
    os.remove(store.path(paths(_rows(wh)[1])[0]))
    assert status_now(wh, store).exit_code == 0 and "catboost_v9_shadow (shadow) is UNAVAILABLE" in str(status_now(wh, store))
    os.remove(store.path(paths(_rows(wh)[0])[0]))
    assert status_now(wh, store).exit_code == 1

def test_checks_look_at_the_bytes_of_now(served):
    "Would catch a check of what is in memory."
    wh, store, worker = served
    m = worker().fleet.models[0]
    path = Path(store.path(paths(m.row)[0]))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert {c["check"]: c["ok"] for c in load_checks(m, store)}["sha256"] is False
    path.unlink()
    assert [(c["check"], c["ok"]) for c in load_checks(m, store)] == [("file", False)]

def test_without_a_warehouse_the_snapshot_is_shown(served):
    "Would catch a status that fails where it is needed most."
    wh, store, _ = served
    _fleet(wh, store)
    wh.path.unlink()
    status = status_now(wh, store)
    assert status.registry_read_from == "SNAPSHOT" and "No warehouse" in str(status) and status.exit_code == 0
