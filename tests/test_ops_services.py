"Which files a service is made of, whether what runs is what we have, what a deployment records and proves, and what the log still says."
import json, os, subprocess, sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
import polars as pl
import pytest
from nbprops.data.logbook import keep, log, log_file, logs_dir, masked
from nbprops.data.runs import step
from nbprops.data.tables import one_row, table
from nbprops.ops import deploy as D
from nbprops.ops import drift as R
from nbprops.ops.logs import read_logs, since_of
from nbprops.ops.services import PINS, SERVICES, Deployable, Written, files_of, import_graph, service_of
from nbprops.settings import Refusal, now
from tests import house
from tests.player import run
from tests.predict_world import copy_world

COMMIT = "c0ffee"*6 + "abcd"
at = lambda *a: datetime(*a, tzinfo=timezone.utc)

def behind(wh, repo):
    with wh.transaction() as tx: return R.commits_behind(tx, repo.root, TOYS)

@pytest.fixture(scope="module")
def graph(): return import_graph(house.ROOT)

# ---- the import graph

@pytest.mark.parametrize("name", SERVICES)
def test_nothing_that_python_imports_is_missing(graph, name):
    "The oracle is Python itself: every module of the package that a fresh process has loaded after importing the entries is among the files."
    code = "import sys, importlib, json\nfor e in sys.argv[1:]: importlib.import_module('nbprops.' + e)\nprint(json.dumps([m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'nbprops']))"
    said = subprocess.run([sys.executable, "-c", code, *SERVICES[name].entries], capture_output=True, text=True, cwd=house.ROOT, env={**os.environ, "PYTHONPATH": str(house.ROOT)}, check=True)
    loaded = {Path(f).relative_to(house.ROOT).as_posix() for f in json.loads(said.stdout)}
    assert len(loaded) > 5 and loaded <= files_of(SERVICES[name], graph, house.ROOT)

def test_the_graph_agrees_with_the_house(graph):
    "A second reading of the imports, written for another purpose: what the house sees, the graph sees."
    path = lambda m: next((f for f in (f"nbprops/{m.replace('.', '/')}.py", f"nbprops/{m.replace('.', '/')}/__init__.py") if (house.ROOT/f).is_file()), None)
    lost = [(m, d) for m, deps in house.imports().items() for d in deps if path(d) and path(d) not in graph[path(m)] | {path(m)}]
    assert [x for x in lost if not _only_for_readers(*x)] == []

def _only_for_readers(module, dep):
    "Whether a module names another only under TYPE_CHECKING."
    return any("TYPE_CHECKING" in line and dep.rpartition(".")[2] in line for line in (house.ROOT/"nbprops"/f"{module.replace('.', '/')}.py").read_text().splitlines())

def test_every_declared_entry_and_table_is_there(graph):
    "Would catch a service whose module was renamed, or a column that does not exist."
    for s in SERVICES.values():
        assert {f"nbprops/{e.replace('.', '/')}.py" for e in s.entries} <= files_of(s, graph, house.ROOT)
        assert all({w.commit, w.at} <= {c.name for c in table(w.table).columns} for w in s.tables), s.name
    assert PINS in files_of(SERVICES["publishing"], graph, house.ROOT)

def test_services_are_told_apart(graph):
    "Would catch a graph that is so generous that everything belongs to everybody."
    of = {n: files_of(s, graph, house.ROOT) for n, s in SERVICES.items()}
    assert not any(f.startswith(("nbprops/signals/", "nbprops/commands/")) for f in of["prediction-worker"]) and not any("/model/" in f or "/predict/" in f for f in of["nba-phase1-scrapers"])
    assert "nbprops/_modidx.py" not in set.union(*of.values()) and "nbprops/story.py" not in set.union(*of.values())

# ---- a small repository

