"Registry commands: what a person and a program read, and the exit codes."
import json
import pytest
import typer
from typer.testing import CliRunner
from nbprops.commands.registry import registry_app
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.model.registry import Registry
from nbprops.settings import Refusal
from tests.test_model_registry import enter
from tests.test_model_registry_import import OLDER

@pytest.fixture
def three(wh):
    "A production model, a shadow with a requested promotion, a candidate."
    reg = Registry(wh, Store())
    a, b, c = enter(reg, 1), enter(reg, 2), enter(reg, 3)
    reg.enable(a); reg.promote(a); reg.enable(b, requested=True)
    return reg, a, b, c

def run(*words, code=0):
    "The output of a command; fails when it ends with another code."
    out = CliRunner().invoke(registry_app, words)
    if isinstance(out.exception, Refusal): raise out.exception
    assert out.exit_code == code, (out.output, out.exception)
    return out.stdout

def ask(*words, code=0): return json.loads(run(*words, "--json", code=code))

def test_every_option_has_a_help_text():
    "Fails when a command or an option leaves its reader alone."
    commands = typer.main.get_command(registry_app).commands
    assert set(commands) == {"list", "show", "history", "features", "manifest", "production", "compare", "validate", "store-ls", "shadow-report", "enable", "disable", "retire", "block", "unblock", "promote", "rollback", "override", "import"}
    assert [(n, p.name) for n, c in commands.items() for p in c.params if not getattr(p, "help", None)] == [] and all(c.help for c in commands.values())

def test_looking(three):
    "Fails when a program cannot read what a person can, or the other way round."
    _, a, b, c = three
    assert [r["mark"] for r in ask("list") if r["model_id"] == a] == ["PROD"] and a in run("list")
    row = ask("show", a); assert isinstance(row["features_json"], list) and row["standing"] == "proven" and "_json" not in run("show", a)
    assert [m["to_state"] for m in ask("history", b)] == ["candidate", "shadow"] and ask("history", b)[1]["evidence_json"] == {"promotion_requested": True} and "retrain" in run("history", a)
    assert len(ask("features", a)) == len(run("features", a).split()) == 33
    assert ask("manifest", "v9_mae")["production_model"] == a and ask("production")["model_id"] == a and ask("production", "--family", "v9_q43", code=1) is None
    assert "state" in [r["column"] for r in ask("compare", a, c)] and ask("store-ls")[0]["registered"] and ask("validate") == []
    assert ask("shadow-report")[0]["shadow"] == b and "0 graded rows" in run("shadow-report")
    for words in (("show", "nobody"), ("history", "nobody")):
        with pytest.raises(Refusal, match="nobody"): run(*words)

def test_moving(three):
    "Fails when a command does not do what it says, or its answer does not name the new state."
    reg, a, b, c = three
    assert ask("enable", c, "--system-id", "catboost_v9_shadow")["system_id"] == "catboost_v9_shadow" and ask("disable", c, "--reason", "x")["state"] == "candidate"
    assert ask("promote", "--pending")["models"][0]["outcome"] == "waits" and "waits" in run("promote", "--pending")
    assert ask("block", b, "--reason", "x") | {"sha256": 0} == dict(model_id=b, model_family="v9_mae", state="blocked", system_id=None, sha256=0, predictions_withdrawn=0, picks_retracted=0)
    assert ask("unblock", b, "--reason", "x")["state"] == "shadow" and ask("retire", a, "--reason", "x")["state"] == "retired"
    assert "is now production and speaks as catboost_v9" in run("promote", b) and "is now production" in run("rollback") and reg.get(a)["is_production"]
    for words in (("promote",), ("promote", c, "--pending"), ("promote", "--pending", "--initial")):
        with pytest.raises(Refusal, match="--pending"): run(*words)

def test_exceptions_and_arrivals(three, tmp_path):
    "Fails when an override needs no date, an import hides a refusal, or a finding ends with 0."
    reg, *_ = three
    d = enter(reg, 5, "REJECT", "rejected")
    with pytest.raises(Refusal, match="no date"): run("override", d, "--gate", "vegas_bias", "--reason", "x", "--expires", "soon")
    assert ask("override", d, "--gate", "vegas_bias", "--reason", "x", "--expires", "2999-01-01")["state"] == "candidate" and "override until 2999-01-01" in run("list")
    path = tmp_path/"older.json"; path.write_text(json.dumps(OLDER[1:]))
    assert "6 rows read: 6 imported" in run("import", str(path)) and ask("import", str(path))["counts"]["present"] == 6
    path.write_text(json.dumps(OLDER[:1])); assert ask("import", str(path), code=1)["rows"][0]["note"] == "a family has one production model"
    assert "no file" in run("validate", code=1)
    with pytest.raises(Refusal, match="neither rows nor a model"): (tmp_path/"x.txt").write_text(""); run("import", str(tmp_path/"x.txt"))
