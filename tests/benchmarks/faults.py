"""Every fault by name, struck into a clean simulated season on several days: which check hears it, and does the first line of the report name it? And how often does a check cry without a fault?

    python -m tests.benchmarks.faults season  FOLDER    # plays the clean season and keeps copies of some mornings, about half an hour
    python -m tests.benchmarks.faults strike  FOLDER    # strikes every fault on every kept morning
    python -m tests.benchmarks.faults again   FOLDER CHECK ...  # asks checks that were mended meanwhile about every played date once more
    python -m tests.benchmarks.faults table   FOLDER    # writes tests/benchmarks/faults.json and prints the table
"""
import json, os, shutil, sys, time
from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

RESULT = Path(__file__).with_name("faults.json")
SEED = int(os.environ.get("LEAGUE", "23")) # nothing was tuned on the league of the default
OPENING, LAST, FIRST_TRAINING = date(2025, 10, 21), date(2026, 4, 12), date(2025, 12, 2)
MORNINGS = (date(2025, 12, 19), date(2026, 1, 15), date(2026, 2, 6), date(2026, 3, 13)) # days on which every fault strikes
FAMILIES = ("v12_noveg_mae", "v9_mae") # production; shadow
BAD = ("WARN", "ERROR", "CRIT")
STRENGTH = {"scoring_shift": 1.25} # the strength that one day can show
LENGTH = {"dead_scheduler": 2} # dates on which a fault is on; the others strike one

def findings(report, asked: date, hour: str) -> list[dict]:
    "What a report says, in its order."
    return [dict(asked=str(asked), hour=hour, date=str(report.game_date), mode=report.mode, place=i, check=r.check_id, verdict=r.verdict, value=r.value, note=(r.detail.get("note") or {}).get("note", "")) for i, r in enumerate(report.findings)]

def play(drill, day: date) -> tuple[list[dict], float]: # findings of the day's three reports, seconds
    "A day and all that its reports say."
    from nbprops.ops import drill as d
    import nbprops.ops.checks as c
    kept, begun = [], time.perf_counter()
    def listening(wh, *args, **kw):
        r = real(wh, *args, **kw); kept.append(r); return r
    real, c.validate_daily = c.validate_daily, listening
    try: run, noon = d.play_day(drill, day)
    finally: c.validate_daily = real
    broken = [dict(asked=str(day), hour="11:35", date=str(day), mode="step", place=0, check=s.name, verdict="FAILED", value=None, note=s.said[:300]) for s in run.steps if s.status == "FAILED"]
    return broken + [f for r in kept for f in findings(r, day, "11:35")] + findings(noon, day, "12:05"), time.perf_counter() - begun

def season(folder: Path, first: date = OPENING, last: date = LAST) -> None:
    "The clean season, day by day; resumes nothing, so that the copies belong together."
    from nbprops.data.artifacts import Store
    from nbprops.data.warehouse import Warehouse
    from nbprops.ops import drill as d
    home = folder/"home"; shutil.rmtree(folder, ignore_errors=True); home.mkdir(parents=True)
    os.environ["NBPROPS_HOME"] = str(home)
    drill, day, said, days = d.open_drill(Warehouse(), Store(), seed=SEED, families=FAMILIES, pages=False), first, [], []
    if first > OPENING: d.catch_up(drill, first)
    while day <= last:
        if day in MORNINGS:
            shutil.copytree(home, folder/str(day))
            (folder/f"{day}.json").write_text(json.dumps(dict(landed=drill.landed.isoformat(), trained=str(drill.trained))))
        told = d.train_due(drill, day) if day >= FIRST_TRAINING else []
        new, seconds = play(drill, day)
        said += new; days.append(dict(day=str(day), seconds=round(seconds, 1), trained=told, findings=sorted({f"{f['check']} {f['verdict']}" for f in new})))
        print(day, f"{seconds:.1f} s", "; ".join(told), ", ".join(days[-1]["findings"]), flush=True)
        (folder/"season.json").write_text(json.dumps(dict(days=days, findings=said)))
        day += timedelta(days=1)