SOURCES = {"__init__": 'def __getattr__(name):\n    from .door import thing\n    return thing\n', "core": "UNIT = 1\n", "worker": "def run():\n    from .core import UNIT\n    return UNIT\n", "grader": "import nbprops.deep.sums as sums\n",
           "deep/__init__": "", "deep/sums": "def table(): return 'words.csv'\n", "reader": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .core import UNIT\n", "guest": "import nbprops\ndef f(): return nbprops.thing\n", "door": "thing = 1\n", "tools": "X = 1\n"}
TOYS = {n: Deployable(n, "a toy", (n,), (Written("nba_orchestration.phase_completion"),)) for n in ("worker", "grader", "reader", "guest")}

class Repo:
    "A repository with a small package."
    def __init__(self, root): self.root = root
    def git(self, *words): return subprocess.run(["git", "-C", str(self.root), "-c", "user.name=t", "-c", "user.email=t@nbprops.invalid", "-c", "commit.gpgsign=false", *words], capture_output=True, text=True, check=True).stdout.strip()
    def put(self, name, text): (self.root/"nbprops"/name).parent.mkdir(parents=True, exist_ok=True); (self.root/"nbprops"/name).write_text(text)
    def commit(self, message, **files):
        for name, text in files.items(): self.put(name.replace("__in__", "/") + ".py", text)
        self.git("add", "-A"); self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

@pytest.fixture
def repo(tmp_path):
    r = Repo(tmp_path/"repo")
    r.root.mkdir(); r.git("init", "-q", "-b", "main")
    for name, text in SOURCES.items(): r.put(f"{name}.py", text)
    r.put("deep/words.csv", "a,b\n"); (r.root/"settings.ini").write_text("requirements = x>=1\n"); (r.root/"README.md").write_text("read me\n")
    r.first = r.commit("The beginning")
    return r

def put(wh, service, sha, when=at(2026, 1, 1), healthy=True, revision="r1", env="{}"):
    wh.write(R.DEPLOYMENTS, one_row(R.DEPLOYMENTS, dict(deployment_id=f"{service}/{revision}", service=service, commit_sha=sha, deployment_revision=revision, deployed_by="t", model_env_json=env, is_healthy=healthy, deployed_at=when)))

def states(wh, repo): return {d.service: d.state for d in R.drift(wh, root=repo.root, services=TOYS).services}

@pytest.fixture
def deployed(wh, repo):
    "Every toy deployed at the first commit."
    for n in TOYS: put(wh, n, repo.first)
    return wh, repo

def test_all_current(deployed): assert set(states(*deployed).values()) == {"CURRENT"}

@pytest.mark.parametrize("path, stale", [("nbprops/core.py", {"worker"}), ("nbprops/deep/sums.py", {"grader"}), ("nbprops/deep/__init__.py", {"grader"}), ("nbprops/deep/words.csv", {"grader"}), ("nbprops/door.py", {"guest"}), ("nbprops/worker.py", {"worker"}), ("nbprops/__init__.py", set(TOYS)), ("settings.ini", set(TOYS)),
                                        ("nbprops/tools.py", set()), ("README.md", set())])
def test_a_touched_file_makes_exactly_those_stale_that_lead_to_it(deployed, path, stale):
    "The TYPE_CHECKING import of `reader` does not lead to `core`; the package's door leads only its guest to what lies behind."
    wh, repo = deployed
    with open(repo.root/path, "a") as f: f.write("# touched\n")
    repo.git("commit", "-q", "-am", "Touched")
    assert states(wh, repo) == {n: "STALE" if n in stale else "OLD_BUT_UNCHANGED" for n in TOYS}

def test_one_or_two_commits_warn_and_three_are_critical(deployed):
    wh, repo = deployed
    seen = []
    for i in range(3):
        repo.commit(f"Core {i}", core=f"UNIT = {i + 2}\n"); repo.commit(f"Tool {i}", tools=f"X = {i + 2}\n")
        r = R.drift(wh, "worker", root=repo.root, services=TOYS)
        seen.append((r.verdict, r.exit_code, behind(wh, repo)))
    assert seen == [("WARN", 0, 1), ("WARN", 0, 2), ("CRIT", 1, 3)]
    r.verbose = True
    assert [c.subject for c in r.services[0].commits] == ["Core 2", "Core 1", "Core 0"] and "Core 1" in repr(r) and "Tool" not in repr(r)

def test_a_renamed_and_a_removed_dependency_are_noticed(deployed):
    "Would catch a graph of today that no longer knows yesterday's file."
    wh, repo = deployed
    repo.git("mv", "nbprops/core.py", "nbprops/kernel.py")
    repo.commit("Renamed", worker="def run():\n    from .kernel import UNIT\n    return UNIT\n")
    assert states(wh, repo)["worker"] == "STALE"
    put(wh, "worker", repo.git("rev-parse", "HEAD"), at(2026, 1, 2), revision="r2")
    assert states(wh, repo)["worker"] == "CURRENT"

def test_a_merge_that_changes_something_itself_counts(deployed):
    "Would catch a conflict that was resolved by new code, which neither parent holds."
    wh, repo = deployed
    repo.git("checkout", "-q", "-b", "side"); repo.commit("Side", core="UNIT = 5\n")
    repo.git("checkout", "-q", "main"); head = repo.commit("Main", core="UNIT = 6\n")
    subprocess.run(["git", "-C", str(repo.root), "-c", "user.name=t", "-c", "user.email=t@nbprops.invalid", "merge", "-q", "side"], capture_output=True)
    repo.commit("Merged with new code", core="UNIT = 7\n")
    assert [c.subject for c in R.read_history(repo.root).since(head) if "nbprops/core.py" in c.files] == ["Merged with new code", "Side"]

@pytest.mark.parametrize("rewrite", ["squash", "rebase", "foreign"])
def test_a_commit_that_the_branch_does_not_reach_is_unknown(deployed, rewrite):
    "Git still holds the old object after a squash; the branch does not lead to it any more."
    wh, repo = deployed
    sha = repo.commit("To be lost", core="UNIT = 2\n")
    put(wh, "worker", "f"*40 if rewrite == "foreign" else sha, at(2026, 1, 2), revision="r2")
    if rewrite == "squash": repo.git("reset", "-q", "--soft", repo.first); repo.commit("Squashed", tools="X = 9\n")
    if rewrite == "rebase": repo.git("commit", "-q", "--amend", "-m", "Rebased")
    d = R.drift(wh, "worker", root=repo.root, services=TOYS).services[0]
    assert d.state == "UNKNOWN_COMMIT" and d.verdict == "WARN" and R.drift_json(R.drift(wh, "worker", root=repo.root, services=TOYS))["services"][0]["commits_behind"] is None

def test_the_notice_tells_what_the_room_tells(deployed):
    "Fails when the notice counts drift by itself: what is old but unchanged is no news, what is behind is told once for each number of commits."
    from nbprops.ops.notice_content import Quiet, drift_notice
    wh, repo = deployed
    where = dict(root=repo.root, services=TOYS)
    assert isinstance(drift_notice(wh, **where), Quiet)
    repo.commit("Nothing of theirs", tools="X = 7\n")
    for n in range(1, 4):
        repo.commit(f"Core {n}", core=f"UNIT = {n + 1}\n")
        every, told = R.drift(wh, **where).services, drift_notice(wh, **where)
        off = [d for d in every if d.verdict in ("WARN", "CRIT")]
        assert [(e.id, e.text.split()[0], e.command) for e in told.entries] == [(d.service, d.verdict, f"nbprops deploy {d.service}") for d in off] and len(off) < len(every)
        assert all(f"STALE, {len(d.commits)} commit" in e.text for d, e in zip(off, told.entries))
    versions = {drift_notice(wh, **where).version}; repo.commit("More", core="UNIT = 9\n"); versions.add(drift_notice(wh, **where).version)
    assert len(versions) == 2 and "no checkout" not in str(versions)
    assert "cannot be told" in drift_notice(wh, root=repo.root.parent, services=TOYS).why

def test_never_deployed_and_only_unhealthy(wh, repo):
    assert set(states(wh, repo).values()) == {"NEVER_DEPLOYED"} and behind(wh, repo) is None
    put(wh, "worker", repo.first, healthy=False)
    d = R.drift(wh, "worker", root=repo.root, services=TOYS).services[0]
    assert d.state == "NEVER_DEPLOYED" and "unhealthy" in d.notes[0]

def test_a_failed_deployment_does_not_count_as_what_runs(deployed):
    wh, repo = deployed
    put(wh, "worker", repo.commit("New core", core="UNIT = 2\n"), at(2026, 1, 2), healthy=False, revision="r2")
    d = R.drift(wh, "worker", root=repo.root, services=TOYS).services[0]
    assert (d.state, d.deployed["deployment_revision"]) == ("STALE", "r1") and "r2" in d.notes[0]

def written(wh, sha, when, processor):
    name = "nba_orchestration.phase_completion"
    row = dict(phase=4, rows_expected=1, rows_written=1, rows_quarantined=0, attempts=1, game_date=when.date(), processor=processor, status="COMPLETE", mode="overnight", trigger_state="pending")
    wh.write(name, one_row(name, row).with_columns(build_commit_sha=pl.lit(sha), created_at=pl.lit(when)))
    wh.sql(f"UPDATE {name} SET build_commit_sha = @s, created_at = @t WHERE processor = @p", s=sha, t=when, p=processor)

def test_rows_by_another_build_are_critical(deployed):
    "Rows from before the deployment are nobody's fault; rows of a build ahead of it are told and not judged; a dirty build is another build."
    wh, repo = deployed
    written(wh, "0"*40, at(2025, 12, 1), "before"); written(wh, repo.first, at(2026, 1, 2), "right")
    assert states(wh, repo)["worker"] == "CURRENT"
    newer = repo.commit("Newer", tools="X = 2\n")
    written(wh, newer, at(2026, 1, 3), "ahead")
    d = R.drift(wh, "worker", root=repo.root, services=TOYS).services[0]
    assert d.state == "OLD_BUT_UNCHANGED" and any("ahead" in n for n in d.notes)
    written(wh, f"{repo.first}-dirty", at(2026, 1, 4), "dirty")
    r = R.drift(wh, "worker", root=repo.root, services=TOYS)
    assert r.services[0].state == "ROWS_BY_OLDER_BUILD" and r.exit_code == 1 and r.services[0].builds == {f"{repo.first}-dirty": 1} and behind(wh, repo) == 0

def test_uncommitted_changes_are_shown_for_whom_they_concern(deployed):
    wh, repo = deployed
    repo.put("core.py", "UNIT = 3\n"); repo.put("worker.py", "def run():\n    from . import fresh\n"); repo.put("fresh.py", "Y = 1\n"); repo.put("lonely.py", "Z = 1\n")
    got = {d.service: d.uncommitted for d in R.drift(wh, root=repo.root, services=TOYS).services}
    assert got["worker"] == ["nbprops/fresh.py", "nbprops/worker.py"] and got["grader"] == []

def test_a_package_in_a_subfolder_of_the_repository(wh, tmp_path):
    "Would catch paths that are relative to the repository where the graph's are relative to the package's folder."
    r = Repo(tmp_path/"mono"/"python")
    r.root.mkdir(parents=True); subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path/"mono")], check=True)
    for name, text in SOURCES.items(): r.put(f"{name}.py", text)
    put(wh, "worker", r.commit("The beginning")); r.commit("Core", core="UNIT = 2\n"); r.put("core.py", "UNIT = 3\n")
    d = R.drift(wh, "worker", root=r.root, services=TOYS).services[0]
    assert d.state == "STALE" and d.uncommitted == ["nbprops/core.py"]

