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

def _bare(p, seeds) -> None:
    "Two-thread fits one after the other: early stopping, then the refit."
    import catboost
    import polars as pl
    from nbprops.model.families import catboost_params
    from nbprops.model.training import validation_start
    x, y = p.rows.select(pl.col(n).cast(pl.Float64) for n in p.contract.names), p.rows["actual"]
    late = p.rows["game_date"] >= validation_start(p.rows["game_date"])
    for seed in seeds:
        params = {**catboost_params(p.family, p.params, seed), "thread_count": 2, "allow_writing_files": False}
        early = catboost.CatBoost({**params, "early_stopping_rounds": p.params["early_stopping_rounds"]}).fit(catboost.Pool(x.filter(~late), y.filter(~late)), eval_set=catboost.Pool(x.filter(late), y.filter(late)))
        catboost.CatBoost({**params, "iterations": early.get_best_iteration() + 1}).fit(catboost.Pool(x, y))

def seeds(s) -> None:
    "Ten seeds side by side against ten two-thread fits one after the other."
    from nbprops.model.training import train
    p = s.models["narrow"].plan
    a, b = best(lambda: train(p.rows, p.contract, p.family, p.params, list(range(42, 52))), 2), best(lambda: _bare(p, range(42, 52)), 2)
    row("ten seeds with refit / ten two-thread fits in turn", f"{a:.1f} s = {a/b:.2f}x", f"{b:.1f} s bare CatBoost", "0.9x")

SEVEN = ["v9_mae", "v9_q43", "v9_q45", "v12_noveg_mae", "v12_noveg_q43", "v12_noveg_q45", "v12_noveg_huber"]

def families(s) -> None:
    "`retrain --all` over the seven families; gates, uploads and registration are counted apart."
    from nbprops.model.retrain import Request, retrain_all
    from nbprops.story import AFTERWARDS, NARROW, clock
    with clock(AFTERWARDS):
        t = time.perf_counter()
        done = retrain_all(Request(every=True, train_start=NARROW[0], train_end=NARROW[1], force=True, reason="benchmark"), s.wh, s.store, families=SEVEN)
        wall = time.perf_counter() - t
    judged = sum(o.seconds.get("judge", 0) + o.seconds.get("keep", 0) for o in done)
    t = time.perf_counter()
    for o in done: _bare(o.plan, o.plan.seeds)
    bare = time.perf_counter() - t
    row(f"retrain --all, {len(done)} families / the same fits bare", f"{wall - judged:.1f} s = {(wall - judged)/bare:.2f}x", f"{bare:.1f} s bare; gates, uploads {judged:.1f} s", "1.5x")

def gates(s) -> None:
    "The gate engine on one model: both policies, characteristics, five seeds."
    from nbprops.model.case import toy_case
    from nbprops.model.gates import run_gates
    case = toy_case(n=1800, days=28)
    row("gate engine, 1,800 rows, five seeds, both policies", f"{best(lambda: run_gates(case)):.2f} s", "", "1 s")

def registry(s) -> None:
    "Operations of the registry in process."
    from nbprops.model.registry import Registry
    r, id_ = Registry(s.wh, s.store), s.models["wide"].row["model_id"]
    asked = dict(list=lambda: r.listing(), show=lambda: r.get(id_), history=lambda: r.history(id_), manifest=lambda: r.manifest("v9_mae"), pending=lambda: r.pending(), validate=lambda: r.validate())
    times = {k: best(f, 3) for k, f in asked.items()}
    moved = {}
    for k, f in (("disable", lambda: r.disable(id_, "bench")), ("enable", lambda: r.enable(id_)), ("block", lambda: r.block(id_, "bench")), ("unblock", lambda: r.unblock(id_, "bench"))):
        t = time.perf_counter(); f(); moved[k] = time.perf_counter() - t
    worst = max((times | moved).items(), key=lambda kv: kv[1])
    row(f"registry: {', '.join(times | moved)}", f"slowest {worst[0]} {worst[1]:.2f} s", f"median {statistics.median((times | moved).values()):.3f} s", "0.2 s")

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

BARE = """
import json, sys
import polars as pl
from catboost import CatBoost
path = sys.argv[1]
model = CatBoost().load_model(path)
with open(path.removesuffix(".cbm") + ".bundle.json") as f: rows = json.load(f)["golden"]["rows"]
x = pl.DataFrame(rows, schema={n: pl.Float64 for n in model.feature_names_})
print(model.predict(x)[:3])
"""
FIRST = """
import polars as pl
from nbprops.predict.worker import Worker
system = Worker.from_registry(quiet=True).fleet.models[0].system
x = pl.DataFrame(system.bundle.spec["golden"]["rows"], schema={n: pl.Float64 for n in system.contract.names})
print(system.predict(x)[:3])
"""
SLATE = "from datetime import date; from nbprops.predict.worker import Worker; print(Worker.from_registry(quiet=True).predict(date(2025, 12, 18), force=True).written)"
STEADY = """
import os, sys, time
from datetime import date
from nbprops.predict.worker import Worker
w, rss = Worker.from_registry(quiet=True), lambda: next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmRSS"))/1024
first, last = int(sys.argv[1]), int(sys.argv[2])
for i in range(1, last + 1):
    w.predict(date(2025, 12, 18))
    if i in (first, last): print(rss())
"""

def _world() -> tuple[Path, dict]: # home, environment
    "The light world of the tests, and the environment of a process that lives in it."
    from tests.predict_world import build_world
    home = _home()
    os.environ["NBPROPS_HOME"] = str(home)
    build_world(home)
    return home, {**os.environ, "NBPROPS_HOME": str(home), "BUILD_COMMIT_SHA": "0"*40}

