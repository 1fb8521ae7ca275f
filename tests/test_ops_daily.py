"The day: what is due, what a broken step costs, and that running again completes what is missing and repeats nothing."
import json, re
from datetime import date, datetime, timedelta, timezone
import polars as pl, pytest
from nbprops.cli import main
from nbprops.ops.daily import LEDGER, TASKS, Task, mode_due, run_daily
from nbprops.ops.doctor import PROBES, examine, look
from nbprops.ops.checks import newest_run
from nbprops.ops.findings import Again, ask_again, by_check, standing
from nbprops.ops.report_index import newest_answers, pages, spans, write_index
from nbprops.settings import ET, Refusal
from tests.forks import script
from tests.predict_world import DAY, PRED, copy_world, dump

QUICK = tuple(t for t in TASKS if t.name not in ("pages", "publish"))
NOON = datetime(DAY.year, DAY.month, DAY.day, 16, 40, tzinfo=timezone.utc)

@pytest.mark.parametrize("hour, minute, want", [(0, 0, None), (2, 29, None), (2, 30, "EARLY"), (6, 59, "EARLY"), (7, 0, "OVERNIGHT"), (11, 29, "OVERNIGHT"), (11, 30, "SAME_DAY"), (23, 59, "SAME_DAY")])
def test_the_clock_says_which_run_is_due(hour, minute, want):
    "Fails when a run begins at another minute, or by another zone's clock."
    for day in (date(2026, 2, 2), date(2026, 7, 2)): # standard and daylight saving time
        assert mode_due(day, datetime(day.year, day.month, day.day, hour, minute, tzinfo=ET).astimezone(timezone.utc)) == want
        assert mode_due(day, datetime(day.year, day.month, day.day, hour, minute, tzinfo=ET) + timedelta(days=1)) is None

@pytest.fixture(scope="module")
def small_home(light_home): return light_home

@pytest.fixture
def world(small_home, tmp_path, monkeypatch):
    home = tmp_path/"home"
    wh, store, _ = copy_world(small_home, home)
    monkeypatch.setenv("NBPROPS_HOME", str(home)); monkeypatch.setenv("NBPROPS_NOW", NOON.isoformat())
    return wh, store, home

def test_a_day_is_done_and_done_again(world):
    "Fails when a step is missing from the ledger, or a second run writes a prediction, a pick, a list or a grade again."
    wh, store, home = world
    r = run_daily(wh=wh, store=store, tasks=QUICK)
    assert {s.name: s.status for s in r.steps} == dict.fromkeys([t.name for t in QUICK], "DONE") | dict.fromkeys(("ingest", "grading", "performance", "messages"), "SKIPPED"), r.steps # nothing was predicted for the day before
    rows = wh.sql(f"SELECT step, status FROM {LEDGER} WHERE run_id = @r", r=r.run_id)
    assert dict(rows.iter_rows()) == {s.name: s.status for s in r.steps}
    assert wh.sql(f"SELECT COUNT(*) AS n FROM {PRED} WHERE game_date = @d AND is_active", d=DAY)["n"][0] > 0 and (home/"published"/"signal-best-bets"/f"{DAY}.json").exists()
    tables = ("nba_predictions.signal_best_bets_picks", "nba_predictions.subset_picks", "nba_predictions.best_bets_candidates", "nba_predictions.daily_prediction_signals")
    held = lambda: (dump(wh) | {"prediction_worker_runs": []}, [wh.sql(f"SELECT COUNT(*) AS n FROM {t}")["n"][0] for t in tables])
    was = held(); again = run_daily(wh=wh, store=store, tasks=QUICK)
    assert held() == was and again["predictions"].said.startswith(f"SAME_DAY {DAY}: 0 rows written") and again.resumes is None

def fails(d): raise Refusal("The feed is gone", "nobody sent it", "wait")
def odd(d): raise ZeroDivisionError("a bug")