def test_without_git_or_a_checkout_there_is_one_sentence(wh, repo, tmp_path, monkeypatch):
    with pytest.raises(Refusal, match="cannot be measured") as e: R.drift(wh, root=tmp_path)
    assert e.value.exit_code == 2 and "\n" not in str(e.value)
    (repo.root/"other"/"nbprops").mkdir(parents=True); (repo.root/"other"/"nbprops"/"__init__.py").write_text("")
    with pytest.raises(Refusal, match="cannot be measured"): R.drift(wh, root=repo.root/"other") # in somebody else's repository, not of it
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="git is not installed"): R.drift(wh, root=repo.root)
    assert behind(wh, repo) is None

def test_a_hook_does_not_redirect_the_question(deployed, tmp_path, monkeypatch):
    "Would catch a GIT_DIR of the caller that answers for another repository."
    wh, repo = deployed
    monkeypatch.setenv("GIT_DIR", str(tmp_path/"elsewhere"))
    assert states(wh, repo)["worker"] == "CURRENT"

def test_a_broken_file_is_one_sentence(deployed):
    wh, repo = deployed
    repo.put("core.py", "def (:\n")
    with pytest.raises(Refusal, match="nbprops/core.py is no Python"): R.drift(wh, root=repo.root, services=TOYS)

