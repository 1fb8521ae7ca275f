"The command line in a process of its own, and questions to the warehouse it left."
import os, subprocess, sys
from pathlib import Path
import polars as pl
from tests import forks, house

NBPROPS = str(Path(sys.executable).with_name("nbprops"))

def _clean(home: Path, env: dict[str, str]) -> dict[str, str]:
    "The environment of a command: its own home, no inherited clock."
    return {**{k: v for k, v in os.environ.items() if not k.startswith("NBPROPS_NOW")}, "NBPROPS_HOME": str(home), **env}

def run(home: Path, *args: str, **env: str) -> subprocess.CompletedProcess:
    "The command line in a process of its own, which need not import the libraries again."
    return forks.command(args, _clean(home, env)).end()

def run_installed(home: Path, *args: str, **env: str) -> subprocess.CompletedProcess:
    "The command line as it was installed: the program, started from nothing."
    return subprocess.run([NBPROPS, *args], cwd=house.ROOT, env=_clean(home, env), capture_output=True, text=True, timeout=600)

def ask(home: Path, sql: str) -> pl.DataFrame:
    from nbprops.data.warehouse import Warehouse
    return Warehouse(home/"nbprops.duckdb").sql(sql)
