"""Speed as ratios, measured side by side in one run: `python -m tests.benchmarks [name ...]`.

Nothing here asserts a time: machines differ. Each line gives what was measured, the reference beside it, the ratio, and the goal.
"""
import os, resource, statistics, subprocess, sys, tempfile, time
from datetime import date, timedelta
from pathlib import Path

ROWS: list[tuple[str, str, str, str]] = []

def best(f, n: int = 3) -> float: # seconds
    "The fastest of n calls: noise only ever adds time."
    out = []
    for _ in range(n):
        t = time.perf_counter(); f(); out.append(time.perf_counter() - t)
    return min(out)

def row(what: str, measured: str, reference: str, goal: str) -> None:
    "Print and keep one line."
    ROWS.append((what, measured, reference, goal))
    print(f"{what:<58} {measured:>24} {reference:>34}   goal {goal}", flush=True)

def _home() -> Path: return Path(tempfile.mkdtemp(prefix="nbprops-bench-"))

def _ten_means(box):
    "Ten plain rolling means, the bare reference."
    import polars as pl
    cols = ["points", "fg_attempts", "fg_makes", "three_pt_attempts", "three_pt_makes", "ft_attempts", "ft_makes", "assists", "defensive_rebounds", "personal_fouls"]
    return box.sort("player_lookup", "game_date").with_columns(pl.col(c).rolling_mean(10, min_samples=1).shift().over("player_lookup").alias(f"{c}_avg") for c in cols)

def features() -> None:
    "The complete feature store of all real seasons (simulated when there are no real feeds)."
    from nbprops.data.warehouse import Warehouse
    from nbprops.features.facts import read_facts
    from nbprops.features.store import build, write_features
    from nbprops.settings import real_data
    from nbprops.story import load_feeds, load_simulated
    wh = Warehouse(_home()/"b.duckdb")
    load_feeds(real_data(), wh) if real_data() else load_simulated(wh=wh)
    a, b = wh.sql("SELECT MIN(game_date) AS a, MAX(game_date) AS b FROM nba_raw.nbac_player_boxscores").row(0)
    facts, box = read_facts(wh, a, b), wh.read("nba_raw.nbac_player_boxscores")
    bare, whole = best(lambda: _ten_means(box), 5), best(lambda: build(facts, a, b))
    built = build(facts, a, b)
    row(f"feature store, {built['nba_predictions.ml_feature_store_v2'].height:,} rows / ten rolling means", f"{whole:.2f} s = {whole/bare:.1f}x", f"{bare:.3f} s bare polars", "40x")
    t = time.perf_counter(); write_features(wh, built, (a, b)); t = time.perf_counter() - t
    row("nine tables written", f"{t:.1f} s", f"{sum(f.height for n, f in built.items() if '.' in n):,} rows", "8 s")

def growth() -> None:
    "From one to four simulated seasons."
    from nbprops.data.league import simulate
    from nbprops.data.reference import build_reference
    from nbprops.data.sources import land
    from nbprops.data.warehouse import Warehouse
    from nbprops.features.facts import read_facts
    from nbprops.features.store import build
    seasons = ["2022-23", "2023-24", "2024-25", "2025-26"]
    t = time.perf_counter(); first = simulate(seasons[-1]); t = time.perf_counter() - t
    row("one simulated season", f"{t:.1f} s", "", "15 s")
    light = best(lambda: simulate(light=True, seed=1), 1)
    row("light league", f"{light:.1f} s", "", "2 s")
    def store(names):
        wh = Warehouse(_home()/"g.duckdb")
        for s in names: land(first if s == seasons[-1] else simulate(s), wh)
        build_reference(wh)
        a, b = wh.sql("SELECT MIN(game_date) AS a, MAX(game_date) AS b FROM nba_raw.nbac_schedule").row(0)
        facts = read_facts(wh, a, b)
        return best(lambda: build(facts, a, b), 2)
    one, four = store(seasons[-1:]), store(seasons)
    row("growth of the build, one to four seasons", f"{four/one:.2f}x", f"{one:.2f} s, {four:.2f} s", "4.4x")