# ---- deployments

@pytest.fixture
def at_commit(monkeypatch): monkeypatch.setenv("BUILD_COMMIT_SHA", COMMIT)

def test_a_dirty_tree_is_refused_or_stamped(wh, monkeypatch):
    monkeypatch.setenv("BUILD_COMMIT_SHA", f"{COMMIT}-dirty")
    with pytest.raises(Refusal, match="not in c0ffee"): D.deploy(wh, "nba-phase1-scrapers")
    assert wh.read(R.DEPLOYMENTS).is_empty()
    d = D.deploy(wh, "nba-phase1-scrapers", allow_dirty=True)
    assert d.is_healthy and wh.read(R.DEPLOYMENTS)["commit_sha"].item() == f"{COMMIT}-dirty"
    monkeypatch.setenv("BUILD_COMMIT_SHA", "unknown")
    with pytest.raises(Refusal, match="which commit"): D.deploy(wh, "publishing", allow_dirty=True)

def test_settings_are_merged_never_replaced(wh, at_commit, monkeypatch):
    "What the last healthy deployment had stays; the environment and then the hand come over it; an empty value takes away; a failed deployment passes nothing on."
    monkeypatch.setattr(D, "verify", lambda *a: [D.Probe("x", "x", True, "")])
    for name in ("NBPROPS_TRANSLATIONS", "NBPROPS_DATA"): monkeypatch.delenv(name, raising=False)
    env = lambda **k: D.deploy(wh, "prediction-worker", **k).environment
    home = {"NBPROPS_HOME": os.environ["NBPROPS_HOME"]}
    assert env(settings=["CATBOOST_V9_MODEL_PATH=models/a.cbm"]) == home | {"CATBOOST_V9_MODEL_PATH": "models/a.cbm"}
    monkeypatch.setenv("MODEL_STORE_URI", "gs://bucket/models")
    d = D.deploy(wh, "prediction-worker")
    assert {x["name"]: x["change"] for x in d.settings} == {"CATBOOST_V9_MODEL_PATH": "kept", "MODEL_STORE_URI": "added", "NBPROPS_HOME": "same"}
    monkeypatch.delenv("MODEL_STORE_URI"); monkeypatch.setenv("CATBOOST_V9_MODEL_PATH", "models/b.cbm")
    d = D.deploy(wh, "prediction-worker", settings=["CATBOOST_V9_MODEL_PATH=models/c=d.cbm", "MODEL_STORE_URI="])
    assert {x["name"]: (x["change"], x["after"]) for x in d.settings} == {"CATBOOST_V9_MODEL_PATH": ("changed", "models/c=d.cbm"), "MODEL_STORE_URI": ("removed", None), "NBPROPS_HOME": ("same", home["NBPROPS_HOME"])}
    monkeypatch.delenv("CATBOOST_V9_MODEL_PATH"); monkeypatch.setattr(D, "verify", lambda *a: [D.Probe("x", "x", False, "")])
    assert D.deploy(wh, "prediction-worker", settings=["CATBOOST_V9_MODEL_PATH=models/bad.cbm"]).exit_code == 1
    monkeypatch.setattr(D, "verify", lambda *a: [D.Probe("x", "x", True, "")])
    assert env()["CATBOOST_V9_MODEL_PATH"] == "models/c=d.cbm"
    assert wh.sql("SELECT COUNT(*) AS n FROM nba_orchestration.run_ledger WHERE command = 'deploy' AND status = 'DONE'").item() == 5

