"The commands retrain and gates run: words, exit codes, what people and machines get."
import json, shutil
import pytest
import typer
from typer.testing import CliRunner
from nbprops.commands import train as C
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.model import plans, retrain as X
from nbprops.model.registry import Registry
from nbprops.settings import Refusal

WINDOW = "--train-start 2025-11-04 --train-end 2025-12-08 --eval-days 11 --seeds 1"

@pytest.fixture
def run(league, tmp_path, monkeypatch):
    "Run words in a home of its own; fits are quick, the feed profile is given."
    home = tmp_path/"home"; home.mkdir()
    shutil.copy(league.path, home/"nbprops.duckdb")
    monkeypatch.setenv("NBPROPS_HOME", str(home)); monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(plans, "feed_profile", lambda wh, windows: "box+rosters+team_box+shots+props+game_lines+injuries")
    real = X.train
    monkeypatch.setattr(X, "train", lambda rows, c, family, params, *a: real(rows, c, family, params | dict(iterations=30, depth=4, learning_rate=.15), *a))
    cards = []
    monkeypatch.setattr(C, "card_line", lambda model_id: cards.append(model_id) or f"card of {model_id}")
    app = typer.Typer(rich_markup_mode=None); C.enter(app)
    def act(words):
        r = CliRunner().invoke(app, words.split())
        return (r.exception.exit_code, str(r.exception)) if isinstance(r.exception, Refusal) else (r.exit_code, r.stdout if "--json" in words else r.output)
    act.home, act.cards = home, cards
    return act

def test_every_option_explains_itself():
    "Fails when an option of retrain or gates run has no help text, or an option of the contract is missing."
    app = typer.Typer(rich_markup_mode=None); C.enter(app)
    commands = typer.main.get_command(app).commands
    options = {o: p for p in commands["retrain"].params for o in p.opts}
    assert [o for o, p in options.items() if not p.help] == [] and [p.name for p in commands["gates"].commands["run"].params if not getattr(p, "help", None)] == []
    wanted = "name train-start train-end eval-start eval-end eval-days feature-set no-vegas loss-function quantile-alpha recency-weight walkforward family all enable promote initial policy dry-run skip-auto-upload skip-auto-register force reason seed seeds ensemble line-as-of strict-window no-refit machine-output json"
    assert set(f"--{w}" for w in wanted.split()) <= set(options)

@pytest.mark.parametrize("words, walk", [("", False), ("--walkforward", True), ("--walkforward --no-refit", True), ("--walkforward=retrain", "retrain"), ("--walkforward retrain", "retrain"), ("--walkforward=table", True), ("--walkforward=foo", "foo"), ("--walkforward=", "")])
def test_walkforward_with_and_without_its_word(monkeypatch, words, walk):
    "Fails when the bare flag eats its neighbour, or an unknown word is dropped."
    seen = []
    monkeypatch.setattr(C, "_carry_out", lambda request, *_: seen.append(request) or 0)
    app = typer.Typer(rich_markup_mode=None); C.enter(app)
    r = CliRunner().invoke(app, ["retrain", "--name", "X", *words.split()])
    assert r.exit_code == 0, r.output
    assert seen[0].walkforward == walk and seen[0].name == "X" and seen[0].refit == ("--no-refit" not in words)
    if walk in ("foo", ""):
        with pytest.raises(Refusal, match="walkforward"): X.check_flags(seen[0])

@pytest.mark.parametrize("words, why", [("--name X", "No dates"), (f"{WINDOW}", "--name is missing"), (f"{WINDOW} --name=", "--name is empty"), ("--all --family v9_mae", "both given"), (f"{WINDOW} --name X --line-as-of bogus", "unknown"), (f"{WINDOW} --name X --walkforward=foo", "unknown"),
    (f"{WINDOW} --name X --seed -1", "below 0"), (f"{WINDOW} --name X --eval-start yesterday --eval-end 2025-12-19", "no date"), ("--all", "No family has"), (f"{WINDOW} --name X --machine-output nowhere/x.json", "does not exist"), (f"{WINDOW} --name X --loss-function q43 --quantile-alpha 0.43", "twice")])
def test_refusals_end_with_2(run, words, why, monkeypatch):
    "Fails when words that cannot be meant are guessed at, or reach a fit."
    monkeypatch.setattr(X, "train", None)
    code, text = run(f"retrain {words}")
    assert code == 2 and why in text, text

