"""Signals: speed beside the same rules called row by row, and how often the backtest promotes what is not there, or misses what is.

`python -m tests.benchmarks signals` for the speed; `python -m tests.benchmarks.signals promotions` for 200 seasons without a signal and 200 with one."""
import multiprocessing, sys, time
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
import numpy as np
import polars as pl

SEASONS = ("2022-23", "2023-24", "2024-25", "2025-26")
FIVE = (("catboost_v9", "v9_mae", 3.5, 0.0), ("catboost_v12", "v12_mae", 3.0, 0.0), ("catboost_v9_q43", "v9_q43", 3.0, -1.0), ("catboost_v9_huber", "v9_huber", 3.2, 0.0), ("catboost_v8", "v8_mae", 4.0, 0.0))

def decade(seasons=SEASONS):
    "Several seasons of five systems, graded: predictions and sources."
    from nbprops.signals.inputs import Sources
    from nbprops.signals.practice import graded_of, outcomes, practice
    leagues = [practice(k, False, s, FIVE) for k, s in enumerate(seasons)]
    names = leagues[0].tables
    tables = {n: pl.concat([l.tables[n] for l in leagues]) for n in names}
    rows = pl.concat([l.predictions for l in leagues])
    rows = rows.with_columns(outcomes(rows, 1))
    begun = pl.concat([l.predictions.select("game_date").unique().with_columns(season_start_date=l.schedule["game_date"].min()) for l in leagues]).sort("game_date")
    return rows, Sources.of(tables, graded_of(rows)), begun

def speed(folder, row) -> None:
    "All signals, combos and the policies over four seasons of five systems, beside the rules one row at a time."
    from nbprops.signals.backtest import choose_all, run_trial
    from nbprops.signals.combos import COMBOS, match_combos
    from nbprops.signals.inputs import INPUTS, signal_inputs
    from nbprops.signals.policies import edge3, v1
    from nbprops.signals.rules import SIGNALS, evaluate
    from tests.signal_toys import slow
    rows, sources, begun = decade()
    def whole():
        t = time.perf_counter(); known = signal_inputs(rows, sources); a = time.perf_counter() - t
        t = time.perf_counter(); told = match_combos(evaluate(known), COMBOS, SIGNALS); b = time.perf_counter() - t
        t = time.perf_counter(); choose_all(told, [v1(), edge3()], begun); c = time.perf_counter() - t
        return known, told, a, b, c
    known, told, a, b, c = min((whole() for _ in range(3)), key=lambda r: sum(r[2:]))
    some = known.sample(20_000, seed=1).select("recommendation", *INPUTS).to_dicts()
    t = time.perf_counter()
    for r in some:
        for tag in SIGNALS: slow(tag, r)
    bare = (time.perf_counter() - t)*rows.height/len(some)
    row(f"signals, combos, health and two policies, {rows.height:,} rows", f"{a + b + c:.2f} s", f"inputs {a:.2f}, rules {b:.2f}, policies {c:.2f} s", "5 s")
    row("the 23 rules and 7 combos alone", f"{b:.2f} s = {bare/b:.0f}x faster", f"{bare:.0f} s row by row (20,000 rows timed)", "100x")
    last = rows["game_date"] >= begun.filter(pl.col("season_start_date") == begun["season_start_date"].max())["game_date"].min()
    t = time.perf_counter(); run_trial(told.filter(last), told.filter(last)["game_date"].unique().sort()[110], seasons=begun); one = time.perf_counter() - t
    t = time.perf_counter(); run_trial(told, told["game_date"].unique().sort()[-150], seasons=begun); four = time.perf_counter() - t
    row("full backtest, 2,000 resamples, one season; four seasons", f"{one:.1f} s; {four:.1f} s", f"{told.filter(last).height:,}; {told.height:,} rows", "60 s")

# --- how often it is wrong -------------------------------------------------------------------------------------------------

RULE, RATE, HELD = "scoring_acceleration", .58, 1/2

_shared: dict = {}

def league(even: bool):
    "One season of three systems, and where its holdout begins; every price at -110, or as the books of the league make them."
    if _shared.get("even") != even:
        from dataclasses import replace
        from nbprops.signals.inputs import signal_inputs
        from nbprops.signals.practice import practice
        from nbprops.signals.rules import evaluate
        p = practice(11, False)
        if even: p = replace(p, predictions=p.predictions.with_columns(over_price_american=pl.lit(-110, pl.Int64), under_price_american=pl.lit(-110, pl.Int64)))
        days = p.predictions["game_date"].unique().sort()
        _shared.update(even=even, p=p, told=evaluate(signal_inputs(p.predictions, p.sources())), opens=days[round(len(days)*(1 - HELD))])
    return _shared["p"], _shared["told"], _shared["opens"]

def run(task: tuple[int, bool, bool]) -> dict: # seed, whether a rule is planted, whether every price is -110
    "One season drawn again, and what the backtest promotes."
    from nbprops.signals.backtest import candidates, judge, trial
    from nbprops.signals.combos import COMBOS, match_combos
    from nbprops.signals.inputs import signal_inputs
    from nbprops.signals.practice import graded_of, outcomes
    from nbprops.signals.rules import SIGNALS, evaluate
    seed, planted, even = task
    p, told, opens = league(even)
    played = p.predictions.with_columns(outcomes(p.predictions, seed, told[RULE].fill_null(False) if planted else None, RATE))
    rows = candidates(match_combos(evaluate(signal_inputs(played, p.sources(graded_of(played)))), COMBOS, SIGNALS)).filter(pl.col("game_date") >= opens)
    t = judge(rows, trial(rows), every=False)
    mine = t.filter(pl.col("rule") == RULE).row(0, named=True)
    return dict(seed=seed, planted=planted, even=even, break_even=mine["break_even"], deff=mine["deff"], promoted=t.filter("promotable")["rule"].to_list(), n=mine["n"], why=mine["reasons"], passed=int((t["p"] <= .05).sum()), tried=int((t["n"] >= 30).sum()))

def promotions(runs: int = 200) -> str:
    "False promotions, power, and what stopped the planted rule."
    from nbprops.stats import wilson
    tasks = [(9000 + k, False, False) for k in range(runs)] + [(19000 + k, True, even) for even in (True, False) for k in range(runs)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool: found = list(pool.map(run, tasks, chunksize=10))
    rate = lambda k, n: f"{k} of {n} ({100*k/n:.1f} % [{100*wilson(k, n)[0]:.1f}, {100*wilson(k, n)[1]:.1f}])"
    null = [f for f in found if not f["planted"]]
    out = [f"seasons without a signal in which any rule is promoted: {rate(sum(bool(f['promoted']) for f in null), len(null))}", f"single tests at 5 % in them: {rate(sum(f['passed'] for f in null), sum(f['tried'] for f in null))}"]
    for even in (True, False):
        true = [f for f in found if f["planted"] and f["even"] == even]; some = lambda k: float(np.median([f[k] for f in true]))
        out.append(f"planted {100*RATE:.0f} % rule, {some('n'):.0f} holdout picks, break-even {100*some('break_even'):.1f} %, design effect {some('deff'):.2f}: promoted in {rate(sum(RULE in f['promoted'] for f in true), len(true))}, another rule with it in {sum(any(r != RULE for r in f['promoted']) for f in true)}")
    return "\n".join(out)

if __name__ == "__main__" and sys.argv[1:2] == ["promotions"]: print(promotions(*map(int, sys.argv[2:3])))