def test_the_environment_is_as_it_was(monkeypatch):
    monkeypatch.setenv("MODEL_STORE_URI", "before")
    with pytest.raises(ZeroDivisionError), D.in_force({"CATBOOST_V9_MODEL_PATH": "x", "NBPROPS_HOME": "y"}, {"MODEL_STORE_URI"}):
        assert os.environ["CATBOOST_V9_MODEL_PATH"] == "x" and "MODEL_STORE_URI" not in os.environ and os.environ["NBPROPS_HOME"] != "y"
        1/0
    assert os.environ["MODEL_STORE_URI"] == "before" and "CATBOOST_V9_MODEL_PATH" not in os.environ

def test_no_secret_is_shown_or_kept(wh, at_commit, monkeypatch, tmp_path):
    "The key in an address and the value of a secret name are looked for in everything that a deployment leaves behind."
    monkeypatch.setattr(D, "settings_read", lambda *a: {"MODEL_STORE_URI", "NBPROPS_API_TOKEN", "MODEL_DB_PASSWORD"})
    monkeypatch.setenv("NBPROPS_API_TOKEN", "hunter2"); monkeypatch.setenv("MODEL_STORE_URI", "s3://me:hunter2@bucket/models?sig=hunter2")
    d = D.deploy(wh, "prediction-worker", settings=["MODEL_DB_PASSWORD=hunter2"], reason="see https://ops:hunter2@host/page")
    assert not d.is_healthy # such a store cannot be read
    stored = json.dumps([wh.sql(f"SELECT * FROM {t}").to_dicts() for t in (R.DEPLOYMENTS, "nba_orchestration.run_ledger")], default=str)
    said = repr(d) + json.dumps(D.deployment_json(d), default=str)
    assert "hunter2" not in stored + said + log_file(now()).read_text() and D.HIDDEN in said
    again = D.deploy(wh, "prediction-worker", dry_run=True)
    assert "hunter2" not in repr(again)

def test_a_log_line_stays_json_when_an_address_is_masked():
    "Would catch a mask that eats the rest of the line."
    assert json.loads(masked('{"message":"s3://a:b@c/d?sig=e","severity":"INFO"}')) == {"message": "s3://***@c/d?***", "severity": "INFO"}

