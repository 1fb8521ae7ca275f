"Processes of their own that need not import the heavy libraries again: one server has them, and every child is a fork of it."
import multiprocessing as mp, os, subprocess, sys
from pathlib import Path
from tempfile import TemporaryDirectory
from tests import house

HEAVY = ["nbdev.test", "polars", "duckdb", "catboost", "sqlglot", "sqlglot.generators.duckdb", "sqlglot.generators.bigquery", "typer", "pytest"] # heavy, and without threads that a fork would lose; the package itself is imported by each child

def context():
    "How children begin; the same for all, since a test process has one server."
    ctx = mp.get_context("forkserver")
    ctx.set_forkserver_preload(HEAVY)
    return ctx

def _begin(act: str, words: list[str], env: dict[str, str], folder: str) -> None:
    "Be that process: its environment, its folder, its words, its output; then import the command line, or run a script."
    os.environ.clear(); os.environ.update(env)
    os.chdir(house.ROOT)
    for fd, name in ((1, "out"), (2, "err")):
        with open(f"{folder}/{name}", "wb") as f: os.dup2(f.fileno(), fd)
    sys.argv = [str(Path(sys.executable).with_name("nbprops")) if act == "nbprops" else "-c", *words]
    if act == "nbprops":
        from nbprops.cli import main
        sys.exit(main())
    exec(compile(act, "<script>", "exec"), {"__name__": "__main__"})

class Child:
    "A process that was begun; `end` waits for it."
    def __init__(self, act: str, words, env: dict[str, str]):
        self.folder, self.args = TemporaryDirectory(), [act, *map(str, words)]
        self.process = context().Process(target=_begin, args=(act, self.args[1:], env, self.folder.name))
        self.process.start()
    def end(self, timeout: float = 600) -> subprocess.CompletedProcess:
        "Exit code, output and errors; below zero when a signal ended it."
        self.process.join(timeout)
        if self.process.is_alive(): self.process.kill(); self.process.join(); raise subprocess.TimeoutExpired(self.args, timeout)
        said = [(Path(self.folder.name)/n).read_text() for n in ("out", "err")]
        self.folder.cleanup()
        return subprocess.CompletedProcess(self.args, self.process.exitcode, *said)

def command(words, env: dict[str, str] | None = None) -> Child:
    "Begin the command line."
    return Child("nbprops", words, dict(os.environ) if env is None else env)

def script(code: str, *words, **env: str) -> Child:
    "Begin a script, as `python -c` would."
    return Child(code, words, os.environ | env)
