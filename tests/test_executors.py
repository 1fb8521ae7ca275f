"The same numbers on a real Dask cluster as in threads; a worker that dies costs a retry; what cannot work is one sentence."
import json, os, signal, socket, subprocess, sys, threading, time
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
import numpy as np, polars as pl, pytest
from nbprops.features.catalogue import contract
from nbprops.model import executors as E
from nbprops.model import training as T
from nbprops.model.evaluation import score
from nbprops.model.families import Family, resolve_params
from nbprops.model.judging import bundle_of, reopen, walk
from nbprops.model.plans import Plan, Reader
from nbprops.model.predictor import LoadError, semantic_id
from nbprops.model.requests import Request, Windows
from nbprops.model.window_arms import Bench, Recipe, fit_arms, jobs_of, predictions
from nbprops.model.window_case import LIGHT, small_study
from nbprops.model.window_sweep import Grid, Sweep, run
from nbprops.settings import Broken, Refusal, sha256_of
from tests.model_toys import feature_rows

C, SMALL, ROOT = contract("v9"), resolve_params(iterations=12, depth=3), Path(__file__).parent.parent

# a cluster of processes on loopback

def start(*words: str, **env: str) -> subprocess.Popen:
    "A process of a cluster; a scheduler that lets a task take three workers with it."
    return subprocess.Popen([sys.executable, "-m", "distributed.cli." + words[0], *words[1:]], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                            env={**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2", **env})

def end(process: subprocess.Popen) -> None:
    "A process and its children; each of ours leads a group of its own."
    try: os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError: pass
    process.wait()

@contextmanager
def scheduler(folder: Path):
    "A scheduler without workers; its HOST:PORT."
    file = folder/"scheduler.json"
    p = start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    try:
        until = time.monotonic() + 30
        while not file.exists() and time.monotonic() < until: time.sleep(.05)
        time.sleep(.1)
        yield json.loads(file.read_text())["address"].removeprefix("tcp://")
    finally: end(p)

def worker(place: str, folder: Path, *words: str, **env: str) -> subprocess.Popen:
    return start("dask_worker", place, "--host", "127.0.0.1", "--no-dashboard", "--local-directory", str(folder), *words, **env)

@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    "A scheduler, a worker of one thread and a worker of two, in processes that come back when they are killed."
    folder = tmp_path_factory.mktemp("dask")
    with scheduler(folder) as place:
        workers = [worker(place, folder, "--nthreads", n, "--nworkers", "1") for n in ("1", "2")]
        try: ready(place, 2); yield place
        finally:
            for w in workers: end(w)

def ready(place: str, n: int) -> None:
    "Wait for n workers."
    from distributed import Client
    with Client(f"tcp://{place}", set_as_default=False, timeout=20) as c: c.wait_for_workers(n, timeout=40)

@pytest.fixture
def there(cluster):
    "Inside: everything that can be spread runs on the cluster, and both workers are up."
    ready(cluster, 2)
    with E.running_on(f"dask://{cluster}"): yield E.EXECUTOR.get().client

def pids(client) -> set[int]: return set(client.run(os.getpid).values())

@contextmanager
def here():
    "Threads of this process, inside a test that has a cluster."
    before = E.EXECUTOR.set(E.Local())
    try: yield
    finally: E.EXECUTOR.reset(before)

def both(act):
    "What an act answers on the cluster and in threads."
    far = act()
    with here(): return far, act()

# equal results

def digest(x) -> str:
    "SHA-256 of frames, arrays and numbers, every bit of them."
    if isinstance(x, pl.DataFrame): return sha256_of(json.dumps([x.columns, [str(t) for t in x.dtypes], [digest(c.to_numpy()) if c.dtype.is_float() else c.cast(pl.String).to_list() for c in x if c.dtype != pl.List]], default=str))
    if isinstance(x, np.ndarray): return sha256_of(x.tobytes())
    if isinstance(x, dict): return sha256_of("".join(f"{k}{digest(v)}" for k, v in x.items()))
    if isinstance(x, (tuple, list)): return sha256_of("".join(map(digest, x)))
    return sha256_of(x.hex() if isinstance(x, float) else repr(x))

def sweep() -> Sweep:
    s = small_study(2)
    rows = pl.concat([s.rebuilt.filter("ready"), s.fresh]).sort("game_date", "game_id", "player_lookup")
    return Sweep(s.family, s.contract, rows, rows.filter(pl.col("line").is_not_null()), Grid((14, 30), (0, 7), 1, 10), (42, 43), s.params | dict(iterations=30, depth=3), LIGHT)

def tokens(client) -> list[str]: # processes that did tasks
    with E.side_by_side() as each: return list(each(lambda _: (time.sleep(.02), os.getpid())[1], range(12)))

def test_work_is_really_done_elsewhere(there):
    "Fails when 'on the cluster' means in this process, or on one worker only."
    did = set(tokens(there))
    assert os.getpid() not in did and did == pids(there)

def test_a_sweep_is_equal_to_the_bit_and_tells_its_progress(there):
    "Fails when a fit on a worker differs in one bit, results change their order, or progress is lost."
    s, told = sweep(), []
    far, near = both(lambda: run(s, lambda *a: told.append(a)))
    assert digest(far) == digest(near) and told[:8] == told[8:] == [(n, 8, "fits") for n in range(1, 9)]

@pytest.mark.parametrize("family, how", [("v9_q43", dict(ensemble=True, half_life=30.)), ("v9_anchored", dict(refit=False))])
def test_a_training_is_equal_to_the_bit(there, family, how):
    "Fails when models of seeds, their trees, the artefact, or the walk-forward behind an anchored model differ."
    rows = feature_rows()
    c = replace(C, feed_profile="box+props")
    far, near = both(lambda: T.train(rows, c, Family.parse(family), SMALL, [42, 43, 44], **how))
    facts = lambda t: (list(t.models), t.trees, t.split, t.loss, t.spec, [semantic_id(m, t.loss) for m in (*t.models.values(), t.artefact)], [m.predict(t.x) for m in t.models.values()])
    assert digest(facts(far)) == digest(facts(near)) and len(set(map(semantic_id, far.models.values()))) == 3

def plan() -> Plan:
    "A plan over three weeks of evaluation, with a reader that cannot travel."
    rows, first = feature_rows(1600, 60), date(2025, 11, 4)
    at = lambda k: first + timedelta(k)
    cut = lambda a, b: rows.filter(pl.col("game_date").is_between(at(a), at(b)))
    w = Windows((at(0), at(39)), (at(0), at(39)), (at(40), at(59)))
    reader = Reader(None); reader.lock = threading.Lock() # as an open connection: no process takes it
    return Plan(Request(min_rows=500), Family.parse("v9_mae"), w, C, SMALL, [42, 43], cut(0, 39), cut(40, 59), "0"*64, "0"*64, None, 1, later=cut(40, 59), reader=reader)

def test_weekly_refits_are_equal_to_the_bit(there):
    "Fails when a walk-forward on the cluster predicts another number, or takes the warehouse along."
    p = plan()
    with here(): t = T.train(p.rows, C, p.family, SMALL, p.seeds, minimum=500)
    bundle = reopen(bundle_of(p, t))[0]
    far, near = both(lambda: walk(p, bundle, score(p.holdout, bundle)))
    assert digest(far) == digest(near) and far[1]["refits"] >= 2 and not far[0]["walked"].equals(far[0]["predicted"])

def test_the_arms_of_an_investigation_are_equal_to_the_bit(there):
    "Fails when rows that a worker makes again from a recipe are other rows than those that were at hand."
    s = small_study(3, ("line_plus_2",))
    s = replace(s, params=s.params | dict(iterations=20, depth=3))
    recipes = [Recipe("base"), Recipe("wide", frozenset({"line"})), Recipe("wide", change="permute", value="recent form"), Recipe("wide", change="size", draw=2), Recipe("wide", change="recency", value=30.0), Recipe("wide", frozenset({"level"}))]
    def arms():
        b = fit_arms(Bench(s), [*jobs_of(s, recipes, 1), *[(r, k, 42 + k) for k in (1, 2) for r in (recipes[0], recipes[-1])]])
        return b.fits, {f"{r.name}{k}": predictions(b, r, s.fresh, k) for r, k in sorted(b.rows, key=repr)}
    far, near = both(arms)
    assert digest(far) == digest(near) and len(far[1]) == 10

def test_a_backtest_is_equal_to_the_bit(there):
    "Fails when a rule is compared with other rows, or verdicts change their order."
    from nbprops.signals.backtest import candidates, judge, trial
    from nbprops.signals.combos import COMBOS, match_combos
    from nbprops.signals.inputs import signal_inputs
    from nbprops.signals.practice import graded_of, outcomes, practice
    from nbprops.signals.rules import SIGNALS, evaluate
    league = practice(seed=4)
    played = league.predictions.with_columns(outcomes(league.predictions, 4, None, .5))
    cand = candidates(match_combos(evaluate(signal_inputs(played, league.sources(graded_of(played)))), COMBOS, SIGNALS))
    far, near = both(lambda: judge(cand, trial(cand)))
    assert digest(far) == digest(near) and far["edge3"].is_not_null().sum() >= 5

# workers that die

def test_a_killed_worker_costs_a_retry_and_no_result(there):
    "Fails when a run ends, or answers otherwise, because a worker was killed in the middle of it; the rows it held have to be made again."
    s, before = sweep(), pids(there)
    def strike(done, of, label):
        if done == 1:
            for pid in before: os.kill(pid, signal.SIGKILL) # all of them: nobody is left who holds the rows
    far = run(s, strike)
    with here(): near = run(s)
    assert digest(far) == digest(near) and not pids(there) & before

def test_a_task_that_kills_its_first_worker_is_done_by_another(there, tmp_path):
    "Fails when one death gives a task up, or its answer comes at another place."
    mark = tmp_path/"once"
    def stumbles(n):
        if n == 3 and not mark.exists(): mark.touch(); os.kill(os.getpid(), signal.SIGKILL)
        return n*n
    with E.side_by_side() as each: assert list(each(stumbles, range(8))) == [n*n for n in range(8)]
    assert mark.exists()

def test_a_task_that_kills_every_worker_is_given_up_by_name(there):
    "Fails when the cluster is killed without end, or nobody learns by what."
    def deadly(n):
        if n == 1: os.kill(os.getpid(), signal.SIGKILL)
        return n
    with pytest.raises(Broken, match="The task 'week 1' was given up after it had lost 3 workers") as e:
        with E.side_by_side() as each: list(each(deadly, [0, 1], named="week {}".format))
    assert e.value.exit_code == 3 and "start workers" in e.value.mend

def test_a_run_ends_when_nobody_is_left(tmp_path, monkeypatch):
    "Fails when a command waits for ever for workers, or a scheduler, that do not come back."
    monkeypatch.setattr(E, "PATIENCE", 1)
    with scheduler(tmp_path) as place:
        w = worker(place, tmp_path, "--nthreads", "1", "--no-nanny")
        ready(place, 1)
        with E.running_on(f"dask://{place}"), pytest.raises(Broken, match="No worker has been left at .* and the task '1' waits"):
            with E.side_by_side() as each:
                for n in each(lambda n: (time.sleep(n), n)[1], [0, 1, 2, 3]): end(w)

# what tasks may say, and what stops them

def test_a_refusal_comes_home_whole(there):
    "Fails when the sentence of a task loses its mend, or its kind, on the way."
    def refuses(n): raise Refusal("No rows", "the window is empty", "widen it")
    def unloadable(n): raise LoadError("check_bytes", "m", "it has changed")
    with pytest.raises(Refusal) as e, E.side_by_side() as each: list(each(refuses, [1]))
    assert (e.value.what, e.value.why, e.value.mend, e.value.exit_code) == ("No rows", "the window is empty", "widen it", 2)
    with pytest.raises(LoadError) as e, E.side_by_side() as each: list(each(unloadable, [1]))
    assert e.value.check == "check_bytes" and str(e.value) == str(LoadError("check_bytes", "m", "it has changed"))

@pytest.mark.parametrize("where", ["there", "here"])
def test_a_budget_stops_what_has_not_begun(there, where):
    "Fails when a budget that is used up does not stop the rest, or answers are no longer in order."
    from contextlib import nullcontext
    got = []
    with here() if where == "here" else nullcontext(), E.side_by_side() as each:
        for x in each(lambda n: (time.sleep(.05), n)[1], range(60), unless=lambda: len(got) >= 3): got.append(x)
    known = [x for x in got if x is not None]
    assert len(got) == 60 and known == list(range(len(known))) and 3 <= len(known) < 40

def test_an_interrupted_run_leaves_nothing_on_the_cluster(there, tmp_path):
    "Fails when Ctrl-C leaves tasks running, or the cluster unusable."
    def slow(n): time.sleep(.3); (tmp_path/str(n)).touch(); return n
    with pytest.raises(KeyboardInterrupt), E.side_by_side() as each:
        for n in each(slow, range(200)): raise KeyboardInterrupt
    tasks = lambda: there.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    until = time.monotonic() + 10
    while tasks() and time.monotonic() < until: time.sleep(.1)
    assert tasks() == 0
    time.sleep(.5); done = len(list(tmp_path.iterdir())); time.sleep(.5)
    assert len(list(tmp_path.iterdir())) == done < 20 and set(tokens(there)) == pids(there)

def test_fits_on_a_worker_leave_the_log_stream_alone(there):
    "Fails when a fit on a worker of several threads exchanges CatBoost's log stream while another runs."
    def fit(n):
        from catboost import CatBoost, Pool, core
        taken, real = [], core._reset_logger
        core._reset_logger = lambda: taken.append(1)
        try: CatBoost(dict(iterations=20, thread_count=1, verbose=False, allow_writing_files=False)).fit(Pool([[1.], [2.], [3.], [4.]]*10, [1., 2., 3., 4.]*10))
        finally: core._reset_logger = real
        return taken
    with E.side_by_side() as each: assert list(each(fit, range(6))) == [[]]*6

def test_a_task_does_not_spread_further(there):
    "Fails when a task opens as many threads as its machine has processors, beside those of the other tasks."
    with E.side_by_side() as each: assert list(each(lambda _: E.at_once(), range(3))) == [1, 1, 1]
    assert E.at_once() == 3

# clusters that cannot be used

def test_other_versions_are_refused_by_name(cluster, monkeypatch):
    "Fails when a worker with another CatBoost may fit."
    from distributed import versions
    real = versions._version_cached
    monkeypatch.setattr(versions, "_version_cached", lambda p: "9.9.9" if p == "catboost" else real(p))
    with pytest.raises(Refusal, match=r"has catboost 1\.\S+ instead of 9\.9\.9") as e:
        with E.running_on(f"dask://{cluster}"): pytest.fail("entered")
    assert len(str(e.value).splitlines()) == 1 and "start the workers again" in e.value.mend

def test_other_code_is_refused():
    "Fails when a worker that runs another state of this package under the same version may fit."
    real = E.build_mark()
    class Client:
        wait_for_workers = get_versions = lambda self, *a, **k: dict(client=dict(packages={}), workers={})
        def run(self, f, on_error): return {"tcp://10.0.0.1:1": real, "tcp://10.0.0.2:1": "other", "tcp://10.0.0.3:1": AttributeError("no such function")}
    with pytest.raises(Refusal, match="10.0.0.2:1 runs other code of nbprops; 10.0.0.3:1 runs other code"): E.check_workers(Client(), "h:1")

def test_a_worker_that_joins_later_is_asked_too(there, monkeypatch):
    "Fails when only the workers of the beginning are compared."
    monkeypatch.setattr(E, "build_mark", lambda: "0"*64)
    with pytest.raises(Refusal, match="A worker joined that runs other versions"), E.side_by_side() as each: list(each(abs, [1]))

def test_nobody_there_is_one_sentence_in_time(tmp_path, say):
    "Fails when an unreachable scheduler, one without workers, or something else on that port hangs, shows a traceback or hides the mend."
    with scheduler(tmp_path) as bare, socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as mute:
        closed.bind(("127.0.0.1", 0))
        for place, says in ((bare, "has no workers"), (f"127.0.0.1:{closed.getsockname()[1]}", "No Dask scheduler answers"), (f"127.0.0.1:{mute.getsockname()[1]}", "No Dask scheduler answers"), ("no.such.host.invalid:8786", "No Dask scheduler answers")):
            began = time.monotonic()
            code, out, err = say(f"nbprops windows sweep --start 2025-11-04 --executor dask://{place}")
            assert code == 2 and says in err and f"dask worker {place} --nthreads 1" in err and len(err.strip().splitlines()) == 1 and time.monotonic() - began < 11, (place, err)

@pytest.mark.parametrize("line", ["windows sweep --start 2025-11-04", "investigate window --base 2025-11-02:2026-01-08 --wide 2025-11-02:2026-01-31", "retrain --family v9_mae", "signals backtest --start 2025-12-01 --end 2026-02-28"])
@pytest.mark.parametrize("where", ["dask", "dask://", "dask://h", "dask://h:0", "dask://h:99999", "tcp://h:8786", "dask://u@h:8786", "LOCAL", "''"])
def test_bad_executors_are_one_sentence(say, line, where):
    "Fails when a command does not take --executor, or guesses what a bad one meant."
    code, out, err = say(f"nbprops {line} --executor {where}")
    assert code == 2 and "is no executor" in err and "dask://HOST:PORT" in err and len(err.strip().splitlines()) == 1

def test_a_refused_retrain_leaves_its_answer_for_machines(say, tmp_path):
    "Fails when a machine reads the answer of the run before."
    (tmp_path/"out.json").write_text('{"verdict": "PROMOTE"}')
    code, _, _ = say(f"nbprops retrain --family v9_mae --executor dask://127.0.0.1:1 --machine-output {tmp_path/'out.json'}")
    assert code == 2 and json.loads((tmp_path/"out.json").read_text())["verdict"] == "REFUSED"

def test_without_dask_the_extra_is_named(monkeypatch):
    "Fails when a missing library is a traceback."
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(Refusal, match=r"pip install 'nbprops\[dask\]'"), E.running_on("dask://127.0.0.1:8786"): pass
    with E.running_on("local"): assert E.at_once() == E.THREADS