@pytest.fixture
def served(light_home, tmp_path, monkeypatch):
    monkeypatch.setenv("BUILD_COMMIT_SHA", COMMIT); monkeypatch.setenv("NBPROPS_NOW", "2025-12-19T16:30:00Z")
    return copy_world(light_home, tmp_path/"home")[:2]

def test_a_healthy_deployment_names_every_live_model(served):
    wh, store = served
    d = D.deploy(wh, "prediction-worker", store=store)
    assert d.is_healthy and d.exit_code == 0 and len({p.subject for p in d.probes}) == 3 and wh.read(R.DEPLOYMENTS)["is_healthy"].item()
    assert {p.check for p in d.probes} == {"load", "golden prediction", "spread", "follows", "heartbeat"}
    assert [x["event"] for x in read_logs("prediction-worker").lines] == ["heartbeat", "deployed"] and "Nothing was pushed" in repr(d)
    assert wh.read(R.DEPLOYMENTS)["deployment_revision"].item() == "prediction-worker-00001"

@pytest.mark.parametrize("fault", ["bytes", "missing", "no models", "dull"])
def test_an_unhealthy_smoke_test_is_recorded_and_exits_1(served, monkeypatch, fault):
    "A shadow counts, too: every live model is asked."
    from nbprops.model.predictor import Bundle
    from nbprops.model.registry import Registry, paths
    import numpy as np
    wh, store = served
    row = Registry(wh, store).rows("system_id = @s", s="catboost_v9_shadow").row(0, named=True)
    file = Path(store.uri)/paths(row)[0]
    if fault == "bytes": file.chmod(0o644); file.write_bytes(file.read_bytes()[:-1] + b"x")
    if fault == "missing": file.unlink()
    if fault == "no models": wh.sql("UPDATE nba_predictions.model_registry SET state = 'retired', status = 'deprecated', enabled = FALSE, is_production = FALSE WHERE TRUE")
    if fault == "dull": monkeypatch.setattr(Bundle, "predict", lambda self, frame, model=None: np.full(frame.height, 12.0))
    d = D.deploy(wh, "prediction-worker", store=store)
    assert d.exit_code == 1 and wh.read(R.DEPLOYMENTS)["is_healthy"].item() is False and "UNHEALTHY" in repr(d)
    assert R.healthy(wh.read(R.DEPLOYMENTS).to_dicts()) is None and read_logs("prediction-worker", "ERROR").lines[-1]["event"] == "deployed"

@pytest.mark.parametrize("predicted, bad", [([.5]*20, {"golden prediction", "spread", "follows"}), ([70.0 + i for i in range(20)], {"golden prediction"}), ([30.0 - i for i in range(20)], {"follows"}), ([10 + i/20 for i in range(20)], {"spread"}), ([10.0 + i for i in range(20)], set()), ([float("nan")]*20, {"golden prediction"})])
def test_what_a_sensible_answer_is(predicted, bad):
    import numpy as np
    got = D.judge_golden("m", np.array(predicted), np.arange(20.0) + 8, "the line")
    assert {p.check for p in got if not p.ok} == bad

def test_a_service_that_does_not_start_is_unhealthy(wh, at_commit, monkeypatch):
    monkeypatch.setitem(SERVICES, "broken", Deployable("broken", "a toy", ("core",)))
    monkeypatch.setattr(D, "BEAT", "raise ImportError('no such library')")
    d = D.deploy(wh, "broken")
    assert d.exit_code == 1 and "no such library" in repr(d)

def test_a_dry_run_changes_nothing(wh, at_commit):
    d = D.deploy(wh, "prediction-worker", settings=["CATBOOST_V9_MODEL_PATH=a.cbm"], dry_run=True)
    assert d.exit_code == 0 and d.is_healthy is None and wh.read(R.DEPLOYMENTS).is_empty() and wh.read("nba_orchestration.run_ledger").is_empty() and not logs_dir().exists()

def test_a_revision_is_used_once(wh, at_commit, monkeypatch):
    monkeypatch.setattr(D, "verify", lambda *a: [D.Probe("x", "x", True, "")])
    names = [D.deploy(wh, "publishing", revision=r).revision for r in (None, "publishing-00003", None)]
    assert names == ["publishing-00001", "publishing-00003", "publishing-00004"] # the third would be 3, which is taken
    with pytest.raises(Refusal, match="on record already"): D.deploy(wh, "publishing", revision="publishing-00003")