def test_what_a_person_and_a_machine_get(run):
    "Fails when the verdict does not come first, or the file of the machine tells another story."
    out = run.home/"m.json"
    code, text = run(f"retrain --family v9_mae {WINDOW} --promote --initial --reason first --walkforward --machine-output {out}")
    found, lines = json.loads(out.read_text()), text.splitlines()
    row = Registry(Warehouse(), Store()).get(found["model_id"])
    answer = next(i for i, line in enumerate(lines) if not line.startswith("..."))
    assert lines[answer] == found["sentence"] and lines[answer].startswith(found["verdict"]) and code == found["exit_code"] == (1 if found["verdict"] == "REJECT" else 0)
    assert (found["sha256"], found["state"], found["windows"]["effective"]["end"]) == (row["sha256"], row["state"], "2025-12-08") and {g["id"] for g in found["gates"]["results"]} >= {"temporal_disjoint", "hit_rate_edge3"} and len(found["weekly"]) == 2
    assert any(l.startswith("Next: ") and "nbprops" in l for l in lines) and "temporal_disjoint" in text and found["name"].startswith("V9_MAE_")
    assert [p.name for p in run.home.glob(".m.json*")] == []
    code, text = run(f"retrain --family v9_mae {WINDOW} --machine-output {out}")
    assert code == 2 and json.loads(out.read_text())["verdict"] == "REFUSED", "yesterday's verdict is replaced by today's refusal"

def test_reject_ends_with_1_and_gates_run_speaks_the_same_language(run, monkeypatch):
    "Fails when a rejected model exits 0, or `gates run` changes a state."
    real = X.judge
    def leaning(*a):
        from dataclasses import replace
        import polars as pl
        case, _ = real(*a)
        case = replace(case, rows=case.rows.with_columns(pl.col("predicted", "seed_42") - 4.0))
        return case, X.run_gates(case)
    monkeypatch.setattr(X, "judge", leaning)
    code, text = run(f"retrain --name LEANS {WINDOW} --enable --reason r")
    assert code == 1 and "REJECT" in text and "(rejected, nothing serves it)" in text and "report gate-card" in text
    monkeypatch.undo()

def test_gates_run_after_a_retrain(run):
    "Fails when a later verdict is not told, costs a look on identical rows, or changes a state."
    code, text = run(f"retrain --name ONE {WINDOW} --json")
    found = json.loads(text)
    code, text = run(f"gates run {found['model_id']} --eval-start 2025-12-09 --eval-end 2025-12-19")
    assert code == (1 if found["verdict"] == "REJECT" else 0) and text.startswith(found["verdict"]) and "look 1 at these dates" in text and "Next: " in text
    code, text = run(f"gates run {found['model_id']} --eval-start 2025-12-10 --eval-end 2025-12-19 --json")
    assert json.loads(text)["summary"]["looks"] == 2 and Registry(Warehouse(), Store()).get(found["model_id"])["state"] == found["state"]
    assert run("gates run nobody")[0] == 2 and run(f"gates run {found['model_id']} --eval-start 2025-12-09")[0] == 2

def test_all_families_by_command(run):
    "Fails when --all does not follow the registry, or its rehearsal fits."
    run(f"retrain --family v9_mae {WINDOW} --promote --initial --reason first")
    code, text = run("retrain --all --eval-days 11 --seeds 1 --dry-run")
    assert code == 0 and "1 families: 1 DRY_RUN" in text and "fit 1 seeds" in text and Registry(Warehouse(), Store()).rows().height == 1
    code, text = run("retrain --all --eval-days 11 --seeds 1 --seed 7 --json")
    found = json.loads(text)
    assert [o["family"] for o in found["outcomes"]] == ["v9_mae"] and code == found["exit_code"] and Registry(Warehouse(), Store()).rows().height == 2

def test_registered_models_get_their_card(run):
    "Fails when a new model has no card, or one that was only rehearsed has."
    run(f"retrain --name A {WINDOW} --dry-run"); run(f"retrain --name B {WINDOW} --skip-auto-register"); run(f"retrain --name C {WINDOW} --no-card --force --reason again")
    assert run.cards == []
    _, text = run(f"retrain --name D {WINDOW} --force --reason again")
    assert len(run.cards) == 1 and f"card of {run.cards[0]}" in text

def test_a_card_that_cannot_be_drawn_leaves_the_model(monkeypatch):
    "Fails when trouble with a report looks like trouble with the model."
    from nbprops import story
    def broken(model_id): raise Refusal("Reports need the extra", "it is not installed", "pip install 'nbprops[reports]'")
    monkeypatch.undo(); monkeypatch.setattr(story, "gate_card", broken)
    assert C.card_line("m1") == "no gate card of m1: Reports need the extra (it is not installed). Mend: pip install 'nbprops[reports]'"