@pytest.mark.parametrize("broken, how, lost", [("features", fails, ["predictions"]), ("grading", odd, ["performance"]), ("predictions", fails, ["signals"]), ("phases", odd, [])])
def test_a_step_that_breaks_costs_only_what_needs_it(world, broken, how, lost):
    "Fails when one broken step keeps an independent one from its work, or is reported as success."
    wh, store, _ = world
    ran = []
    tasks = tuple(Task(t.name, how if t.name == broken else (lambda d, n=t.name: ran.append(n) or n), t.needs) for t in QUICK)
    r = run_daily(wh=wh, store=store, tasks=tasks)
    assert r.exit_code == 3 and r[broken].status == "FAILED" and all(r[n].status == "SKIPPED" and broken in r[n].said for n in lost)
    assert ran == [t.name for t in QUICK if t.name != broken and t.name not in lost]
    assert ("a bug" in r[broken].said) == (how is odd) and wh.sql(f"SELECT status FROM {LEDGER} WHERE run_id = @r AND step = @s", r=r.run_id, s=broken)["status"].to_list() == ["FAILED"]

def test_a_negative_verdict_is_exit_code_one(world):
    "Fails when a critical finding ends with success, or with the code of a broken step."
    wh, store, _ = world
    def bad(d): d.seen["validation"] = True; return "CRIT"
    r = run_daily(wh=wh, store=store, tasks=(Task("validation", bad),))
    assert r.exit_code == 1 and r["validation"].negative

def test_two_runs_do_not_work_at_once(world):
    "Fails when a second run starts beside the first, or is refused after the first has ended."
    wh, store, _ = world
    def inner(d):
        with pytest.raises(Refusal, match="under way"): run_daily(wh=wh, store=store, tasks=())
        return "outer"
    assert run_daily(wh=wh, store=store, tasks=(Task("outer", inner),))["outer"].status == "DONE"
    assert run_daily(wh=wh, store=store, tasks=()).exit_code == 0

CHILD = """
import os, sys
from nbprops.ops.daily import TASKS, Task, run_daily
point, after = sys.argv[1], sys.argv[2] == "after"
def deadly(run):
    def f(d):
        if after: run(d)
        os._exit(9)
    return f
run_daily(tasks=tuple(Task(t.name, deadly(t.run) if t.name == point else t.run, t.needs, t.idle) for t in TASKS if t.name not in ("pages", "publish")))
"""

long = pytest.mark.full
@pytest.mark.parametrize("point, when", [("predictions", "after"), ("signals", "before"), pytest.param("features", "before", marks=long), pytest.param("signals", "after", marks=long), pytest.param("validation", "before", marks=long)])
def test_a_killed_run_is_resumed(world, point, when):
    "Fails when a run that died blocks the next one, is not named by it, or leaves something doubled or undone."
    wh, store, home = world
    p = script(CHILD, point, when).end()
    assert p.returncode == 9, p.stderr[-2000:]
    (first,) = wh.sql(f"SELECT run_id FROM {LEDGER} WHERE status = 'STARTED' AND step = @s", s=point)["run_id"]
    r = run_daily(wh=wh, store=store, tasks=QUICK)
    assert r.resumes == first and all(s.status != "FAILED" for s in r.steps)
    assert wh.sql(f"SELECT status FROM {LEDGER} WHERE run_id = @r AND step = @s", r=first, s=point)["status"].to_list() == ["INTERRUPTED"] and run_daily(wh=wh, store=store, tasks=()).resumes is None
    doubles = wh.sql(f"SELECT COUNT(*) AS n FROM (SELECT game_id, player_lookup, system_id FROM {PRED} WHERE game_date = @d AND is_active GROUP BY 1, 2, 3 HAVING COUNT(*) > 1)", d=DAY)["n"][0]
    n = wh.sql(f"SELECT COUNT(*) AS n FROM {PRED} WHERE game_date = @d AND is_active", d=DAY)["n"][0]
    assert doubles == 0 and n > 0 and (home/"published"/"signal-best-bets"/f"{DAY}.json").exists()
    versions = wh.sql("SELECT subset_id, COUNT(DISTINCT version) AS n FROM nba_predictions.subset_picks WHERE game_date = @d GROUP BY subset_id", d=DAY)
    assert versions.is_empty() or versions["n"].max() == 1

FULL_DISK = """
import resource, signal, sys
from nbprops.ops.daily import TASKS, run_daily
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
r = run_daily(tasks=tuple(t for t in TASKS if t.name not in ("pages", "publish")))
print({s.name: s.status for s in r.steps}); print(r["predictions"].said)
sys.exit(r.exit_code)
"""

