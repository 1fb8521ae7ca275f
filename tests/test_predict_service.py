"The service: what it accepts, what it answers, what it proves about itself, and how it ends."
import json, os, shutil, signal, subprocess, threading, time, urllib.request
from pathlib import Path
import pytest
from nbprops.model.registry import Registry, paths
from nbprops.predict.service import LIMIT, Service, _socket, create_app, log_line
from nbprops.predict.worker import NothingPredicted
from nbprops.settings import Refusal
from tests.player import NBPROPS
from tests.predict_world import LAST, PRED, copy_world
client_of = pytest.importorskip("starlette.testclient").TestClient

NOON = "2025-12-19T16:30:00Z"

@pytest.fixture
def served(light_home, tmp_path, monkeypatch):
    "A served world at noon of the last slate, its service, and a client."
    monkeypatch.setenv("NBPROPS_NOW", NOON)
    wh, store, worker = copy_world(light_home, tmp_path/"home")
    lines = []
    service = Service(worker(), say=lines.append)
    service.lines = lines
    with client_of(create_app(service), raise_server_exceptions=False) as client: yield wh, store, service, client

def _events(service): return [json.loads(x) for x in service.lines]
def _row(wh, store, system): return Registry(wh, store).rows("system_id = @s", s=system).row(0, named=True)

def test_a_request_is_a_run(served):
    "Would catch an answer that differs from the command's, or a run that leaves nothing behind."
    wh, _, service, client = served
    r = client.post("/predict", json={"date": str(LAST), "mode": "SAME_DAY"})
    body = r.json()
    assert r.status_code == 200 and body["exit_code"] == 0 and body["written"] == wh.sql(f"SELECT COUNT(*) FROM {PRED} WHERE run_id = @r", r=body["run_id"]).item() > 0
    assert set(body["models"]) == {"catboost_v9", "catboost_v9_shadow"} and body["changed"] == [] and {s["system_id"] for s in body["systems"]} == {*body["models"], "moving_average", "zone_matchup_v1", "similarity_balanced_v1", "ensemble_v1", "ensemble_v1_1"}
    again = client.post("/predict", json={"date": str(LAST)}).json()
    assert again["written"] == 0 and again["exit_code"] == 0
    one = client.post("/predict", json={"force": True, "systems": ["catboost_v9"]}).json()
    assert {s["system_id"] for s in one["systems"]} == {"catboost_v9"} and one["written"] > 0
    ended = [e for e in _events(service) if e["event"] == "run_ended"]
    assert [e["run_id"] for e in ended][0] == body["run_id"] and all(set(e) >= {"time", "severity", "service", "revision", "event", "run_id"} for e in _events(service))

@pytest.mark.parametrize("body, words", [("{", "no JSON"), ("[]", "no JSON object"), ('{"date": "tomorrow"}', "no date"), ('{"date": 20260201}', "'date' is"), ('{"mode": "NOON"}', "run mode"), ('{"mode": "BACKFILL"}', "not served here"), ('{"forced": true}', "forced"),
                                         ('{"force": 1}', "'force' is"), ('{"systems": "catboost_v9"}', "'systems' is"), ('{"systems": []}', "'systems' is"), ('\xff', "no JSON")])
def test_a_request_that_says_nothing_is_refused(served, body, words):
    "Would catch a word that is ignored."
    _, _, service, client = served
    r = client.post("/predict", content=body.encode("latin-1"))
    assert r.status_code == 422 and words in r.json()["what"] and set(r.json()) == {"what", "why", "mend", "exit_code"} and r.json()["exit_code"] == 2
    assert not any(e["event"] == "run_started" for e in _events(service))

def test_what_cannot_be_done_now_is_409_and_what_failed_is_500(served, monkeypatch):
    "Would catch a failed run that is green to a scheduler."
    wh, _, service, client = served
    assert client.post("/predict", json={"systems": ["catboost_v7"]}).status_code == 409
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-20T08:00:00Z")
    late = client.post("/predict", json={"date": str(LAST)})
    assert late.status_code == 409 and "has begun" in late.json()["what"]
    monkeypatch.setenv("NBPROPS_NOW", NOON)
    monkeypatch.setattr(service.worker, "predict", lambda *a, **k: (_ for _ in ()).throw(NothingPredicted("No prediction", "17 x no_feature_row")))
    assert client.post("/predict").status_code == 500
    monkeypatch.setattr(service.worker, "predict", lambda *a, **k: (_ for _ in ()).throw(MemoryError("s3://key:secret@bucket")))
    broke = client.post("/predict")
    assert broke.status_code == 500 and broke.json()["exit_code"] == 3 and "MemoryError" in broke.json()["what"]
    assert any(e["event"] == "broke" and e["error"] == "MemoryError" for e in _events(service)) and "secret" not in "".join(service.lines)
    monkeypatch.undo()
    assert not service.lock.locked()

