"Window investigations beside the same fits made one after the other with two threads."
import time
from dataclasses import replace
from datetime import date

def _study(folder):
    "The windows of the incident on a real season, or on a simulated one."
    from nbprops.data.warehouse import Warehouse
    from nbprops.model.window_evidence import asked, read_study
    from nbprops.ops.backfill import backfill_features
    from nbprops.settings import real_data
    from nbprops.story import load_feeds, load_simulated
    wh = Warehouse(folder/"w.duckdb"); wh.migrate()
    load_feeds(real_data(), wh) if real_data() else load_simulated(wh=wh)
    backfill_features(wh, date(2025, 11, 2), date(2026, 2, 28), quiet=True)
    t = time.perf_counter(); s = read_study(wh, asked(wh, "2025-11-02:2026-01-08", "2025-11-02:2026-01-31", "2026-02-01:2026-02-28"))
    return wh, s, time.perf_counter() - t

def _bare(s, work: list) -> float: # seconds
    "Fits one after the other, two threads each: (rows, weights, seed)."
    from catboost import CatBoost, Pool
    from nbprops.model.families import catboost_params
    from nbprops.model.predictor import Transformer, transform
    from nbprops.model.training import validation_start
    t, two = time.perf_counter(), lambda seed, trees=None: catboost_params(s.family, s.params, seed, trees) | dict(thread_count=2)
    for rows, weight, seed in work:
        x, y, late = transform(Transformer.of(s.contract), rows), rows["target"].to_numpy(), (rows["game_date"] >= validation_start(rows["game_date"])).to_numpy()
        pool = lambda keep: Pool(x.filter(keep), y[keep], weight=None if weight is None else weight[keep])
        m = CatBoost(two(seed) | dict(early_stopping_rounds=s.params["early_stopping_rounds"])).fit(pool(~late), eval_set=pool(late))
        CatBoost(two(seed, m.get_best_iteration() + 1)).fit(pool(late | True))
    return time.perf_counter() - t

def investigation(folder, row, share: int = 5) -> None: # every share-th fit is made bare
    "Everything, and what is left of it when the verdict allows arms to be skipped."
    from nbprops.model.window import examine
    from nbprops.model.window_arms import recipe_rows
    wh, s, read = _study(folder)
    t = time.perf_counter(); whole = examine(s, everything=True); whole_seconds = time.perf_counter() - t
    t = time.perf_counter(); short = examine(s); short_seconds = time.perf_counter() - t
    at = {key: (r, k) for (r, k), key in whole.bench.rows.items()}
    sample = [(key, seed) for i, (key, seed) in enumerate(whole.bench.models) if i % share == 0]
    work = [(x.frame, x.weight, seed) for key, seed in sample for x in [recipe_rows(s, *at[key])]]
    bare = _bare(s, work)*len(whole.bench.models)/len(work)
    row(f"investigation, {s.stored.height:,} training rows, all {whole.bench.fits} fits", f"{whole_seconds:.0f} s = {whole_seconds/bare:.2f}x", f"{bare:.0f} s, two threads in turn (every {share}th)", "0.9x; 300 s")
    row(f"the same, {len(short.skipped)} arms skipped by the verdict, {short.bench.fits} fits", f"{short_seconds:.0f} s = {short_seconds/bare:.2f}x", f"evidence read in {read:.1f} s", "0.6x")

def sweep(folder, row, share: int = 5) -> None:
    "Twenty-four windows of five seeds."
    from nbprops.data.warehouse import Warehouse
    from nbprops.model.window_case import inside
    from nbprops.model.window_sweep import read_sweep, run, tasks, window_of
    wh = Warehouse(folder/"w.duckdb")
    if not wh.exists(): wh, *_ = _study(folder)
    s = read_sweep(wh, date(2025, 11, 4), date(2026, 2, 28))
    t = time.perf_counter(); run(s); mine = time.perf_counter() - t
    work = [(s.training.filter(inside(window_of(b, n, a))).rename({"actual": "target"}), None, seed) for i, (n, a, b, seed) in enumerate(tasks(s)) if i % share == 0]
    bare = _bare(s, work)*len(tasks(s))/len(work)
    row(f"sweep, {len(tasks(s))//len(s.seeds)} windows x {len(s.seeds)} seeds", f"{mine:.0f} s = {mine/bare:.2f}x", f"{bare:.0f} s, two threads in turn (every {share}th)", "0.9x")
