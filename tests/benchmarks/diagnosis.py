"""Does the investigation name what was planted? Small simulated leagues under known faults; the confusion matrix, the share of right first causes, and how often the intervals cover the planted effect.

`python -m tests.benchmarks.diagnosis planted` computes the planted effects (200 pairs of leagues), `... judge` the table of all cases, `... quick` a subset of ninety seconds. Leagues 5000 and above were never used while the method was built; 4000 to 4199 plant the effects."""
import json, multiprocessing, sys, time
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from pathlib import Path
import numpy as np
import polars as pl

HERE = Path(__file__).parent
ADDED, EARLY = "from=2025-11-22,to=2025-12-12", "from=2025-11-02,to=2025-11-12"
# strengths: the declared ones; fault -> (written form, switch, causes that count as right)
FAULTS = {"eval_overlap": (None, "overlap", {"evaluation_overlap"}), "line_plus_2": ("line_plus_2", "line", {"line_provenance"}), "null_lines": ("null_lines", "line", {"line_provenance", "feature_corruption(market)"}),
          "default_fill": (f"default_fill:{ADDED}", "default", {"default_contamination"}), "same_day_leak": (f"same_day_leak:{EARLY}", "feature(recent form)", {"feature_corruption(recent form)"}),
          "inverted_fatigue": (f"inverted_fatigue:{ADDED}", "feature(composite)", {"feature_corruption(composite)"}), "scoring_shift": (f"scoring_shift:{ADDED}", "level", {"regime_shift", "calibration_bias"}),
          "duplicate_rows": ("duplicate_rows", "label", {"label_fault"})}
PAIRS = [("line_plus_2", "inverted_fatigue"), ("line_plus_2", "default_fill"), ("same_day_leak", "duplicate_rows"), ("inverted_fatigue", "default_fill"), ("scoring_shift", "inverted_fatigue"),
         ("null_lines", "same_day_leak"), ("duplicate_rows", "line_plus_2"), ("same_day_leak", "inverted_fatigue"), ("scoring_shift", "duplicate_rows"), ("default_fill", "duplicate_rows")]
MEASURES = ("error", "rank", "hit", "lean")
PLANTING, JUDGED, BUILDING = range(4000, 4200), 5000, 1000

def study(names: tuple, seed: int, method=None):
    "The study of a league under some faults; by the light method unless told otherwise."
    from nbprops.model.window_case import LIGHT, OVERLAPPED, SMALL, small_study
    return small_study(seed, tuple(FAULTS[n][0] for n in names if FAULTS[n][0]), method=method or LIGHT, w=OVERLAPPED if "eval_overlap" in names else SMALL)

def one_core() -> None:
    "A worker process fits alone."
    from nbprops.model import families
    families.THREADS = 1

def case(task: tuple) -> dict: # (faults, seed)
    "One league: what was planted, what was said."
    from nbprops.model.window import examine
    names, seed = task
    began = time.perf_counter(); found = examine(study(names, seed))
    told = found.attribution.filter(pl.col("switch").is_in([FAULTS[n][1] for n in names])).select("switch", "measure", "effect", "low", "high").to_dicts()
    return dict(faults=list(names), seed=seed, code=found.verdict.code, named=found.verdict.named, better=found.verdict.difference.better, difference=found.verdict.difference.code, effects=told, fits=found.bench.fits, seconds=time.perf_counter() - began,
                share=_overlap_share(found) if "eval_overlap" in names else None)

def _overlap_share(found) -> float:
    "Share of the reported gap in the error that the overlap made."
    effect = found.attribution.filter(pl.col("switch") == "overlap", pl.col("measure") == "error")["effect"]
    return float(effect[0]/found.reported.value[0]) if len(effect) else 0.0

def planted_pair(seed: int) -> dict: # fault -> gap difference in the four measures
    "What each fault does to the reported gap of one league, with the same random numbers."
    from dataclasses import replace
    from nbprops.model.window_arms import Bench, Recipe, fit_arms, jobs_of
    from nbprops.model.window_gap import gap_between
    def gap(s):
        b = fit_arms(Bench(replace(s, method=replace(s.method, replicates=0, resamples=10))), jobs_of(s, [Recipe("base"), Recipe("wide")], 2))
        return gap_between(b, (Recipe("base"),), (Recipe("wide"),)).value
    clean = gap(study((), seed))
    return {n: (gap(study((n,), seed)) - clean).tolist() for n in FAULTS}

