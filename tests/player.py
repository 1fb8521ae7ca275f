"The command line in a process of its own, and questions to the warehouse it left."
import os, subprocess, sys
from pathlib import Path
import polars as pl
from tests import house

NBPROPS = str(Path(sys.executable).with_name("nbprops"))

def run(home: Path, *args: str, **env: str) -> subprocess.CompletedProcess:
    "The command line in a process of its own."
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NBPROPS_NOW")}
    return subprocess.run([NBPROPS, *args], cwd=house.ROOT, env={**clean, "NBPROPS_HOME": str(home), **env}, capture_output=True, text=True, timeout=600)

def ask(home: Path, sql: str) -> pl.DataFrame:
    from nbprops.data.warehouse import Warehouse
    return Warehouse(home/"nbprops.duckdb").sql(sql)