def cold_start() -> None:
    "Whole processes: ten lines that load a file and predict, the worker's first prediction, its first whole slate."
    home, env = _world()
    file = next(str(p) for p in sorted((home/"models").rglob("*.cbm")))
    run = lambda code, *args: subprocess.run([sys.executable, "-c", code, *args], env=env, capture_output=True, check=True)
    times = {k: [] for k in (BARE, FIRST, SLATE)}
    for _ in range(7):  # interleaved, so that a busy neighbour hits all three
        for k in times: t = time.perf_counter(); run(k, file); times[k].append(time.perf_counter() - t)
    bare, first, slate = (min(times[k]) for k in (BARE, FIRST, SLATE))
    row("cold start to the first prediction / ten bare lines", f"{first:.2f} s = {first/bare:.2f}x", f"{bare:.2f} s bare CatBoost", "1.6x")
    row("cold start to a slate that is read, judged, written", f"{slate:.2f} s = {slate/bare:.2f}x", f"{bare:.2f} s bare CatBoost", "1.6x")

def steady(first: int = 100, last: int = 1000) -> None:
    "Memory of one worker over a thousand runs."
    _, env = _world()
    out = subprocess.run([sys.executable, "-c", STEADY, str(first), str(last)], env=env, capture_output=True, text=True, check=True)
    a, b = (float(x) for x in out.stdout.split())
    row(f"resident memory after {last:,} slates / after {first}", f"{b:.0f} MB = {b/a:.3f}x", f"{a:.0f} MB", "1.05x")

def regenerate(s) -> None:
    "One date of one or several models again, beside the bare model call and a bare insert."
    from tests.benchmarks.slates import regenerate as measure
    measure(s, row)

def range_28(s) -> None:
    "Four weeks through every live system."
    from tests.benchmarks.slates import range_28 as measure
    measure(s, row)

def phase4() -> None:
    "Four seasons of features through the back-fill."
    from tests.benchmarks.seasons import phase4 as measure
    measure(_home(), row)

def windows() -> None:
    "A window investigation and a sweep, beside the same fits made in turn."
    from tests.benchmarks.windows import investigation, sweep
    folder = _home()
    investigation(folder, row); sweep(folder, row)

def signals() -> None:
    "All signals, combos and policies over four seasons of five systems, and a full backtest."
    from tests.benchmarks.signals import speed
    speed(_home(), row)

def _reference(wh, a: date, b: date) -> float: # seconds
    "CREATE TABLE AS of the grader's join with the grader's columns; record rows and closing lines are given to it."
    from nbprops.data.warehouse import to_duckdb
    from nbprops.predict.grading import FIRST, closing_lines
    from nbprops.predict.record import games_of, record_rows, stage
    with wh.transaction() as tx:
        games = games_of(tx, a, b)
        record_rows(tx, games, a, b)
        tx.hold("grading_closing", closing_lines(tx, games, a, b))
        tx.con.execute("CREATE TABLE nba_predictions.given_record AS FROM grading_record; CREATE TABLE nba_predictions.given_closing AS FROM grading_closing; CREATE TABLE nba_predictions.given_games AS FROM grading_games").fetchall()
    audit = "CAST(NULL AS TIMESTAMP) AS replay_now, CURRENT_TIMESTAMP() AS created_at, CURRENT_TIMESTAMP() AS updated_at"
    sql = to_duckdb(f"CREATE TABLE nba_predictions.reference AS SELECT *, {audit} FROM ({FIRST})").replace("grading_", "given_").replace("given_commit_sha", "grading_commit_sha")
    t = time.perf_counter()
    with wh.transaction() as tx: tx.con.execute(sql, dict(start=a, end=b, at="2026-01-01", commit="c")).fetchall()
    return time.perf_counter() - t

def grade_million() -> None:
    "A million predictions graded: record rows, closing lines, join, rules, write, proof of the key, coverage; against the join alone."
    import shutil
    from nbprops.data.warehouse import Warehouse
    from nbprops.predict.grading import ACC, grade
    from tests.benchmarks.million import million
    made, a, b = million(_home()/"m.duckdb")
    def fresh():
        path = _home()/"m.duckdb"
        shutil.copy(made.path, path)
        wh = Warehouse(path); wh.sql("SELECT 1")
        return wh
    def graded():
        wh, t = fresh(), time.perf_counter()
        r = grade(wh, a, b)
        return time.perf_counter() - t, r, wh
    bare, done = [], []
    for _ in range(3): bare.append(_reference(fresh(), a, b)); done.append(graded())
    (whole, r, wh), ref = min(done, key=lambda d: d[0]), min(bare)
    again = best(lambda: grade(wh, a, b), 1)
    assert r.counts.written == wh.sql(f"SELECT COUNT(*) AS n FROM {ACC}").item()
    row(f"{r.counts.written:,} rows graded / CREATE TABLE AS of their join", f"{whole:.1f} s = {whole/ref:.2f}x", f"{ref:.1f} s bare SQL; again {again:.1f} s", "2x")

if __name__ == "__main__":
    alone, after = ["command", "demo", "features", "growth", "cold_start", "steady", "grade_million", "phase4", "windows", "signals"], ["training", "seeds", "gates", "registry", "families", "serving", "regenerate", "range_28"]
    names = sys.argv[1:] or alone + after
    played = _played(_home()) if set(after) & set(names) else None
    for n in names: globals()[n](played) if n in after else globals()[n]()