def overlap_refused(drill, day: date) -> list[dict]:
    "The call that evaluates on training days; its refusal is the finding."
    from nbprops.settings import Refusal
    from nbprops.model.registry import Registry
    from nbprops.model.retrain import Request, retrain
    row = Registry(drill.wh, drill.store).rows("is_production").row(0, named=True)
    end = row["training_end_date"]
    try: retrain(Request(name="OVERLAP", family=row["model_family"], train_start=row["training_start_date"], train_end=end, eval_start=end - timedelta(days=6), eval_end=end + timedelta(days=7)), drill.wh, drill.store)
    except Refusal as e: return [dict(asked=str(day), hour="09:00", date=str(day), mode="call", place=0, check="temporal_disjoint" if "temporal_disjoint" in str(e) else "another refusal", verdict="CRIT", value=None, note=str(e)[:300])]
    return []

def strike_one(folder: Path, name: str, day: date) -> dict:
    "One fault on one kept morning, and the reports of the days after."
    from nbprops.data.artifacts import Store
    from nbprops.data.faults import Fault
    from nbprops.data.warehouse import Warehouse
    from nbprops.ops import drill as d
    f = Fault(name, strength=STRENGTH.get(name), start=day, end=day + timedelta(days=LENGTH.get(name, 1) - 1), seed=SEED)
    home, kept = folder/f"struck-{name}-{day}", json.loads((folder/f"{day}.json").read_text())
    shutil.rmtree(home, ignore_errors=True); shutil.copytree(folder/str(day), home)
    os.environ["NBPROPS_HOME"] = str(home)
    feeds = d.bad_news(f, d.arrivals(d.simulate("2025-26", seed=SEED)))
    drill = d.Drill(Warehouse(), Store(), feeds, (f,), datetime.fromisoformat(kept["landed"]), FAMILIES, pages=False, trained=date.fromisoformat(kept["trained"]))
    said, begun = [], time.perf_counter()
    if name == "eval_overlap":
        with d.clock(d.at(day, d.time(9, 0))): said = overlap_refused(drill, day)
    else:
        for k in range(3 if name == "stat_correction" else 2):
            d.train_due(drill, day + timedelta(days=k))
            said += play(drill, day + timedelta(days=k))[0]
    shutil.rmtree(home)
    print(day, name, f"{time.perf_counter() - begun:.0f} s", sorted({f"{x['check']} {x['verdict']}" for x in said}), flush=True)
    return dict(fault=name, day=str(day), findings=said)

def strike(folder: Path, only: list[str]) -> None:
    "Every fault on every kept morning; what is there already is kept."
    from nbprops.data.faults import KINDS
    out = folder/"struck.json"
    done = {(c["fault"], c["day"]): c for c in json.loads(out.read_text())} if out.exists() else {}
    todo = [(n, m) for n in KINDS["name"] for m in MORNINGS if (only and n in only) or (not only and (n, str(m)) not in done) if (folder/str(m)).exists()]
    with ProcessPoolExecutor(int(os.environ.get("WORKERS", "2")), get_context("spawn")) as pool: # a fork would inherit polars without its threads
        for j in [pool.submit(strike_one, folder, n, m) for n, m in todo]:
            c = j.result(); done[c["fault"], c["day"]] = c; out.write_text(json.dumps(list(done.values())))

def again(folder: Path, checks: list[str]) -> None:
    "Checks that were mended after the season was played, asked about its stored days at the hours of its reports; their answers replace the older ones."
    from nbprops.data.warehouse import Warehouse
    from nbprops.ops import drill as d
    from nbprops.ops.checks import CHECKS
    from nbprops.ops.judge import ask, situation
    os.environ["NBPROPS_HOME"] = str(folder/"home")
    clean, wh = json.loads((folder/"season.json").read_text()), Warehouse()
    kept = [f for f in clean["findings"] if f["check"] not in checks]
    for day in (date.fromisoformat(x["day"]) for x in clean["days"]):
        for at, mode in ((day, "pre-game"), (day + timedelta(days=1), "post-game")):
            with d.clock(d.at(at, d.FULL)), wh.transaction() as tx:
                s = situation(tx, day, mode)
                got = [ask(tx, CHECKS[c], s) for c in checks]
            kept += [dict(asked=str(at), hour="again", date=str(day), mode=mode, place=-1, check=r.check_id, verdict=r.verdict, value=r.value, note=(r.detail.get("note") or {}).get("note", "")) for r in got if r.verdict in BAD]
    (folder/"season.json").write_text(json.dumps(clean | dict(findings=kept, asked_again=sorted({*clean.get("asked_again", []), *checks}))))
    print(len(clean["findings"]), "findings before,", len(kept), "after")

