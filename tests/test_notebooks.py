"Every lesson runs: each notebook in a process of its own, two at a time."
import faulthandler, os, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
import pytest
from tests import house
from tests.forks import context

LESSONS = [p for p in house.notebooks() if "nbs" in p.parts]
LIMIT = 300 # seconds a lesson may take; the longest takes about 20

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

def _once(path: Path, said: Path) -> int:
    "Exit code of one try; below zero when the process died or stood still. A pool of processes would wait for ever for one that died."
    p = context().Process(target=_run, args=(str(path), str(said)))
    p.start()
    p.join(LIMIT)
    if p.is_alive(): p.kill(); p.join()
    return p.exitcode

def _lesson(path: Path, folder: Path) -> tuple[bool, str]:
    "Whether a lesson ran, and its last words when a try did not. A death below Python (a compiled library's) is told as a warning and tried once more; an error of the lesson never is."
    words = []
    for k in range(2):
        code = _once(path, said := folder/f"{path.stem}.{k}")
        if code == 0: break
        words.append(f"{path.name} ended with {code}:\n" + said.read_text(errors="replace")[-6000:])
        if code > 0: break
    return code == 0, "\n".join(words)

@lru_cache(1)
def _results() -> dict[Path, tuple[bool, str]]:
    with TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool: return dict(zip(LESSONS, pool.map(lambda p: _lesson(p, Path(folder)), LESSONS)))

@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_lesson_runs(path):
    ran, words = _results()[path]
    if ran and words: warnings.warn(words)
    assert ran, words

def test_a_death_is_noticed(tmp_path):
    "Fails when a lesson whose process dies is waited for, passes, or is not tried again; or an error is tried twice."
    import nbformat
    for name, code in (("dies", "import os; os.kill(os.getpid(), 11)"), ("fails", "1/0")): nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), tmp_path/f"{name}.ipynb")
    ran, words = _lesson(tmp_path/"dies.ipynb", tmp_path); assert not ran and words.count("ended with -11") == 2 and "Segmentation fault" in words
    ran, words = _lesson(tmp_path/"fails.ipynb", tmp_path); assert not ran and words.count("ended with 1") == 1 and "ZeroDivisionError" in words
