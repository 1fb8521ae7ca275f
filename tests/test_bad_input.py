"Bad input gets one readable sentence with the mend, the right exit code, and leaves the warehouse as it was."
import hashlib, json, os, stat
from pathlib import Path
import polars as pl
import pytest
from tests.player import ask, run, run_installed

def refused(out, *words: str, code: int = 2) -> None:
    "One line, no traceback, the words that a person needs."
    assert out.returncode == code, (out.returncode, out.stdout[-500:], out.stderr[-2000:])
    assert "Traceback" not in out.stderr and len(out.stderr.strip().splitlines()) <= 3, out.stderr
    for w in words: assert w in out.stderr, out.stderr

def counts(home: Path) -> dict:
    "Rows per table: what must not change."
    from nbprops.data.tables import TABLES
    from nbprops.data.warehouse import Warehouse
    with Warehouse(home/"nbprops.duckdb").transaction() as tx: return {n: tx.sql(f"SELECT COUNT(*) AS n FROM {n}").item() for n in TABLES if n != "nba_orchestration.run_ledger"}

@pytest.mark.parametrize("args, words", [
    (("ingest", "nowhere.parquet"), ("nowhere.parquet", "Mend")),
    (("query", "SELECT nope FROM nba_predictions.model_registry"), ("nope", "Mend")),
    (("query", "SELEC 1"), ("Mend",)),
    (("qeury",), ("qeury",)),
    (("tables", "nbac_shedule"), ("nbac_schedule",)),
    (("retrain", "--name", "X", "--train-start", "2025-11-02"), ("train",)),
    (("retrain", "--name", "X", "--train-start", "2025-11-02", "--train-end", "2026-01-08", "--feature-set", "v99"), ("v99",)),
    (("retrain", "--name", "X", "--train-start", "2025-11-02", "--train-end", "2026-02-10", "--eval-start", "2026-02-01", "--eval-end", "2026-02-28"), ("2026-02",)),
    (("backfill", "phase4", "--start-date", "2026-02-10", "--end-date", "2026-02-01"), ("after",)),
    (("backfill", "grading", "--start-date", "2026-02-30", "--end-date", "2026-03-01"), ("2026-02-30",)),
    (("backfill", "phase4", "--start-date", "2019-08-01", "--end-date", "2019-08-03"), ("season",)),
    (("registry", "promote", "nobody"), ("nobody",)),
    (("predict", "--mode", "TOMORROW"), ("TOMORROW",)),
])
def test_a_wrong_word_is_one_sentence_and_changes_nothing(played, args, words):
    home, _ = played
    before = counts(home)
    refused(run(home, *args), *words)
    assert counts(home) == before

def test_the_installed_program_says_the_same(tmp_path):
    "Would catch an entry point that is not the command line which the other tests begin: other words, another exit code, a traceback."
    for args in (("query", "SELECT 1"), ("qeury",), ("tables", "nbac_schedule", "--json")):
        here, there = run(tmp_path/"none", *args), run_installed(tmp_path/"none", *args)
        assert (here.returncode, here.stdout, here.stderr) == (there.returncode, there.stdout, there.stderr)

def test_an_absent_warehouse(tmp_path):
    for args in (("query", "SELECT 1"), ("registry", "list"), ("predict", "--date", "2026-02-01"), ("backfill", "grading", "--start-date", "2026-02-01", "--end-date", "2026-02-01")):
        refused(run(tmp_path/"none", *args), "No warehouse", "nbprops demo")

def test_a_wrong_file_type(tmp_path):
    (tmp_path/"notes.xlsx").write_bytes(b"PK")
    refused(run(tmp_path/"home", "ingest", str(tmp_path/"notes.xlsx")), "notes.xlsx")

def test_an_unknown_column(tmp_path):
    pl.DataFrame({"game": ["x"], "scorer": ["y"]}).write_parquet(tmp_path/"box.parquet")
    refused(run(tmp_path/"home", "ingest", str(tmp_path/"box.parquet")), "box.parquet")

def test_a_corrupt_file(tmp_path):
    (tmp_path/"box.parquet").write_bytes(b"PAR1 but not really")
    refused(run(tmp_path/"home", "ingest", str(tmp_path/"box.parquet")), "box.parquet")

def test_a_read_only_folder(tmp_path):
    "Root may write anywhere, so the folder's name is taken by a file instead: the home cannot be made."
    (tmp_path/"home").write_text("a file where the folder should be")
    refused(run(tmp_path/"home", "migrate"), "home")

def _model_file(home: Path) -> Path:
    "The production model's file."
    return next(home.rglob(ask(home, "SELECT model_file_name AS f FROM nba_predictions.model_registry WHERE is_production").item()))

@pytest.mark.parametrize("damage", ["truncated", "swapped", "missing"])
def test_a_damaged_production_model_stops_the_run(played, damage):
    "The worker must refuse to serve, and validate must say FAIL; nothing is written."
    home, _ = played
    path, before = _model_file(home), counts(home)
    good = path.read_bytes()
    try:
        if damage == "missing": path.unlink()
        else: path.write_bytes(good[:len(good)//2] if damage == "truncated" else good + b" ")
        out = run(home, "predict", "--mode", "SAME_DAY", "--date", "2026-02-11", NBPROPS_NOW="2026-02-11T16:30:00Z")
        refused(out, "catboost_v9")
        assert run(home, "registry", "validate").returncode == 1
        after = counts(home)
        assert {k: after[k] for k in before if k.endswith("predictions")} == {k: before[k] for k in before if k.endswith("predictions")}
    finally: path.write_bytes(good)

def test_an_older_schema_is_named_and_mended(played, tmp_path):
    import shutil
    home, _ = played
    old = tmp_path/"old"
    old.mkdir(); shutil.copyfile(home/"nbprops.duckdb", old/"nbprops.duckdb"); shutil.copytree(home/"models", old/"models")
    ask(old, "ALTER TABLE nba_predictions.prediction_accuracy DROP COLUMN grading_commit_sha")
    out = run(old, "backfill", "grading", "--start-date", "2026-02-01", "--end-date", "2026-02-01")
    refused(out, "nbprops migrate")
    assert run(old, "migrate").returncode == 0
    assert run(old, "backfill", "grading", "--start-date", "2026-02-01", "--end-date", "2026-02-01").returncode in (0, 1)