@pytest.mark.parametrize("words, match", [(["NOEQUALS"], "no NAME=VALUE"), (["CATBOOST_V9_MODEL_PTH=x"], "did you mean CATBOOST_V9_MODEL_PATH"), (["PATH=x"], "reads no setting"), (["MODEL_STORE_URI=a", "MODEL_STORE_URI=b"], "twice")])
def test_a_setting_that_nobody_reads_is_refused(wh, at_commit, words, match):
    with pytest.raises(Refusal, match=match): D.deploy(wh, "prediction-worker", settings=words)
    assert wh.read(R.DEPLOYMENTS).is_empty()

def test_stored_settings_that_are_no_json_are_one_sentence(wh, at_commit):
    put(wh, "publishing", COMMIT, env="{broken")
    with pytest.raises(Refusal, match="r1 are no JSON"): D.deploy(wh, "publishing", dry_run=True)

def test_the_record_is_what_backfills_and_inference_read(served):
    "The three readers of the table agree with its only writer."
    from nbprops.data.jobs import check_build
    from nbprops.predict.inference import deployed_files
    wh, store = served
    D.deploy(wh, "prediction-worker", store=store)
    assert check_build(wh, "prediction-worker") == []
    with wh.transaction() as tx: assert deployed_files(tx)["deployed_file"].to_list() == [None]

# ---- the log

@pytest.fixture
def lines(tmp_path, monkeypatch):
    "A log over three days, with damage."
    (tmp_path/"home").mkdir(exist_ok=True)
    for when, service, severity, event in [("2026-01-30T12:00", "publishing", "INFO", "old"), ("2026-02-01T10:00", "prediction-worker", "ERROR", "failed"), ("2026-02-01T11:00", "prediction-worker", "CRITICAL", "broke"), ("2026-02-01T12:00", "publishing", "INFO", "step_done")]:
        monkeypatch.setenv("NBPROPS_NOW", f"{when}:00Z"); assert log(event, severity, f"run-{event}", service, message="Straße 100%")
    with open(log_file(now()), "ab") as f: f.write(b'{"time":"2026-02-01T12:0\n[1,2]\n\n\xff\xfe\n{"time":"soon","severity":"INFO","service":"x","event":"y"}\n{"time":5,"severity":"INFO","service":"x","event":"y"}\nnull\n' + b"["*100_000 + b"\n")
    return logs_dir()

def events(**k): return [x["event"] for x in read_logs(**k).lines]

def test_what_is_found_and_in_which_order(lines):
    assert events() == ["old", "failed", "broke", "step_done"] and events(limit=2) == ["broke", "step_done"] and read_logs(limit=1).found == 4
    assert events(service="prediction-worker") == ["failed", "broke"] and events(severity="error") == ["failed", "broke"] and events(severity="CRITICAL") == ["broke"]
    assert events(grep="STRASSE") == events() and events(grep="run-old") == ["old"] and events(grep="nothing") == [] and "No line matches" in repr(read_logs(grep="nothing"))
    assert events(since="90m") == ["broke", "step_done"] and events(since="1d", severity="ERROR") == ["failed", "broke"] and events(since="2026-01-30T12:00:00Z", limit=1) == ["step_done"] and events(since="2026-01-31") == ["failed", "broke", "step_done"]

def test_broken_lines_are_counted(lines):
    page = read_logs()
    assert page.broken == 7 and "7 broken lines" in repr(page)

def test_order_is_by_time_and_not_by_place(lines):
    "Two processes write into one file; a late writer does not come last."
    line = '{"event":"late","run_id":null,"service":"x","severity":"INFO","time":"2026-02-01T10:30:00+00:00"}'
    assert keep(line) and events() == ["old", "failed", "late", "broke", "step_done"]

@pytest.mark.parametrize("text, ago", [("2h", timedelta(hours=2)), ("3d", timedelta(days=3)), ("90 m", timedelta(minutes=90)), ("1W", timedelta(weeks=1)), ("45s", timedelta(seconds=45)), ("0h", timedelta(0))])
def test_an_age(monkeypatch, text, ago):
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-01T12:00:00Z")
    assert since_of(text) == at(2026, 2, 1, 12) - ago

@pytest.mark.parametrize("text", ["", "h", "2", "2y", "-2h", "1.5h", "yesterday", "2026-13-01", "999999w", "2h3m"])
def test_no_age(text):
    with pytest.raises(Refusal): since_of(text)

def test_steps_speak_and_a_failing_one_as_an_error(wh):
    with step(wh, "backfill grading", "g", "r1"): pass
    with pytest.raises(Refusal), step(wh, "prune", "p", "r2"): raise Refusal("s3://a:b@c is gone")
    got = read_logs().lines
    assert [(x["event"], x["severity"], x["service"], x["run_id"]) for x in got] == [("step_started", "INFO", "nba-grading-service", "r1"), ("step_done", "INFO", "nba-grading-service", "r1"), ("step_started", "INFO", "nbprops", "r2"), ("step_failed", "ERROR", "nbprops", "r2")]
    assert got[-1]["message"].startswith("s3://***@c") and all(set(x) >= {"time", "severity", "service", "revision", "event", "run_id"} for x in got)

