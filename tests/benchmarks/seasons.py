"Four simulated seasons of phase 4 through the back-fill, beside one build and a bare insert of the same rows."
import shutil, time
from datetime import date
from pathlib import Path

SEASONS = ("2022-23", "2023-24", "2024-25", "2025-26")
SPAN = date(2022, 10, 1), date(2026, 4, 12)

def _bare(wh) -> float: # seconds
    "One season after the other: the builder alone, and its frames inserted into tables without keys, checks or merge."
    from nbprops.features.facts import read_facts
    from nbprops.features.store import TABLES, build
    t = time.perf_counter()
    for year in range(2022, 2026):
        a, b = date(year, 10, 1), date(year + 1, 6, 30)
        built = build(read_facts(wh, a, b), a, b)
        with wh.transaction() as tx:
            for name in TABLES:
                tx.con.register("f", built[name])
                tx.con.execute("CREATE OR REPLACE TABLE nba_predictions.bare AS FROM f").fetchall()
    return time.perf_counter() - t

def phase4(folder: Path, row) -> None:
    "The job with one worker and with two, and asked again."
    from nbprops.data.warehouse import Warehouse
    from nbprops.ops.backfill import backfill_features
    from nbprops.story import load_simulated
    made = Warehouse(folder/"made.duckdb"); made.migrate()
    for s in SEASONS: load_simulated(s, wh=made)
    def fresh() -> Warehouse:
        shutil.copy(made.path, folder/"w.duckdb")
        wh = Warehouse(folder/"w.duckdb"); wh.sql("SELECT 1")
        return wh
    bare, times = _bare(fresh()), {}
    for workers in (1, 2):
        wh, t = fresh(), time.perf_counter()
        m = backfill_features(wh, *SPAN, workers=workers, quiet=True); times[workers] = time.perf_counter() - t
    t = time.perf_counter(); backfill_features(wh, *SPAN, quiet=True); again = time.perf_counter() - t
    row(f"four seasons of phase 4, {m.counts.read:,} rows, one worker", f"{times[1]:.0f} s = {times[1]/bare:.1f}x", f"{bare:.0f} s builder and bare insert", "60 s")
    row("the same with two workers; asked again", f"{times[2]:.0f} s = {times[2]/bare:.1f}x", f"again {again:.1f} s", "60 s")