def test_a_production_system_that_failed_is_not_green(served, monkeypatch):
    "Would catch a 200 while only the shadow and the baseline were written."
    _, _, service, client = served
    kind = type(service.worker.fleet.models[0].system)
    real = kind.predict
    monkeypatch.setattr(kind, "predict", lambda self, rows: (_ for _ in ()).throw(ValueError("boom")) if self.system_id == "catboost_v9" else real(self, rows))
    r = client.post("/predict")
    assert r.status_code == 500 and r.json()["exit_code"] == 1 and r.json()["written"] > 0
    assert [e["severity"] for e in _events(service) if e["event"] == "run_ended"] == ["ERROR"]

def test_too_long_too_wrong_and_nowhere(served):
    "Would catch a body that is read to its end, or an address that answers in another form."
    _, _, service, client = served
    assert client.post("/predict", content=b" "*(LIMIT + 1)).status_code == 413
    assert client.get("/predict").status_code == 405 and client.get("/elsewhere").status_code == 404 and "GET /health" in client.get("/elsewhere").json()["mend"]
    assert [e["status"] for e in _events(service) if e["event"] == "request"] == [413, 405, 404, 404]

def test_one_run_at_a_time(served, monkeypatch):
    "Would catch two runs of one worker side by side, or a health check that waits for one."
    _, _, service, client = served
    inside, go = threading.Event(), threading.Event()
    real = service.worker.predict
    monkeypatch.setattr(service.worker, "predict", lambda *a, **k: (inside.set(), go.wait(30), real(*a, **k))[2])
    first = []
    t = threading.Thread(target=lambda: first.append(client.post("/predict")))
    t.start(); assert inside.wait(10)
    second = client.post("/predict")
    assert second.status_code == 409 and "SAME_DAY for 2025-12-19" in second.json()["what"] and client.get("/health").json()["busy"]
    assert client.get("/health/deep").status_code == 200
    go.set(); t.join(60)
    assert first[0].status_code == 200 and client.get("/health").json()["busy"] is None

def test_health_never_touches_the_warehouse(served):
    "Would catch a live process that is killed because the warehouse is away."
    wh, _, _, client = served
    wh.path.unlink()
    assert client.get("/health").json()["status"] == "alive"
    deep = client.get("/health/deep")
    assert deep.status_code == 503 and any("registry: No warehouse" in f for f in deep.json()["failing"])

def _swapped(wh, store, row):
    path = Path(store.path(paths(row)[0]))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
def _vanished(wh, store, row): os.remove(store.path(paths(row)[0]))
def _lost_sidecar(wh, store, row): os.remove(store.path(paths(row)[1]))
def _other_sidecar(wh, store, row): shutil.copy(store.path(paths(_row(wh, store, "catboost_v9_shadow"))[1]), store.path(paths(row)[1]))
def _blocked(wh, store, row): Registry(wh, store).block(row["model_id"], "test")
def _edited(wh, store, row): wh.sql("UPDATE nba_predictions.model_registry SET sha256 = @s WHERE model_id = @m", s="0"*64, m=row["model_id"])
def _away(wh, store, row): wh.sql("ALTER TABLE nba_predictions.model_registry RENAME TO away")

def _promoted(wh, store) -> dict:
    "The shadow in the champion's place."
    old, new = _row(wh, store, "catboost_v9"), _row(wh, store, "catboost_v9_shadow")
    wh.sql("UPDATE nba_predictions.model_registry SET state = 'retired', status = 'deprecated', enabled = FALSE, is_production = FALSE WHERE model_id = @m", m=old["model_id"])
    wh.sql("UPDATE nba_predictions.model_registry SET state = 'production', status = 'production', is_production = TRUE, system_id = 'catboost_v9' WHERE model_id = @m", m=new["model_id"])
    return new

@pytest.mark.parametrize("harm, check", [(_swapped, "sha256"), (_vanished, "file"), (_lost_sidecar, "file"), (_other_sidecar, "sidecar"), (_blocked, "registry"), (_edited, "registry"), (_away, "registry")])
def test_deep_health_names_what_is_wrong(served, harm, check):
    "Would catch a service that is well while its bytes are not."
    wh, store, service, client = served
    assert client.get("/health/deep").status_code == 200
    harm(wh, store, _row(wh, store, "catboost_v9"))
    r = client.get("/health/deep")
    assert r.status_code == 503 and any(f.startswith(f"catboost_v9: {check}: ") for f in r.json()["failing"])
    assert client.get("/health").status_code == 200 and any(e["event"] == "deep_health_failed" for e in _events(service))

def test_a_sick_shadow_is_no_sickness(served):
    "Would catch a shadow that takes the service out of rotation."
    wh, store, _, client = served
    _vanished(wh, store, _row(wh, store, "catboost_v9_shadow"))
    assert client.get("/health/deep").status_code == 200

