"A registry command in a process of its own that can be made to die at a named step."
import os
from pathlib import Path
import nbprops.data.warehouse as warehouse
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.model.predictor import load_bundle
from nbprops.model.registry import Registry
from nbprops.settings import Refusal
from tests.forks import context

POINTS = { # step: owner, function, which call
    "upload sidecar": (Store, "put", lambda self, rel, data: rel.endswith(".json")), "upload model": (Store, "put", lambda self, rel, data: rel.endswith(".cbm")),
    "history row": (warehouse.Transaction, "write", lambda self, name, *a: name.endswith("history")), "manifest": (Store, "put_json", lambda *a: True),
    "commit": (warehouse, "_run", lambda con, sql, *a: sql == "COMMIT")}
COMMANDS = {"initial": lambda g, m: g.promote(m, initial=True, reason="race"), "rollback": lambda g, f: g.rollback(f, reason="test"), "block": lambda g, m: g.block(m, "test"), "retire": lambda g, m: g.retire(m, "test"),
            "enable": lambda g, m: g.enable(m), "promote": lambda g, m: g.promote(m), "register": lambda g, path: _register(g, load_bundle(path))}

def _register(g, b): g.register(b, g.upload(b), gate_policy="default", gate_verdict="PROMOTE")

def _deadly(point: str, when: str) -> None:
    "Make a step kill this process, without any clean-up, before or after it is done."
    owner, name, at = POINTS[point]
    real = getattr(owner, name)
    def wrapped(*a, **k):
        hit = at(*a)
        if hit and when == "before": os._exit(9)
        out = real(*a, **k)
        if hit and when == "after": os._exit(9)
        return out
    setattr(owner, name, wrapped)

def _run(env: dict[str, str], home: str, command: str, word: str, point: str | None, when: str, said: str) -> None:
    os.environ.clear(); os.environ.update(env)
    if point: _deadly(point, when)
    try: COMMANDS[command](Registry(Warehouse(f"{home}/w.duckdb"), Store(f"{home}/store")), word)
    except Refusal as e: Path(said).write_text(str(e)); os._exit(2)
    os._exit(0)

def start(home, command: str, word: str, point: str | None = None, when: str = "after", said: str = "said.txt"):
    "Start a command; its refusal, if any, stands in the file `said`."
    p = context().Process(target=_run, args=(dict(os.environ), str(home), command, str(word), point, when, str(Path(home)/said)))
    p.start()
    return p

def code(p) -> int:
    "Exit code of a started command; a minute is the limit."
    p.join(60)
    return p.exitcode