TRUE = {"family_age": "a model is judged on seven dates after its window, so it is eight to ten days old when it is made and up to twenty-four when it is replaced; or every retrain was rejected",
        "model_state": "by the league's own truth 42 % of the picks of the production model lay on the right side of the true median",
        "identity": "a trade of the league that one feed heard of a day later", "feature_quality": "the first week with feature rows: a tenth of the slate lacks a required feature",
        "pvl": "the first two slates after the break: the model lay 1.6 and 1.8 points under the league's true expectation, twice as far as before", "direction_share": "the same two slates"}

def table(folder: Path) -> None:
    "What was heard, and what was cried without a cause."
    import polars as pl
    from nbprops.data.faults import Fault
    from nbprops.stats import wilson
    clean = json.loads((folder/"season.json").read_text())
    quiet = {(f["asked"], f["hour"], f["date"], f["mode"], f["check"], f["verdict"]) for f in clean["findings"]}
    key = lambda f: (f["asked"], f["hour"], f["date"], f["mode"], f["check"], f["verdict"])
    rows = []
    for c in json.loads((folder/"struck.json").read_text()):
        own = Fault(c["fault"]).checks
        new = [f for f in c["findings"] if key(f) not in quiet]
        mine = [f for f in new if f["check"] in own]
        first = any(f["place"] == 0 and f["check"] in own for f in new)
        rows.append(dict(fault=c["fault"], day=c["day"], heard=bool(mine), first_line=first, checks=sorted({f["check"] for f in mine}), also=sorted({f["check"] for f in new if f["check"] not in own})))
    false = sorted({(f["date"], f["check"], f["verdict"], f["mode"]) for f in clean["findings"]})
    cried = {(f[0], f[1]) for f in false if f[1] not in TRUE}
    summary = dict(seed=SEED, mornings=sorted({r["day"] for r in rows}), cases=rows, days=len(clean["days"]), asked_again=clean.get("asked_again", []), found=[dict(zip(("date", "check", "verdict", "mode"), f)) | dict(true=TRUE.get(f[1])) for f in false])
    RESULT.write_text(json.dumps(summary, indent=0) + "\n")
    t = pl.DataFrame(rows)
    with pl.Config(tbl_rows=-1, fmt_str_lengths=90, tbl_width_chars=220, fmt_table_cell_list_len=6):
        print(t.group_by("fault", maintain_order=True).agg(pl.len(), pl.col("heard").sum(), pl.col("first_line").sum(), checks=pl.col("checks").list.explode(keep_nulls=False, empty_as_null=False).unique().sort(), also=pl.col("also").list.explode(keep_nulls=False, empty_as_null=False).unique().sort()))
        print(pl.DataFrame(summary["found"]).group_by("check", "verdict").agg(dates=pl.col("date").n_unique(), which=pl.col("date").unique().sort().head(6)).sort("dates", descending=True))
    n = t.height
    print(f"heard {t['heard'].sum()} of {n} {wilson(int(t['heard'].sum()), n)}; named in the first line {t['first_line'].sum()} of {n}; without a cause {len(cried)} findings in {len(clean['days'])} days, one in {len(clean['days'])/max(1, len(cried)):.0f}")

if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    {"season": lambda p: season(p, *map(date.fromisoformat, sys.argv[3:])), "strike": lambda p: strike(p, sys.argv[3:]), "again": lambda p: again(p, sys.argv[3:]), "table": table}[what](folder)