def _played(home: Path):
    "A home in which models are trained, for the serving benchmarks."
    from nbprops.data.artifacts import Store
    from nbprops.data.warehouse import Warehouse
    from nbprops.settings import real_data
    from nbprops.story import Story, features, load, train_narrow, train_noveg, train_wide
    s = Story(Warehouse(home/"nbprops.duckdb"), Store(str(home/"models")), None)
    for f in (load, features, train_narrow, train_wide, train_noveg): f(s)
    return s

def training(s) -> None:
    "A default training against the same number of bare fits on the same frame."
    import catboost
    from nbprops.model.families import catboost_params
    from nbprops.model.training import train, validation_start
    import polars as pl
    p = s.models["narrow"].plan
    x, y = p.rows.select(pl.col(n).cast(pl.Float64) for n in p.contract.names), p.rows["actual"]
    late = p.rows["game_date"] >= validation_start(p.rows["game_date"])
    shared = {"thread_count": os.cpu_count(), "allow_writing_files": False}
    params = lambda seed: {**catboost_params(p.family, p.params, seed), **shared}
    def bare():
        for seed in p.seeds:
            early = catboost.CatBoostRegressor(**params(seed), early_stopping_rounds=p.params["early_stopping_rounds"]).fit(x.filter(~late), y.filter(~late), eval_set=(x.filter(late), y.filter(late)), verbose=False)
            catboost.CatBoostRegressor(**{**params(seed), "iterations": early.tree_count_}).fit(x, y, verbose=False)
    a, b = best(lambda: train(p.rows, p.contract, p.family, p.params, p.seeds), 2), best(bare, 2)
    row(f"training, {len(p.seeds)} seeds with refit / the same fits bare", f"{a:.1f} s = {a/b:.2f}x", f"{b:.1f} s bare CatBoost", "1.3x")

def serving(s) -> None:
    "A slate of some 300 players, three models and a baseline, all checks and the atomic write, warm."
    from datetime import datetime
    from nbprops.features.facts import read_facts
    from nbprops.features.store import build, write_features
    from nbprops.predict.worker import Worker
    from nbprops.settings import ET
    from nbprops.story import SERVED, clock
    w = Worker.from_registry(s.wh, s.store, quiet=True)
    days = s.wh.sql("SELECT game_date, COUNT(*) AS n FROM nba_analytics.upcoming_player_game_context WHERE game_date BETWEEN @a AND @b GROUP BY 1 ORDER BY n DESC LIMIT 8", a=SERVED[0], b=SERVED[1] + timedelta(18))
    def slate(d):
        with clock(datetime(d.year, d.month, d.day, 11, 30, tzinfo=ET)):
            t = time.perf_counter(); w.predict(d, mode="SAME_DAY")
            return time.perf_counter() - t
    for what, some, morning in (("features of that morning", days[::2], True), ("features rebuilt on the way", days[1::2], False)):
        if morning:
            for d in some["game_date"]: write_features(s.wh, build(read_facts(s.wh, d, d), d, d, as_of="run:SAME_DAY", origin="live"), (d, d))
        times = [slate(d) for d in some["game_date"]]
        row(f"slate of {some['n'].min()}-{some['n'].max()} players, {what}", f"{statistics.median(times[1:]):.2f} s warm", f"{times[0]:.2f} s first", "0.5 s")

def command() -> None:
    "The help of the command line."
    python = best(lambda: subprocess.run([sys.executable, "-c", ""], check=True), 5)
    t = best(lambda: subprocess.run([str(Path(sys.executable).with_name("nbprops")), "--help"], capture_output=True, check=True), 5)
    row("nbprops --help", f"{t:.2f} s = {t/python:.1f}x", f"{python:.2f} s bare python", "0.4 s")

def demo() -> None:
    "The whole demo in a process of its own."
    home = _home()
    t = time.perf_counter()
    subprocess.run([str(Path(sys.executable).with_name("nbprops")), "demo"], env={**os.environ, "NBPROPS_HOME": str(home/"demo")}, capture_output=True, check=True)
    row("demo on the simulated league", f"{time.perf_counter() - t:.0f} s", f"peak {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/2**20:.2f} GB", "90 s, 2 GB")

if __name__ == "__main__":
    names = sys.argv[1:] or ["command", "demo", "features", "growth", "training", "serving"]
    played = _played(_home()) if {"training", "serving"} & set(names) else None
    for n in names: globals()[n](played) if n in ("training", "serving") else globals()[n]()
