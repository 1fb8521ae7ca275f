"Runs in processes of their own, which can be made to die before any statement that reaches the database."
import os, signal, time
from pathlib import Path
import duckdb
import nbprops.data.warehouse as warehouse
from nbprops.data.artifacts import Store
from nbprops.data.warehouse import Warehouse
from nbprops.predict.worker import Worker
from nbprops.settings import Refusal
from tests.forks import context

class Counted:
    "A connection that counts its statements, and kills its process before the n-th."
    seen, stop, log = 0, None, []
    def __init__(self, con): self._con = con
    def _at(self, what):
        Counted.seen += 1
        Counted.log.append(what)
        if Counted.seen == Counted.stop: os.kill(os.getpid(), signal.SIGKILL)
    def execute(self, *a, **k): self._at(a[0]); return self._con.execute(*a, **k)
    def sql(self, *a, **k): self._at(a[0]); return self._con.sql(*a, **k)
    def close(self): self._at("close"); return self._con.close()
    def cursor(self): return Counted(self._con.cursor())
    def __getattr__(self, name): return getattr(self._con, name)

def _count(stop: int | None) -> None:
    real = duckdb.connect
    Counted.stop = stop
    duckdb.connect = lambda *a, **k: Counted(real(*a, **k))

def _predict(home: Path, how: dict) -> str:
    how = dict(how)
    days = how.pop("days")
    r = Worker.from_registry(Warehouse(home/"nbprops.duckdb"), Store(str(home/"models")), quiet=True).predict_range(*days, **how)
    return f"{r.written} written"

def _publish(home: Path, how: dict) -> str: return Warehouse(home/"nbprops.duckdb").publish().name

def _watch(home: Path, how: dict) -> str:
    "An analyst: the copy stays open while it is asked again and again."
    held, n = duckdb.connect(str(home/"nbprops.snapshot.duckdb"), read_only=True), 0
    while not (home/"enough").exists():
        assert held.execute("SELECT count(*) FROM nba_predictions.player_prop_predictions").fetchone()[0] >= 0
        got = warehouse.sql("SELECT COUNT(*) AS n, COUNT(DISTINCT player_lookup) AS players FROM player_prop_predictions")
        assert got.height == 1
        n += 1
        (home/"asked").write_text(str(n))
        time.sleep(how.get("pause", .02))
    held.close()
    return f"{n} asked"

JOBS = dict(predict=_predict, publish=_publish, watch=_watch)

def _run(home: str, job: str, how: dict, env: dict, stop: int | None, said: str) -> None:
    os.environ.update(env | {"NBPROPS_HOME": home})
    _count(stop)
    try: text, code = JOBS[job](Path(home), how), 0
    except Refusal as e: text, code = str(e), e.exit_code
    except BaseException as e: text, code = f"{type(e).__name__}: {e}", 99
    Path(said).write_text(text)
    Path(said + ".log").write_text("\n".join(" ".join(s.split())[:60] for s in Counted.log))
    os._exit(code)

def start(home, job: str, said: str = "said", stop: int | None = None, now: str | None = None, **how):
    "Start a job; what it says stands in the file `said`, its statements beside it."
    p = context().Process(target=_run, args=(str(home), job, how, {"NBPROPS_NOW": now} if now else {}, stop, str(Path(home)/said)))
    p.start()
    return p

def code(p) -> int:
    "Exit code of a job; two minutes are the limit."
    p.join(120)
    if p.is_alive(): p.kill(); p.join()
    return p.exitcode