def run(work, tasks: list, processes: int = 2, say: bool = True) -> list:
    "Every task in worker processes, in order."
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"), initializer=one_core) as pool:
        out, began = [], time.perf_counter()
        for k, r in enumerate(pool.map(work, tasks), 1):
            out.append(r)
            if say and k % 10 == 0: print(f"{k} of {len(tasks)} after {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        return out

def plant() -> None:
    "Compute and keep the planted effects."
    found = run(planted_pair, list(PLANTING))
    known = lambda v: [None if not np.isfinite(x) else round(float(x), 5) for x in v] # a measure that a fault makes impossible has no effect
    mean = {n: dict(zip(MEASURES, known(np.mean([f[n] for f in found], 0)))) for n in FAULTS}
    se = {n: dict(zip(MEASURES, known(np.std([f[n] for f in found], 0, ddof=1)/len(found)**.5))) for n in FAULTS}
    (HERE/"planted.json").write_text(json.dumps(dict(leagues=f"{PLANTING.start}..{PLANTING.stop - 1}", mean=mean, standard_error=se), indent=1) + "\n", encoding="utf-8")

def cases(first: int, single: int = 12, paired: int = 4, clean: int = 40) -> list[tuple]:
    "The tasks of a table; every case has a league of its own."
    wanted = [(n,) for n in FAULTS for _ in range(single)] + [p for p in PAIRS for _ in range(paired)] + [()]*clean
    return [(names, first + k) for k, names in enumerate(wanted)]

def judge(at_once: int = 8) -> list[dict]:
    "The whole table; what was judged already by this very method is kept, so that an interrupted run goes on."
    kept = HERE/"diagnosis.json"
    done = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else dict(method=method_hash(), results=[])
    if done["method"] != method_hash(): done = dict(method=method_hash(), results=[])
    known = {(tuple(r["faults"]), r["seed"]) for r in done["results"]}
    todo = [t for t in cases(JUDGED) if t not in known]
    while todo:
        done["results"] += run(case, todo[:at_once], say=False); todo = todo[at_once:]
        done["results"].sort(key=lambda r: r["seed"])
        kept.write_text(json.dumps(done, indent=0) + "\n", encoding="utf-8")
        print(f"{len(done['results'])} judged, {len(todo)} to come", file=sys.stderr, flush=True)
    return done["results"]

def method_hash() -> str: # 12 hex
    "A digest of the modules that make an answer; a change of comments or names changes it, too."
    import nbprops
    from hashlib import sha256
    code = [p.read_bytes() for p in sorted((Path(nbprops.__file__).parent/"model").glob("window*.py")) if p.stem not in ("window_record", "window_sweep", "window_evidence", "window_drift")]
    return sha256(b"".join(code)).hexdigest()[:12]

def rate(k: int, n: int) -> str:
    "A share with its Wilson interval."
    from nbprops.stats import wilson
    low, high = wilson(k, n)
    return f"{k} of {n} ({100*k/n:.0f} % [{100*low:.0f}, {100*high:.0f}])" if n else "none"

def covered(results: list[dict], measure: str) -> list[bool]: # one per case whose fault moves the measure
    "Whether the interval of the planted fault's effect holds what was planted; a fault that was not found covers nothing, and an effect without any spread is not counted."
    planted, out = json.loads((HERE/"planted.json").read_text(encoding="utf-8")), []
    for r in results:
        (name,), said = r["faults"], None
        if not planted["standard_error"][name][measure]: continue
        said = next((e for e in r["effects"] if e["switch"] == FAULTS[name][1] and e["measure"] == measure and e["low"] is not None), None)
        out.append(said is not None and said["low"] <= planted["mean"][name][measure] <= said["high"])
    return out

def table(results: list[dict]) -> str:
    "The figures of a table, as text."
    single, pairs, clean = ([r for r in results if len(r["faults"]) == k] for k in (1, 2, 0))
    right = lambda r: r["code"] in FAULTS[r["faults"][0]][2]
    both = lambda r: all(FAULTS[n][2] & set(r["named"][:3]) for n in r["faults"])
    out = [f"first cause, single faults: {rate(sum(map(right, single)), len(single))}", f"both causes among the first three, pairs: {rate(sum(map(both, pairs)), len(pairs))}",
           f"no real difference, clean: {rate(sum(r['code'] == 'no_real_difference' for r in clean), len(clean))}"]
    for m in MEASURES: out.append(f"interval covers the planted effect, {m}: {rate(sum(c := covered(single, m)), len(c))}")
    shares = [r["share"] for r in results if r["share"] is not None and len(r["faults"]) == 1]
    if shares: out.append(f"share of the gap that the overlap made: median {100*float(np.median(shares)):.0f} %, at least 80 % in {rate(sum(s >= .8 for s in shares), len(shares))}")
    out.append(f"seconds a case: median {np.median([r['seconds'] for r in results]):.1f}, fits a case: median {np.median([r['fits'] for r in results]):.0f}")
    said = sorted({r["code"] for r in results}); head = "| planted | " + " | ".join(said) + " |"
    body = [f"| {n or 'nothing'} | " + " | ".join(str(sum(r["code"] == c for r in part)) for c in said) + " |" for n in [*FAULTS, ""] if (part := [r for r in results if r["faults"] == ([n] if n else [])])]
    return "\n".join([*out, "", head, "|" + "---|"*(len(said) + 1), *body])

if __name__ == "__main__":
    verb = sys.argv[1] if len(sys.argv) > 1 else "quick"
    if verb == "planted": plant()
    elif verb == "judge": print(table(judge()))
    else: print(table(run(case, cases(BUILDING + 500, 1, 0, 4) if verb == "quick" else cases(BUILDING, *map(int, sys.argv[2:5])))))
