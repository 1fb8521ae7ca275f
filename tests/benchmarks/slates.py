"Speed of the slate: one date regenerated end to end beside the bare model call and a bare insert; a range through every system."
import statistics, time
from datetime import datetime, timedelta

PRED = "nba_predictions.player_prop_predictions"
RECORD = 25.9 # seconds for 336 predictions, on record

def _bare(wh, store, model_id: str, names: list[str], stored):
    "Load nothing, predict the stored vectors, insert the stored rows as they are; its own connection and commit."
    import json
    import duckdb
    import polars as pl
    from nbprops.predict.worker import Worker
    model = next(m for m in Worker.from_registry(wh, store, quiet=True).fleet.models if m.row["model_id"] == model_id).system.bundle.model
    vectors = pl.DataFrame([json.loads(t) for t in stored["features_snapshot_json"]]).select(pl.col(n).cast(pl.Float64) for n in names)
    def once():
        model.predict(vectors)
        con = duckdb.connect(str(wh.path))
        con.register("given", stored)
        con.execute(f"BEGIN; CREATE OR REPLACE TEMP TABLE bench_copy AS SELECT * FROM {PRED} LIMIT 0; INSERT INTO bench_copy SELECT * FROM given; COMMIT").fetchall()
        con.close()
    return once

def regenerate(s, row) -> None:
    "One date of one system with `--force`: read, predict, validate, attribute, version, write, chain."
    from nbprops.features.facts import read_facts
    from nbprops.features.store import build, write_features
    from nbprops.predict.worker import Worker
    from nbprops.settings import ET
    from nbprops.story import SERVED, clock
    w, n_wanted = Worker.from_registry(s.wh, s.store, quiet=True), 336
    d = s.wh.sql("SELECT game_date FROM nba_analytics.upcoming_player_game_context WHERE game_date BETWEEN @a AND @b GROUP BY 1 ORDER BY COUNT(*) DESC LIMIT 1", a=SERVED[0], b=SERVED[1] + timedelta(18)).item()
    with clock(datetime(d.year, d.month, d.day, 11, 30, tzinfo=ET)):
        write_features(s.wh, build(read_facts(s.wh, d, d), d, d, as_of="run:SAME_DAY", origin="live"), (d, d))
        w.predict(d, mode="SAME_DAY")
        counts = s.wh.sql(f"SELECT system_id, COUNT(*) AS n FROM {PRED} WHERE game_date = @d AND is_active AND model_load_source <> 'CODE' GROUP BY 1 ORDER BY n DESC", d=d)
        names, total = [], 0
        for name, n in counts.iter_rows():
            if total < n_wanted: names.append(name); total += n
        times = []
        for _ in range(6):
            t = time.perf_counter(); r = w.predict(d, mode="SAME_DAY", force=True, systems=names); times.append(time.perf_counter() - t)
        system = next(m for m in w.fleet.models if m.system.system_id == names[0])
        stored = s.wh.sql(f"SELECT * FROM {PRED} WHERE game_date = @d AND is_active AND system_id IN UNNEST(@k)", d=d, k=names)
        same = stored.filter(stored["system_id"] == names[0])
        once = _bare(s.wh, s.store, system.row["model_id"], system.system.contract.names, same)
        bare = []
        for _ in range(6):
            t = time.perf_counter(); once(); bare.append(time.perf_counter() - t)
    warm, floor = statistics.median(times[1:]), statistics.median(bare[1:])*r.written/same.height
    row(f"{r.written} predictions of one date regenerated, {len(names)} models", f"{warm:.2f} s = {RECORD*r.written/n_wanted/warm:.0f}x the record", f"{floor:.3f} s bare call and insert, {warm/floor:.0f}x", "0.5 s, 50x, 30x")

def range_28(s, row) -> None:
    "Back-fill of four weeks across every live system, without and with rows that are there already."
    from nbprops.predict.worker import Worker
    from nbprops.story import AFTERWARDS, FEBRUARY, clock
    w = Worker.from_registry(s.wh, s.store, quiet=True)
    with clock(AFTERWARDS):
        t = time.perf_counter(); r = w.predict_range(*FEBRUARY, mode="BACKFILL", force=True); first = time.perf_counter() - t
        t = time.perf_counter(); w.predict_range(*FEBRUARY, mode="BACKFILL"); again = time.perf_counter() - t
    row(f"back-fill of 28 dates, {r.systems['system_id'].n_unique()} systems, {r.written:,} rows", f"{first:.1f} s", f"{again:.1f} s when nothing is missing", "20 s")
