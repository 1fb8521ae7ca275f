"Retrain under attack: the process dies at every step, the disk is full, two runs share a second; registry, store and manifest agree afterwards."
import errno, json, os, shutil, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
import pytest
from nbprops.data.artifacts import Store
from nbprops.data.places import Folder
from nbprops.data.warehouse import Warehouse
from nbprops.model import experiments as E
from nbprops.model import retrain as X
from nbprops.model.registry import Registry
from nbprops.settings import Broken, Refusal
from tests.forks import script

FIRST = date(2025, 11, 4)
ASK = X.Request(name="T", train_start=FIRST, train_end=date(2025, 12, 8), eval_days=11, seeds=1, params=dict(iterations=60, learning_rate=.15, depth=4))
SCRIPT = """
import os, sys
from dataclasses import replace
from datetime import date
from nbprops.data.artifacts import Store
from nbprops.data.places import Folder
from nbprops.data.warehouse import Warehouse
from nbprops.model import experiments, manifest, moves, plans, retrain as X
plans.feed_profile = lambda wh, windows: "box+rosters+team_box+shots+props+game_lines+injuries"
home, step, seed = sys.argv[1:4]
ASK = X.Request(name="DIES", train_start=date(2025, 11, 4), train_end=date(2025, 12, 8), eval_days=11, seeds=1, seed=int(seed), params=dict(iterations=60, learning_rate=.15, depth=4), enable=step == "enabled", reason="test" if step == "enabled" else "")
def die(*a, **k): os._exit(9)
def after(module, name, when=lambda *a: True):
    real = getattr(module, name)
    def act(*a, **k):
        out = real(*a, **k)
        if when(*a): os._exit(9)
        return out
    setattr(module, name, act)
{"": lambda: None,
 "entered": lambda: setattr(X, "carry_out", die),
 "fitting": lambda: setattr(X, "train", die),
 "evaluated": lambda: after(X, "with_evaluation"),
 "sidecar": lambda: after(Store, "put", lambda self, rel, data: rel.endswith(".bundle.json")),
 "uploaded": lambda: after(Store, "put", lambda self, rel, data: rel.endswith(".cbm")),
 "manifest": lambda: after(moves, "publish"),
 "registered": lambda: setattr(X, "after_verdict", die),
 "enabled": lambda: setattr(X, "results_of", die)}[step]()
print(X.retrain(ASK, Warehouse(home + "/w.duckdb"), Store(home + "/store")).bundle.model_id)
"""
STEPS = ["entered", "fitting", "evaluated", "sidecar", "uploaded", "manifest", "registered", "enabled"]

def start(home, step, seed=42, **env):
    "Run the script in a process of its own."
    return script(SCRIPT, home, step, seed, **env).end()

@pytest.fixture
def house(league, tmp_path, monkeypatch):
    "A copy of the league and an empty store; the feed profile is given."
    from nbprops.model import plans
    monkeypatch.setattr(plans, "feed_profile", lambda wh, windows: "box+rosters+team_box+shots+props+game_lines+injuries")
    return Warehouse(shutil.copy(league.path, tmp_path/"w.duckdb")), Store(str(tmp_path/"store"))

@pytest.fixture(scope="module")
def wrecks(league, tmp_path_factory):
    "One house per step, in which a retrain died there."
    def wreck(step):
        home = tmp_path_factory.mktemp(step)
        shutil.copy(league.path, home/"w.duckdb")
        return step, home, start(home, step)
    with ThreadPoolExecutor(2) as side: return {step: (home, run) for step, home, run in side.map(wreck, STEPS)}

def experiments(wh): return wh.sql("SELECT * FROM nba_predictions.ml_experiments ORDER BY created_at").to_dicts()