def test_another_model_without_a_restart(served):
    "Would catch a service that goes on with the old model, or switches without a word."
    wh, store, service, client = served
    assert client.post("/predict").json()["changed"] == []
    old, new = _row(wh, store, "catboost_v9"), _promoted(wh, store)
    body = client.post("/predict").json()
    assert body["models"]["catboost_v9"]["sha256"] == new["sha256"] and f"catboost_v9 is now served by {new['model_id']}, before by {old['model_id']}" in body["changed"]
    assert wh.sql(f"SELECT DISTINCT model_sha256 FROM {PRED} WHERE run_id = @r AND system_id = 'catboost_v9'", r=body["run_id"])["model_sha256"].to_list() == [new["sha256"]]
    assert any(e["event"] == "model_changed" and e["run_id"] == body["run_id"] for e in _events(service))
    assert client.get("/health/deep").status_code == 200 and client.post("/predict").json()["changed"] == []

def test_a_promotion_is_no_sickness(served):
    "Would catch a service that is taken out of rotation by every promotion until the registry is read again, and one that is well with a new model whose bytes are not."
    wh, store, service, client = served
    new = _promoted(wh, store)
    deep = client.get("/health/deep")
    assert deep.status_code == 200 and [s["model_id"] for s in deep.json()["systems"]] == [new["model_id"]] and not any(e["event"] == "deep_health_failed" for e in _events(service))
    assert client.post("/predict").json()["models"]["catboost_v9"]["sha256"] == new["sha256"]

def test_a_promotion_of_bytes_that_are_gone_is_one(served):
    "Would catch a re-read that forgives a model which cannot be loaded."
    wh, store, _, client = served
    _vanished(wh, store, _row(wh, store, "catboost_v9_shadow"))
    before = client.get("/health/deep").status_code
    _promoted(wh, store)
    deep = client.get("/health/deep")
    assert (before, deep.status_code) == (200, 503) and any(f.startswith("catboost_v9: ") for f in deep.json()["failing"])

def test_between_runs_the_registry_is_read_every_ten_minutes(served, monkeypatch):
    "Would catch a status that is never, or always, fresh; and one that forgets its models."
    wh, store, service, client = served
    Registry(wh, store).block(_row(wh, store, "catboost_v9_shadow")["model_id"], "test")
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T16:39:00Z")
    assert len(client.get("/status").json()["models"]) == 2
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T16:40:00Z")
    status = client.get("/status").json()
    assert [m["system_id"] for m in status["models"]] == ["catboost_v9"] and all(c["ok"] for c in status["models"][0]["checks"]) and status["models"][0]["attempts"][-1]["outcome"] == "used"
    _away(wh, store, None)
    monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T17:00:00Z")
    assert client.get("/status").json()["models"] and "were kept" in client.get("/status").json()["warnings"][0]

def test_no_secret_in_a_line(served, monkeypatch):
    "Would catch a key in a log."
    _, _, service, client = served
    client.post("/predict", content=b'{"forced": "s3://key:secret@bucket"}')
    service.log("x", message="gs://b/m?token=secret and https://me:secret@host/x")
    assert "secret" not in "".join(service.lines) and "me" not in json.loads(log_line("x", m="https://me:k@h"))["m"].split("@")[0].split("//")[1]

def _free_run(home, **env):
    "A service in a process of its own, and its address."
    p = subprocess.Popen([NBPROPS, "serve", "--port", "0"], env={**os.environ, "NBPROPS_HOME": str(home), "NBPROPS_NOW": NOON, "BUILD_COMMIT_SHA": "0"*40, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return p, p.stderr.readline()

def test_a_stop_waits_for_the_run(light_home, tmp_path):
    "Would catch a slate that is half served by a deployment."
    wh, store, _ = copy_world(light_home, tmp_path/"home")
    p, said = _free_run(tmp_path/"home")
    url, got = said.split()[2].rstrip(";"), []
    assert json.load(urllib.request.urlopen(f"{url}/health", timeout=10))["status"] == "alive"
    t = threading.Thread(target=lambda: got.append(json.load(urllib.request.urlopen(f"{url}/predict", b"{}", timeout=60))))
    t.start()
    while '"run_started"' not in (line := p.stdout.readline()): assert line
    p.send_signal(signal.SIGTERM)
    t.join(60); rest = p.communicate(timeout=60)[0]
    assert got and got[0]["written"] > 0 and p.returncode == 0 and '"run_ended"' in rest and '"stopped"' in rest
    assert wh.sql(f"SELECT COUNT(*) FROM {PRED}").item() == got[0]["written"]

def test_it_does_not_start_without_production_or_port(light_home, tmp_path):
    "Would catch a service that starts with nothing to serve."
    copy_world(light_home, tmp_path/"home")
    p, said = _free_run(tmp_path/"home", CATBOOST_V9_MODEL_PATH="absent.cbm")
    assert "never falls through" in said and p.wait(30) == 2
    import socket
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Refusal, match="choose another --port"): _socket("127.0.0.1", taken.getsockname()[1])

def _rss() -> int: # kB
    return next(int(x.split()[1]) for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS"))

@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_stays_flat(served):
    "Would catch a service that grows with every slate."
    _, _, service, client = served
    for _ in range(10): client.post("/predict")
    before = _rss()
    for _ in range(30): client.post("/predict")
    assert _rss() - before < 30_000
