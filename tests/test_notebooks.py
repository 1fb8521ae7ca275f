"Every lesson runs: each notebook in a process of its own, two at a time."
import faulthandler, multiprocessing as mp, os, sys
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
import pytest
from tests import house

LESSONS = [p for p in house.notebooks() if "nbs" in p.parts]
LIMIT = 600 # seconds a lesson may take; the longest takes about 20

def _run(path: str, said: str) -> None:
    "Run one notebook as nbdev does; what it prints stands in the file `said`."
    with open(said, "w") as f:
        for fd in (1, 2): os.dup2(f.fileno(), fd)
    faulthandler.enable() # a crash shows where
    faulthandler.dump_traceback_later(LIMIT - 30) # a standstill, too
    from nbdev.test import test_nb
    os.environ.update(MPLBACKEND="agg", IN_TEST="1")
    os.environ.pop("NBPROPS_HOME", None)
    ok, _ = test_nb(Path(path), basepath=house.ROOT)
    for f in (sys.stdout, sys.stderr): f.flush()
    os._exit(0 if ok else 1) # a thread that some library left behind must not keep a lesson that has ended

def _lesson(path: Path, folder: Path) -> str:
    "What went wrong in one lesson: an empty text when nothing did. A pool of processes would wait for ever for one that died."
    ctx = mp.get_context("forkserver")
    ctx.set_forkserver_preload(["nbdev.test", "polars", "duckdb", "catboost", "sqlglot", "sqlglot.generators.duckdb", "sqlglot.generators.bigquery"]) # imported once, inherited by every fork; heavy, and without threads that a fork would lose
    p = ctx.Process(target=_run, args=(str(path), str(folder/path.stem)))
    p.start()
    p.join(LIMIT)
    if p.is_alive(): p.kill(); p.join()
    return "" if p.exitcode == 0 else f"{path.name} ended with {p.exitcode}:\n" + (folder/path.stem).read_text(errors="replace")[-6000:]

@lru_cache(1)
def _results() -> dict[Path, str]:
    with TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool: return dict(zip(LESSONS, pool.map(lambda p: _lesson(p, Path(folder)), LESSONS)))

@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_lesson_runs(path):
    wrong = _results()[path]
    assert not wrong, wrong