@pytest.mark.parametrize("step", STEPS)
def test_a_killed_retrain_leaves_one_story(wrecks, step):
    "Fails when after a kill registry, store and manifest disagree, or the next command neither repairs nor says what it found."
    home, run = wrecks[step]
    assert run.returncode == 9, run.stderr[-2000:]
    wh, store = Warehouse(home/"w.duckdb"), Store(str(home/"store"))
    before = experiments(wh)
    assert [e["status"] for e in before] == ["running"] and before[0]["gate_verdict"] is None
    said = []
    registry = Registry(wh, store, said.append)
    X.mended(registry, said.append)
    after, kept = experiments(wh)[0], registry.rows()
    assert after["status"] == "failed" and "interrupted" in after["error_message"] and any("was interrupted and is closed" in t for t in said)
    assert registry.validate().height == 0 and E.close_interrupted(registry) == []
    models = registry.store_ls()
    if step in ("registered", "enabled"):
        row = kept.row(0, named=True)
        assert row["state"] == ("candidate" if step == "registered" else "shadow") and row["experiment_id"] == after["experiment_id"] and (after["model_id"], after["gate_verdict"]) == (row["model_id"], row["gate_verdict"])
        assert models["registered"].to_list() == [True] and registry.load(row).model_id == row["model_id"] and row["model_id"] in said[0]
        assert registry.newest_verdict(row["model_id"])["gate_verdict"] == row["gate_verdict"]
    else:
        assert kept.height == 0 and registry.production("v9_mae") is None and registry.shadows().height == 0
        orphan = step in ("sidecar", "uploaded", "manifest")
        assert models["registered"].to_list() == [False]*orphan and any("nothing serves them" in t for t in said) == orphan and any("no model came of it" in t for t in said) == (not orphan)
    if step == "manifest": assert any("manifest of v9_mae" in t for t in said), "the manifest that ran ahead of the registry is renewed aloud"

def test_the_next_retrain_repairs_and_goes_on(wrecks, monkeypatch):
    "Fails when a wreck stops the next retrain, or the repetition is refused as a duplicate of a model that never was."
    from nbprops.model import plans
    monkeypatch.setattr(plans, "feed_profile", lambda wh, windows: "box+rosters+team_box+shots+props+game_lines+injuries")
    home, _ = wrecks["uploaded"]
    wh, store, said = Warehouse(home/"w.duckdb"), Store(str(home/"store")), []
    wh.sql("UPDATE nba_predictions.ml_experiments SET status = 'running' WHERE name = 'DIES'") # as the wreck was
    o = X.retrain(ASK, wh, store, said.append)
    assert any("DIES) was interrupted" in t for t in said) and o.row["state"] in ("candidate", "rejected") and [e["status"] for e in experiments(wh)] == ["failed", "completed"]
    assert Registry(wh, store).store_ls()["registered"].to_list().count(False) == 1

def test_a_run_that_is_under_way_is_left_alone(house):
    "Fails when a second retrain closes the experiment of a first that still runs."
    wh, store = house
    p = X.make_plan(ASK, wh, store)
    E.log_experiment(wh, p, "aaaaaaaa", "running")
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        mark = E.process_mark() | dict(pid=other.pid, began=E.began(other.pid))
        wh.sql("UPDATE nba_predictions.ml_experiments SET config_json = @c", c=json.dumps(dict(process=mark)))
        assert E.close_interrupted(Registry(wh, store)) == []
        other.kill(); other.wait()
        assert len(E.close_interrupted(Registry(wh, store))) == 1
    finally: other.kill(); other.wait()

def test_two_retrains_in_one_second_get_two_names(league, tmp_path):
    "Fails when two processes give their models one name, or one of them loses its model."
    shutil.copy(league.path, tmp_path/"w.duckdb")
    with ThreadPoolExecutor(2) as side: runs = list(side.map(lambda seed: start(tmp_path, "", seed, NBPROPS_NOW="2026-01-05T12:00:00Z"), (42, 43)))
    assert [r.returncode for r in runs] == [0, 0], runs[0].stderr[-1500:] + runs[1].stderr[-1500:]
    names, registry = {r.stdout.strip()[-6:] for r in runs}, Registry(Warehouse(tmp_path/"w.duckdb"), Store(str(tmp_path/"store")))
    assert names == {"120000", "120001"} and registry.rows().height == 2 and registry.validate().height == 0