def test_a_full_disk_is_told_and_the_next_run_completes_the_day(world):
    "Fails when a disk without room ends in a trace instead of a sentence, leaves half a slate, or blocks the run after it."
    wh, store, home = world
    before = wh.sql(f"SELECT COUNT(*) AS n FROM {PRED} WHERE game_date = @d", d=DAY)["n"][0]
    p = script(FULL_DISK, "100000").end()
    assert p.returncode == 3 and "'predictions': 'DONE'" not in p.stdout and "Traceback" not in p.stderr, (p.stdout[-800:], p.stderr[-2000:])
    assert wh.sql(f"SELECT COUNT(*) AS n FROM {PRED} WHERE game_date = @d", d=DAY)["n"][0] == before
    r = run_daily(wh=wh, store=store, tasks=QUICK)
    assert all(s.status != "FAILED" for s in r.steps), r.steps
    assert wh.sql(f"SELECT COUNT(*) AS n FROM {PRED} WHERE game_date = @d AND is_active", d=DAY)["n"][0] > 0

def test_a_report_folder_that_vanished(world):
    "Fails when pages cannot be made without the folder, or something in its place ends in anything but a failed step that the next run mends."
    import shutil
    wh, store, home = world
    only = tuple(t for t in TASKS if t.name == "publish")
    shutil.rmtree(home/"reports", ignore_errors=True)
    assert run_daily(wh=wh, store=store, tasks=only)["publish"].status == "DONE" and (home/"reports"/"index.html").exists()
    shutil.rmtree(home/"reports"); (home/"reports").write_text("in the way")
    r = run_daily(wh=wh, store=store, tasks=only)
    assert r.exit_code == 3 and r["publish"].status == "FAILED" and wh.sql(f"SELECT status FROM {LEDGER} WHERE run_id = @r", r=r.run_id)["status"].to_list() == ["FAILED"]
    (home/"reports").unlink()
    assert run_daily(wh=wh, store=store, tasks=only).exit_code == 0

@pytest.mark.full
def test_the_whole_command(world, capsys):
    "Fails when the day with its pages and its index breaks, or its exit code is not that of the run."
    with pytest.raises(SystemExit) as e: main(["daily", "--date", str(DAY), "--json"])
    doc = json.loads(capsys.readouterr().out)
    assert e.value.code == doc["exit_code"] and doc["date"] == str(DAY) and [s["name"] for s in doc["steps"]] == [t.name for t in TASKS]
    assert (world[2]/"reports"/"index.html").exists()

def test_the_command(world, capsys, monkeypatch):
    "Fails when the JSON of the command is not JSON, its text has no line per step, or a mistake is no sentence."
    import nbprops.ops.daily as daily
    monkeypatch.setattr(daily.run_daily, "__defaults__", (*daily.run_daily.__defaults__[:-1], (Task("phases", lambda d: "counted"), Task("validation", fails))))
    with pytest.raises(SystemExit) as e: main(["daily", "--date", str(DAY), "--json"])
    doc = json.loads(capsys.readouterr().out); assert e.value.code == doc["exit_code"] == 3 and [s["status"] for s in doc["steps"]] == ["DONE", "FAILED"]
    with pytest.raises(SystemExit): main(["daily", "--date", str(DAY)])
    out = capsys.readouterr().out.splitlines(); assert out[0].startswith(" 1/2 phases") and "FAILED" in out[1] and "1 DONE, 1 FAILED" in out[2]
    for line, word in (("daily --backfill 0", "no number of days"), ("daily --date 2.2.2026", "YYYY-MM-DD")):
        with pytest.raises(SystemExit) as e: main(line.split())
        err = capsys.readouterr().err; assert e.value.code == 2 and word in err and len(err.strip().splitlines()) == 1

def test_a_past_date_and_a_day_without_games_are_not_predicted(world, monkeypatch):
    "Fails when a prediction is made after the fact, or an idle day is a failure."
    wh, store, _ = world
    only = tuple(t for t in TASKS if t.name in ("predictions", "signals"))
    r = run_daily(DAY - timedelta(days=3), wh=wh, store=store, tasks=only); assert r["predictions"].status == "SKIPPED" and r.exit_code == 0
    monkeypatch.setenv("NBPROPS_NOW", "2026-07-01T16:00:00+00:00")
    assert "no games" in run_daily(wh=wh, store=store, tasks=only)["predictions"].said

# phases and triggers

def completion(wh, phase: int, column: str = "status") -> dict:
    from nbprops.ops.phases import status
    return dict(status(wh, phase, [DAY]).select("processor", column).iter_rows())

