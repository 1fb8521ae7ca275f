"Every lesson runs: each notebook in a process of its own, two at a time."
import multiprocessing as mp, os
from functools import lru_cache
from pathlib import Path
import pytest
from tests import house

LESSONS = [p for p in house.notebooks() if "nbs" in p.parts]

def _run(path: str) -> tuple[str, bool]:
    "Run one notebook as nbdev does."
    from nbdev.test import test_nb
    os.environ.update(MPLBACKEND="agg", IN_TEST="1")
    os.environ.pop("NBPROPS_HOME", None)
    ok, _ = test_nb(Path(path), basepath=house.ROOT)
    return path, ok

@lru_cache(1)
def _results() -> dict[str, bool]:
    ctx = mp.get_context("forkserver")
    ctx.set_forkserver_preload(["nbdev.test", "polars", "duckdb", "catboost", "sqlglot", "sqlglot.generators.duckdb", "sqlglot.generators.bigquery"]) # imported once, inherited by every fork; heavy, and without threads that a fork would lose
    with ctx.Pool(2, maxtasksperchild=1) as pool:
        return dict(pool.imap_unordered(_run, [str(p) for p in LESSONS], chunksize=1))

@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_lesson_runs(path): assert _results()[str(path)]