@pytest.mark.parametrize("force", [False, True])
def test_the_second_of_two_equal_retrains_is_a_duplicate(house, monkeypatch, force):
    "Fails when two equal retrains that began together leave one model under two names."
    wh, store = house
    ask, real, inner = replace(ASK, force=force, reason="twins" if force else ""), X.judge, []
    def meanwhile(*a):
        monkeypatch.setattr(X, "judge", real)
        try: inner.append(X.retrain(replace(ask, name="SECOND"), wh, store))
        except Refusal as e: inner.append(e)
        return real(*a)
    monkeypatch.setattr(X, "judge", meanwhile) # the first has its name, and is not registered yet
    first = X.retrain(ask, wh, store)
    if force: assert inner[0].row["semantic_id"] == first.row["semantic_id"] and Registry(wh, store).rows().height == 2
    else:
        second = next(e for e in experiments(wh) if e["name"] == "SECOND")
        assert inner[0].exit_code == 2 and f"keeps {first.bundle.model_id}" in str(inner[0]) and (second["status"], second["model_id"]) == ("failed", None) and "was faster" in second["error_message"]
        assert Registry(wh, store).rows()["model_id"].to_list() == [first.bundle.model_id]

def test_an_equal_model_that_came_during_the_fit_is_a_duplicate(house, monkeypatch):
    "Fails when the duplicate rule is asked only before the fit."
    wh, store = house
    real = X.train
    def meanwhile(*a):
        monkeypatch.setattr(X, "train", real)
        X.retrain(replace(ASK, name="FASTER"), wh, store)
        return real(*a)
    monkeypatch.setattr(X, "train", meanwhile)
    with pytest.raises(Refusal, match="trained on exactly this"): X.retrain(ASK, wh, store)
    assert {e["name"]: e["status"] for e in experiments(wh)} == {"T": "failed", "FASTER": "completed"} and Registry(wh, store).rows().height == 1

def test_a_name_is_written_once(house):
    "Fails when other bytes can take the name of a model that exists."
    wh, store = house
    o = X.retrain(ASK, wh, store)
    other = o.bundle.with_spec(note="another sidecar")
    with pytest.raises(Refusal, match="exists already"): Registry(wh, store).upload(other)
    assert Registry(wh, store).load(o.row).sha256 == o.bundle.sha256

def test_a_full_disk_ends_in_one_sentence(house, monkeypatch):
    "Fails when a disk that fills up during the upload leaves a row, a running experiment, or a traceback."
    wh, store = house
    real = Folder.write
    def full(self, rel, data, generation=None):
        if rel.endswith(".cbm"): raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, rel, data, generation)
    monkeypatch.setattr(Folder, "write", full)
    with pytest.raises(Broken, match="could not be written to the store .*No space left") as e: X.retrain(ASK, wh, store)
    assert e.value.exit_code == 3 and experiments(wh)[0]["status"] == "failed" and Registry(wh, store).rows().height == 0
    monkeypatch.undo()
    assert Registry(wh, store).store_ls()["registered"].to_list() == [False]

def test_a_store_that_cannot_be_written_is_found_before_the_fit(house, tmp_path, monkeypatch):
    "Fails when somebody waits for a fit whose file has no place, or the refusal leaves a trace."
    wh, _ = house
    monkeypatch.setattr(X, "train", None)
    (tmp_path/"a file").write_text("")
    with pytest.raises(Refusal, match="cannot be written") as e: X.retrain(ASK, wh, Store(str(tmp_path/"a file"/"models")))
    assert e.value.exit_code == 2 and experiments(wh) == []
    monkeypatch.setattr(os, "access", lambda *a: False)
    with pytest.raises(Refusal, match="read-only"): X.retrain(ASK, wh, Store(str(tmp_path/"store")))

def test_ctrl_c_is_a_failed_run(house, monkeypatch):
    "Fails when an interrupted fit leaves its experiment running."
    wh, store = house
    def stop(*a): raise KeyboardInterrupt
    monkeypatch.setattr(X, "train", stop)
    with pytest.raises(KeyboardInterrupt): X.retrain(ASK, wh, store)
    assert [(e["status"], e["error_message"]) for e in experiments(wh)] == [("failed", "KeyboardInterrupt")]