def test_a_day_starts_what_follows_and_publishes_all_of_it(world):
    "Fails when a step is not marked with the run that began it, when phase 6 of a played day is miscounted, or counting again changes it."
    from nbprops.ops.phases import PHASES, reconcile
    wh, store, home = world
    wh.sql(f"DELETE FROM {PRED} WHERE game_date = @d", d=DAY); reconcile(wh, DAY)
    assert set(completion(wh, 4, "trigger_state").values()) == {"pending"}
    r = run_daily(wh=wh, store=store, tasks=tuple(t for t in TASKS if t.name != "pages"))
    rows = wh.read(PHASES, DAY, DAY, where="phase IN (4, 5) AND status = 'COMPLETE'")
    assert set(rows["trigger_state"]) == {"confirmed"} and set(rows["trigger_id"]) == {r.run_id} and set(rows["attempts"]) == {1} and rows.height >= 5
    n = lambda q: wh.sql(q, d=DAY)["n"][0]
    six = {x["processor"]: (x["rows_expected"], x["rows_written"]) for x in wh.read(PHASES, DAY, DAY, where="phase = 6").iter_rows(named=True)}
    active = n(f"SELECT COUNT(*) AS n FROM {PRED} WHERE game_date = @d AND is_active")
    lists = n("SELECT COUNT(DISTINCT subset_id) AS n FROM nba_predictions.subset_picks WHERE game_date = @d")
    colours = n("SELECT COUNT(*) AS n FROM nba_predictions.daily_prediction_signals WHERE game_date = @d")
    assert six == {"annotate": (active, active), "daily_signal": (colours, colours), "best_bets": (2, 2), "subsets": (lists, lists), "notify": (0, 0)} and active > 0
    assert set(completion(wh, 6).values()) <= {"COMPLETE", "EMPTY_OK"} and reconcile(wh, DAY).written == 0
    from nbprops.ops.logs import read_logs
    (line,) = read_logs(service="publishing").lines
    assert (line["event"], line["game_date"], line["file"]) == ("picks_published", str(DAY), f"signal-best-bets/{DAY}.json") and line["picks"] == json.loads((home/"published"/line["file"]).read_text())["total_picks"]
    (home/"published"/"signal-best-bets"/f"{DAY}.json").unlink(); reconcile(wh, DAY)
    assert completion(wh, 6)["best_bets"] == "PARTIAL"

LOST = """
import os, nbprops.ops.phases as phases
from nbprops.ops.daily import TASKS, run_daily
real = phases.sent
phases.sent = lambda wh, phase, *a: os._exit(9) if phase == 4 else real(wh, phase, *a)
run_daily(tasks=tuple(t for t in TASKS if t.name in ("features", "predictions")))
"""

def test_a_crash_between_the_call_and_its_note_leaves_pending(world):
    "Fails when a step that was called and not noted counts as sent, is not tried again, or is tried in silence."
    from nbprops.ops.phases import reconcile
    wh, store, _ = world
    wh.sql(f"DELETE FROM {PRED} WHERE game_date = @d", d=DAY)
    p = script(LOST).end()
    assert p.returncode == 9, p.stderr[-2000:]
    reconcile(wh, DAY)
    assert set(completion(wh, 4, "trigger_state").values()) == {"pending"} and set(completion(wh, 4, "attempts").values()) == {1}
    r = run_daily(wh=wh, store=store, tasks=tuple(t for t in TASKS if t.name in ("features", "predictions"))); reconcile(wh, DAY)
    assert r["predictions"].status == "DONE" and set(completion(wh, 4, "trigger_state").values()) == {"confirmed"} and set(completion(wh, 4, "attempts").values()) == {2}

def test_a_step_that_never_works_is_given_up(world, monkeypatch):
    "Fails when a scheduler starts a broken step for ever, without a pause, or gives up in silence."
    wh, store, _ = world
    wh.sql(f"DELETE FROM {PRED} WHERE game_date = @d", d=DAY)
    task, at, ends = (Task("predictions", fails, after=4),), NOON, []
    for _ in range(17): # every five minutes
        monkeypatch.setenv("NBPROPS_NOW", at.isoformat()); at += timedelta(minutes=5)
        ends.append(run_daily(wh=wh, store=store, tasks=task)["predictions"])
    tried = [i for i, e in enumerate(ends) if e.status == "FAILED" and "feed is gone" in e.said]
    assert tried == [0, 1, 2, 5, 14] and all("attempt" in ends[i].said and ends[i].status == "SKIPPED" for i in (3, 4, 6, 13))
    assert ends[-1].status == "FAILED" and "started 5 times" in ends[-1].said and run_daily(wh=wh, store=store, tasks=task).exit_code == 3
    assert dict(wh.sql(f"SELECT status, COUNT(*) AS n FROM {LEDGER} WHERE command = 'daily' AND step = 'predictions' GROUP BY status").iter_rows()) == {"FAILED": 5, "SKIPPED": 13}