def test_a_log_that_cannot_be_written_stops_nobody(tmp_path, wh, capsys):
    "A file lies where the folder should be; the work goes on, and the reason is said once."
    logs_dir().write_text("no folder")
    with step(wh, "prune", "p", "r1"): pass
    assert wh.sql("SELECT status FROM nba_orchestration.run_ledger").item() == "DONE" and capsys.readouterr().err.count("cannot be written") == 1

def test_no_home_is_made_for_a_log(tmp_path, monkeypatch):
    monkeypatch.setenv("NBPROPS_HOME", str(tmp_path/"nowhere"))
    assert not log("x") and not (tmp_path/"nowhere").exists()
    with pytest.raises(Refusal, match="no log yet"): read_logs()

# ---- the commands

@pytest.mark.parametrize("words, match", [(("deploy", "prediction-wrker"), "did you mean prediction-worker"), (("deploy", "publishing", "--set", "X"), "NAME=VALUE"), (("deploy", "publishing", "--revision", "a b"), "no name for a revision"), (("deploy",), "Missing argument"), (("drift", "--service", "x"), "No service is called"),
                                          (("logs", "--since", "soon"), "neither an age"), (("logs", "--severity", "BAD"), "no severity"), (("logs", "--limit", "0"), "--limit 0"), (("logs", "--limit", "x"), "Invalid value"), (("logs", "--service", "nobody"), "No service is called")])
def test_bad_input_is_one_sentence_and_exit_code_2(wh, words, match):
    said = run(wh.path.parent, *words, BUILD_COMMIT_SHA=COMMIT, PYTHONPATH=str(house.ROOT))
    assert said.returncode == 2 and match in said.stderr and len(said.stderr.strip().splitlines()) == 1 and "Traceback" not in said.stderr

def test_the_three_commands_from_outside(wh):
    go = lambda *w: run(wh.path.parent, *w, BUILD_COMMIT_SHA=COMMIT, PYTHONPATH=str(house.ROOT))
    made = go("deploy", "nba-phase1-scrapers", "--reason", "a test", "--json")
    assert made.returncode == 0, made.stderr
    assert (d := json.loads(made.stdout))["is_healthy"] and d["pushed"] is False and d["reason"] == "a test" and d["commit"] == COMMIT
    heard = json.loads(go("logs", "--service", "nba-phase1-scrapers", "--json").stdout)
    assert [(x["event"], x["revision"]) for x in heard["lines"]] == [("heartbeat", "nba-phase1-scrapers-00001"), ("deployed", "local")] and heard["broken"] == 0
    if (house.ROOT/".git").exists():
        seen = go("drift", "--json", "--verbose")
        got = {x["service"]: x["state"] for x in json.loads(seen.stdout)["services"]}
        assert seen.returncode == 0 and got["nba-phase1-scrapers"] == "UNKNOWN_COMMIT" and set(got) == set(SERVICES)

def test_an_unhealthy_worker_exits_1(wh):
    said = run(wh.path.parent, "deploy", "prediction-worker", BUILD_COMMIT_SHA=COMMIT, PYTHONPATH=str(house.ROOT))
    assert said.returncode == 1 and "UNHEALTHY" in said.stdout and said.stderr == ""

def test_a_command_that_breaks_is_found_in_the_log(wh, monkeypatch, capsys):
    "What a scheduler's owner looks for in the morning; packing the home does not write in it."
    from nbprops import cli
    from nbprops.settings import Broken
    monkeypatch.setattr(cli, "app", lambda **k: (_ for _ in ()).throw(Broken("The disk is full", "s3://a:b@c")))
    for words in (["predict", "--mode", "SAME_DAY"], ["backup", "x.tar.gz"]):
        with pytest.raises(SystemExit) as e: cli.main(words)
        assert e.value.code == 3
    monkeypatch.setattr(cli, "app", lambda **k: 1/0)
    with pytest.raises(SystemExit): cli.main(["best-bets"])
    assert [(x["event"], x["severity"], x["service"], x["command"]) for x in read_logs(severity="ERROR").lines] == [("failed", "ERROR", "prediction-worker", "predict SAME_DAY"), ("broke", "CRITICAL", "publishing", "best-bets")]