# the doctor

def test_the_doctor_finds_what_is_broken(world, monkeypatch):
    "Fails when a healthy home is called broken, or a lost model file, an older warehouse or a missing one healthy."
    wh, store, home = world
    state = lambda: {f.what: f for f in examine(wh, store)}
    assert not [f for f in state().values() if f.state == "BROKEN"] and state()["models"].state == "OK" and state()["daily run"].state == "ABSENT"
    for p in (home/"models").rglob("*.cbm"): p.unlink()
    assert state()["models"].state == "BROKEN" and state()["models"].mend == "nbprops worker status"
    wh.sql("DROP TABLE nba_orchestration.validation_results")
    assert state()["validation"].state == "BROKEN" and "nbprops migrate" in state()["validation"].mend
    wh.path.unlink()
    assert state()["warehouse"].state == "BROKEN" and "feeds" not in state() and all(f.mend for f in state().values() if f.state == "BROKEN")

def test_a_probe_that_breaks_is_a_finding(monkeypatch):
    "Fails when the doctor falls ill with the patient."
    monkeypatch.setitem(PROBES, "code", odd)
    f = look("code", None, None); assert f.state == "BROKEN" and "TypeError" in f.words or "ZeroDivisionError" in f.words

# the index

def answer(day: int, check: str, verdict: str, reason: str = "x", mode: str = "post-game") -> dict:
    return dict(validation_run_id=f"validate-{day}-{mode}", check_id=check, verdict=verdict, game_date=date(2026, 2, day), value=1.0, n=1, detail_json=json.dumps(dict(mode=mode, reason=reason, cause="because", impact="it matters", command="nbprops mend", note={})))

def test_three_faults_of_a_week_are_on_the_first_screen(wh, tmp_path):
    "Fails when a fault of the week does not stand on the index with its days, cause and command, or a healthy check does."
    rows = [answer(d, c, "OK") for d in range(1, 8) for c in ("pvl", "box_games", "zero_tolerance", "tip_guard")]
    bad = {("pvl", 2): "CRIT", ("pvl", 3): "CRIT", ("box_games", 5): "WARN", ("zero_tolerance", 6): "CRIT"}
    rows = [r | dict(verdict=bad.get((r["check_id"], r["game_date"].day), "OK")) for r in rows]
    wh.write("nba_orchestration.validation_results", pl.DataFrame(rows))
    page = write_index(wh, tmp_path/"reports").read_text()
    first = page[:page.index("Days</h2>")]
    assert all(f"{c}" in first for c in ("pvl", "box_games", "zero_tolerance")) and "tip_guard" not in first and "2026-02-02 to 2026-02-03" in first and first.count("nbprops mend") >= 3
    assert not re.search(r'(src|href)="https?://', page) and "<script" not in page

def stored(wh, monkeypatch, at: str, day: int, check: str, verdict: str, **rest) -> None:
    "One answer at an instant."
    monkeypatch.setenv("NBPROPS_NOW", at)
    wh.write("nba_orchestration.validation_results", pl.DataFrame([answer(day, check, verdict, **{k: v for k, v in rest.items() if k == "mode"}) | dict(validation_run_id=rest.get("run", at))]))

def test_a_finding_is_open_until_an_answer_says_otherwise(wh, monkeypatch, tmp_path):
    "Fails when a mended finding stands as open, is forgotten, is mended by an answer that does not apply, or by the answer about another date."
    stored(wh, monkeypatch, "2026-02-03T12:00:00Z", 2, "pvl", "CRIT"); stored(wh, monkeypatch, "2026-02-03T18:00:00Z", 2, "pvl", "OK")
    stored(wh, monkeypatch, "2026-02-03T12:00:00Z", 2, "tip_guard", "WARN", run="p", mode="pre-game"); stored(wh, monkeypatch, "2026-02-03T19:00:00Z", 2, "tip_guard", "NOT_APPLICABLE"); stored(wh, monkeypatch, "2026-02-04T19:00:00Z", 3, "tip_guard", "OK")
    stored(wh, monkeypatch, "2026-02-03T11:00:00Z", 2, "box_games", "OK"); stored(wh, monkeypatch, "2026-02-03T20:00:00Z", 2, "box_games", "CRIT")
    now = {(r["game_date"].day, r["check_id"]): (r["verdict"], r["is_open"], r["has_fired"]) for r in newest_answers(wh).iter_rows(named=True)}
    assert now == {(2, "pvl"): ("CRIT", False, True), (2, "tip_guard"): ("WARN", True, True), (3, "tip_guard"): ("OK", False, False), (2, "box_games"): ("CRIT", True, True)}
    page = write_index(wh, tmp_path/"reports").read_text()
    assert "2 findings open: box_games, tip_guard" in page and "pvl (was CRIT)" in page and "no longer found when asked last, 2026-02-03 18:00 UTC" in page

def test_what_fired_is_asked_again(wh, monkeypatch):
    "Fails when asking again forgets a finding, asks what never fired, hides a whole run behind the few checks that it asked, or does not end."
    day = date(2026, 2, 2)
    stored(wh, monkeypatch, "2026-02-03T12:00:00Z", 2, "backfill_failed", "CRIT"); stored(wh, monkeypatch, "2026-02-03T12:00:00Z", 2, "pvl", "OK", run="q")
    monkeypatch.setenv("NBPROPS_NOW", "2026-02-04T12:00:00Z")
    assert ask_again(wh, day, day) == Again(1, 1) and ask_again(wh, day, day) == Again()
    asked = wh.sql("SELECT check_id, verdict FROM nba_orchestration.validation_results WHERE validation_run_id LIKE '%-again-%' AND game_date = @d", d=day).rows()
    assert asked == [("backfill_failed", "OK")] and set(newest_run(wh, day)["check_id"]) <= {"backfill_failed", "pvl"} and not newest_run(wh, day)["validation_run_id"].str.contains("-again-").any()
    row = standing(wh, day, day).filter(check_id="backfill_failed").row(0, named=True)
    assert row["verdict"] == "CRIT" and row["verdict_now"] == "OK" and row["fired_at"] < row["asked_at"]

def test_a_fault_of_days_is_one_finding(wh, monkeypatch):
    "Fails when a check stands twice in the list, or the gravest answer does not lead."
    for d, v in ((2, "WARN"), (3, "CRIT"), (4, "WARN")): stored(wh, monkeypatch, f"2026-02-0{d}T12:00:00Z", d, "pvl", v)
    stored(wh, monkeypatch, "2026-02-05T12:00:00Z", 5, "tip_guard", "WARN")
    found = by_check(standing(wh, date(2026, 2, 1), date(2026, 2, 7)).filter("has_fired"))
    assert found.select("check_id", "verdict", pl.col("days").list.len()).rows() == [("pvl", "CRIT", 3), ("tip_guard", "WARN", 1)]

def test_pages_are_found_and_linked(wh, tmp_path):
    "Fails when a page is missing from the index, a link does not lead to it, or a broken write leaves half an index."
    folder = tmp_path/"reports"
    for name in ("2026-02-02/daily_validation_2026-02-02.html", "models/gate_card_m 1.html", "handoff_2026-02-03.html", "own page.html"):
        (folder/name).parent.mkdir(parents=True, exist_ok=True); (folder/name).write_text("<p>")
    page = write_index(wh, folder).read_text()
    from urllib.parse import unquote
    links = {unquote(x) for x in re.findall(r'<a href="([^"]+)"', page)}
    assert links == {p.relative_to(folder).as_posix() for p in folder.rglob("*.html") if p.name != "index.html"} and "No day has been validated yet" in page
    assert pages(folder).filter(pl.col("kind") == "Other")["about"].to_list() == ["own page"]

def test_neighbouring_days_are_a_stretch():
    "Fails when a gap is bridged or neighbours are listed one by one."
    d = lambda *k: [date(2026, 1, 31) + timedelta(days=x) for x in k]
    assert spans(d(0)) == "2026-01-31" and spans(d(0, 1, 2, 4)) == "2026-01-31 to 2026-02-02, 2026-02-04"
